"""Moving a received message elsewhere: back into its queue, into the delay exchanges, among the dead letters.

Wherever the broker cannot do it by itself the message is published anew, and only when that is confirmed is
the old one acknowledged.
"""

from __future__ import annotations

import copy
import random
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from celery.brokers.delaying import is_quorum
from celery.brokers.topology import Queue
from celery.wire.amqp.errors import Closed

from . import delays
from .messages import (
    ANNOUNCED,
    BROKERS_COUNT,
    DEAD_ID,
    DEATHS,
    DELIVERIES,
    DIED_AT,
    ORIGIN,
    REASON,
    with_headers,
)
from .requests import Request, queue_itself

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from celery.brokers.base import BrokerOptions, Delivery

    from .incoming import Receipt
    from .line import Line
    from .sender import Fate
    from .session import Session

#: The broker drops a message that it has handed out too often (20 times, by default, from RabbitMQ 4 on).
_BROKERS_LIMIT = 15
_COUNTED = frozenset({BROKERS_COUNT})


def dead_queue(queue: Queue, options: BrokerOptions) -> Request:
    """Declares the queue for the dead letters of a queue. One with other limits stays as it is."""
    arguments: dict[str, Any] = {
        "x-max-length": options.dead_letter_limit,
        "x-message-ttl": int(options.dead_letter_ttl * 1000),
    }
    if is_quorum(queue):
        arguments["x-queue-type"] = "quorum"
    return queue_itself(Queue(dead_name(queue.name), arguments=arguments))._replace(tolerant=True)


def dead_name(queue: str) -> str:
    """Where the dead letters of a queue are."""
    return f"{queue}.dead"


class Moves:
    """Does it, for one consumer."""

    def __init__(self, link: Line) -> None:
        self._link = link
        self._session: Session | None = None
        self._homes: set[str] = set()
        self._graves: set[str] = set()
        #: Begun messages that are to go elsewhere, until the broker has confirmed that they are there.
        self._owed: dict[Receipt, Callable[[], None]] = {}

    def connected(self) -> None:
        """Do, on a new connection, what the last one did not come to."""
        for move in list(self._owed.values()):
            move()

    def forget(self) -> None:
        """What was begun is somebody else's."""
        self._owed.clear()

    def _owe(self, receipt: Receipt, move: Callable[[], None]) -> None:
        """What was begun outlives a connection, so what is to become of it does, too."""
        if receipt.record is not None:
            self._owed[receipt] = move
        move()

    def _known(self, session: Session) -> None:
        """Forget what was declared through another connection."""
        if session is not self._session:
            self._session = session
            self._homes.clear()
            self._graves.clear()

    # -- back

    def requeue(self, delivery: Delivery, receipt: Receipt, *, front: bool, count: bool) -> None:
        """See `Consumer.requeue`.

        A classic queue marks a message that comes back, but does not count how often; a quorum queue counts, also what
        should not be. Where its own way would count wrong, the message is published anew, with the count in a
        header. That costs its place in the queue.
        """
        if front and self._broker_counts_right(delivery, receipt, count):
            self._link.back(receipt)
            return
        deliveries = delivery.deliveries if count else delivery.deliveries - 1
        self._publish_again(delivery, receipt, deliveries)

    def _broker_counts_right(self, delivery: Delivery, receipt: Receipt, count: bool) -> bool:
        if receipt.held:
            return False  # it would come back to this worker
        queue = self._link.queues.get(delivery.queue)
        if queue is not None and is_quorum(queue):
            return not receipt.exhausted or (count and delivery.deliveries - receipt.counted < _BROKERS_LIMIT)
        if count:
            return not receipt.exhausted
        # The mark counts what should not be counted: once, no more.
        return receipt.exhausted or not receipt.counted

    def _publish_again(self, delivery: Delivery, receipt: Receipt, deliveries: int) -> None:
        self._move("", delivery.queue, _counted(delivery, receipt, deliveries), delivery, receipt)

    async def offer_again(self, delivery: Delivery, receipt: Receipt) -> Fate:
        """Publish a message back into its queue that the broker has forgotten; what became of that."""
        properties = _counted(delivery, receipt, delivery.deliveries)
        return await self._sent("", delivery.queue, properties, delivery.body)

    def send_back(self, delivery: Delivery, receipt: Receipt) -> None:
        """Offer a begun message again."""
        self._owe(receipt, partial(self._publish_again, delivery, receipt, delivery.deliveries))

    def _move(self, exchange: str, key: str, properties: bytes, delivery: Delivery, receipt: Receipt) -> None:
        link = self._link

        def then(fate: Any) -> None:
            if fate.good:
                self._finish(receipt)
                return
            # Where it should have gone may have been deleted: declare that anew when it comes again.
            self._homes.clear()
            self._graves.clear()
            if receipt.record is None and receipt.tag:
                link.back(receipt)

        link.publish(exchange, key, properties, delivery.body, then)

    # -- later

    async def prepare(self, session: Session, queues: Iterable[Queue]) -> None:
        """Declare the delay exchanges, and the way from them into these queues, as stock Celery's workers do."""
        self._known(session)
        for request in delays.ladder(self._link.nodes.options.delayed_queue_type):
            await session.carry_out(request)
        for queue in queues:
            for request in (*delays.way_out(queue), delays.way_home(queue.name)):
                await session.carry_out(request)
            self._homes.add(queue.name)

    def park(self, delivery: Delivery, receipt: Receipt, due: float) -> None:
        """See `Consumer.park`. The last second is waited for here."""
        left = due - time.time()
        if left < 1.0:
            again = copy.copy(delivery)
            again.receipt = receipt
            self._link.nap()
            self._link.loop.call_later(max(left, 0.0), self._link.show_again, again)
            return
        session = self._link.session
        if session is not None:
            self._known(session)
            if delivery.queue in self._homes:
                self._climb(delivery, receipt, due)
            else:
                self._link.spawn(self._prepare_and_climb(session, delivery, receipt, due))

    async def _prepare_and_climb(
        self, session: Session, delivery: Delivery, receipt: Receipt, due: float
    ) -> None:
        queue = self._link.queues.get(delivery.queue) or Queue(delivery.queue)
        if delivery.queue not in self._homes:
            await self.prepare(session, [queue])
        if session is self._link.session:
            self._climb(delivery, receipt, due)

    def _climb(self, delivery: Delivery, receipt: Receipt, due: float) -> None:
        seconds = max(int(due - time.time()), 0)
        exchange, key = delays.entry(seconds, delays.home(delivery.queue))
        properties = with_headers(
            receipt.properties,
            drop=DEATHS | _COUNTED,
            headers={
                DELIVERIES: delivery.deliveries - 1,
                ORIGIN: [delivery.exchange, delivery.routing_key],
                **({ANNOUNCED: True} if delivery.announced else {}),
            },
            # The broker would take the shorter one of this and the delay; workers look at the header.
            expiration=None,
        )
        self._move(exchange, key, properties, delivery, receipt)

    # -- aside

    def bury(self, delivery: Delivery, receipt: Receipt, reason: str) -> None:
        """See `Consumer.bury`: to the dead-letter exchange that the queue was declared with, else to `<queue>.dead`."""
        self._owe(receipt, partial(self._bury_soon, delivery, receipt, reason))

    def _bury_soon(self, delivery: Delivery, receipt: Receipt, reason: str) -> None:
        session = self._link.session
        if session is not None:
            self._known(session)
            self._link.spawn(self._bury(session, delivery, receipt, reason))

    async def _bury(self, session: Session, delivery: Delivery, receipt: Receipt, reason: str) -> None:
        queue = self._link.queues.get(delivery.queue) or Queue(delivery.queue)
        properties = with_headers(
            receipt.properties,
            drop=_COUNTED | {ANNOUNCED},
            headers={
                REASON: reason[:10_000],
                DIED_AT: time.time(),
                DEAD_ID: random.getrandbits(53),
                ORIGIN: [delivery.exchange, delivery.routing_key],
            },
            expiration=None,
        )
        exchange = queue.arguments.get("x-dead-letter-exchange")
        if exchange is not None and (not exchange or await _exists(session, exchange)):
            key = queue.arguments.get("x-dead-letter-routing-key", delivery.routing_key)
            fate = await self._sent(str(exchange), str(key), properties, delivery.body)
            if fate.good:
                self._finish(receipt)
                return
        name = dead_name(delivery.queue)
        if name not in self._graves:
            await session.carry_out(dead_queue(queue, self._link.nodes.options))
            self._graves.add(name)
        if session is self._link.session:
            self._move("", name, properties, delivery, receipt)

    async def _sent(self, exchange: str, key: str, properties: bytes, body: bytes) -> Fate:
        future: asyncio.Future[Fate] = self._link.loop.create_future()

        def then(fate: Fate) -> None:
            if not future.done():
                future.set_result(fate)

        self._link.publish(exchange, key, properties, body, then)
        return await future

    def _finish(self, receipt: Receipt) -> None:
        """The message is elsewhere now. What was begun ends only here: until then its record stands for it."""
        if receipt.record is not None:
            if self._owed.pop(receipt, None) is not None:
                self._link.ended(receipt)
        elif receipt.tag:
            self._link.done(receipt)


def _counted(delivery: Delivery, receipt: Receipt, deliveries: int) -> bytes:
    headers = {DELIVERIES: deliveries, ORIGIN: [delivery.exchange, delivery.routing_key]}
    return with_headers(receipt.properties, drop=_COUNTED, headers=headers)


async def _exists(session: Session, exchange: str) -> bool:
    try:
        await session.ask("exchange.declare", exchange=exchange, type="direct", passive=True)
    except Closed:
        return False
    return True
