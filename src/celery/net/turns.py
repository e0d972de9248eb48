"""Threads that share one connection: whoever finds it free speaks for all who wait.

Each waits at a lock of its own. At one lock for all, those whose call has been made would be let go one after the other,
each at the price of a thread switch, before the next could speak; the more threads, the slower.

    turns = Turns(serve)               # serve() makes what it gets by `turns.take`, and ends each with `done()`
    turns.wait(turn, deadline)

An exception may come at any bytecode (see `celery.utils.locks`). Whatever it cuts short, the connection is not held for
ever, nor does a thread wait for ever.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from celery.utils.locks import TAKEN, Bell, holding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Seconds after which who waits looks by itself: whoever should have woken it may have been cut short.
LOOK = 0.5


class Turn(Bell):
    """One call that waits to be made."""

    __slots__ = ("made",)

    def __init__(self) -> None:
        super().__init__()
        self.made = False

    def done(self) -> None:
        """The call was made, or has failed: its thread may go on."""
        self.made = True
        self.ring()


T = TypeVar("T", bound=Turn)


class Turns(Generic[T]):
    """The calls that wait for one connection.

    Args:
        serve: makes the calls in `waiting`, all of those that were there when it began at least, and soon no more: who
            speaks for others wants to go on, too. Called by one thread at a time.

    Attributes:
        waiting: calls that nobody has begun to make.
    """

    def __init__(self, serve: Callable[[], None]) -> None:
        self._serve = serve
        self._busy = threading.Lock()
        self.waiting: deque[T] = deque()

    @contextlib.contextmanager
    def connection(self) -> Iterator[None]:
        """Have the connection to oneself."""
        try:
            with self._busy:
                yield
        finally:
            self._pass_on()

    def alone(self, call: Callable[..., Any], *args: Any) -> Any:
        """Call this with the connection; `TAKEN`, and it is not called, if somebody has the connection or waits for it."""
        if self.waiting:
            return TAKEN
        try:
            return holding(self._busy, 0, call, *args)
        finally:
            self._pass_on()

    def wait(self, turn: T, deadline: float) -> bool:
        """Have a call made, by this thread or another one; return when it was.

        Returns:
            False if the deadline came before anybody began to make it: nobody will. Who has begun knows the deadline. Also
            if the thread that made it was cut short: what became of it is not known.
        """
        self.waiting.append(turn)
        try:
            while not turn.made and holding(self._busy, 0, self._speak, turn) is TAKEN:
                now = time.monotonic()
                if now >= deadline and self._taken_back(turn):
                    return False
                turn.wait(min(deadline, now + LOOK) if now < deadline else now + LOOK)
        except BaseException:
            self._taken_back(turn)
            raise
        self._pass_on()
        return turn.made

    def _speak(self, turn: T) -> None:
        if not turn.made:
            self._serve()

    def take(self, batch: list[T]) -> T | None:
        """Move the call that has waited longest into a batch, and return it; None if there is none."""
        while True:
            try:
                turn = self.waiting[0]
            except IndexError:
                return None
            batch.append(turn)  # at no time in neither of them
            try:
                self.waiting.remove(turn)
            except ValueError:  # taken back just now
                batch.pop()
                continue
            if not turn.made:
                return turn
            batch.pop()  # of whoever was cut short between the two

    def _taken_back(self, turn: T) -> bool:
        """Nobody is to make this call any more; False if somebody does at present."""
        try:
            self.waiting.remove(turn)
        except ValueError:
            return False
        finally:
            self._pass_on()  # it may have been woken to speak for the others
        return True

    def _pass_on(self) -> None:
        """Wake one who waits, unless somebody speaks."""
        if self.waiting and not self._busy.locked():
            with contextlib.suppress(IndexError):
                self.waiting[0].ring()
