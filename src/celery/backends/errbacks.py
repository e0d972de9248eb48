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

if TYPE_CHECKING:
    from celery.app.base import Celery

logger = logging.getLogger("celery.backends.base")

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def call_errbacks(app: Celery, request: Any, exc: BaseException, traceback: str | None) -> None:
    """Call, or send, every errback of a request. What a called one raises is logged and goes no further.

    Raises:
        OperationalError: one could not be sent.
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
        together = group(sent, app=app)
        # What runs in place calls in place.
        send = together.apply if getattr(request, "is_eager", False) else together.apply_async
        with patiently():
            send((request.id,), parent_id=request.id, root_id=request.root_id or request.id)


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
