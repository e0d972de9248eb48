"""Trying again when the store does not answer: backoff, bounded, and it can be told to give up."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from celery.utils.patience import GiveUp, is_over

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Backoff", "GiveUp", "Pauses", "insist")

T = TypeVar("T")


class Pauses(Protocol):
    """How often to try again, and how long to wait before each try: see `Backoff`."""

    @property
    def retries(self) -> float: ...

    @property
    def seconds(self) -> float | None: ...

    def pause(self, attempt: int) -> float: ...


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often to try again, and how long to wait before each try.

    Attributes:
        base, cap: seconds; the wait is a random part of `base * 2**n`, never more than `cap`.
        retries: how many tries after the first.
        seconds: stop this long after the first try; None: never for that reason.
    """

    base: float
    cap: float
    retries: float
    seconds: float | None = None

    def pause(self, attempt: int) -> float:
        """Seconds to wait before try number `attempt` (1 is the first repetition)."""
        longest = min(self.cap, self.base * 2 ** min(attempt, 60))
        return random.uniform(self.base, longest) if longest > self.base else longest


def insist(
    call: Callable[[], T],
    how: Callable[[], Pauses],
    *,
    may_retry: Callable[[Exception], bool],
    on_error: Callable[[Exception], object],
    give_up: GiveUp | None = None,
    failed: Exception | None = None,
) -> T:
    """Return what `call` returns, trying again as a backoff says.

    Args:
        how: makes the backoff, if the first try fails.
        may_retry: whether this error may go away by itself.
        on_error: called before each repetition (to drop a broken connection, say).
        give_up: once set, no further try is made.
        failed: what the first try raised, if it was made already.

    Raises:
        Exception: that of the last try.
    """
    start = time.monotonic()
    attempt = 0
    backoff: Pauses | None = None
    while True:
        try:
            if attempt or failed is None:
                return call()
            raise failed
        except Exception as exc:
            backoff = backoff or how()
            attempt += 1
            late = backoff.seconds is not None and time.monotonic() - start >= backoff.seconds
            if attempt > backoff.retries or late or not may_retry(exc) or is_over(give_up, start):
                raise
            on_error(exc)
        if give_up is None:
            time.sleep(backoff.pause(attempt))
        else:
            give_up.wait(backoff.pause(attempt))
