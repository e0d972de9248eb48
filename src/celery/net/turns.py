"""Threads that share one connection: whoever finds it free speaks for all who wait.

Each waits at a lock of its own. At one lock for all, those whose call has been made would be let go one after the other,
each at the price of a thread switch, before the next could speak; the more threads, the slower.

    turns = Turns(serve)               # serve() takes what is in `turns.waiting`, and ends each with `done()`
    turns.wait(turn, deadline)
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Turn:
    """One call that waits to be made."""

    __slots__ = ("_gate", "made")

    def __init__(self) -> None:
        self.made = False
        self._gate = threading.Lock()
        self._gate.acquire()

    def done(self) -> None:
        """The call was made, or has failed: its thread may go on."""
        self.made = True
        self.wake()

    def wake(self) -> None:
        """Have the thread that waits look again."""
        with contextlib.suppress(RuntimeError):  # it is being woken already
            self._gate.release()

    def sleep(self, deadline: float | None) -> bool:
        """Wait until woken; False if the deadline came first."""
        return self._gate.acquire(timeout=-1 if deadline is None else max(0.0, deadline - time.monotonic()))


T = TypeVar("T", bound=Turn)


class Turns(Generic[T]):
    """The calls that wait for one connection.

    Args:
        serve: makes the calls in `waiting`, all of those that were there when it began at least; called by one thread at a time.

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
        self._busy.acquire()
        try:
            yield
        finally:
            self.release()

    def seize(self) -> bool:
        """Take the connection if nobody has it or waits for it; then `release` must follow."""
        return not self.waiting and self._busy.acquire(blocking=False)

    def release(self) -> None:
        """Let others have the connection."""
        self._busy.release()
        self._pass_on()

    def wait(self, turn: T, deadline: float) -> bool:
        """Have a call made, by this thread or another one; return when it was.

        Returns:
            False if the deadline came before anybody began to make it: nobody will. Who has begun knows the deadline.
        """
        self.waiting.append(turn)
        try:
            while not turn.made:
                if self._busy.acquire(blocking=False):
                    try:
                        if not turn.made:
                            self._serve()
                    finally:
                        self.release()
                elif not turn.sleep(deadline):
                    if self._taken_back(turn):
                        return False
                    turn.sleep(None)
        except BaseException:
            self._taken_back(turn)
            raise
        return True

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
        if not self._busy.locked():
            with contextlib.suppress(IndexError):
                self.waiting[0].wake()
