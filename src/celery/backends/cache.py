"""Results in memory of this process: `cache+memory://` (or `memory://`).

All apps of a process share one store, so that a worker in a thread and its callers meet. Nobody polls: storing
wakes those that wait.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, cast

from celery import states
from celery.exceptions import ImproperlyConfigured

from .base import KeyValueStoreBackend
from .chords import Chords, Ledger, TransactionalChords
from .waiting import Hub, hub_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from .chords import Due, Part

    Meta = dict[str, Any]

#: Results kept; the oldest go first.
LIMIT = 50_000


class _Memory:
    """Keys and values with a time of expiry (monotonic), oldest first."""

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

    def scan(self, prefix: bytes) -> list[tuple[bytes, Any]]:
        """Keys that begin so, in order, with their values."""
        with self.lock:
            return [(key, self.get(key)) for key in sorted(k for k in self._values if k.startswith(prefix))]

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


_memory = _Memory()
#: The books of chords, apart: they are searched by the beginning of their keys.
_books = _Memory()
os.register_at_fork(after_in_child=_memory.after_fork)
os.register_at_fork(after_in_child=_books.after_fork)


class _Book:
    """The books of chords as a `Ledger`; whoever uses it holds the lock."""

    get = staticmethod(_books.get)
    put = staticmethod(_books.set)
    scan = staticmethod(_books.scan)

    @staticmethod
    def insert(key: bytes, value: Any, seconds: float | None) -> bool:
        if _books.get(key) is not None:
            return False
        _books.set(key, value, seconds)
        return True

    @staticmethod
    def add(key: bytes, amount: int, seconds: float | None) -> int:
        total = int(_books.get(key) or 0) + amount
        _books.set(key, total, seconds)
        return total

    @staticmethod
    def delete(prefix: bytes) -> None:
        for key, _ in _books.scan(prefix):
            _books.delete(key)


@contextlib.contextmanager
def _transaction() -> Iterator[Ledger]:
    with _memory.lock, _books.lock:
        yield _Book()


class _Source:
    """The memory as one backend reads it."""

    arm_blocks = peek_blocks = False

    def __init__(self, backend: CacheBackend) -> None:
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

    def delete(self, key: bytes, *args: Any, **kwargs: Any) -> None:
        """Remove it if it is there."""
        self.cache.delete(key)

    def incr(self, key: bytes, delta: int = 1) -> int:
        """Add to a number; a missing one counts as 0."""
        with self.cache.lock:
            value = int(self.cache.get(key) or 0) + delta
            self.cache.set(key, value, None)
            return value

    def touch(self, key: bytes, expires: float) -> None:
        """Let it vanish in `expires` seconds."""
        with self.cache.lock:
            value = self.cache.get(key)
            if value is not None:
                self.cache.set(key, value, expires)


#: Scheme -> makes the client class.
backends: dict[str, Callable[[], type[DummyClient]]] = {"memory": lambda: DummyClient}


class CacheBackend(KeyValueStoreBackend):
    """Results in a cache.

    Args:
        backend: `memory://`; default the setting `cache_backend`.
        options: for the client; default `cache_backend_options`.

    Raises:
        ImproperlyConfigured: no such cache.
    """

    servers: Any = None
    supports_autoexpire = True
    supports_native_join = True
    implements_incr = True

    def __init__(
        self,
        app: Any,
        expires: Any = None,
        backend: str | None = None,
        options: Mapping[str, Any] | None = None,
        url: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(app, expires=expires, expires_type=int, url=url, **kwargs)
        self.options = dict(app.conf.cache_backend_options or {}, **(options or {}))
        name = url or backend or app.conf.cache_backend
        scheme, _, servers = (name or "").partition("://")
        if scheme not in backends:
            raise ImproperlyConfigured(
                f"The cache backend {scheme or None!r} is unknown,\n"
                f"Please use one of the following backends instead: {', '.join(sorted(backends))}"
            )
        self.url = name
        self.backend = scheme
        self.servers = servers.rstrip("/").split(";")
        self.client = backends[scheme]()(self.servers, **self.options)

    def get(self, key: bytes) -> Any:
        """See the base class."""
        return self.client.get(key)

    def mget(self, keys: Sequence[bytes]) -> Any:
        """See the base class."""
        return self.client.get_multi(keys)

    def set(self, key: bytes, value: Any) -> Any:
        """See the base class."""
        self.client.set(key, value, self.expires)

    def delete(self, key: bytes) -> Any:
        """See the base class."""
        self.client.delete(key)

    def incr(self, key: bytes) -> int:
        """See the base class."""
        return self.client.incr(key)

    def expire(self, key: bytes, value: float) -> Any:
        """See the base class."""
        self.client.touch(key, value)

    def cleanup(self) -> None:
        """Drop what has expired now, rather than when it is asked for."""
        self.client.cache.cleanup()

    # -- chords

    def make_chords(self) -> Chords:
        """Under one lock with the result, as long as it is this process's memory."""
        if self.backend == "memory":
            return TransactionalChords(self, _transaction)
        return super().make_chords()

    def store_end(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any,
        request: Any,
        part: Part | None,
        store: bool,
    ) -> None:
        """Store the end of a member of a chord, and count it, at once.

        Args:
            store: False: only count.
        """
        if store:
            self.store_result(task_id, result, state, traceback=traceback, request=request, part=part)
        elif part is not None:
            with _transaction() as book:
                due = self._count(book, part)
            self._relay(due)

    def _count(self, book: Ledger, part: Part | None) -> Due | None:
        return None if part is None else cast("TransactionalChords", self.chords).count(book, part)

    def _relay(self, due: Due | None) -> None:
        if due is not None:
            cast("TransactionalChords", self.chords).relay(due)

    # -- telling those that wait

    def hub(self) -> Hub:
        """One for all backends of this process that read results in the same way."""
        hub = hub_of(("memory", self.serializer, self.accept, self.task_keyprefix), _Source(self))
        self.client.cache.hubs.add(hub)
        return hub

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        with _transaction() as book:
            stored = super()._store_result(task_id, result, state, traceback, request=request, **kwargs)
            due = self._count(book, kwargs.get("part"))
        self.client.cache.changed(str(task_id))
        self._relay(due)
        return stored

    def as_uri(self, *args: Any, **kwargs: Any) -> str:
        """`memory:///`."""
        return f"{self.backend}://{';'.join(self.servers)}/"

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> tuple[Any, ...]:
        more = {"backend": self.as_uri(), "expires": self.expires, "options": self.options}
        return super().__reduce__(args, {**more, "url": None, **(kwargs or {})})
