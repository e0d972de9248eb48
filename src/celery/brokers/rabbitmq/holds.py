"""Messages of classic queues that come back: held in a queue of the worker's own, with their count.

RabbitMQ marks a message of a classic queue that comes back, but does not count how often, so one that kills its worker
would come back for ever. What comes back is therefore moved before it is handed on, with its count in a header:

    celeriac.held.<worker>.<queue>     ready ones (their worker's connection died) die back into <queue>

and acknowledged where it came from when that is confirmed. Whoever gets it then, a stock worker too, gets it from its own
queue.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery.brokers.base import BrokerRefused
from celery.brokers.delaying import is_quorum
from celery.brokers.topology import Queue

from .incoming import Receipt
from .link import consume
from .messages import BROKERS_COUNT, DEATHS, DELIVERIES, ORIGIN, with_headers
from .requests import Request, fitting, queue_itself

if TYPE_CHECKING:
    from celery.brokers.base import Delivery
    from celery.wire.amqp.frames import Message

    from .line import Line
    from .session import Session

logger = logging.getLogger(__name__)

#: Seconds after which the broker deletes what a worker that is gone has left; long after it has emptied itself.
_LITTER = 600.0
_HELD = b"celeriac.held."
_DROPPED = DEATHS | {BROKERS_COUNT}


class Holds:
    """Those of one worker.

    Attributes:
        out: messages that are held and not settled: they take up room in the window.
    """

    def __init__(self, link: Line, worker_id: str, lease: float) -> None:
        self._link = link
        self._worker = worker_id
        self._lease = lease
        self._made: dict[bytes, str] = {}  # names of held queues that exist and are listened to -> of what
        self._refused: set[str] = set()
        self._moving = 0  # published, and not confirmed
        self._arrived: list[Delivery] = []
        self.out = 0

    def _name(self, queue: str) -> str:
        return fitting(f"celeriac.held.{self._worker}.{queue}")

    # -- queues

    async def announce(self, session: Session) -> None:
        """Declare, on a new connection, what there was on the last one: something may be in there."""
        for queue in self._made.values():
            await session.carry_out(self._declare(queue))

    def connected(self) -> None:
        """Listen, on a new connection."""
        self.out = self._moving = 0
        self._arrived.clear()
        for queue in self._made.values():
            self._link.say(consume(self._name(queue), 0))

    def _declare(self, queue: str) -> Request:
        arguments = {
            "x-expires": int(max(_LITTER, 10 * self._lease) * 1000),
            "x-message-ttl": max(int(self._lease * 500), 1),
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": queue,
        }
        return queue_itself(Queue(self._name(queue), arguments=arguments))._replace(tolerant=True)

    # -- messages

    def wants(self, delivery: Delivery) -> bool:
        """Whether the broker's mark says no more than that it came back."""
        queue = self._link.queues.get(delivery.queue)
        return (
            delivery.receipt.exhausted
            and queue is not None
            and not is_quorum(queue)
            and delivery.queue not in self._refused
        )

    def hold(self, delivery: Delivery) -> None:
        """Move a message into our own queue, from where it comes in as a delivery."""
        session = self._link.session
        if self._name(delivery.queue).encode() in self._made:
            self._move(delivery)
        elif session is not None:
            self._link.spawn(self._prepare(session, delivery))

    async def _prepare(self, session: Session, delivery: Delivery) -> None:
        queue = delivery.queue
        try:
            await session.carry_out(self._declare(queue))
        except BrokerRefused as error:
            logger.warning("Deliveries of queue %r are not counted beyond two: %s", queue, error)
            self._refused.add(queue)
            self._link.take_in(delivery)
            return
        if session is self._link.session:
            name = self._name(queue)
            if name.encode() not in self._made:
                self._made[name.encode()] = queue
                self._link.say(consume(name, 0))
            self._move(delivery)

    def _move(self, delivery: Delivery) -> None:
        receipt: Receipt = delivery.receipt
        try:
            properties = with_headers(
                receipt.properties,
                drop=_DROPPED,
                headers={
                    DELIVERIES: delivery.deliveries,
                    ORIGIN: [delivery.exchange, delivery.routing_key],
                },
            )
        except ValueError:  # what cannot be read is set aside by the worker
            self._link.take_in(delivery)
            return

        def then(fate: Any) -> None:
            self._moving -= 1
            if fate.good:
                self._link.done(receipt)
            else:
                self._link.take_in(delivery)
            self._link.loop.call_soon(self._hand_on)  # after the round's acknowledgements were written

        self._moving += 1
        self._link.publish("", self._name(delivery.queue), properties, delivery.body, then)

    def is_ours(self, message: Message) -> bool:
        """Take a message out of one of our queues; False if it comes from somewhere else."""
        tag = message.consumer_tag
        queue = self._made.get(tag) if tag.startswith(_HELD) else None
        if queue is None:
            return False
        receipt = Receipt(self._link.epoch, message.delivery_tag, message.properties, None, None)
        receipt.held = True
        delivery = self._link.incoming.made(message, queue, receipt)
        # This delivery was counted when it was moved.
        delivery.deliveries, delivery.redelivered = max(receipt.counted, 1), True
        self.out += 1
        self._arrived.append(delivery)
        self._hand_on()
        return True

    def _hand_on(self) -> None:
        """Only when what was moved is acknowledged where it came from: it may end this worker at once."""
        if not self._moving:
            for delivery in self._arrived:
                self._link.take_in(delivery)
            self._arrived.clear()
