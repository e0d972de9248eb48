"""Locks that a fork respects.

A process that forks while one of its threads is inside SQLite leaves the child with SQLite's own locks held by a
thread that the child does not have. Whoever uses SQLite from several threads holds one of these meanwhile; a
fork waits for all of them.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds that a fork waits for one lock; then it goes on, as it would have without us.
_PATIENCE = 5.0


class ForkLock:
    """A lock that is free in a child, and that the parent does not fork inside of: `with fork_lock.lock:`.

    Args:
        in_child: called in a child after the fork.

    Attributes:
        lock: the lock, another one in a child. (It is used directly, see `celery.utils.locks`.)
    """

    def __init__(self, in_child: Callable[[], None] | None = None) -> None:
        self.lock = threading.Lock()
        self._in_child = None if in_child is None else weakref.WeakMethod(in_child)
        self._forking = False
        with _registry:
            _locks.add(self)

    def before_fork(self) -> None:
        """Wait until nobody is inside."""
        self._forking = self.lock.acquire(timeout=_PATIENCE)

    def after_in_parent(self) -> None:
        """Go on."""
        if self._forking:
            self.lock.release()

    def after_in_child(self) -> None:
        """Start afresh."""
        self.lock = threading.Lock()
        callback = self._in_child() if self._in_child is not None else None
        if callback is not None:
            callback()


_registry = threading.RLock()
_locks: weakref.WeakSet[ForkLock] = weakref.WeakSet()
# Those that the fork in progress waited for: the set itself may change meanwhile.
_held: list[ForkLock] = []


def _before() -> None:
    _registry.acquire()
    _held.extend(_locks)
    for lock in _held:
        lock.before_fork()


def _in_parent() -> None:
    for lock in _held:
        lock.after_in_parent()
    _held.clear()
    _registry.release()


def _in_child() -> None:
    for lock in _held:
        lock.after_in_child()
    _held.clear()
    _registry.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
