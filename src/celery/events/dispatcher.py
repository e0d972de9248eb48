"""`EventDispatcher`: sends events, at once or in groups, and keeps them while the broker is away if it is told to."""

from __future__ import annotations

import os
import threading
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any, Protocol

from celery._state import get_current_app
from celery.app.sent_events import outgoing
from celery.brokers import publishing
from celery.message.events import group_from, routing_key_of
from celery.utils.nodenames import anon_nodename
from celery.utils.time import utcoffset

from .event import Event, get_exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ("EventDispatcher",)

#: Events that are kept while the broker is away.
MOST = 10_000

_UTC_OFFSET, _EVENT = utcoffset, Event


class Way(Protocol):
    """How events leave."""

    def publish(self, event: Any, routing_key: str, *, retry: bool, retry_policy: Any) -> None: ...


class OwnWay:
    """As the app sends its tasks: through our own ports."""

    def __init__(self, dispatcher: EventDispatcher) -> None:
        self._dispatcher = dispatcher

    def publish(self, event: Any, routing_key: str, *, retry: bool, retry_policy: Any) -> None:
        dispatcher = self._dispatcher
        app = dispatcher.app
        message = outgoing(app, event, routing_key, dispatcher.hostname, dispatcher.serializer)
        broker = app.broker_for_write()
        policy = publishing.NEVER
        if retry:
            policy = publishing.RetryPolicy.read(retry_policy or app.conf.task_publish_retry_policy)
        publishing.publish(broker.publisher(), [message], policy, url=broker.url)


class KombuWay:
    """By a kombu producer."""

    def __init__(self, dispatcher: EventDispatcher, producer: Any) -> None:
        self._dispatcher = dispatcher
        self._producer = producer

    def publish(self, event: Any, routing_key: str, *, retry: bool, retry_policy: Any) -> None:
        dispatcher = self._dispatcher
        self._producer.publish(
            event,
            routing_key=routing_key,
            exchange=dispatcher.exchange.name,
            retry=retry,
            retry_policy=retry_policy,
            declare=[dispatcher.exchange],
            serializer=dispatcher.serializer,
            headers=dispatcher.headers,
            delivery_mode=dispatcher.delivery_mode,
        )


class EventDispatcher:
    """Sends events. A context manager; may be used from any thread.

    Args:
        connection: a kombu connection; without it (and without `channel`) events go as the app's tasks do.
        hostname: node name of the sender.
        enabled: False: nothing is sent before `enable`.
        channel: a kombu channel to use instead of the connection's default one.
        buffer_while_offline: keep events that could not be sent (at most 10,000, then the oldest go), for `flush`;
            False: raise.
        groups: send only events of these groups (`task`, `worker`, ...); default: all.
        delivery_mode: 1 transient, 2 persistent.
        buffer_group: groups whose events are collected, and sent as one list.
        buffer_limit: at most so many of them.
        on_send_buffered: called when one of them has been collected.

    Attributes:
        on_enabled, on_disabled: called, without arguments, by `enable` and `disable`.
    """

    DISABLED_TRANSPORTS = {"sql"}  # noqa: RUF012 - Celery's name, and its kind

    app: Any = None
    on_enabled: Any = None
    on_disabled: Any = None

    def __init__(
        self,
        connection: Any = None,
        hostname: str | None = None,
        enabled: bool = True,
        channel: Any = None,
        buffer_while_offline: bool = True,
        app: Any = None,
        serializer: str | None = None,
        groups: Iterable[str] | None = None,
        delivery_mode: int = 1,
        buffer_group: Iterable[str] | None = None,
        buffer_limit: int = 24,
        on_send_buffered: Callable[[], Any] | None = None,
    ) -> None:
        self.app = app or self.app or get_current_app()
        self.connection = connection
        self.channel = channel
        self.hostname = hostname or anon_nodename()
        self.buffer_while_offline = buffer_while_offline
        self.buffer_group = frozenset(buffer_group or ())
        self.buffer_limit = buffer_limit
        self.on_send_buffered = on_send_buffered
        self.mutex = threading.Lock()
        self.producer: Any = None
        self.serializer = serializer or self.app.conf.event_serializer
        self.on_enabled, self.on_disabled = set(), set()
        self.groups = set(groups or ())
        self.pid = os.getpid()
        self.headers = {"hostname": self.hostname}
        self.clock = self.app.clock
        self.delivery_mode = delivery_mode
        self.exchange: Any = None
        self._outbound_buffer: deque[tuple[Any, str]] = deque(maxlen=MOST)
        self._group_buffer: dict[str, list[Any]] = defaultdict(list)
        client = connection if channel is None else channel.connection.client
        self.enabled = enabled
        if client is not None:
            self.exchange = get_exchange(client, name=self.app.conf.event_exchange)
            if client.transport.driver_type in self.DISABLED_TRANSPORTS:
                self.enabled = False
        if self.enabled:
            self.enable()

    def __enter__(self) -> EventDispatcher:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def publisher(self) -> Any:
        """The kombu producer in use; None if there is none."""
        return self.producer

    @publisher.setter
    def publisher(self, producer: Any) -> None:
        self.producer = producer

    def enable(self) -> None:
        """Send from now on."""
        if self.exchange is not None:
            from celery.brokers.kombu.objects import producer  # noqa: PLC0415 - kombu, which not all need

            self.producer = producer(self.channel or self.connection, self.exchange, self.serializer)
        self.enabled = True
        for callback in list(self.on_enabled):
            callback()

    def disable(self) -> None:
        """Send nothing from now on."""
        if self.enabled:
            self.enabled = False
            self.close()
            for callback in list(self.on_disabled):
                callback()

    def send(
        self,
        type: str,  # noqa: A002 - Celery's name
        blind: bool = False,
        utcoffset: Callable[[], float] = _UTC_OFFSET,
        retry: bool = False,
        retry_policy: Mapping[str, Any] | None = None,
        Event: Callable[..., dict[str, Any]] = _EVENT,  # noqa: N803, RUF100 - as above
        **fields: Any,
    ) -> None:
        """Send an event, unless this dispatcher is disabled or sends other groups only.

        Args:
            type: as `task-progress`; what is before the first dash is its group.
            blind: leave the clock as it is, and out of the event.
            retry, retry_policy: try again if the broker cannot be reached.

        Raises:
            OperationalError: it could not be sent, and `buffer_while_offline` is False.
        """
        if not self.enabled:
            return
        group = group_from(type)
        if self.groups and group not in self.groups:
            return
        if group not in self.buffer_group:
            self.publish(
                type,
                fields,
                self.producer,
                blind=blind,
                Event=Event,
                utcoffset=utcoffset,
                retry=retry,
                retry_policy=retry_policy,
            )
            return
        event = self._made(type, fields, blind, utcoffset, Event)
        collected = self._group_buffer[group]
        collected.append(event)
        if len(collected) >= self.buffer_limit:
            self.flush()
        elif self.on_send_buffered is not None:
            self.on_send_buffered()

    def publish(
        self,
        type: str,  # noqa: A002 - as above
        fields: Mapping[str, Any],
        producer: Any,
        blind: bool = False,
        Event: Callable[..., dict[str, Any]] = _EVENT,  # noqa: N803, RUF100 - as above
        **kwargs: Any,
    ) -> None:
        """Send an event, whether or not this dispatcher is enabled.

        Args:
            producer: a kombu producer; None: as the app sends its tasks.
        """
        event = self._made(type, fields, blind, kwargs.pop("utcoffset", _UTC_OFFSET), Event)
        with self.mutex:
            self._publish(event, routing_key_of(type), producer, **kwargs)

    def _made(
        self,
        type: str,  # noqa: A002 - as above
        fields: Mapping[str, Any],
        blind: bool,
        utcoffset: Callable[[], float],
        Event: Callable[..., dict[str, Any]],  # noqa: N803, RUF100 - as above
    ) -> dict[str, Any]:
        common: dict[str, Any] = {"hostname": self.hostname, "utcoffset": utcoffset(), "pid": self.pid}
        common["clock"] = None if blind else self.clock.forward()
        return Event(type, {**common, **fields})

    def _publish(
        self,
        event: Any,
        routing_key: str,
        producer: Any,
        *,
        retry: bool = False,
        retry_policy: Mapping[str, Any] | None = None,
    ) -> None:
        way: Way = OwnWay(self) if producer is None else KombuWay(self, producer)
        try:
            way.publish(event, routing_key, retry=retry, retry_policy=retry_policy)
        except Exception:
            if not self.buffer_while_offline:
                raise
            self._outbound_buffer.append((event, routing_key))

    def flush(self, errors: bool = True, groups: bool = True) -> None:
        """Send what was kept (`errors`) and collected (`groups`).

        Raises:
            OperationalError: as `send`.
        """
        if errors:
            kept = list(self._outbound_buffer)
            self._outbound_buffer.clear()
            with self.mutex:
                for event, routing_key in kept:
                    self._publish(event, routing_key, self.producer)
        if groups:
            with self.mutex:
                for group, collected in self._group_buffer.items():
                    if collected:
                        events, collected[:] = list(collected), []
                        self._publish(events, f"{group}.multi", self.producer)

    def extend_buffer(self, other: EventDispatcher) -> None:
        """Take over what another dispatcher has kept."""
        self._outbound_buffer.extend(other._outbound_buffer)

    def close(self) -> None:
        """Use the producer no more; what was collected is sent first."""
        if any(self._group_buffer.values()):
            self.flush(errors=False)
        self.producer = None
