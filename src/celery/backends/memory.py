"""The store of `cache+memory://`: a dict of this process.

All apps of a process share one store, so that a worker in a thread and its callers meet. Nobody polls: storing
wakes those that wait.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from celery import states

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .chords import Ledger
    from .waiting import Hub

    Meta = dict[str, Any]

#: Results kept; the oldest go first.
LIMIT = 50_000


class _Memory:
    """Keys and values with a time of expiry (monotonic), oldest first; at most `LIMIT`."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.hubs: weakref.WeakSet[Hub] = weakref.WeakSet()
        self._values: dict[bytes, tuple[Any, float | None]] = {}

    def get(self, key: bytes) -> Any:
        with self.lock:
            value, expires = self._values.get(key, (None, None))
            if expires is not None and expires <= time.monotonic():
                del self._values[key]
                return None
            return value

    def set(self, key: bytes, value: Any, seconds: float | None) -> None:
        with self.lock:
            expires = time.monotonic() + seconds if seconds else None
            self._values.pop(key, None)
            self._values[key] = (value, expires)
            while len(self._values) > LIMIT:
                del self._values[next(iter(self._values))]

    def delete(self, key: bytes) -> None:
        with self.lock:
            self._values.pop(key, None)

    def cleanup(self) -> None:
        with self.lock:
            for key in list(self._values):
                self.get(key)

    def changed(self, task_id: str) -> None:
        for hub in list(self.hubs):
            hub.changed(task_id)

    def after_fork(self) -> None:
        """Another thread may have held the lock; those that waited are not here."""
        self.lock = threading.RLock()
        self.hubs = weakref.WeakSet()


class _Books:
    """The books of chords, apart: they are searched by the beginning of their keys, and none is dropped before it expires.

    As a `Ledger`, for whoever holds the lock.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._values: dict[bytes, tuple[Any, float | None]] = {}
        self._keys: list[bytes] = []  # in order
        self._clean_at = LIMIT

    def get(self, key: bytes) -> Any:
        value, expires = self._values.get(key, (None, None))
        if expires is not None and expires <= time.monotonic():
            self._drop(key)
            return None
        return value

    def put(self, key: bytes, value: Any, seconds: float | None) -> None:
        if key not in self._values:
            if len(self._keys) >= self._clean_at:
                self.cleanup()
            bisect.insort(self._keys, key)
        self._values[key] = (value, time.monotonic() + seconds if seconds else None)

    def insert(self, key: bytes, value: Any, seconds: float | None) -> bool:
        if self.get(key) is not None:
            return False
        self.put(key, value, seconds)
        return True

    def add(self, key: bytes, amount: int, seconds: float | None) -> int:
        total = int(self.get(key) or 0) + amount
        self.put(key, total, seconds)
        return total

    def scan(self, prefix: bytes) -> list[tuple[bytes, Any]]:
        found = [(key, self.get(key)) for key in self._beginning(prefix)]
        return [(key, value) for key, value in found if value is not None]

    def delete(self, prefix: bytes) -> None:
        keys = self._beginning(prefix)
        at = bisect.bisect_left(self._keys, prefix)
        del self._keys[at : at + len(keys)]
        for key in keys:
            del self._values[key]

    def cleanup(self) -> None:
        """Drop what has expired; the next time when there is twice as much as now."""
        now = time.monotonic()
        self._values = {
            key: (value, expires)
            for key, (value, expires) in self._values.items()
            if expires is None or expires > now
        }
        self._keys = sorted(self._values)
        self._clean_at = max(LIMIT, 2 * len(self._keys))

    def after_fork(self) -> None:
        """Another thread may have held the lock."""
        self.lock = threading.RLock()

    def _beginning(self, prefix: bytes) -> list[bytes]:
        start, end = (bisect.bisect_left(self._keys, edge) for edge in (prefix, prefix + b"\xff"))
        return self._keys[start:end]  # texts have no byte ff

    def _drop(self, key: bytes) -> None:
        del self._values[key]
        del self._keys[bisect.bisect_left(self._keys, key)]


_memory = _Memory()
_books = _Books()
os.register_at_fork(after_in_child=_memory.after_fork)
os.register_at_fork(after_in_child=_books.after_fork)


@contextlib.contextmanager
def transaction() -> Iterator[Ledger]:
    """The books of chords, for as long as nobody else stores anything."""
    with _memory.lock, _books.lock:
        yield _books


def cleanup() -> None:
    """Drop what has expired."""
    _memory.cleanup()
    with _books.lock:
        _books.cleanup()


class MemorySource:
    """The memory as one backend reads it."""

    arm_blocks = peek_blocks = False

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def listen(self) -> None:
        """Storing dispatches, so there is nothing to listen to."""

    def peek(self, task_ids: Sequence[str]) -> Mapping[str, Meta]:
        backend = self._backend
        metas = {task_id: backend._get_task_meta_for(task_id) for task_id in task_ids}
        return {task_id: meta for task_id, meta in metas.items() if meta["status"] != states.PENDING}

    def arm(self, task_ids: Sequence[str], listener: object) -> Mapping[str, Meta]:
        return self.peek(task_ids)

    def disarm(self, task_ids: Sequence[str], listener: object) -> None:
        pass


class DummyClient:
    """A memcached client without memcached: the in-process store, by a client's methods."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.cache = _memory

    def get(self, key: bytes, *args: Any, **kwargs: Any) -> Any:
        """The value, or None."""
        return self.cache.get(key)

    def get_multi(self, keys: Sequence[bytes]) -> dict[bytes, Any]:
        """Those that are there."""
        with self.cache.lock:
            return {key: value for key in keys if (value := self.cache.get(key)) is not None}

    def set(self, key: bytes, value: Any, expires: float | None = None, *args: Any, **kwargs: Any) -> None:
        """Store for `expires` seconds; None or 0: for ever."""
        self.cache.set(key, value, expires)

    def add(self, key: bytes, value: Any, expires: float | None = None, *args: Any, **kwargs: Any) -> bool:
        """Store unless there is a value; whether it was stored."""
        with self.cache.lock:
            if self.cache.get(key) is not None:
                return False
            self.cache.set(key, value, expires)
            return True

    def delete(self, key: bytes, *args: Any, **kwargs: Any) -> None:
        """Remove it if it is there."""
        self.cache.delete(key)

    def incr(self, key: bytes, delta: int = 1, expires: float | None = None) -> int:
        """Add to a number; a missing one counts as 0."""
        with self.cache.lock:
            value = int(self.cache.get(key) or 0) + delta
            self.cache.set(key, value, expires)
            return value

    def touch(self, key: bytes, expires: float) -> None:
        """Let it vanish in `expires` seconds."""
        with self.cache.lock:
            value = self.cache.get(key)
            if value is not None:
                self.cache.set(key, value, expires)
