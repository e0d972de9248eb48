"""A fork waits until nobody is inside a transport: its libraries hold locks that a child could never release."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds that a fork waits; then it goes on, as it would have without us.
PATIENCE = 5.0


class Gate:
    """Counts those inside; a fork closes it and waits for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)  # the lock is used directly, see `celery.utils.locks`
        self._inside = 0
        self._closed = False

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Be inside until the block ends."""
        entered: list[int] = []
        try:
            with self._lock:
                if self._closed:
                    self._changed.wait_for(lambda: not self._closed, PATIENCE)
                self._inside += 1
                entered.append(1)
            yield
        finally:
            with self._lock:
                self._inside -= len(entered)
                if self._closed:
                    self._changed.notify_all()

    def close(self) -> None:
        """Before a fork: let nobody in, and wait until all are out."""
        self._changed.acquire()
        self._closed = True
        self._changed.wait_for(lambda: self._inside == 0, PATIENCE)

    def open(self) -> None:
        """After it."""
        self._closed = False
        self._changed.notify_all()
        self._changed.release()

    def reset(self) -> None:
        """In the child: nobody else is there."""
        self.__init__()  # type: ignore[misc]


gate = Gate()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=gate.close, after_in_parent=gate.open, after_in_child=gate.reset)
