"""An app as a pickle: the arguments that make it again, and what makes it of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from celery.app.base import Celery


def constructor_arguments(app: Celery) -> dict[str, Any]:
    """By name: what `_unpickle_app_v2` takes."""
    return {
        "main": app.main,
        "changes": dict(app.conf.changes),
        "loader": app.loader_cls,
        "backend": app.backend_cls,
        "amqp": app.amqp_cls,
        "events": app.events_cls,
        "log": app.log_cls,
        "control": app.control_cls,
        "fixups": app.fixups,
        "config_source": app.config_record.source,
        "config_source_silent": app.config_record.silent,
        "task_cls": app.task_cls,
        "namespace": app.namespace,
    }


def old_arguments(app: Celery) -> tuple[Any, ...]:
    """By position: what `AppPickler` takes."""
    return (
        app.main, dict(app.conf.changes), app.loader_cls, app.backend_cls, app.amqp_cls,
        app.events_cls, app.log_cls, app.control_cls, False, app.config_record.source, False,
    )  # fmt: skip


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
