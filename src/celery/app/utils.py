"""Configuration and pickling under Celery's names, and the bug report."""

from __future__ import annotations

from typing import Any

from celery._public import publish

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
from .pickling import AppPickler, _unpickle_app, _unpickle_app_v2  # noqa: F401 - for pickles
from .settings import Settings

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


# Pickles name them here.
publish(globals(), "AppPickler", "_unpickle_app", "_unpickle_app_v2")
