"""How long a worker tries what its servers do not answer."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class GiveUp(Protocol):
    """As much of `threading.Event` as is needed: set it, and nobody waits for the store any longer."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> bool: ...


#: Seconds for which a worker that ends goes on trying, where no grace time is set: from its end on, or the first try.
LAST_TRIES = 10.0


class Patience(threading.Event):
    """What a worker gives its stores as `GiveUp`: they are tried for ever, and for `LAST_TRIES` seconds once it ends.

    Args:
        ending: since when it ends (monotonic seconds), 0.0 while it does not.
    """

    def __init__(self, ending: Callable[[], float] = lambda: 0.0) -> None:
        super().__init__()
        self._ending = ending

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most `timeout` seconds; once the worker ends, a second."""
        until = math.inf if timeout is None else time.monotonic() + timeout
        while (left := until - time.monotonic()) > 0 and not super().wait(min(left, 1.0)):
            if self._ending():
                break
        return self.is_set()

    def is_over(self, since: float) -> bool:
        """Whether what was tried first at `since` is not to be tried again. Once it is so for one, it is for all."""
        ending = self._ending()
        if ending and time.monotonic() - max(since, ending) >= LAST_TRIES:
            self.set()
        return self.is_set()


def is_over(give_up: GiveUp | None, since: float) -> bool:
    """Whether what was tried first at `since` (monotonic seconds) is not to be tried again."""
    if isinstance(give_up, Patience):
        return give_up.is_over(since)
    return give_up is not None and give_up.is_set()
