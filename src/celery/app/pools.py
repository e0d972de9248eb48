"""kombu's connections and producers for those who ask an app for them; kombu is imported then."""

from __future__ import annotations

from typing import Any

from celery.app import wiring
from celery.app.addresses import broker_urls
from celery.utils.objects import FallbackContext

#: Parts of a URL -> the arguments of a connection that stand for them.
_PARTS = {
    "user": "userid",
    "password": "password",
    "port": "port",
    "vhost": "virtual_host",
    "transport": "transport",
}


class KombuPools:
    """The pools of one app.

    After a fork the child starts with none: a connection must not be shared between processes.

    Args:
        app: whose settings say where the broker is, and how large pools are.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._connections: Any = None
        self._producers: Any = None

    def connections(self) -> Any:
        """Return the pool of connections, made at the first call."""
        if self._connections is None:
            self._connections = _objects().connection_pool(self._app)
        return self._connections

    def producers(self) -> Any:
        """Return the pool of producers, made at the first call."""
        if self._producers is None:
            self._producers = _objects().producer_pool(self._app)
        return self._producers

    def connection(self, url: Any, **options: Any) -> Any:
        """Make a connection outside of the pools. See `Celery.connection`."""
        parts = {
            setting: options.get(argument) for setting, argument in _PARTS.items() if options.get(argument)
        }
        urls = broker_urls(self._app.conf, url, **parts)
        return _objects().connection(self._app, ";".join(urls), **options)

    def connection_or_acquire(self, connection: Any, *, pool: bool) -> Any:
        """Context manager. See `Celery.connection_or_acquire`."""
        return FallbackContext(connection, self._acquire_connection, pool)

    def producer_or_acquire(self, producer: Any) -> Any:
        """Context manager. See `Celery.producer_or_acquire`."""
        return FallbackContext(producer, self._acquire_producer)

    def _acquire_connection(self, pool: bool) -> Any:
        if not pool:
            return self._app.connection_for_write()
        return _objects().acquire(self._app, self._app.pool)

    def _acquire_producer(self) -> Any:
        return _objects().acquire(self._app, self._app.producer_pool)

    def close(self) -> None:
        """Close every connection of the pools; new pools are made when needed."""
        connections = self._connections
        self.forget()
        if connections is not None:
            connections.force_close_all()

    def forget(self) -> None:
        """In a child after a fork: what was inherited is the parent's."""
        self._connections = self._producers = None


def _objects() -> Any:
    return wiring.resolve("kombu_objects")
