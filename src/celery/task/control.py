"""`celery.task.control`: the old home of remote control. Functions of the current app's `app.control`."""

from __future__ import annotations

from typing import Any

from celery._state import get_current_app

__all__ = ("broadcast", "discard_all", "inspect", "ping", "rate_limit", "revoke", "time_limit")  # noqa: F822 - looked up


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(get_current_app().control, name)
