"""The signals of an app itself: around its configuration, its finalization and forks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.utils.dispatch import Signal

if TYPE_CHECKING:
    from collections.abc import Callable

#: Attribute of the app -> what its receivers are told beside the sender.
SIGNALS: dict[str, set[str]] = {
    "on_configure": set(),
    "on_after_configure": {"source"},
    "on_after_finalize": set(),
    "on_after_fork": set(),
}


def make_signals(app: Any) -> None:
    """Give an app its signals; methods of those names in a subclass become receivers."""
    for name, arguments in SIGNALS.items():
        custom = getattr(app, name)
        signal = Signal(name=f"app.{name}", providing_args=arguments)
        if callable(custom) and not isinstance(custom, Signal):
            signal.connect(_without_sender(custom), weak=False)
        setattr(app, name, signal)


def _without_sender(method: Callable[..., Any]) -> Callable[..., Any]:
    """A receiver for a method that may take no arguments."""

    def receive(**named: Any) -> Any:
        return method(**{key: value for key, value in named.items() if key not in {"sender", "signal"}})

    return receive
