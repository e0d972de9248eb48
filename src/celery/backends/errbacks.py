"""Calling the errbacks (`link_error`) of a task that failed.

There are two ways to call one, decided in the process that saw the failure. A task known here that takes more
than one positional argument (those its signature supplies already do not count) and is not bound is called
at once, in this process, as `errback(request, exc, traceback)`. The others are sent as tasks, in one group, with
the failed task's id as their first argument.
"""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

from celery.brokers.patience import patiently
from celery.canvas import group, maybe_signature
from celery.canvas.calls import root_of

from .relaying import is_refusal

if TYPE_CHECKING:
    from celery.app.base import Celery

logger = logging.getLogger("celery.backends.base")

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def call_errbacks(app: Celery, request: Any, exc: BaseException, traceback: str | None) -> None:
    """Call, or send, every errback of a request. What a called one raises is logged and goes no further.

    So is one that is refused (no such queue, arguments that cannot be serialized).

    Raises:
        OperationalError, BackendStoreError: the broker, or the result store, did not answer.
    """
    sent = []
    for errback in request.errbacks or ():
        signature = maybe_signature(errback, app=app)
        if signature._app is None:
            signature._app = app
        task = app.tasks.get(signature.task)
        if task is not None and takes_exception(task, signature):
            _call(signature, request, exc, traceback)
            continue
        sent.append(signature)
    if sent:
        _send(app, sent, request)


def _send(app: Celery, signatures: list[Any], request: Any) -> None:
    """Send them together; if one of them is refused, the others one by one."""
    ids = {"parent_id": request.id, "root_id": request.root_id or request.id}
    if getattr(request, "is_eager", False):  # what runs in place calls in place
        group(signatures, app=app).apply((request.id,), **ids)
        return
    signatures = [signature.clone() for signature in signatures]
    first = [root_of(signature.freeze()).id for signature in signatures]
    try:
        with patiently():
            group(signatures, app=app).apply_async((request.id,), **ids)
    except Exception as exc:
        if not is_refusal(app.backend, exc):
            raise
        if len(signatures) == 1:
            logger.exception("Errback %r of task %s could not be sent", signatures[0].task, request.id)
            return
        accepted = getattr(exc, "accepted", ())
        for task_id, signature in zip(first, signatures, strict=True):
            if task_id not in accepted:
                _send(app, [signature], request)


def takes_exception(task: Any, signature: Any) -> bool:
    """Whether this errback is one of the new style: called with request, exception and traceback."""
    if not isinstance(inspect.getattr_static(type(task), "run", None), staticmethod):
        return False  # it takes itself first: bound, or a class of the user's
    try:
        parameters = inspect.signature(task.run).parameters.values()
    except (TypeError, ValueError):
        return False
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return True
    names = [p.name for p in parameters if p.kind in _POSITIONAL]
    if signature.immutable:
        return len(names) > 1
    names = names[len(signature.args or ()) :]
    return sum(name not in (signature.kwargs or {}) for name in names) > 1


def _call(signature: Any, request: Any, exc: BaseException, traceback: str | None) -> None:
    try:
        signature(request, exc, traceback)
    except Exception:
        logger.exception("Errback %r raised an exception", signature.task)
