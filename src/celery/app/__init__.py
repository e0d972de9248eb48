"""An application: configuration, tasks, sending, tracing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from celery import _state
from celery._state import app_or_default, disable_trace, enable_trace, pop_current_task, push_current_task
from celery.local import Proxy

from .utils import bugreport as _bugreport

del annotations  # the module of that name is wanted here, not the feature

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .base import Celery
    from .task import Task
    from .task_types import AsyncTask, BoundTaskDecorator, TaskDecorator

__all__ = (
    "Celery",
    "app_or_default",
    "bugreport",
    "default_app",
    "disable_trace",
    "enable_trace",
    "pop_current_task",
    "push_current_task",
    "shared_task",
)

P = ParamSpec("P")
R = TypeVar("R")

#: The app that is used where none is given, made on first use.
default_app = Proxy(lambda: _state.default_app)


def __getattr__(name: str) -> Any:
    if name == "Celery":
        from .base import Celery  # noqa: PLC0415 - this package is imported for small parts, too

        return Celery
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def bugreport(app: Celery | None = None) -> str:
    """Return information useful in bug reports."""
    return _bugreport(_state.app_or_default(app))


class _SharedTask(Proxy):
    """Stands for the task of whichever app is current."""

    __slots__ = ()


@overload
def shared_task(fun: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
@overload
def shared_task(fun: Callable[P, R], /) -> Task[P, R]: ...
@overload
def shared_task(*, bind: Literal[True], **opts: Any) -> BoundTaskDecorator: ...
@overload
def shared_task(*, bind: Literal[False] = ..., **opts: Any) -> TaskDecorator: ...
def shared_task(*args: Any, **opts: Any) -> Any:
    """Make a task of a function without having an app: it becomes a task of every app.

    Usable as `@shared_task` and `@shared_task(...)`, with the options of `Celery.task`.

    Returns:
        A proxy that stands for the task of the current app.

    Raises:
        TypeError: applied to something that is a shared task already.
    """

    def decorate(fun: Callable[..., Any]) -> Any:
        if type(fun) is _SharedTask:
            raise TypeError(
                "@shared_task was applied more than once to the same function. "
                "Remove the extra @shared_task decorator."
            )
        name = opts.get("name")

        def construct(app: Celery) -> Any:
            return app._task_from_fun(fun, **opts)

        _state.connect_on_app_finalize(construct)
        # Apps that are finalized already will not be asked again.
        for app in list(_state._get_active_apps()):
            if app.finalized:
                with app._finalize_mutex:
                    construct(app)

        def task_of_current_app() -> Any:
            app = _state.get_current_app()
            return app.tasks[name or app.gen_task_name(fun.__name__, fun.__module__)]

        return _SharedTask(task_of_current_app)

    if len(args) == 1 and callable(args[0]):
        return decorate(args[0])
    if args:
        raise TypeError("argument 1 to @shared_task() must be a callable")
    return decorate
