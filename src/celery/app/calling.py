"""What the app's ways to send do: settle the options, publish, and give the caller the result of the call."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from celery import _state
from celery.app import arguments, bulk, sending
from celery.app.options import call_options
from celery.exceptions import AlwaysEagerIgnored
from celery.local import maybe_evaluate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from celery.app.base import Celery
    from celery.app.sending import Call, SendOptions


def send_task(
    app: Celery,
    name: str,
    args: Any,
    kwargs: Any,
    options: dict[str, Any],
    *,
    result_cls: Any,
    add_to_parent: bool,
) -> Any:
    """See `Celery.send_task`.

    Args:
        options: those that the call gave.
        result_cls: makes the result of its task id; None: the app's `AsyncResult`.
        add_to_parent: remember the result as that of a task called by the one that is running here.
    """
    _warn_if_eager(app)
    settled = sending.send_options(app, name, args, kwargs, **options)
    sending.send_task_message(app, name, args, kwargs, options=settled)
    return _result(app, settled, result_cls, add_to_parent)


def send_call(app: Celery, task: Any, args: Any, kwargs: Any, given: Mapping[str, Any]) -> Any:
    """Send a call of a task that is no eager one.

    Args:
        given: options, the task's own among them; not changed.
    """
    name, result_cls, add_to_parent = task.name, None, True
    if "result_cls" in given or "add_to_parent" in given:
        result_cls, add_to_parent = given.get("result_cls"), given.get("add_to_parent", True)
    settled = call_options(app, task, args, kwargs, given)
    sending.send_task_message(app, name, args, kwargs, options=settled)
    return _result(app, settled, result_cls or task.AsyncResult, add_to_parent)


async def asend_task(
    app: Celery,
    name: str,
    args: Any,
    kwargs: Any,
    options: dict[str, Any],
    *,
    result_cls: Any,
    add_to_parent: bool,
) -> Any:
    """See `Celery.asend_task`."""
    _warn_if_eager(app)
    settled = sending.send_options(app, name, args, kwargs, **options)
    await sending.asend_task_message(app, name, args, kwargs, options=settled)
    return _result(app, settled, result_cls, add_to_parent)


def send_many(app: Celery, task: Any, calls: Iterable[Any], options: dict[str, Any]) -> list[Any]:
    """See `Celery.send_many`."""
    if _in_place(app, task):
        return [task.apply_async(call.args, call.kwargs, **own) for call, own in _each(calls, options)]
    many = _Many(app, task, options)
    return many.results(bulk.send_many(app, many.name, many.checked(calls), **many.options))


async def asend_many(app: Celery, task: Any, calls: Iterable[Any], options: dict[str, Any]) -> list[Any]:
    """See `Celery.asend_many`."""
    if _in_place(app, task):
        return [await task.aapply_async(call.args, call.kwargs, **own) for call, own in _each(calls, options)]
    many = _Many(app, task, options)
    return many.results(await bulk.asend_many(app, many.name, many.checked(calls), **many.options))


def _in_place(app: Celery, task: Any) -> bool:
    if isinstance(task, str):
        _warn_if_eager(app, stacklevel=5)
        return False
    return app.amqp.snapshot.always_eager


def _each(calls: Iterable[Any], options: dict[str, Any]) -> Iterator[tuple[Call, dict[str, Any]]]:
    """Each call, and its options over those of all."""
    for call in map(bulk.as_call, calls):
        yield call, {**options, **(call.options or {})}


class _Many:
    """Many calls of one task: as its own calls would be, if the task itself is given and not its name."""

    def __init__(self, app: Celery, task: Any, options: dict[str, Any]) -> None:
        self._add_to_parent = options.pop("add_to_parent", False)
        self._result_cls = options.pop("result_cls", None)
        self._ignored: list[bool] = []
        if isinstance(task, str):
            self._task, self.name, self.options = None, task, options
            self._result_cls = self._result_cls or app.AsyncResult
        else:
            task = maybe_evaluate(task)  # once, not at each look
            self._task, self.name = task, task.name
            self.options = {**task._with_defaults(options), "task_type": task}
            self._result_cls = self._result_cls or task.AsyncResult

    def checked(self, calls: Iterable[Any]) -> Iterator[Call]:
        """The calls with arguments that the task takes.

        Raises:
            TypeError: it does not.
        """
        ignored = bool(self.options.get("ignore_result"))
        for call in map(bulk.as_call, calls):
            own = call.options
            self._ignored.append(bool(own["ignore_result"]) if own and "ignore_result" in own else ignored)
            yield call if self._task is None else self._of_task(self._task, call)

    def _of_task(self, task: Any, call: Call) -> Call:
        args, kwargs, own = call
        args, kwargs = arguments.of_call(task, args, kwargs, own or self.options)
        shadow = task.shadow_name(args, kwargs, own or self.options)
        return bulk.Call(args, kwargs, {"shadow": shadow, **(own or {})} if shadow else own)

    def results(self, ids: list[str]) -> list[Any]:
        found = [self._result_cls(task_id) for task_id in ids]
        for result, ignored in zip(found, self._ignored, strict=True):
            result.ignored = ignored
        parent = _state.get_current_worker_task() if self._add_to_parent else None
        if parent is not None:
            for result in found:
                parent.add_trail(result)
        return found


def _warn_if_eager(app: Celery, stacklevel: int = 4) -> None:
    if app.amqp.snapshot.always_eager:
        # The line to show is the one that called the app's method.
        warnings.warn(
            "task_always_eager has no effect on send_task", AlwaysEagerIgnored, stacklevel=stacklevel
        )


def _result(app: Celery, settled: SendOptions, result_cls: Any, add_to_parent: bool) -> Any:
    result = (result_cls or app.AsyncResult)(settled.task_id)
    if settled.ignore_result:
        result.ignored = True
    if add_to_parent:
        parent = _state.get_current_worker_task()
        if parent is not None:
            parent.add_trail(result)
    return result
