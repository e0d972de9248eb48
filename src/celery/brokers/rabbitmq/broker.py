"""The `Broker` of a RabbitMQ URL."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from celery.brokers.base import LEASE, Capabilities
from celery.brokers.topology import Queue
from celery.wire.amqp.frames import Command

from . import graves
from .desk import Desk
from .moves import dead_name
from .nodes import Nodes
from .publisher import RabbitPublisher
from .requests import bind, declare_exchange, declare_queue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery.brokers.base import BrokerOptions, DeadLetter
    from celery.brokers.topology import Exchange

    from .consumer import RabbitConsumer
    from .mailbox import RabbitMailbox
    from .replies import RabbitReplies


#: RabbitMQ's `consumer_timeout`, in seconds, if it is not configured. It cannot be asked for.
CONSUMER_TIMEOUT = 1800.0


class RabbitBroker:
    """The `Broker` of one or several RabbitMQ URLs.

    Raises:
        BrokerRefused: a URL makes no sense.
    """

    capabilities = Capabilities(
        due=False,
        delays_natively=True,
        counts_parked=False,
        lists_all_dead=False,
        held_at_most=CONSUMER_TIMEOUT,
        begins=3,
    )

    def __init__(self, url: str, options: BrokerOptions) -> None:
        self.url = url
        self._options = options
        self._nodes = Nodes(url, options)
        self._desk = Desk(self._nodes)
        self._lock = threading.Lock()
        self._publisher: RabbitPublisher | None = None
        self._known: dict[str, None] = {}

    def publisher(self) -> RabbitPublisher:
        """See `Broker.publisher`: all of a process share one."""
        publisher = self._publisher
        if publisher is None:
            with self._lock:
                publisher = self._publisher
                if publisher is None:
                    publisher = self._publisher = RabbitPublisher(self._nodes)
        return publisher

    def consumer(self, worker_id: str, *, guarded: bool = False) -> RabbitConsumer:
        """See `Broker.consumer`."""
        from . import mailbox  # noqa: F401, PLC0415 - a worker has one, too: its processes share what is loaded by now
        from .consumer import RabbitConsumer  # noqa: PLC0415 - asyncio is not for those who only send

        lease = float(self._options.transport_options.get("lease") or LEASE)
        return RabbitConsumer(self._nodes, worker_id, lease=lease, guarded=guarded)

    async def mailbox(
        self,
        name: str,
        exchange: Exchange,
        routing_key: str,
        *,
        expires: float,
        ttl: float | None = None,
        durable: bool = False,
        exclusive: bool = True,
    ) -> RabbitMailbox:
        """See `Broker.mailbox`."""
        from .mailbox import RabbitMailbox  # noqa: PLC0415 - as above

        box = RabbitMailbox(
            self._nodes,
            Queue(
                name,
                exchange,
                routing_key,
                durable=durable,
                exclusive=exclusive,
                auto_delete=not durable,
                expires=expires,
                arguments={} if ttl is None else {"x-message-ttl": int(ttl * 1000)},
            ),
        )
        await box.open()
        return box

    def replies(self, name: str, *, expires: float | None) -> RabbitReplies:
        """See `ReplyingBroker.replies`."""
        from .replies import RabbitReplies  # noqa: PLC0415 - only for those who wait for results

        return RabbitReplies(self._nodes, name, expires=expires)

    def declare(self, queues: Sequence[Queue]) -> None:
        """See `Broker.declare`."""
        self._known.update((queue.name, None) for queue in queues)
        self._desk.carry_out(*(request for queue in queues for request in declare_queue(queue)))

    def delete(self, queue: str) -> int:
        """See `Broker.delete`."""
        return _count(self._desk.ask("queue.delete", queue=queue))

    def size(self, queue: str) -> int:
        """See `Broker.size`: those that are ready; parked ones of all queues share the delay queues."""
        return _count(self._desk.ask("queue.declare", queue=queue, passive=True))

    def purge(self, queue: str) -> int:
        """See `Broker.purge`: as `size`, parked ones stay."""
        return _count(self._desk.ask("queue.purge", queue=queue))

    def dead(self, queue: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """See `Broker.dead`; None: those of the queues that were named to this broker."""
        if queue is not None:
            self._known[queue] = None
        return graves.dead(self._desk, list(self._known) if queue is None else [queue], limit)

    def revive(self, ids: Sequence[int]) -> int:
        """See `Broker.revive`: of the queues that were named to this broker."""
        deadline = time.monotonic() + (self._options.publish_timeout or 30.0)
        return graves.revive(self._nodes, list(self._known), ids, deadline)

    def purge_dead(self, queue: str | None = None) -> int:
        """See `Broker.purge_dead`; None: those of the queues that were named to this broker."""
        names = list(self._known) if queue is None else [queue]
        return sum(_count(self._desk.ask("queue.purge", queue=dead_name(name))) for name in names)

    def bind(self, queue: str, exchange: Exchange, routing_key: str) -> None:
        """Bind a queue that exists."""
        self._desk.carry_out(declare_exchange(exchange), bind(queue, exchange.name, routing_key))

    def unbind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Undo a binding."""
        self._desk.ask("queue.unbind", queue=queue, exchange=exchange, routing_key=routing_key)

    def has_queue(self, queue: str) -> bool:
        """Whether there is a queue of this name."""
        return self._desk.ask("queue.declare", queue=queue, passive=True) is not None

    def close(self) -> None:
        """See `Broker.close`."""
        with self._lock:
            publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.close()
        self._desk.close()


def _count(answer: object) -> int:
    return int(answer.values["message_count"]) if isinstance(answer, Command) else 0
