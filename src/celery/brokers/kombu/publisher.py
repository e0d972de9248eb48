"""Sending through a kombu transport, from any thread and after a fork."""

# kombu is typed in parts only.
# mypy: disable-error-code="no-untyped-call,attr-defined,assignment,union-attr,misc,arg-type,no-any-return"

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any

from kombu.transport import virtual

from celery.brokers.base import BrokerError, BrokerUnavailable, Unroutable

from .conversion import publish_arguments
from .links import busy, explained

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery.brokers.base import Outgoing

    from .links import Link, LinkPool


class KombuPublisher:
    """See `Publisher`. Each thread that sends at the same time has a connection, up to `broker_pool_limit`."""

    def __init__(self, pool: LinkPool) -> None:
        self._pool = pool

    def publish(self, batch: Sequence[Outgoing], *, deadline: float) -> list[BrokerError | None]:
        """See `Publisher.publish`. Messages go one by one, in order; after a failure none of the rest is sent."""
        outcomes: list[BrokerError | None] = []
        while len(outcomes) < len(batch):
            try:
                with self._pool.borrow(deadline) as link:
                    for outgoing in batch[len(outcomes) :]:
                        outcome = self._send(link, outgoing)
                        outcomes.append(outcome)
            except Exception as error:
                if busy(error) and time.monotonic() < deadline:
                    time.sleep(random.uniform(0.001, 0.02))
                    continue
                failure = explained(self._pool.url, error)
                if not outcomes or not isinstance(failure, BrokerUnavailable):
                    raise failure from error
                outcomes += [failure] * (len(batch) - len(outcomes))
        return outcomes

    def _send(self, link: Link, outgoing: Outgoing) -> BrokerError | None:
        for queue in outgoing.declare:
            self._pool.known[queue.name] = queue
        link.declare(outgoing.declare)
        if outgoing.exchange and not self._routed(link, outgoing):
            return _unroutable(outgoing) if outgoing.mandatory else None
        link.producer.publish(**publish_arguments(outgoing))
        return None

    def _routed(self, link: Link, outgoing: Outgoing) -> bool:
        """Whether any queue gets it. kombu's virtual transports make up a queue if none does."""
        if _has_route(link.channel, outgoing):
            return True
        if link.keeps_bindings:
            return False
        link.declare(list(self._pool.known.values()))
        return _has_route(link.channel, outgoing)

    async def apublish(self, batch: Sequence[Outgoing], *, deadline: float) -> list[BrokerError | None]:
        """See `Publisher.apublish`; it is done on a thread."""
        return await asyncio.to_thread(self.publish, batch, deadline=deadline)

    def close(self) -> None:
        """See `Publisher.close`. The connections are the broker's."""


def _has_route(channel: Any, outgoing: Outgoing) -> bool:
    if not isinstance(channel, virtual.Channel):
        return True
    try:
        table = channel.get_table(outgoing.exchange)
        kind = channel.typeof(outgoing.exchange)
    except KeyError:  # nobody has declared it
        return False
    if kind.type == "fanout":
        return bool(table)
    return bool(kind.lookup(table, outgoing.exchange, outgoing.routing_key, None))


def _unroutable(outgoing: Outgoing) -> Unroutable:
    return Unroutable(
        f"The message was refused: no queue is bound to exchange {outgoing.exchange!r} for routing key "
        f"{outgoing.routing_key!r}. Declare the queue, or start a worker that consumes it."
    )
