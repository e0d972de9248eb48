"""Clients of stores: shared by all backends of a process that want the same, and not with forked children."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

C = TypeVar("C")


class PerProcess(Generic[C]):
    """A client made when it is first needed, and made anew in each forked child.

    The parent's is kept alive in the child: closing it there could end the parent's connections.

    Args:
        make: makes one.
    """

    def __init__(self, make: Callable[[], C]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: dict[int, C] = {}

    def get(self) -> C:
        """This process's."""
        pid = os.getpid()
        try:
            return self._made[pid]
        except KeyError:
            pass
        if self._made:  # forked; another thread of the parent's may have held the lock
            self._lock = threading.Lock()
        with self._lock:
            if pid not in self._made:
                self._made[pid] = self._make()
            return self._made[pid]

    def drop(self) -> C | None:
        """Forget this process's, and return it."""
        return self._made.pop(os.getpid(), None)


_shared: dict[Hashable, PerProcess[Any]] = {}


def shared(key: Hashable, make: Callable[[], C]) -> PerProcess[C]:
    """The client that all backends of a process share which give the same key.

    Args:
        key: everything that `make` depends on.
    """
    return _shared.setdefault(key, PerProcess(make))


@atexit.register
def _close_all() -> None:
    for holder in _shared.values():
        close = getattr(holder.drop(), "close", None)
        if close is not None:
            with contextlib.suppress(Exception):
                close()
