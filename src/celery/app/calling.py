"""What the app's ways to send do: settle the options, publish, and give the caller the result of the call."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from celery import _state
from celery.app import bulk, sending
from celery.app.options import call_options
from celery.exceptions import AlwaysEagerIgnored

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from celery.app.base import Celery
    from celery.app.sending import SendOptions


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
    name, task_type = _name_and_type(task)
    return [app.AsyncResult(i) for i in bulk.send_many(app, name, calls, task_type=task_type, **options)]


async def asend_many(app: Celery, task: Any, calls: Iterable[Any], options: dict[str, Any]) -> list[Any]:
    """See `Celery.asend_many`."""
    name, task_type = _name_and_type(task)
    ids = await bulk.asend_many(app, name, calls, task_type=task_type, **options)
    return [app.AsyncResult(i) for i in ids]


def _name_and_type(task: Any) -> tuple[str, Any]:
    return (task, None) if isinstance(task, str) else (getattr(task, "name", task), task)


def _warn_if_eager(app: Celery) -> None:
    if app.amqp.snapshot.always_eager:
        # The line to show is the one that called the app's method.
        warnings.warn("task_always_eager has no effect on send_task", AlwaysEagerIgnored, stacklevel=4)


def _result(app: Celery, settled: SendOptions, result_cls: Any, add_to_parent: bool) -> Any:
    result = (result_cls or app.AsyncResult)(settled.task_id)
    result.ignored = bool(settled.ignore_result)
    if add_to_parent:
        parent = _state.get_current_worker_task()
        if parent is not None:
            parent.add_trail(result)
    return result
