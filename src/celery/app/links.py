"""An app's ways to its broker, through our own ports; kombu's objects are in `pools`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from celery.app.embedded import warn_embedded
from celery.brokers.base import BrokerOptions
from celery.brokers.registry import open_broker

if TYPE_CHECKING:
    from celery.brokers.base import Broker


def broker_options(conf: Any) -> BrokerOptions:
    """What drivers need of the settings."""
    return BrokerOptions(
        connect_timeout=conf.broker_connection_timeout or 4.0,
        heartbeat=conf.broker_heartbeat or 0.0,
        ssl=conf.broker_use_ssl or None,
        transport_options=dict(conf.broker_transport_options or {}),
        dead_letter_limit=conf.broker_dead_letter_limit,
        dead_letter_ttl=conf.broker_dead_letter_ttl,
        synchronous=conf.embedded_store_synchronous,
    )


#: Where messages go if only a place for results is configured, as in Celery.
STOCK_DEFAULT = "amqp://guest@localhost//"


class Links:
    """The brokers that an app has opened, by URL.

    After a fork the child starts with none: a broker must not be shared between processes.

    Args:
        app: whose settings say where brokers are.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._brokers: dict[str, Broker] = {}
        self._lock = threading.Lock()

    def broker(self, url: Any) -> Broker:
        """Return the broker at `url`, opened at the first call (without any I/O)."""
        key = ";".join(url) if isinstance(url, (list, tuple)) else str(url or STOCK_DEFAULT)
        broker = self._brokers.get(key)
        if broker is None:
            with self._lock:
                broker = self._brokers.get(key)
                if broker is None:
                    warn_embedded(self._app)
                    broker = self._brokers[key] = open_broker(key, broker_options(self._app.conf))
        return broker

    def close(self) -> None:
        """Close every broker."""
        brokers, self._brokers = self._brokers, {}
        for broker in brokers.values():
            broker.close()

    def forget(self) -> None:
        """In a child after a fork: what was inherited is the parent's."""
        self._brokers = {}
        self._lock = threading.Lock()
