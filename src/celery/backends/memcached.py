"""Memcached as a store of results, through pymemcache."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any

from celery.exceptions import BackendStoreError

from .extras import need

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: For pymemcache, unless `cache_backend_options` says otherwise. Seconds.
DEFAULT_CLIENT_OPTIONS: dict[str, Any] = {"connect_timeout": 5.0, "timeout": 10.0, "no_delay": True}
#: Options of the libraries that Celery used before.
PYLIBMC_ONLY_OPTIONS = frozenset({"behaviors", "binary"})
#: Memcached takes more seconds than these for a point in time.
MAX_RELATIVE_EXPIRES = 30 * 24 * 3600
#: Memcached's default port.
PORT = 11211
KEYS_AT_ONCE = 500


def import_best_memcache() -> Any:
    """The module that is used: pymemcache.

    Raises:
        ImproperlyConfigured: it is not installed.
    """
    return need("pymemcache", extra="pymemcache", store="memcached")


def get_best_memcache() -> type[MemcachedClient]:
    """What makes a client of servers and options."""
    import_best_memcache()
    return MemcachedClient


get_memcache_client = get_best_memcache


class MemcachedClient:
    """One or several servers, by the methods that a cache backend needs. Safe to use from many threads.

    Args:
        servers: `host:port`, `host`, or the path of a socket.
        options: for pymemcache.
    """

    def __init__(self, servers: Sequence[str], **options: Any) -> None:
        need("pymemcache", extra="pymemcache", store="memcached")
        from pymemcache.client.base import PooledClient  # noqa: PLC0415 - after the check
        from pymemcache.client.hash import HashClient  # noqa: PLC0415

        known = {**DEFAULT_CLIENT_OPTIONS, **options}
        for name in sorted(PYLIBMC_ONLY_OPTIONS & known.keys()):
            warnings.warn(
                f"cache_backend_options[{name!r}] is ignored: pymemcache has no such option", stacklevel=4
            )
            del known[name]
        addresses = [_address(server) for server in servers if server] or [("localhost", PORT)]
        if len(addresses) == 1:
            self._client: Any = PooledClient(addresses[0], **known)
        else:
            self._client = HashClient(addresses, use_pooling=True, **known)

    def get(self, key: str) -> Any:
        """The value, or None."""
        return self._client.get(key)

    def get_multi(self, keys: Sequence[str]) -> dict[str, Any]:
        """Those that are there."""
        found: dict[str, Any] = {}
        for chunk in _chunks(keys):
            found.update(self._client.get_many(chunk))
        return found

    def set(self, key: str, value: Any, expires: float | None = None) -> None:
        """Store for `expires` seconds; None or 0: for ever.

        Raises:
            BackendStoreError: the server did not take it.
        """
        from pymemcache.exceptions import MemcacheServerError  # noqa: PLC0415 - it is an extra

        try:
            stored = self._client.set(key, value, expire=_expiry(expires), noreply=False)
        except MemcacheServerError as exc:
            if b"too large" in (exc.args[0] if exc.args and isinstance(exc.args[0], bytes) else b""):
                raise BackendStoreError(
                    f"{len(value)} bytes are more than memcached takes (1 MB unless it was started with -I)"
                ) from exc
            raise
        if not stored:
            raise BackendStoreError(f"memcached did not take {key}")

    def add(self, key: str, value: Any, expires: float | None = None) -> bool:
        """Store unless there is a value; whether it was stored."""
        return bool(self._client.add(key, value, expire=_expiry(expires), noreply=False))

    def delete(self, key: str) -> None:
        """Remove it if it is there."""
        self._client.delete(key, noreply=False)

    def incr(self, key: str, delta: int = 1, expires: float | None = None) -> int:
        """Add to a number; a missing one counts as 0, and lives for `expires` seconds."""
        while True:
            value = self._client.incr(key, delta, noreply=False)
            if value is not None:
                return int(value)
            if self._client.add(key, str(delta), expire=_expiry(expires), noreply=False):
                return delta

    def touch(self, key: str, expires: float) -> None:
        """Let it vanish in `expires` seconds."""
        self._client.touch(key, expire=_expiry(expires), noreply=False)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()


def temporary_errors() -> tuple[type[Exception], ...]:
    """What the client raises when a server may come back."""
    from pymemcache.exceptions import MemcacheServerError, MemcacheUnexpectedCloseError  # noqa: PLC0415 - an extra

    return (OSError, MemcacheServerError, MemcacheUnexpectedCloseError)


def _address(server: str) -> Any:
    if server.startswith("/"):
        return server
    host, _, port = server.rpartition(":")
    return (host, int(port)) if host and port.isdigit() else (server, PORT)


def _expiry(seconds: float | None) -> int:
    whole = int(seconds or 0)
    return int(time.time()) + whole if whole > MAX_RELATIVE_EXPIRES else whole


def _chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), KEYS_AT_ONCE):
        yield keys[start : start + KEYS_AT_ONCE]
