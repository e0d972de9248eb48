"""`Task.retry`: what the next attempt is, whether there is one, and how it is stored and sent."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from celery.app import outcome
from celery.app.einfo import ExceptionInfo
from celery.backends.claims import ClaimLost
from celery.brokers import patience
from celery.exceptions import Reject, Retry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery.app.context import Context


def next_attempt(
    task: Any,
    args: Any,
    kwargs: Mapping[str, Any] | None,
    exc: BaseException | None,
    eta: Any,
    countdown: float | None,
    max_retries: int | None,
    options: dict[str, Any],
) -> Retry:
    """Return the `Retry` of the next attempt; its `sig` is not sent yet.

    Raises:
        BaseException: `exc`, or the exception being handled, if the task was called directly or the limit
            is reached.
        MaxRetriesExceededError: the limit is reached and `exc` is None.
    """
    if isinstance(args, BaseException):
        args, exc = None, args
    request = task.request
    retries = request.retries + 1
    if max_retries is None:
        limit = task.max_retries
    else:
        limit = request.override_max_retries = max_retries
    if request.called_directly:
        _raise(exc or sys.exc_info()[1] or Retry("Task can be retried", None))
    if not eta and countdown is None:
        countdown = task.default_retry_delay
    args, kwargs = _arguments(task, request, args, kwargs)
    sig = signature_of(
        task,
        request,
        args,
        kwargs,
        options.pop("queue", None),
        {"countdown": countdown, "eta": eta, "retries": retries, **options},
    )
    if limit is not None and retries > limit:
        if exc:
            _raise(exc)
        raise task.MaxRetriesExceededError(
            f"Can't retry {task.name}[{request.id}] args:{sig.args} kwargs:{sig.kwargs}",
            task_args=sig.args,
            task_kwargs=sig.kwargs,
        )
    return Retry(exc=exc, when=eta or countdown, is_eager=request.is_eager, sig=sig)


def send(task: Any, retry: Retry) -> None:
    """Store RETRY, then send the next attempt; nothing if tasks run in place.

    Raises:
        Reject: the message could not be sent.
    """
    if retry.is_eager:
        return
    _store(task, retry)
    try:
        with patience.patiently():
            retry.sig.apply_async(add_to_parent=False)
    except Exception as error:
        raise Reject(error, requeue=patience.gave_up(error)) from error


async def asend(task: Any, retry: Retry) -> None:
    """`send` that awaits the broker, and stores in a thread of the running loop's executor."""
    if retry.is_eager:
        return
    from celery.app import coroutines  # noqa: PLC0415 - asyncio, which only some tasks need

    await coroutines.in_thread(True, _store, task, retry)
    try:
        with patience.patiently():
            await retry.sig.aapply_async(add_to_parent=False)
    except Exception as error:
        raise Reject(error, requeue=patience.gave_up(error)) from error


def _store(task: Any, retry: Retry) -> None:
    """Store RETRY before the message leaves: the next attempt may end before this one does, and what it stores
    must be the last word. A store that fails is no reason not to retry.

    Raises:
        ClaimLost: the task is another worker's by now, and so is trying it again.
    """
    request = task.request
    retry.stored = True  # type: ignore[attr-defined]  # for the tracer
    task.add_trail(task.AsyncResult(request.id))  # what is stored names the next attempt
    if outcome.ignores_result(task, request):
        return
    try:
        task.backend.mark_as_retry(request.id, retry.exc, _traceback(retry), request=request)
        task.backend.flush()
    except ClaimLost:
        raise
    except Exception:  # noqa: BLE001 - logged
        outcome.logger.exception("The state of task %s[%s] could not be stored", task.name, request.id)


def _traceback(retry: Retry) -> str:
    try:
        raise retry
    except Retry:
        return ExceptionInfo().traceback
    finally:
        retry.__traceback__ = None


def _raise(exc: BaseException) -> NoReturn:
    """Raise `exc`, keeping its own traceback if it is the one being handled."""
    handled = sys.exc_info()[1]
    if handled is None or handled is exc:
        raise exc
    raise exc from handled


def _arguments(task: Any, request: Context, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Complete the new arguments by those of the request, so that no parameter is given twice."""
    if args is not None and kwargs is None and request.kwargs:
        taken = set(_positional_names(task)[: len(args)])
        kwargs = {key: value for key, value in request.kwargs.items() if key not in taken}
    elif kwargs and args is None and request.args:
        names = _positional_names(task)
        kwargs = dict(kwargs)
        args = [
            kwargs.pop(names[at]) if at < len(names) and names[at] in kwargs else value
            for at, value in enumerate(request.args)
        ]
    return (request.args if args is None else args), (request.kwargs if kwargs is None else kwargs)


def _positional_names(task: Any) -> list[str]:
    run = inspect.unwrap(task.run)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = list(inspect.signature(run).parameters.values())
    except (TypeError, ValueError):
        return []
    # Unwrapping a bound method gives the plain function, which still has its `self`.
    if inspect.ismethod(task.run) and not inspect.ismethod(run):
        parameters = parameters[1:]
    return [parameter.name for parameter in parameters if parameter.kind in kinds]


def signature_of(
    task: Any, request: Context, args: Any, kwargs: Any, queue: Any, extra: dict[str, Any]
) -> Any:
    """Make the signature that calls `task` again as `request` says, with `extra` options over it."""
    options = request.as_execution_options()
    if request.stamped_headers:
        options["stamped_headers"] = request.stamped_headers
        options.update(request.stamps or {})
    options["ignore_result"] = request.ignore_result
    delivery = request.delivery_info or {}
    if delivery.get("priority") is not None:
        options["priority"] = delivery["priority"]
    options.update(_destination(queue, delivery))
    options.update(extra)
    return task.signature(
        request.args if args is None else args, request.kwargs if kwargs is None else kwargs, options
    )


def _destination(queue: Any, delivery: Mapping[str, Any]) -> dict[str, Any]:
    if queue:
        return {"queue": queue}
    exchange, routing_key = delivery.get("exchange"), delivery.get("routing_key")
    if exchange == "" and routing_key:
        return {"queue": routing_key}
    return {key: value for key, value in (("exchange", exchange), ("routing_key", routing_key)) if value}
