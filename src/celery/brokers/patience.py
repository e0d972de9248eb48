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
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from celery.utils.patience import is_over

from .base import BrokerUnavailable
from .publishing import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


class Rounds:
    """A batch of which a publish has failed, and which is sent in more than one.

    Attributes:
        left: the messages to be sent next.
    """

    def __init__(self, batch: Sequence[Outgoing]) -> None:
        self.left = batch
        self._places: Sequence[int] = range(len(batch))
        self._began = time.monotonic()
        self._outcomes: list[Any] = [None] * len(batch)

    def outcomes(self, last: Sequence[Any]) -> list[Any]:
        """What became of all messages, given what became of those that were left."""
        for place, outcome in zip(self._places, last, strict=True):
            self._outcomes[place] = outcome
        return self._outcomes

    def failed(self, exc: OperationalError, policy: RetryPolicy, give_up: Any) -> None:
        """Note how a publish failed; what could not be sent is to be sent again, after a pause.

        Args:
            policy: that of the publish.
            give_up: what says that nobody waits any longer, or None: see `celery.utils.patience`.

        Raises:
            OperationalError: `exc`, its `outcomes` being those of all messages, if nobody waits, or the broker has
                answered and refused. (`gave_up` tells whether it is because the worker ends.)
        """
        outcomes = self.outcomes(getattr(exc, "outcomes", [exc] * len(self.left)))
        exc.outcomes = outcomes  # type: ignore[attr-defined]
        if not _wanted.get() or not isinstance(exc.__cause__, BrokerUnavailable) or policy != _USUAL:
            raise exc
        if is_over(give_up, self._began):
            exc.gave_up = True  # type: ignore[attr-defined]  # see `gave_up`
            raise exc
        logger.warning("A workflow cannot go on now, trying again: %s", exc)
        again = [index for index, outcome in enumerate(outcomes) if isinstance(outcome, BrokerUnavailable)]
        messages = dict(zip(self._places, self.left, strict=True))
        self.left, self._places = [messages[place] for place in again], again


def gave_up(exc: Any) -> bool:
    """Whether a publish ended only because the worker does."""
    return bool(getattr(exc, "gave_up", False))
