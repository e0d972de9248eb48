"""Real kombu objects for those who ask an app for them: connections, and pools of connections and producers."""

# kombu is typed in parts only.
# mypy: disable-error-code="no-untyped-call,attr-defined,assignment,union-attr,misc,arg-type,no-any-return"

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast

from kombu import Connection, Producer
from kombu.exceptions import LimitExceeded
from kombu.pools import ProducerPool
from kombu.transport import TRANSPORT_ALIASES

from celery._foreign import operational_error
from celery.brokers.registry import scheme_of
from celery.exceptions import ImproperlyConfigured

from . import transport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery.brokers.base import DirectBroker

_OURS = {
    "sqlite": f"{transport.__name__}:SqliteTransport",
    "memory": f"{transport.__name__}:MemoryTransport",
}
# From here on a plain kombu.Connection("memory://") reaches what an app of this process has under that URL, as it
# does with stock Celery.
TRANSPORT_ALIASES.update(_OURS)

#: Schemes that our drivers know and kombu does not.
_NOT_KOMBUS = frozenset(("redis+cluster", "rediss+cluster", "sentinels", "valkey", "valkeys"))

#: Arguments of `kombu.Connection` and the settings that stand in for them.
_SETTINGS = {
    "ssl": "broker_use_ssl",
    "connect_timeout": "broker_connection_timeout",
    "login_method": "broker_login_method",
    "failover_strategy": "broker_failover_strategy",
}


def connection(app: Any, url: str, **kwargs: Any) -> Connection:
    """A kombu connection as the app's settings have it; it connects when first used.

    It has no heartbeat unless one is asked for: whoever asks must see to `heartbeat_check`.

    Args:
        url: a URL, or several joined by `;`.
        kwargs: of `kombu.Connection`; None means what is configured.
    """
    given = {key: value for key, value in kwargs.items() if value is not None}
    for argument, setting in _SETTINGS.items():
        value = getattr(app.conf, setting, None)
        if argument not in given and value is not None:
            given[argument] = value
    given["transport_options"] = {
        **(app.conf.broker_transport_options or {}),
        **given.get("transport_options", {}),
    }
    name = given.get("transport") or getattr(app.conf, "broker_transport", None)
    if name:
        given["transport"] = name
    scheme = scheme_of(url)
    if scheme == "librabbitmq":  # a C library that is gone
        url = url.replace("librabbitmq://", "pyamqp://")
    if scheme in _OURS:
        given.pop("transport", None)
        if url in (app.conf.broker_write_url, app.conf.broker_read_url):
            transport.opened[url] = cast("DirectBroker", app.broker_for_write())
    elif scheme in _NOT_KOMBUS:
        raise ImproperlyConfigured(
            f"kombu has no transport for {scheme}://: app.connection(), app.pool, producer= and connection= do not "
            "work with this broker. Tasks and workers do."
        )
    return Connection(url, **given)


def connection_pool(app: Any) -> Any:
    """A pool of `broker_pool_limit` connections to publish by."""
    return app.connection_for_write().Pool(limit=app.conf.broker_pool_limit)


def producer_pool(app: Any) -> Any:
    """A pool of `broker_pool_limit` producers over the app's connections."""
    return ProducerPool(app.pool, limit=app.conf.broker_pool_limit)


@contextlib.contextmanager
def acquire(app: Any, pool: Any) -> Iterator[Any]:
    """Borrow from a pool of the app.

    Raises:
        OperationalError: none became free within `broker_pool_acquire_timeout`.
    """
    seconds = getattr(app.conf, "broker_pool_acquire_timeout", None)
    try:
        resource = pool.acquire(block=True, timeout=seconds)
    except LimitExceeded as error:
        raise operational_error(
            f"No free connection within {seconds} s (broker_pool_acquire_timeout); broker_pool_limit is "
            f"{app.conf.broker_pool_limit}."
        ) from error
    try:
        yield resource
    finally:
        resource.release()


def producer(channel: Any, exchange: Any, serializer: str | None = None) -> Any:
    """A kombu producer on a connection or channel, for one exchange; it declares nothing before it sends."""
    return Producer(channel, exchange=exchange, serializer=serializer, auto_declare=False)
