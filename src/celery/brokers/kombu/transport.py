"""kombu transports for the brokers that are ours alone: `sqlite://` and `memory://`.

Messages are kept in the store's own form, so that what a kombu `Producer` sends a worker receives, and the other way
round. Everything here builds on kombu's documented virtual transport.
"""

# kombu is typed in parts only.
# mypy: disable-error-code="no-untyped-call,attr-defined,assignment,union-attr,misc,arg-type,no-any-return"

from __future__ import annotations

import base64
from queue import Empty
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakValueDictionary

from kombu.exceptions import OperationalError
from kombu.transport import virtual

from celery.brokers.base import BrokerError, Delivery, Outgoing, Unroutable
from celery.brokers.publishing import publish
from celery.brokers.registry import open_broker
from celery.brokers.topology import Exchange, Queue
from celery.message.headers import LazyObject

if TYPE_CHECKING:
    from celery.brokers.base import DirectBroker, Fetcher

#: Seconds of disuse after which an auto-delete queue goes that says nothing of its own.
AUTO_DELETE_AFTER = 300.0

#: URL -> the broker that an app has opened for it, so that connections share it.
opened: WeakValueDictionary[str, DirectBroker] = WeakValueDictionary()


class QoS(virtual.QoS):
    """Settles with the broker what kombu settles with the channel."""

    channel: Channel

    def ack(self, delivery_tag: str) -> None:
        """Forget the message for good."""
        self.channel.settle(delivery_tag, requeue=False)
        super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Drop the message, or offer it again."""
        self.channel.settle(delivery_tag, requeue=requeue)
        super().ack(delivery_tag)


class Channel(virtual.Channel):
    """One channel: its own fetcher, so that what it holds goes back when it closes."""

    QoS = QoS
    supports_fanout = True
    # The fetcher gives back what is not settled; kombu must not send it a second time.
    do_restore = False

    def __init__(self, connection: Transport, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self._fetcher: Fetcher | None = None
        self._held: dict[str, Delivery] = {}
        self._no_ack: set[str] = set()
        self._auto_delete: set[str] = set()
        self._consumed: dict[str, str] = {}

    @property
    def broker(self) -> DirectBroker:
        """The broker behind the connection."""
        return cast("Transport", self.connection).broker

    @property
    def fetcher(self) -> Fetcher:
        """Made when first needed: a channel that only sends has none."""
        if self._fetcher is None:
            self._fetcher = self.broker.fetcher()
        return self._fetcher

    # -- sending

    def basic_publish(self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any) -> None:
        """Send; the broker routes."""
        properties = dict(message["properties"])
        for noise in ("delivery_info", "body_encoding", "delivery_tag"):
            properties.pop(noise, None)
        properties["content_type"] = message.get("content-type")
        properties["content_encoding"] = message.get("content-encoding")
        body = message["body"]
        outgoing = Outgoing(
            body if isinstance(body, bytes) else str(body).encode(),
            LazyObject(value=dict(message["headers"] or {})),
            LazyObject(value={key: value for key, value in properties.items() if value is not None}),
            exchange=exchange or "",
            routing_key=routing_key or "",
            priority=int(properties.get("priority") or 0),
            mandatory=bool(kwargs.get("mandatory", False)),
        )
        (outcome,) = publish(self.broker.publisher(), [outgoing], url=self.broker.url)
        if isinstance(outcome, Unroutable):
            raise self.connection_errors_for(outcome)
        if outcome is not None:
            raise OperationalError(str(outcome)) from outcome

    def connection_errors_for(self, outcome: Unroutable) -> Exception:
        """The channel error that says a mandatory message was not routed."""
        return cast("Exception", virtual.Transport.channel_errors[0](str(outcome)))

    # -- topology

    def queue_declare(self, queue: str | None = None, passive: bool = False, **kwargs: Any) -> Any:
        """Declare a queue; `auto_delete` and `x-expires` make it a temporary one."""
        if queue and kwargs.get("auto_delete"):
            self._auto_delete.add(queue)
        return super().queue_declare(queue, passive, **kwargs)

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        expires = (kwargs.get("arguments") or {}).get("x-expires")
        seconds = expires / 1000 if expires else AUTO_DELETE_AFTER if kwargs.get("auto_delete") else None
        self.broker.declare([Queue(queue, expires=seconds)])

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:
        del kwargs
        return self.broker.has_queue(queue)

    def _delete(self, queue: str, *args: Any, **kwargs: Any) -> None:
        del args, kwargs
        self.broker.delete(queue)

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        del pattern
        if exchange:
            kind = (self.state.exchanges.get(exchange) or {}).get("type", "direct")
            self.broker.bind(queue, Exchange(exchange, kind), routing_key or "")

    def queue_unbind(
        self,
        queue: str,
        exchange: str | None = None,
        routing_key: str = "",
        arguments: Any = None,
        **kwargs: Any,
    ) -> None:
        """Undo a binding."""
        del arguments, kwargs
        self.broker.unbind(queue, exchange or "", routing_key or "")

    def get_table(self, exchange: str) -> list[tuple[str, str, str]]:
        """The bindings of an exchange as (routing key, pattern, queue)."""
        return [(key, "", queue) for key, queue in self.broker.bindings(exchange)]

    def _size(self, queue: str) -> int:
        return self.broker.size(queue)

    def _purge(self, queue: str) -> int:
        return self.broker.purge(queue)

    # -- receiving

    def basic_consume(self, queue: str, no_ack: bool, callback: Any, consumer_tag: str, **kwargs: Any) -> Any:
        """Consume from a queue."""
        if no_ack:
            self._no_ack.add(queue)
        self._consumed[consumer_tag] = queue
        return super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)

    def basic_cancel(self, consumer_tag: str) -> None:
        """Consume no more; an auto-delete queue goes with its last consumer of this channel."""
        super().basic_cancel(consumer_tag)
        queue = self._consumed.pop(consumer_tag, None)
        if queue is not None and queue not in self._consumed.values():
            self._no_ack.discard(queue)
            if queue in self._auto_delete:
                self._auto_delete.discard(queue)
                self.broker.delete(queue)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """The next message of a queue, None if there is none."""
        message = super().basic_get(queue, no_ack=no_ack, **kwargs)
        if message is not None and no_ack:
            self.settle(message.delivery_tag, requeue=False)
        return message

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        del timeout
        delivery = self.fetcher.get([queue])
        if delivery is None:
            raise Empty
        tag = (
            ".".join(map(str, delivery.receipt))
            if isinstance(delivery.receipt, tuple)
            else str(delivery.receipt)
        )
        if queue in self._no_ack:
            self.fetcher.ack(delivery)
        else:
            self._held[tag] = delivery
        return _payload(delivery, tag)

    def settle(self, delivery_tag: str, *, requeue: bool) -> None:
        """Tell the broker; a tag that is not held says nothing."""
        delivery = self._held.pop(delivery_tag, None)
        if delivery is None:
            return
        if requeue:
            self.fetcher.requeue(delivery)
        else:
            self.fetcher.ack(delivery)

    def close(self) -> None:
        """Cancel all consumers and give back what was not settled."""
        super().close()
        fetcher, self._fetcher = self._fetcher, None
        self._held.clear()
        if fetcher is not None:
            fetcher.close()


def _payload(delivery: Delivery, tag: str) -> dict[str, Any]:
    """A message as kombu's virtual transports hold them."""
    properties = dict(delivery.properties.value)
    content_type = properties.pop("content_type", None)
    content_encoding = properties.pop("content_encoding", None)
    headers = dict(delivery.headers.value)
    properties.update(
        body_encoding="base64",
        delivery_tag=tag,
        priority=delivery.priority,
        delivery_info={
            "exchange": delivery.exchange,
            "routing_key": delivery.routing_key,
            "priority": delivery.priority,
            "redelivered": delivery.redelivered,
        },
    )
    return {
        "body": base64.b64encode(delivery.body).decode(),
        "content-type": content_type,
        "content-encoding": content_encoding,
        "headers": headers,
        "properties": properties,
    }


class Transport(virtual.Transport):
    """A connection to one of our brokers."""

    Channel = Channel
    can_parse_url = True
    polling_interval = 0.02
    driver_type = "celery"
    driver_name = "celery"
    implements = virtual.Transport.implements.extend(exchange_type=frozenset(["direct", "topic", "fanout"]))
    connection_errors = (*virtual.Transport.connection_errors, BrokerError, OperationalError)

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        # Each connection keeps its own picture of what it declared; the broker holds the truth.
        self.state = virtual.BrokerState()
        self._broker: DirectBroker | None = None

    @property
    def broker(self) -> DirectBroker:
        """The broker that the URL names; shared with the app, if one has opened it."""
        if self._broker is None:
            url = self.client.hostname
            found = opened.get(url)
            if found is None:
                found = opened[url] = cast("DirectBroker", open_broker(url))
            self._broker = found
        return self._broker

    def driver_version(self) -> str:
        """Of what speaks to the broker."""
        from celery import celeriac_version  # noqa: PLC0415 - the package is being imported when this module is

        return celeriac_version

    def verify_connection(self, connection: Any) -> bool:
        """There is nothing that could be cut."""
        del connection
        return True


class SqliteTransport(Transport):
    """`sqlite://`."""

    driver_type = "sqlite"
    driver_name = "sqlite3"


class MemoryTransport(Transport):
    """`memory://`: shared by everything in this process that names the same URL."""

    driver_type = "memory"
    driver_name = "memory"
