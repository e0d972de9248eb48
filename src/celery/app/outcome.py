"""What each way for a task to end does: store, tell handlers, tell signals. Logging is `app.trace`'s.

The order inside each function is part of the public behaviour:

- success: links and the next step of a chain are sent, then the result is stored, then `on_success`, then the
  signal. (Who waits for the result may rely on the rest being on its way.)
- failure: the failure is stored, chords and chains are told and errbacks called (all by the backend), then
  `on_failure`, then the signal.
- retry: the state is stored (before the message is sent, by `Task.retry`, which does both), `on_retry`, the signal.
- reject: unless it is to be offered again, it is stored as a failure, so that nobody waits for ever; no handler,
  errback or signal is called.
- ignore: nothing. In both cases a chord or chain that waits is told.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from celery import canvas, signals
from celery.app.einfo import ExceptionInfo
from celery.brokers import patience
from celery.canvas import graphs
from celery.canvas.calls import root_of
from celery.canvas.plans import Plan
from celery.exceptions import Ignore, Reject
from celery.utils.serialization import get_pickleable_etype, get_pickleable_exception

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.app.context import Context

logger = logging.getLogger("celery.app.trace")


class Replaced(Ignore):
    """Another task ran in place of this one, eagerly: `value` is what it came to."""

    def __init__(self, value: Any) -> None:
        super().__init__("Replaced by new task")
        self.value = value


def ignores_result(task: Any, request: Context) -> bool:
    """Whether this call's result is not wanted: what the call says, else what the task says."""
    wanted = request.ignore_result
    return bool(task.ignore_result if wanted is None else wanted)


def call_handler(name: str, handler: Callable[..., Any], *args: Any, eager: bool) -> None:
    """Call a handler of the task's class; in a worker what it raises is logged and changes nothing.

    Raises:
        Reject: the handler did.
        Exception: anything, in eager mode.
    """
    try:
        handler(*args)
    except Reject:
        raise
    except Exception:
        if eager:
            raise
        logger.exception("Task handler %s raised an exception; the task's outcome is kept", name)


def mark_started(task: Any, request: Context) -> None:
    """Store STARTED with this process and node."""
    task.backend.store_result(
        request.id, {"pid": os.getpid(), "hostname": request.hostname}, "STARTED", request=request
    )


def send_links(task: Any, request: Context, retval: Any, *, eager: bool, inherit_priority: bool) -> None:
    """Send what was linked to this task, with its result, and the next step of its chain.

    Raises:
        EncodeError: the result cannot be an argument.
        OperationalError: the broker did not take them.
    """
    options: dict[str, Any] = {"parent_id": request.id, "root_id": request.root_id or request.id}
    if inherit_priority:
        options["priority"] = (request.delivery_info or {}).get("priority")
    callbacks = _callbacks(task, request)
    calls = [(one, options) for one in callbacks]
    following = None
    if steps := request._following():
        following = graphs.Next(task.app, steps, as_text=not (callbacks or eager))
    if following is not None and following.step is not None:
        calls.append((following.step, {**options, "chain": following.rest}))
    if eager:
        for sig, given in calls:
            sig.apply((retval,), **given)
    elif calls:
        _send(task, calls, retval)
    if following is not None:
        following.sent()


def _callbacks(task: Any, request: Context) -> list[Any]:
    """What is linked to a task: groups one by one, and if there are several others, these as one group."""
    linked = [canvas.maybe_signature(one, app=task.app) for one in request.callbacks or ()]
    if len(linked) < 2:
        return linked
    groups = [one for one in linked if one.subtask_type == "group"]
    others = [one for one in linked if one.subtask_type != "group"]
    return groups + (others if len(others) < 2 else [canvas.group(others, app=task.app)])


def _send(task: Any, calls: list[tuple[Any, dict[str, Any]]], retval: Any) -> None:
    """Send all of them together, however long the broker is away."""
    with patience.patiently():
        _launch(task, calls, retval)


def _launch(task: Any, calls: list[tuple[Any, dict[str, Any]]], retval: Any) -> None:
    if len(calls) == 1 and calls[0][0].subtask_type is None:
        sig, options = calls[0]
        sig.apply_async((retval,), **options)
        return
    plan = Plan()
    results = [sig.clone()._plan(plan, (retval,), None, options) for sig, options in calls]
    task.app._launch(plan)
    for result in results:
        if result is not None:
            task.add_trail(root_of(result))


def unfinished(task: Any, request: Context, exc: BaseException, *, store: bool) -> None:
    """A task ends without an outcome of its own (ignored, rejected): what waits for it in a workflow is told.

    A task that has put another in its place is not meant: that one has its place in the workflow.

    Args:
        store: who waits for the task itself is told too.
    """
    if (request.chord or request.chain or store) and not request.replaced:
        task.backend.mark_as_unfinished(request, exc, store_result=store)


def fail(
    task: Any, request: Context, exc: BaseException, *, store: bool, call_errbacks: bool, eager: bool
) -> Any:
    """Do what a failure does, and return the `ExceptionInfo` that handlers were given."""
    safe = get_pickleable_exception(exc)
    if safe.__traceback__ is None and exc.__traceback__ is not None:
        safe = safe.with_traceback(exc.__traceback__)
    einfo = ExceptionInfo((get_pickleable_etype(type(exc)), safe, safe.__traceback__))
    task.backend.mark_as_failure(
        request.id, safe, einfo.traceback, request=request, store_result=store, call_errbacks=call_errbacks
    )
    if isinstance(exc, Exception):  # Celery's handlers are not told of CancelledError and its like
        call_handler(
            "on_failure", task.on_failure, safe, request.id, request.args, request.kwargs, einfo, eager=eager
        )
    if signals.task_failure.receivers:
        signals.task_failure.send(
            sender=task,
            task_id=request.id,
            exception=safe,
            args=request.args,
            kwargs=request.kwargs,
            traceback=einfo.tb,
            einfo=einfo,
        )
    return einfo


def retry(task: Any, request: Context, reason: Any, *, store: bool, eager: bool) -> Any:
    """Do what a retry does, and return the `ExceptionInfo` that handlers were given."""
    einfo = ExceptionInfo((type(reason), reason, reason.__traceback__))
    cause = reason.exc
    if store and not getattr(reason, "stored", False):
        task.backend.mark_as_retry(request.id, cause, einfo.traceback, request=request, store_result=True)
    call_handler(
        "on_retry", task.on_retry, cause, request.id, request.args, request.kwargs, einfo, eager=eager
    )
    if signals.task_retry.receivers:
        signals.task_retry.send(sender=task, request=request, reason=reason, einfo=einfo)
    return einfo
