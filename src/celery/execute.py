"""Old form: `from celery.execute import send_task`. New code uses `app.send_task` and the methods of tasks."""

from __future__ import annotations

import warnings
from typing import Any

from celery import _state
from celery.exceptions import CDeprecationWarning

__all__ = ("apply", "apply_async", "delay_task", "send_task")


def send_task(name: str, *args: Any, **kwargs: Any) -> Any:
    """`Celery.send_task` of the current app."""
    return _state.get_current_app().send_task(name, *args, **kwargs)


def apply_async(task: Any, *args: Any, **kwargs: Any) -> Any:
    """`task.apply_async(...)`."""
    return _method(task, "apply_async")(*args, **kwargs)


def apply(task: Any, *args: Any, **kwargs: Any) -> Any:
    """`task.apply(...)`."""
    return _method(task, "apply")(*args, **kwargs)


def delay_task(task_name: str, *args: Any, **kwargs: Any) -> Any:
    """`task.delay(...)` of a task given by name.

    Raises:
        NotRegistered: the current app does not know it.
    """
    return _state.get_current_app().tasks[task_name].delay(*args, **kwargs)


def _method(task: Any, name: str) -> Any:
    try:
        return getattr(task, name)
    except AttributeError:
        raise TypeError(f"{task!r} is a plain function, not a task: decorate it with @app.task") from None


warnings.warn("celery.execute is an old home: use app.send_task", CDeprecationWarning, stacklevel=2)
