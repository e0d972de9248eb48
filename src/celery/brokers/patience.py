"""With what a workflow goes on is sent however long the broker is away.

A program that calls `delay()` is told after some attempts that the broker cannot be reached, and can do something about it. A
worker that sends the next step, a retry, or an errback has nobody to tell: giving up would lose the workflow. So inside
`patiently()` a publish waits for the broker, each attempt with a deadline of its own, until it works or the worker's
grace at shutdown is over (`Backend.give_up`); then the task's message goes back, if it is acknowledged late. A user
who sets `task_publish_retry` or `task_publish_retry_policy` gets what that says, and nothing more.
"""

from __future__ import annotations

import contextlib
import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from .base import BrokerUnavailable
from .publishing import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery.exceptions import OperationalError

    from .base import Outgoing

logger = logging.getLogger("celery.app.trace")

#: Seconds between rounds of attempts.
PAUSE = 1.0
#: Of users who did not say how often to try.
_USUAL = RetryPolicy()

_wanted: ContextVar[bool] = ContextVar("celery_patience", default=False)


@contextlib.contextmanager
def patiently() -> Iterator[None]:
    """What is published in here waits for the broker."""
    token = _wanted.set(True)
    try:
        yield
    finally:
        _wanted.reset(token)


def left(exc: OperationalError, policy: RetryPolicy, give_up: Any) -> list[Outgoing]:
    """The messages of a failed publish that are to be sent again, after a pause.

    Args:
        policy: that of the publish.
        give_up: an event, or None.

    Raises:
        OperationalError: `exc`, if nobody waits, or the broker has answered and refused. (`gave_up` tells whether
            it is because the worker ends.)
    """
    if not _wanted.get() or not isinstance(exc.__cause__, BrokerUnavailable) or policy != _USUAL:
        raise exc
    if give_up is not None and give_up.is_set():
        exc.gave_up = True  # type: ignore[attr-defined]  # see `gave_up`
        raise exc
    logger.warning("A workflow cannot go on now, trying again: %s", exc)
    return list(exc.left)  # type: ignore[attr-defined]  # see `publishing.publish`


def gave_up(exc: Any) -> bool:
    """Whether a publish ended only because the worker does."""
    return bool(getattr(exc, "gave_up", False))
