"""The one home of process-wide state: the apps, which one is current, and the stack of running tasks.

The current app is per thread, as in Celery; a thread without one uses the default app. The task stack is kept
in a context variable: every thread and every asyncio task has its own view.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import traceback
import weakref
from typing import TYPE_CHECKING, Any, cast

from celery.local import Proxy
from celery.utils.threads import LocalStack

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.app.base import Celery
    from celery.app.task import Task

__all__ = (
    "connect_on_app_finalize",
    "current_app",
    "current_task",
    "get_current_app",
    "get_current_task",
    "get_current_worker_task",
    "set_default_app",
)

#: The app used where a thread has none of its own. Made on first need, or by `set_default_app`.
default_app: Celery | None = None

#: Every app alive, for tools and for `shared_task`.
_apps: weakref.WeakSet[Celery] = weakref.WeakSet()

#: Constructors of built-in and shared tasks, called for each app that is finalized.
_on_app_finalizers: set[Callable[[Celery], Any]] = set()

#: Whether waiting for a result here would stop a worker slot (see `celery.result`).
_task_join_will_block = False

#: Where the app made on demand comes from: a name, because it lives in a layer above.
_APP_CLASS = ("celery.app.base", "Celery")

_making = threading.RLock()


class _TLS(threading.local):
    #: The app last made with `set_as_current`, or the last `set_current()`, in this thread.
    current_app: Celery | None = None


_tls = _TLS()

_task_stack: LocalStack[Task[..., Any]] = LocalStack()

#: The hot path's way to the stack: `push_current_task(task)`, `pop_current_task()`.
push_current_task = _task_stack.push
pop_current_task = _task_stack.pop


def connect_on_app_finalize(callback: Callable[[Celery], Any]) -> Callable[[Celery], Any]:
    """Call `callback(app)` for every app that is finalized from now on (decorator)."""
    _on_app_finalizers.add(callback)
    return callback


def _announce_app_finalized(app: Celery) -> None:
    for callback in set(_on_app_finalizers):
        callback(app)


def _set_task_join_will_block(blocks: bool) -> None:
    global _task_join_will_block
    _task_join_will_block = blocks


def task_join_will_block() -> bool:
    """Whether waiting for a result in this process would stop a worker slot."""
    return _task_join_will_block


#: The function itself, for those who replace `task_join_will_block` and put it back.
orig_task_join_will_block = task_join_will_block


def set_default_app(app: Celery) -> None:
    """Make `app` the one that threads without a current app use."""
    global default_app
    default_app = app


def _set_current_app(app: Celery | None) -> None:
    _tls.current_app = app


def _get_current_app() -> Celery:
    return _tls.current_app or default_app or _make_default_app()


def _make_default_app() -> Celery:
    with _making:
        if default_app is None:
            module, name = _APP_CLASS
            app_class = getattr(importlib.import_module(module), name)
            loader = os.environ.get("CELERY_LOADER") or "default"
            app = app_class("default", fixups=[], set_as_current=False, loader=loader)
            set_default_app(app)
        return cast("Celery", default_app)


def _get_strict_app() -> Celery:
    """With `C_STRICT_APP`: whoever relies on the current app is told where."""
    raise RuntimeError("USES CURRENT APP")


def _get_warned_app() -> Celery:
    """With `C_WARN_APP`: whoever relies on the current app is shown where."""
    print("-- USES CURRENT_APP", file=sys.stderr)  # noqa: T201 - a debugging aid, asked for by environment
    traceback.print_stack(file=sys.stderr)
    return _get_current_app()


def get_current_app() -> Celery:
    """The app of this thread, else the default app, which is made if there is none.

    Raises:
        RuntimeError: the environment variable `C_STRICT_APP` is set.
    """
    return _current_app_getter()


def _choose_getter() -> Callable[[], Celery]:
    if os.environ.get("C_STRICT_APP"):
        return _get_strict_app
    if os.environ.get("C_WARN_APP"):
        return _get_warned_app
    return _get_current_app


_current_app_getter = _choose_getter()


def get_current_task() -> Task[..., Any] | None:
    """The task that is running here (also one called by another task), or None."""
    return _task_stack.top


def get_current_worker_task() -> Task[..., Any] | None:
    """The task that a worker is running here: not one that this task has called itself."""
    if _task_stack.top is None:
        return None
    worker_tasks = (task for task in reversed(_task_stack.stack) if not task.request.called_directly)
    return next(worker_tasks, None)


#: Stands for the current app of whoever looks.
current_app = cast("Celery", Proxy(get_current_app))

#: Stands for the task that is running; false outside of tasks.
current_task = cast("Task[..., Any]", Proxy(get_current_task))


def _register_app(app: Celery) -> None:
    _apps.add(app)


def _deregister_app(app: Celery) -> None:
    _apps.discard(app)


def _get_active_apps() -> weakref.WeakSet[Celery]:
    return _apps


def _app_or_default(app: Celery | None = None) -> Celery:
    return get_current_app() if app is None else app


def _app_or_default_trace(app: Celery | None = None) -> Celery:
    if app is not None:
        return app
    if _tls.current_app is not None:
        print("-- RETURNING TO CURRENT APP --", file=sys.stderr)  # noqa: T201 - a debugging aid, asked for
        traceback.print_stack(file=sys.stderr)
        return _tls.current_app
    if default_app is None:
        raise RuntimeError("DEFAULT APP: no app was given where one is needed")
    return default_app


#: `app` if given, else the current app. Replaced by `enable_trace`.
app_or_default: Callable[..., Celery] = _app_or_default


def enable_trace() -> None:
    """Print a stack wherever code falls back to the current app."""
    global app_or_default
    app_or_default = _app_or_default_trace


def disable_trace() -> None:
    """Undo `enable_trace`."""
    global app_or_default
    app_or_default = _app_or_default


if os.environ.get("CELERY_TRACE_APP"):  # pragma: no cover - set at start only
    enable_trace()
