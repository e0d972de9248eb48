"""What a forked process keeps of its parent's connections: the file locks that the kernel did not hand down.

SQLite believes in a child that the locks of the inherited connections still hold, and takes none of its own for a
new connection to the same file. The kernel gave the child none. So the last process that *does* hold a lock would take
the child for absent when it closes, and remove the write-ahead log under its feet: what the child writes from then
on goes nowhere. Therefore a child takes, at birth, the two locks that say "somebody uses this file".
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import weakref
from typing import Any

try:
    import fcntl
except ImportError:  # no such locks, and no fork either
    fcntl = None  # type: ignore[assignment]

#: SQLite's "shared" lock on the database file, and its "somebody is here" lock on the -shm file: start and length.
#: Both are part of the file format, which all versions must keep.
_SHARED = (0x40000002, 510)
_PRESENT = (128, 1)


class StoreConnection(sqlite3.Connection):
    """A connection whose file is known here as long as it is open."""

    def __init__(self, path: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(path, *args, **kwargs)
        self.store_path = path
        with _registry:
            _open.add(self)

    def __del__(self) -> None:
        # A thread's connection goes with the thread; newer Pythons want it closed before.
        with contextlib.suppress(sqlite3.Error):
            self.close()


_registry = threading.Lock()
_open: weakref.WeakSet[StoreConnection] = weakref.WeakSet()
# Connections that were open at a fork, kept from it on: the interpreter of the child would close those of the
# parent's other threads, perhaps in the midst of a transaction that goes on in the parent.
_inherited: list[StoreConnection] = []
_snapshot: list[StoreConnection] = []
# Descriptors that hold this process's locks. Closing any of them would drop all locks on the file.
_guards: list[int] = []


def _before() -> None:
    _registry.acquire()
    _snapshot.extend(_open)


def _in_parent() -> None:
    _snapshot.clear()
    _registry.release()


def _in_child() -> None:
    _inherited.extend(_snapshot)
    _snapshot.clear()
    _registry.release()
    for path in {connection.store_path for connection in _inherited}:
        _hold(path, _SHARED)
        _hold(f"{path}-shm", _PRESENT)


def _hold(path: str, region: tuple[int, int]) -> None:
    start, length = region
    try:
        guard = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return  # it was removed: nobody will write there
    _guards.append(guard)
    try:
        fcntl.lockf(guard, fcntl.LOCK_SH | fcntl.LOCK_NB, length, start)
    except OSError:
        return  # somebody is just removing it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
