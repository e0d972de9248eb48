"""Results in a cache: memcached (`cache+memcached://host:port;host2:port/`) or this process (`cache+memory://`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from celery.exceptions import ImproperlyConfigured

from . import memory
from .base import KeyValueStoreBackend
from .chords import Chords, Ledger, TransactionalChords
from .memcached import (
    DEFAULT_CLIENT_OPTIONS,
    get_best_memcache,
    get_memcache_client,
    import_best_memcache,
    temporary_errors,
)
from .memory import DummyClient, MemorySource, transaction
from .processes import PerProcess, shared
from .waiting import Hub, hub_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .chords import Part
    from .dues import Due

    Meta = dict[str, Any]

__all__ = (
    "DEFAULT_CLIENT_OPTIONS",
    "CacheBackend",
    "DummyClient",
    "backends",
    "get_best_memcache",
    "get_memcache_client",
    "import_best_memcache",
)

#: Scheme -> finds what makes a client. All names of memcached stand for the same, as in Celery.
backends: dict[str, Callable[[], Callable[..., Any]]] = {
    "memcache": get_best_memcache,
    "memcached": get_best_memcache,
    "memory": lambda: DummyClient,
    "pylibmc": get_best_memcache,
    "pymemcache": get_best_memcache,
    "python-memcached": get_best_memcache,
}


class CacheBackend(KeyValueStoreBackend):
    """Results in a cache.

    Args:
        backend: `memcached://host:port;host2:port/` or `memory://`; default the setting `cache_backend`.
        options: for the client; default `cache_backend_options`.

    Raises:
        ImproperlyConfigured: no such cache, or its library is not installed.
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
        factory = backends[scheme]()
        self._clients: PerProcess[Any] = shared(
            ("cache", scheme, *self.servers, repr(self.options)),
            lambda: factory(self.servers, **self.options),
        )
        self._tells = scheme == "memory"

    @property
    def client(self) -> Any:
        """This process's client."""
        return self._clients.get()

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether the cache may do it later: it does not answer, or has no room."""
        return not self._tells and isinstance(exc, temporary_errors())

    # -- keys and values

    def get(self, key: bytes) -> Any:
        """See the base class."""
        return self.client.get(key)

    def mget(self, keys: Sequence[bytes]) -> Any:
        """See the base class."""
        return self.client.get_multi(keys)

    def set(self, key: bytes, value: Any) -> Any:
        """See the base class."""
        self.client.set(key, value, self.expires)

    def _add(self, key: bytes, value: Any) -> bool:
        """See the base class."""
        return bool(self.client.add(key, value, self.expires))

    def delete(self, key: bytes) -> Any:
        """See the base class."""
        self.client.delete(key)

    def incr(self, key: bytes) -> int:
        """See the base class."""
        return int(self.client.incr(key, expires=self.expires))

    def expire(self, key: bytes, value: float) -> Any:
        """See the base class."""
        self.client.touch(key, value)

    def cleanup(self) -> None:
        """Drop what has expired now, rather than when it is asked for. Memcached does it by itself."""
        if self._tells:
            memory.cleanup()

    # -- chords

    def make_chords(self) -> Chords:
        """Under one lock with the result, as long as it is this process's memory."""
        if self.backend == "memory":
            return TransactionalChords(self, transaction)
        return super().make_chords()

    def count_end(self, task_id: str, state: str, request: Any, part: Part) -> None:
        """Count a member of a chord whose end is not stored."""
        with transaction() as book:
            due = self._count(book, part)
        self._relay(due)

    def _count(self, book: Ledger, part: Part | None) -> Due | None:
        return None if part is None else cast("TransactionalChords", self.chords).count(book, part)

    def _relay(self, due: Due | None) -> None:
        if due is not None:
            cast("TransactionalChords", self.chords).relay(due)

    # -- telling those that wait

    def hub(self) -> Hub | None:
        """In memory one for all backends of this process that read results in the same way."""
        if not self._tells:
            return None
        hub = hub_of(("memory", self.serializer, self.accept, self.task_keyprefix), MemorySource(self))
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
        if not self._tells:
            return super()._store_result(task_id, result, state, traceback, request=request, **kwargs)
        with transaction() as book:
            stored = super()._store_result(task_id, result, state, traceback, request=request, **kwargs)
            due = self._count(book, kwargs.get("part"))
        self.client.cache.changed(str(task_id))
        self._relay(due)
        return stored

    def as_uri(self, *args: Any, **kwargs: Any) -> str:
        """`memcached://host:port;host2:port/`."""
        return f"{self.backend}://{';'.join(self.servers)}/"

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> tuple[Any, ...]:
        more = {"backend": self.as_uri(), "expires": self.expires, "options": self.options}
        return super().__reduce__(args, {**more, "url": None, **(kwargs or {})})
