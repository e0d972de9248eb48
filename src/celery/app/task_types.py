"""What type checkers see of `app.task`: the decorators it returns, and the task of an `async def` function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from celery.app.task import Task

P = ParamSpec("P")
R = TypeVar("R")

if TYPE_CHECKING:

    class AsyncTask(Task[P, R]):
        """The task of an `async def` function: calling it gives something to await."""

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]: ...  # type: ignore[override]


class TaskDecorator(Protocol):
    """What `app.task(...)` returns: makes the task of a function."""

    @overload
    def __call__(self, fun: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, fun: Callable[P, R], /) -> Task[P, R]: ...


class BoundTaskDecorator(Protocol):
    """What `app.task(bind=True, ...)` returns: the function's first parameter is the task."""

    @overload
    def __call__(self, fun: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, fun: Callable[Concatenate[Any, P], R], /) -> Task[P, R]: ...
