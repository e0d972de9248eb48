"""An app's ways to its broker, through our own ports; kombu's objects are in `pools`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from celery.app.addresses import broker_urls, is_class
from celery.app.embedded import warn_embedded
from celery.brokers.base import BrokerOptions
from celery.brokers.registry import open_broker
from celery.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celery.brokers.base import Broker


def broker_options(conf: Any) -> BrokerOptions:
    """What drivers need of the settings."""
    transport = conf.broker_transport
    return BrokerOptions(
        failover_strategy=conf.broker_failover_strategy or None,
        transport=transport if transport and is_class(transport) else None,
        connect_timeout=conf.broker_connection_timeout or 4.0,
        heartbeat=conf.broker_heartbeat or 0.0,
        heartbeat_rate=conf.broker_heartbeat_checkrate or 3.0,
        ssl=conf.broker_use_ssl or None,
        login_method=conf.broker_login_method or None,
        pool_limit=conf.broker_pool_limit or 0,
        publish_timeout=conf.task_publish_timeout,
        retry_channel_errors=bool(conf.broker_channel_error_retry),
        fleet=one_of(conf, "fleet", "mixed", "celeriac"),
        detect_quorum_queues=bool(conf.worker_detect_quorum_queues),
        delayed_queue_type=one_of(conf, "broker_native_delayed_delivery_queue_type", "quorum", "classic"),
        eta_limit=conf.worker_eta_task_limit or None,
        transport_options=dict(conf.broker_transport_options or {}),
        dead_letter_limit=conf.broker_dead_letter_limit,
        dead_letter_ttl=conf.broker_dead_letter_ttl,
        synchronous=conf.embedded_store_synchronous,
    )


def one_of(conf: Any, name: str, *allowed: str) -> str:
    """The value of a setting that is one of a few words.

    Raises:
        ImproperlyConfigured: it is another.
    """
    value = conf[name]
    if value in allowed:
        return str(value)
    raise ImproperlyConfigured(f"{name} is {value!r}: expected {' or '.join(map(repr, allowed))}.")


class Links:
    """The brokers that an app has opened, by URL.

    After a fork the child starts with none: a broker must not be shared between processes.

    Args:
        app: whose settings say where brokers are.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._brokers: dict[Any, Broker] = {}
        self._lock = threading.Lock()

    def broker(self, url: Any) -> Broker:
        """Return the broker at `url`, opened at the first call (without any I/O).

        Args:
            url: a URL, or several: the first is used, the others when it fails.
        """
        key = tuple(url) if isinstance(url, list) else url
        broker = self._brokers.get(key)
        if broker is None:
            with self._lock:
                broker = self._brokers.get(key)
                if broker is None:
                    conf = self._app.conf
                    warn_embedded(self._app)
                    broker = open_broker(broker_urls(conf, url), broker_options(conf))
                    self._brokers[key] = broker
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
