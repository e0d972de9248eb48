"""A `Broker` over any transport of kombu: what has no driver of its own is served through it.

Delivery is as safe as the transport: `Capabilities` says what it can do. Whatever it cannot, the adapter does not
pretend. Not-due messages wait in the worker that received them (at most `worker_eta_task_limit` or 10,000, more go
back into the queue), dead letters in a queue `celery.dead` of the same transport.
"""

from __future__ import annotations

import time
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from celery.brokers.base import BrokerRefused, Capabilities
from celery.brokers.publishing import mask
from celery.brokers.topology import Queue

from . import dead
from .links import LinkPool, keeps_bindings, transport_class
from .mailbox import KombuMailbox
from .publisher import KombuPublisher

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery.brokers.base import BrokerOptions, DeadLetter
    from celery.brokers.topology import Exchange

    from .consumer import KombuConsumer
    from .links import Link

#: Transports (by `driver_type`) that offer again what was taken and not acknowledged, after their own time.
RECOVERING = frozenset(
    (
        "filesystem",
        "sqs",
        "pgmq",
        "gcpubsub",
        "azureservicebus",
        "azurestoragequeues",
        "kafka",
        "confluentkafka",
        "qpid",
        "amqp",
    )
)
#: Transports with priorities, 0 the most urgent (as all of kombu's virtual ones).
PRIORITIES = frozenset(("mongodb", "zookeeper", "redis"))
#: Transports that live in one process.
PRIVATE = frozenset(("memory",))
#: Seconds that an operator's question may take if `task_publish_timeout` is None.
PATIENCE = 60.0


class KombuBroker:
    """The `Broker` of a URL that kombu has a transport for.

    Raises:
        ImportError: a package that the transport needs is missing.
        BrokerRefused: the URL makes no sense.
    """

    def __init__(self, url: str, options: BrokerOptions) -> None:
        self.url = url
        self._options = options
        self._transport: Any = transport_class(options.urls[0], options)
        self._pool = LinkPool(options)

    @cached_property
    def capabilities(self) -> Capabilities:
        """See `Capabilities`; read off the transport."""
        kind = str(self._transport.driver_type)
        fanout: Any = getattr(self._transport.Channel, "supports_fanout", True)
        if not isinstance(fanout, bool):  # asked for by an option
            fanout = bool(self._options.transport_options.get("supports_fanout", False))
        return Capabilities(
            priorities=kind in PRIORITIES,
            highest_priority_first=False,
            due=False,
            fanout=fanout,
            shared=kind not in PRIVATE,
            ordered=False,
            names_queues=False,
            counts_parked=False,
            recovers=kind in RECOVERING,
            leases=False,
            topics=False,
            bindings=keeps_bindings(self._transport),
        )

    def publisher(self) -> KombuPublisher:
        """See `Broker.publisher`."""
        return KombuPublisher(self._pool)

    def consumer(self, worker_id: str, *, guarded: bool = False) -> KombuConsumer:
        """See `Broker.consumer`; there is no lease to guard."""
        del guarded
        from .consumer import KombuConsumer  # noqa: PLC0415 - only workers need it

        return KombuConsumer(self._pool, self._options, worker_id)

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
    ) -> KombuMailbox:
        """See `Broker.mailbox`.

        Raises:
            BrokerRefused: the transport has no fanout.
        """
        if not self.capabilities.fanout:
            raise BrokerRefused(f"{mask(self.url)} has no fanout: control commands and events need it.")
        made = KombuMailbox(
            self._pool,
            Queue(
                name,
                exchange,
                routing_key,
                durable=durable,
                exclusive=exclusive,
                auto_delete=not durable,
                no_ack=True,
                expires=expires,
                arguments={} if ttl is None else {"x-message-ttl": int(ttl * 1000)},
            ),
        )
        await made.open()
        return made

    def declare(self, queues: Sequence[Queue]) -> None:
        """See `Broker.declare`."""
        self._pool.known.update((queue.name, queue) for queue in queues)
        self._call(lambda link: link.declare(queues))

    def delete(self, queue: str) -> int:
        """See `Broker.delete`."""
        return int(self._call(partial(_delete, queue)))

    def size(self, queue: str) -> int:
        """See `Broker.size`; what workers have parked is not counted."""
        return int(self._call(lambda link: link.size(queue)))

    def purge(self, queue: str) -> int:
        """See `Broker.purge`."""
        return int(self._call(partial(_purge, queue)))

    def dead(self, queue: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """See `Broker.dead`."""
        found: list[DeadLetter] = self._call(lambda link: dead.dead(link, queue, limit, self._options))
        return found

    def revive(self, ids: Sequence[int]) -> int:
        """See `Broker.revive`."""
        return int(self._call(lambda link: dead.revive(link, ids, self._options)))

    def purge_dead(self, queue: str | None = None) -> int:
        """See `Broker.purge_dead`."""
        return int(self._call(lambda link: dead.purge(link, queue, self._options)))

    def close(self) -> None:
        """See `Broker.close`."""
        self._pool.close()

    def _call(self, work: Callable[[Link], Any]) -> Any:
        seconds = self._options.publish_timeout
        return self._pool.call(work, time.monotonic() + (PATIENCE if seconds is None else seconds))


def _delete(queue: str, link: Link) -> int:
    count = link.size(queue)
    link.channel.queue_delete(queue)
    link.forget(queue)
    return count


def _purge(queue: str, link: Link) -> int:
    count = link.channel.queue_purge(queue)
    return int(count or 0)
