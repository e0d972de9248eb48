"""`EventReceiver`: hears events, over a kombu connection, and hands each to a handler of its type."""

# kombu is typed in parts only.
# mypy: disable-error-code="no-untyped-call,misc,no-any-return"

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from celery import _foreign
from celery._state import get_current_app
from celery.brokers.kombu.mixins import ConsumerMixin
from celery.exceptions import ImproperlyConfigured
from celery.utils.time import adjust_timestamp as _adjust_timestamp

from .event import get_exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ("EventReceiver",)

logger = logging.getLogger("celery.events.receiver")

#: What a `task-sent` of a client counts as: just before what is happening here, as clients share no clock.
CLIENT_CLOCK_SKEW = -1


class EventReceiver(ConsumerMixin):
    """Hears the events of a cluster.

        def on_failure(event):
            print(event["uuid"], event["exception"])

        with app.connection() as connection:
            app.events.Receiver(connection, handlers={"task-failed": on_failure}).capture()

    Args:
        channel: a kombu connection, or a channel of one.
        handlers: functions of one event, by its type; `"*"`: of any type that has none of its own.
        routing_key: what to hear, for example `task.#`.
        node_id: names the queue of this receiver; default: unique.
        queue_prefix, queue_ttl, queue_expires, queue_exclusive, queue_durable: of that queue; default: the settings
            `event_queue_...`. Times are seconds.
        accept: serializers that are read; default: json and `event_serializer`.

    Raises:
        ImproperlyConfigured: the queue is to be both exclusive and durable.
    """

    app: Any = None

    def __init__(
        self,
        channel: Any,
        handlers: Mapping[str, Callable[[dict[str, Any]], Any]] | None = None,
        routing_key: str = "#",
        node_id: str | None = None,
        app: Any = None,
        queue_prefix: str | None = None,
        accept: Iterable[str] | None = None,
        queue_ttl: float | None = None,
        queue_expires: float | None = None,
        queue_exclusive: bool | None = None,
        queue_durable: bool | None = None,
    ) -> None:
        self.app = app or self.app or get_current_app()
        conf = self.app.conf
        self.channel = channel if hasattr(channel, "basic_publish") else channel.default_channel
        self.handlers = {} if handlers is None else handlers
        self.routing_key = routing_key
        self.node_id = node_id or str(uuid.uuid4())
        self.queue_prefix = queue_prefix or conf.event_queue_prefix
        self.exchange = get_exchange(self.connection, name=conf.event_exchange)
        exclusive = conf.event_queue_exclusive if queue_exclusive is None else queue_exclusive
        durable = conf.event_queue_durable if queue_durable is None else queue_durable
        if exclusive and durable:
            raise ImproperlyConfigured(
                "event_queue_exclusive and event_queue_durable cannot both be set: an exclusive queue goes with its connection"
            )
        self.queue = _foreign.kombu_object("Queue")(
            f"{self.queue_prefix}.{self.node_id}",
            exchange=self.exchange,
            routing_key=self.routing_key,
            auto_delete=True,
            durable=durable,
            exclusive=exclusive,
            message_ttl=conf.event_queue_ttl if queue_ttl is None else queue_ttl,
            expires=conf.event_queue_expires if queue_expires is None else queue_expires,
        )
        self.clock = self.app.clock
        self.adjust_clock = self.clock.adjust
        self.forward_clock = self.clock.forward
        self.accept = {conf.event_serializer, "json"} if accept is None else accept

    # -- hearing ----------------------------------------------------------------------------------
    def capture(self, limit: int | None = None, timeout: float | None = None, wakeup: bool = True) -> None:
        """Hear events and handle them, until `should_stop` is set.

        Args:
            limit: messages (of one event or many), then return.
            timeout: seconds without any.
            wakeup: ask all workers for a heartbeat first, so that they are known at once.

        Raises:
            TimeoutError: as it says.
        """
        for _ in self.itercapture(limit=limit, timeout=timeout, wakeup=wakeup):
            pass

    def itercapture(
        self, limit: int | None = None, timeout: float | None = None, wakeup: bool = True
    ) -> Iterator[None]:
        """`capture`, one step for each message. A lost connection is made again."""
        heard = 0
        while not self.should_stop:
            left = None if limit is None else limit - heard
            try:
                for _ in self.consume(limit=left, timeout=timeout, wakeup=wakeup):
                    heard += 1
                    yield
                return
            except TimeoutError as error:
                if error.errno is None:
                    raise
                logger.warning("Connection to broker lost (%s). Connecting again...", error)
            except self.connection_errors as error:
                logger.warning("Connection to broker lost (%s). Connecting again...", error)
            time.sleep(0.2)  # whoever is there and not in order must not be asked all the time

    @contextlib.contextmanager
    def establish_connection(self) -> Iterator[Any]:
        """A connection of this receiver's own; tried for until there is one, or `connect_max_retries` times."""
        with self.create_connection() as connection:
            connection.ensure_connection(
                self.on_connection_error,
                self.connect_max_retries,
                interval_start=0.2,
                interval_step=0.4,
                interval_max=5,
            )
            yield connection

    def get_consumers(self, Consumer: Any, channel: Any) -> list[Any]:  # noqa: N803, RUF100 - kombu's name
        """What to consume; called by kombu."""
        return [Consumer(queues=[self.queue], callbacks=[self._receive], no_ack=True, accept=self.accept)]

    def on_consume_ready(
        self, connection: Any, channel: Any, consumers: Any, wakeup: bool = True, **kwargs: Any
    ) -> None:
        """Called by kombu when events are being heard."""
        if wakeup:
            self.wakeup_workers(channel=channel)

    def on_connection_error(self, exc: BaseException, interval: float) -> None:
        """Called when the broker cannot be reached, with the seconds until the next attempt."""
        logger.warning("Broker connection error, trying again in %s seconds: %s.", interval, exc)

    def wakeup_workers(self, channel: Any = None) -> None:
        """Ask all workers for a heartbeat."""
        self.app.control.broadcast("heartbeat", connection=self.connection, channel=channel)

    # -- handling ---------------------------------------------------------------------------------
    def process(self, type: str, event: dict[str, Any]) -> None:  # noqa: A002 - Celery's name
        """Hand an event to its handler."""
        handler = self.handlers.get(type) or self.handlers.get("*")
        if handler is not None:
            handler(event)

    def event_from_message(
        self,
        body: dict[str, Any],
        localize: bool = True,
        now: Callable[[], float] = time.time,
        tzfields: Callable[[dict[str, Any]], Any] = itemgetter("utcoffset", "timestamp"),
        adjust_timestamp: Callable[[float, float], float] = _adjust_timestamp,
        CLIENT_CLOCK_SKEW: int = CLIENT_CLOCK_SKEW,  # noqa: N803, RUF100 - as above
    ) -> tuple[str, dict[str, Any]]:
        """Make an event of what came: `local_received` is added, the clocks are set by one another.

        Args:
            localize: have `timestamp` as this machine would have made it.

        Returns:
            its type, and the event.
        """
        kind: str = body["type"]
        if kind == "task-sent":
            body["clock"] = (self.clock.value or 1) + CLIENT_CLOCK_SKEW
            self.adjust_clock(body["clock"])
        elif body.get("clock") is None:
            body["clock"] = self.forward_clock()
        else:
            self.adjust_clock(body["clock"])
        if localize:
            try:
                offset, timestamp = tzfields(body)
            except KeyError:
                pass
            else:
                body["timestamp"] = adjust_timestamp(timestamp, offset)
        body["local_received"] = now()
        return kind, body

    def _receive(self, body: Any, message: Any) -> None:
        for one in body if isinstance(body, list) else [body]:
            self.process(*self.event_from_message(one))

    @property
    def connection(self) -> Any:
        """The kombu connection of the channel."""
        client = self.channel.connection.client
        return None if client is None else client
