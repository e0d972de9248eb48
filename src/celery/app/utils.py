"""Configuration under Celery's names, the bug report, and pickling of applications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .censor import HIDDEN_SETTINGS, filter_hidden_settings, sanitize_url
from .configuration import (
    E_MIX_NEW_INTO_OLD,
    E_MIX_OLD_INTO_NEW,
    FMT_REPLACE_SETTING,
    ConfigRecord,
    check_spelling,
    load_settings,
)
from .embedded import needs_embedded_store, warn_embedded
from .finding import find_app
from .settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = (
    "BUGREPORT_INFO",
    "E_MIX_NEW_INTO_OLD",
    "E_MIX_OLD_INTO_NEW",
    "FMT_REPLACE_SETTING",
    "HIDDEN_SETTINGS",
    "AppPickler",
    "ConfigRecord",
    "Settings",
    "appstr",
    "bugreport",
    "check_spelling",
    "filter_hidden_settings",
    "find_app",
    "load_settings",
    "needs_embedded_store",
    "sanitize_url",
    "warn_embedded",
)

#: Layout of the bug report.
BUGREPORT_INFO = """
software -> celery:{celery_v} kombu:{kombu_v} py:{py_v}
            billiard:{billiard_v} {driver_v}
platform -> system:{system} arch:{arch}
            kernel version:{kernel_version} imp:{py_i}
loader   -> {loader}
settings -> transport:{transport} results:{results}

{human_settings}
"""

#: The library that talks to the broker, by URL scheme: what the report names with its version.
_DRIVERS = {"redis": "redis", "rediss": "redis", "sentinel": "redis", "sqs": "boto3"}


class AppPickler:
    """Reduces an application to its class and presets, and makes it again."""

    def __call__(self, cls: type, *args: Any) -> Any:
        kwargs = self.build_kwargs(*args)
        app = self.construct(cls, **kwargs)
        self.prepare(app, **kwargs)
        return app

    def prepare(self, app: Any, **kwargs: Any) -> None:
        """Restore the presets."""
        app.conf.update(kwargs["changes"])

    def build_kwargs(self, *args: Any) -> dict[str, Any]:
        """Constructor arguments from what was pickled."""
        return self.build_standard_kwargs(*args)

    def build_standard_kwargs(
        self,
        main: str | None,
        changes: Mapping[str, Any],
        loader: Any,
        backend: Any,
        amqp: Any,
        events: Any,
        log: Any,
        control: Any,
        accept_magic_kwargs: bool,
        config_source: Any = None,
    ) -> dict[str, Any]:
        """Name the positional arguments of the old pickle form."""
        return {
            "main": main,
            "loader": loader,
            "backend": backend,
            "amqp": amqp,
            "changes": changes,
            "events": events,
            "log": log,
            "control": control,
            "set_as_current": False,
            "config_source": config_source,
        }

    def construct(self, cls: Callable[..., Any], **kwargs: Any) -> Any:
        """Make the application."""
        return cls(**kwargs)


def _unpickle_app(cls: type, pickler: type[AppPickler], *args: Any) -> Any:
    """Rebuild an application pickled in the old form."""
    return pickler()(cls, *args)


def _unpickle_app_v2(cls: Callable[..., Any], kwargs: dict[str, Any]) -> Any:
    """Rebuild an application from constructor arguments."""
    return cls(**{**kwargs, "set_as_current": False})


def appstr(app: Any) -> str:
    """An application in short: `proj at 0x7f...`, as the banner shows it."""
    return f"{app.main or '__main__'} at {id(app):#x}"


def _version_of(distribution: str) -> str:
    from importlib import metadata  # noqa: PLC0415 - slow to import, needed by the report only

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "?"


def _transport_of(url: Any) -> str:
    first = url[0] if isinstance(url, (list, tuple)) and url else url
    return str(first or "amqp").partition("://")[0]


def bugreport(app: Any) -> str:
    """The text of `celery report`: versions, platform, loader, settings without their secrets."""
    import platform  # noqa: PLC0415 - needed by the report only

    import celery  # noqa: PLC0415 - the package itself, at run time only

    conf = app.conf
    transport = _transport_of(conf.broker_url)
    driver = _DRIVERS.get(transport)
    uname = platform.uname()
    return BUGREPORT_INFO.format(
        celery_v=celery.VERSION_BANNER,
        kombu_v=_version_of("kombu"),
        py_v=platform.python_version(),
        billiard_v=_version_of("billiard"),
        driver_v=f"{driver or transport}:{_version_of(driver) if driver else 'built-in'}"
        f" celeriac:{celery.celeriac_version}",
        system=uname.system,
        arch=", ".join(part for part in platform.architecture() if part),
        kernel_version=uname.release,
        py_i=platform.python_implementation(),
        loader=f"{type(app.loader).__module__}.{type(app.loader).__qualname__}",
        transport=transport,
        results=sanitize_url(conf.result_backend) or "disabled",
        human_settings=conf.humanize(),
    )
