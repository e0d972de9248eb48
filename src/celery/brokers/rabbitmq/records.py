"""What a worker has begun: kept in the broker until it has ended, so that survivors learn of it.

An early acknowledged message is gone from its queue. So before it is acknowledged, a *record* with a copy of it is
published into a queue of the worker's own, on the same channel: the broker carries out both in this order. The worker
gets the record back at once and leaves it unacknowledged until all of its tasks have ended.

    celeriac.begun.<worker>.<queue>    records; ready ones (their worker's connection died) expire after half a lease
      -> celeriac.lost.<queue>         where they go then; every worker that consumes <queue> listens
    celeriac.alive.<worker>            exclusive: it exists exactly as long as the worker's connection
    celeriac.mark.<worker>             one transient message: if it is gone, so is all that the broker knew of records

Whoever gets a lost record waits for another half lease, so that a worker that was only cut off can come back, and asks whether
its `alive` queue exists. If so the record goes back to its worker; if not its tasks are orphans. Records are
transient: they guard against a worker's death. If the broker restarts, the worker writes those that are open
again, however long that took: nobody else can have looked into them.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Any

import msgspec

from celery.brokers.base import BrokerError
from celery.brokers.topology import Queue
from celery.wire.amqp import values
from celery.wire.amqp.errors import RESOURCE_LOCKED, Closed
from celery.wire.amqp.frames import Command, Message, method
from celery.wire.amqp.spec import DELIVER

from .incoming import Receipt
from .link import SENDING, consume
from .requests import Request, fitting, queue_itself

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery.brokers.base import Delivery

    from .line import Line
    from .session import Session

logger = logging.getLogger(__name__)

#: Seconds after which the broker deletes what a worker that is gone has left.
_LITTER = 600
#: Lost records that one worker looks into at a time.
_AT_ONCE = 100
#: Seconds between attempts to put something back into a queue that takes nothing.
_AGAIN = 1.0
_TRANSIENT = values.properties({"delivery_mode": 1})
_BEGUN = b"celeriac.begun."
_LOST = b"celeriac.lost."


class _Copy(msgspec.Struct, array_like=True):
    """One begun message."""

    exchange: str
    routing_key: str
    properties: bytes
    body: bytes
    deliveries: int


class _Paper(msgspec.Struct, array_like=True):
    """What a record says."""

    id: bytes
    worker: str
    begun: str
    queue: str
    copies: list[_Copy]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Paper).decode


class Record:
    """Some messages that were begun together.

    Attributes:
        paper: what the broker is told, copies of the messages included.
        queue: the one that they were in.
        open: how many of them have not ended.
        tags: deliveries of the record itself that are held, as (epoch, tag).
        void: the connection was lost before it was known whether they were begun.
        written: the broker has it; `news` ends the sleep of whoever waits for that.
    """

    __slots__ = ("news", "open", "paper", "queue", "tags", "void", "written")

    def __init__(self, paper: bytes, queue: str, count: int) -> None:
        self.paper = paper
        self.queue = queue
        self.open = count
        self.tags: list[Receipt] = []
        self.void = False
        self.written = False
        self.news: asyncio.Future[None] | None = None

    def confirmed(self, fate: Any) -> None:
        """The broker has it, or will not have it."""
        self.written = True
        if self.news is not None and not self.news.done():
            self.news.set_result(None)


class Records:
    """Those of one worker, and those of others that it finds lost.

    Attributes:
        restarted: when we connected last, the broker had forgotten us: nobody can have looked into our records.
    """

    def __init__(self, link: Line, worker_id: str, lease: float) -> None:
        self._link = link
        self._worker = worker_id
        self._lease = lease
        self._mine: dict[bytes, Record] = {}
        self._begun: set[str] = set()  # queues for which our record queue exists and is listened to
        self._heard: set[str] = set()  # queues whose lost records we listen for
        self._marked = False  # through this connection
        self.restarted = False

    def _record_queue(self, queue: str) -> str:
        return fitting(f"celeriac.begun.{self._worker}.{queue}")

    # -- queues

    async def announce(self, session: Session) -> None:
        """Declare what others know us by, on a new connection."""
        self._marked = False
        self._begun, begun = set(), self._begun
        self._heard = set()
        left = await session.carry_out(_mark_queue(self._worker))
        self.restarted = isinstance(left, Command) and not left.values["message_count"]
        self._link.loop.call_later(_LITTER / 2, self._keep_mark, session)
        try:
            await session.carry_out(
                queue_itself(Queue(_alive(self._worker), durable=False, exclusive=True, auto_delete=False))
            )
        except BrokerError as error:
            # The broker has not noticed yet that our last connection is gone: it stands for us until then.
            logger.debug("%s", error)
            self._link.loop.call_later(self._lease, self._announce_again, session)
        for name in self._link.queues:
            await session.carry_out(_lost_queue(name))
        for name in begun:
            await session.carry_out(self._declare_begun(name))
        self._begun = begun

    def _announce_again(self, session: Session) -> None:
        if self._link.session is session:
            self._link.spawn(
                session.carry_out(queue_itself(Queue(_alive(self._worker), durable=False, exclusive=True))),
                counted=False,
            )

    def _keep_mark(self, session: Session) -> None:
        """Declaring a queue is using it: it does not expire."""
        if self._link.session is session:
            self._link.spawn(session.carry_out(_mark_queue(self._worker)), counted=False)
            self._link.loop.call_later(_LITTER / 2, self._keep_mark, session)

    def _declare_begun(self, queue: str) -> Request:
        arguments = {
            "x-expires": _LITTER * 1000,
            "x-message-ttl": max(int(self._lease * 500), 1),
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": _lost(queue),
        }
        return queue_itself(Queue(self._record_queue(queue), arguments=arguments))._replace(tolerant=True)

    def connected(self) -> None:
        """Listen, on a new connection; and write open records again: the broker may have forgotten them."""
        for name in self._link.queues:
            self._listen(name)
        for name in self._begun:
            self._link.say(consume(self._record_queue(name), 0))
        for record in self._mine.values():
            record.tags.clear()
            if not record.void:
                self._write(record)

    async def listen(self, session: Session, queue: str) -> None:
        """One more queue is consumed."""
        await session.carry_out(_lost_queue(queue))
        self._listen(queue)

    def _listen(self, queue: str) -> None:
        self._heard.add(queue)
        self._link.say(consume(_lost(queue), _AT_ONCE))

    def ignore(self, queue: str) -> None:
        """A queue is not consumed any longer."""
        if queue in self._heard:
            self._heard.discard(queue)
            self._link.say(method(SENDING, "basic.cancel", consumer_tag=_lost(queue), nowait=True))

    async def ready(self, session: Session, queues: set[str]) -> None:
        """Return when records about messages of these queues can be written."""
        for name in queues - self._begun:
            await session.carry_out(self._declare_begun(name))
            if session is self._link.session and name not in self._begun:
                self._begun.add(name)
                self._link.say(consume(self._record_queue(name), 0))

    async def retire(self, session: Session) -> None:
        """Remove our queues, but those in which something is left for survivors."""
        left = {record.queue for record in self._mine.values()}
        for queue in (_mark(self._worker), *map(self._record_queue, self._begun - left)):
            try:
                await session.ask("queue.delete", queue=queue)
            except (Closed, BrokerError) as error:
                logger.debug("%s", error)
                return

    # -- our own

    def begin(self, deliveries: Sequence[Delivery]) -> list[Record]:
        """Write records about these."""
        by_queue: dict[str, list[Delivery]] = {}
        for delivery in deliveries:
            by_queue.setdefault(delivery.queue, []).append(delivery)
        made = []
        for queue, some in by_queue.items():
            number = os.urandom(12)
            copies = [
                _Copy(d.exchange, d.routing_key, d.receipt.properties, d.body, d.deliveries) for d in some
            ]
            paper = _encode(_Paper(number, self._worker, self._record_queue(queue), queue, copies))
            record = self._mine[number] = Record(paper, queue, len(some))
            for delivery in some:
                delivery.receipt.record = record
            self._write(record)
            made.append(record)
        return made

    def _write(self, record: Record) -> None:
        if not self._marked:
            # Not before there is something to mark: a connection that publishes stands still during a memory alarm.
            self._marked = True
            self._link.publish("", _mark(self._worker), _TRANSIENT, b"", _unconcerned)
        queue = self._record_queue(record.queue)
        self._link.publish("", queue, _TRANSIENT, record.paper, record.confirmed)

    def undo(self, made: list[Record]) -> None:
        """The connection was lost while these were being begun: whether they were is not known."""
        for record in made:
            record.void = True
            record.paper = b""  # it comes back with what it says, or never

    def ended(self, receipt: Receipt) -> None:
        """One of a record's messages is settled."""
        record = receipt.record
        assert record is not None
        record.open -= 1
        if record.open:
            return
        for tag in record.tags:
            self._link.done(tag)
        record.tags.clear()
        for number, known in self._mine.items():
            if known is record:
                del self._mine[number]
                break

    def forget(self) -> None:
        """All of them are somebody else's."""
        self._mine.clear()

    # -- what comes in

    def is_theirs(self, message: Message) -> bool:
        """Take a record that comes in; False if the message is none."""
        tag = message.consumer_tag
        if not tag.startswith((_BEGUN, _LOST)):
            return False
        held = Receipt(self._link.epoch, message.delivery_tag, b"", None, None)
        try:
            paper = _decode(message.body)
        except msgspec.DecodeError:
            logger.error("A message in %s is no record: it is dropped", tag.decode("utf-8", "replace"))
            self._link.done(held)
            return True
        if paper.worker == self._worker:
            self._came_back(paper, held)
        else:
            self._link.spawn(self._judge(paper, held), counted=False)
        return True

    def _came_back(self, paper: _Paper, held: Receipt) -> None:
        """Hold a record of our own until its tasks have ended."""
        record = self._mine.get(paper.id)
        if record is None:
            self._link.done(held)
        elif record.void:
            # They never ran here; the broker had taken the record, so it may have taken the acknowledgements.
            self._link.spawn(self._offer_again(paper, held, self._deliveries(paper, None)))
        else:
            record.tags.append(held)

    async def _offer_again(self, paper: _Paper, held: Receipt, left: list[Delivery]) -> None:
        """Hold the record until the broker has all of them: if the link is lost before, it comes back once more."""
        fates = await asyncio.gather(*map(self._link.offer_again, left))
        left = [delivery for delivery, fate in zip(left, fates, strict=True) if not fate.good]
        if left:
            logger.warning(
                "Queue %r takes no messages at present: %d wait to go back", paper.queue, len(left)
            )
            self._link.loop.call_later(_AGAIN, self._offer_once_more, paper, held, left)
            return
        self._mine.pop(paper.id, None)
        self._link.done(held)

    def _offer_once_more(self, paper: _Paper, held: Receipt, left: list[Delivery]) -> None:
        if held.epoch == self._link.epoch:
            self._link.spawn(self._offer_again(paper, held, left))

    async def _judge(self, paper: _Paper, held: Receipt) -> None:
        """Find out whether the worker of a lost record is dead."""
        await asyncio.sleep(self._lease / 2)
        session = self._link.session
        if session is None or held.epoch != self._link.epoch:
            return
        if await _is_alive(session, paper.worker):
            self._link.publish("", paper.begun, _TRANSIENT, _encode(paper), _unconcerned)
            self._link.done(held)
            return
        record = Record(b"", paper.queue, len(paper.copies))
        orphans = self._deliveries(paper, record)
        record.tags.append(held)
        if orphans:
            self._link.intake.orphaned(orphans)
        else:
            self._link.done(held)

    def _deliveries(self, paper: _Paper, record: Record | None) -> list[Delivery]:
        made = []
        for copy in paper.copies:
            message = Message(DELIVER, SENDING, b"", 0, 0)
            message.properties, message.body = copy.properties, copy.body
            receipt = Receipt(self._link.epoch, 0, copy.properties, None, None)
            delivery = self._link.incoming.made(message, paper.queue, receipt)
            delivery.exchange, delivery.routing_key = copy.exchange, copy.routing_key
            delivery.deliveries = copy.deliveries
            receipt.record = record
            made.append(delivery)
        return made


def _unconcerned(fate: Any) -> None:
    """Nobody waits for what becomes of it."""


def _alive(worker: str) -> str:
    return f"celeriac.alive.{worker}"


def _mark(worker: str) -> str:
    return fitting(f"celeriac.mark.{worker}")


def _mark_queue(worker: str) -> Request:
    arguments = {"x-expires": _LITTER * 1000, "x-max-length": 1}
    return queue_itself(Queue(_mark(worker), arguments=arguments))._replace(tolerant=True)


def _lost(queue: str) -> str:
    return fitting(f"celeriac.lost.{queue}")


def _lost_queue(queue: str) -> Request:
    arguments = {"x-expires": 7 * 86400 * 1000}
    return queue_itself(Queue(_lost(queue), arguments=arguments))._replace(tolerant=True)


async def _is_alive(session: Session, worker: str) -> bool:
    try:
        await session.ask("queue.declare", queue=_alive(worker), passive=True)
    except Closed as closed:
        return closed.code == RESOURCE_LOCKED
    return True
