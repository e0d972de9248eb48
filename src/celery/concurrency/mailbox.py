"""Messages from threads to an event loop, many to one wake-up."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Any thread posts, the loop's thread receives in batches.

    Args:
        receive: called on the loop with everything that was posted since the last time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, receive: Callable[[list[T]], None]) -> None:
        self._loop = loop
        self._receive = receive
        self._items: deque[T] = deque()
        self._woken = False

    def post(self, *items: T) -> None:
        """Hand items over; they arrive in order. After the loop is closed they go nowhere."""
        self._items.extend(items)
        if not self._woken:
            self._woken = True  # two threads may both get here: then the loop wakes up once too often
            try:
                self._loop.call_soon_threadsafe(self.deliver)
            except RuntimeError:
                return  # the loop is closed

    def deliver(self) -> None:
        """Receive now what has been posted. On the loop."""
        self._woken = False
        items: list[T] = []
        take = self._items.popleft
        while self._items:
            items.append(take())
        if items:
            self._receive(items)
