"""Tasks run in place: `Task.apply`, and what `task_always_eager` does instead of sending."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, cast

from celery import _state, states
from celery.app import trace
from celery.app.context import Context
from celery.exceptions import Retry
from celery.message import serializers
from celery.result import EagerResult, denied_join_result
from celery.utils import uuid
from celery.utils.functional import maybe_list
from celery.utils.nodenames import gethostname

if TYPE_CHECKING:
    from collections.abc import Mapping


def call(
    task: Any,
    args: Any,
    kwargs: Any,
    task_id: str | None,
    link: Any,
    link_error: Any,
    options: dict[str, Any],
) -> EagerResult[Any]:
    """What `apply_async` does with `task_always_eager`: run the task here, with arguments as a worker would see them.

    Raises:
        EncodeError: the arguments cannot be serialized.
    """
    args, kwargs, options = _as_if_sent(task, args, kwargs, options)
    with denied_join_result():
        result = task.apply(
            args, kwargs, task_id=task_id or uuid(), link=link, link_error=link_error, **options
        )
    return cast("EagerResult[Any]", result)


async def acall(
    task: Any,
    args: Any,
    kwargs: Any,
    task_id: str | None,
    link: Any,
    link_error: Any,
    options: dict[str, Any],
) -> EagerResult[Any]:
    """`call` on the running event loop."""
    args, kwargs, options = _as_if_sent(task, args, kwargs, options)
    request = make_request(
        task, args, kwargs, task_id=task_id or uuid(), retries=0, link=link, link_error=link_error,
        options=options,
    )  # fmt: skip
    with denied_join_result():
        return await aapply(task, request)


def _as_if_sent(
    task: Any, args: Any, kwargs: Any, options: dict[str, Any]
) -> tuple[Any, Any, dict[str, Any]]:
    """Return the arguments as a worker would see them, and the options completed by the task's own.

    Raises:
        EncodeError: the arguments cannot be serialized.
    """
    options = task._with_defaults(options)
    serializer = options.get("serializer") or task.serializer
    content_type, encoding, payload = serializers.dumps((args or (), kwargs or {}), serializer or "json")
    args, kwargs = serializers.loads(payload, content_type, encoding, {content_type})
    return args, kwargs, options


def make_request(
    task: Any,
    args: Any,
    kwargs: Any,
    *,
    task_id: str,
    retries: int,
    link: Any = None,
    link_error: Any = None,
    logfile: str | None = None,
    loglevel: int | None = None,
    headers: Mapping[str, Any] | None = None,
    options: Mapping[str, Any],
) -> Context:
    """Make the request of a task that runs in place; a task that calls it is its parent."""
    parent = _state.get_current_worker_task()
    root_id, parent_id = options.get("root_id"), options.get("parent_id")
    if parent is not None:
        root_id = root_id or parent.request.root_id or parent.request.id
        parent_id = parent_id or parent.request.id
    stamped = options.get("stamped_headers")
    return Context(
        {
            "id": task_id,
            "task": task.name,
            "parent_id": parent_id,
            "root_id": root_id or task_id,
            "retries": retries,
            "is_eager": True,
            "logfile": logfile,
            "loglevel": loglevel or 0,
            "hostname": gethostname(),
            "callbacks": maybe_list(link),
            "errbacks": maybe_list(link_error),
            "headers": dict(headers) if headers else None,
            "timelimit": None,
            "ignore_result": options.get("ignore_result", False),
            "shadow": options.get("shadow"),
            "chain": options.get("chain"),
            "group": options.get("group_id"),
            "group_index": options.get("group_index"),
            "chord": options.get("chord"),
            "replaced_task_nesting": options.get("replaced_task_nesting", 0),
            "stamped_headers": stamped,
            "stamps": {key: options.get(key) for key in stamped or ()},
            "delivery_info": {
                "is_eager": True,
                "exchange": options.get("exchange"),
                "routing_key": options.get("routing_key"),
                "priority": options.get("priority"),
            },
            "args": args,
            "kwargs": kwargs,
            "called_directly": False,
        }
    )


def apply(task: Any, request: Context, *, throw: bool | None) -> EagerResult[Any]:
    """Run `task` for `request` here, again for each retry, and return its result."""
    tracer = _tracer(task, throw)
    result = _result(task, request, tracer(request.id, request.args, request.kwargs, request))
    if isinstance(result, Retry):
        again: EagerResult[Any] = result.sig.apply(retries=request.retries + 1, throw=throw)
        return again
    return cast("EagerResult[Any]", result)


async def aapply(task: Any, request: Context, *, throw: bool | None = None) -> EagerResult[Any]:
    """`apply` on the running event loop."""
    tracer = _tracer(task, throw)
    arun = getattr(inspect.unwrap(tracer), "arun", None)
    if arun is None:
        return apply(task, request, throw=throw)
    result = _result(task, request, await arun(request.id, request.args, request.kwargs, request))
    if isinstance(result, Retry):
        options = {key: value for key, value in result.sig.options.items() if key not in _NOT_FOR_REQUESTS}
        again = make_request(
            task, result.sig.args, result.sig.kwargs, task_id=request.id or "", retries=request.retries + 1,
            link=request.callbacks, link_error=request.errbacks, headers=request.headers, options=options,
        )  # fmt: skip
        return await aapply(task, again, throw=throw)
    return cast("EagerResult[Any]", result)


_NOT_FOR_REQUESTS = frozenset({"task_id", "retries", "link", "link_error", "headers"})


def _tracer(task: Any, throw: bool | None) -> Any:
    app = task.app
    propagate = app.conf.task_eager_propagates if throw is None else throw
    return trace.build_tracer(task.name, task, eager=True, propagate=propagate, app=app)


def _result(task: Any, request: Context, traced: Any) -> Any:
    retval, traceback = traced.retval, None
    state = states.SUCCESS if traced.info is None else traced.info.state
    if traced.info is not None:
        traceback = getattr(retval, "traceback", None)
        retval = getattr(retval, "exception", retval)
        if isinstance(retval, Retry) and retval.sig is not None:
            return retval
    return EagerResult(request.id or "", retval, state, traceback=traceback, name=task.name)
