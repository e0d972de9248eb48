"""Applications for tests: everything in memory, and nothing left behind."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from celery import Celery, _state
from celery.app.log import Logging

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ("DEFAULT_TEST_CONFIG", "TestApp", "Trap", "UnitLogging", "set_trap", "setup_default_app")

#: Settings of a test app that nothing else says.
DEFAULT_TEST_CONFIG: dict[str, Any] = {
    "worker_hijack_root_logger": False,
    "worker_log_color": False,
    "accept_content": {"json"},
    "enable_utc": True,
    "timezone": "UTC",
    "broker_url": "memory://",
    "result_backend": "cache+memory://",
    "broker_heartbeat": 0,
}


class Trap:
    """Stands in place of the current app: whoever uses it fails."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("Test depends on current_app")


class UnitLogging(Logging):
    """Leaves logging as the test runner has set it up."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Of this instance: nobody who resets the class changes it.
        vars(self)["already_setup"] = True


def TestApp(  # noqa: N802, RUF100 - Celery's name
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    enable_logging: bool = False,
    set_as_current: bool = False,
    log: Any = UnitLogging,
    backend: Any = None,
    broker: Any = None,
    **kwargs: Any,
) -> Celery:
    """An application with broker and results in memory.

    Args:
        name: default `celery.tests`.
        config: settings, stronger than `DEFAULT_TEST_CONFIG`.
        enable_logging: a worker sets logging up, instead of leaving it to the test runner.
        log: class of `app.log`, unless `enable_logging`.
        backend, broker: stronger than `config`.
        **kwargs: of `Celery`.
    """
    app = Celery(
        name or "celery.tests",
        set_as_current=set_as_current,
        log=None if enable_logging else log,
        backend=backend,
        broker=broker,
        **kwargs,
    )
    app.add_defaults({**deepcopy(DEFAULT_TEST_CONFIG), **(config or {})})
    return app


@contextmanager
def set_trap(app: Any) -> Iterator[None]:
    """Let whoever uses the current app fail, in every thread, until the block ends or makes an app current.

    Args:
        app: the app under test; it is to be used explicitly.
    """
    trap: Any = Trap()

    class NonTLS:
        """The same for all threads."""

        current_app = trap

    own, default = _state._tls, _state.default_app
    _state._tls = NonTLS()  # type: ignore[assignment]
    _state.set_default_app(trap)
    try:
        yield
    finally:
        _state._tls = own
        _state.default_app = default


@contextmanager
def setup_default_app(app: Any, use_trap: bool = False) -> Iterator[None]:
    """Afterwards the current app and the default app are those of before.

    Args:
        app: the app under test. It is not made current.
        use_trap: using the current app is an error in this block (`set_trap`).
    """
    current, default = _state._tls.current_app, _state.default_app
    try:
        with set_trap(app) if use_trap else nullcontext():
            yield
    finally:
        _state._set_current_app(current)
        _state.default_app = default
