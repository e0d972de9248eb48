"""The wire side of a consumer: what is out, what waits, what is to be said, and what the broker says.

All that is said in one round of the loop leaves in one write: cancelled grants, settlements, new grants.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from celery.brokers.base import BrokerError, BrokerUnavailable, Delivery
from celery.wire.amqp.connection import channel_error
from celery.wire.amqp.frames import Command, Message, method

from .acks import Acks
from .errors import refused
from .flow import Grant, Tap, plan
from .holds import Holds
from .incoming import Incoming, Receipt
from .link import SENDING
from .moves import Moves
from .records import Records
from .requests import declare_queue
from .sender import Fate, Sender

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.brokers.base import Intake
    from celery.brokers.topology import Queue

    from .nodes import Nodes
    from .session import Session

logger = logging.getLogger(__name__)

#: Seconds that a message waits here without room for it before it goes back: an idle worker may have room.
STALL = 0.5
#: Seconds between attempts to have a queue back that was deleted.
AGAIN = 1.0


class Line:
    """Base of the consumer; `moves` and `records` work on it.

    Args:
        lease: seconds after which a worker that was cut off counts as dead (for what it had begun).
    """

    def __init__(self, nodes: Nodes, worker_id: str, *, lease: float) -> None:
        self._nodes = nodes
        self._queues: dict[str, Queue] = {}
        self._taps: dict[str, Tap] = {}
        self._window = 0
        self._shown = 0  # delivered to the worker, neither settled nor begun
        self._naps = 0  # parked for less than a second, here
        self._waiting: deque[Delivery] = deque()  # received, and no room for them
        self._intake: Intake | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: Session | None = None
        self._epoch = 0
        self._out: list[bytes] = []
        self._acks = Acks(SENDING)
        self._sender = Sender(4096)
        self._pending = 0
        self._calm: asyncio.Event | None = None
        self._soon = False
        self._syncs: deque[asyncio.Future[None]] = deque()
        self._awaited: set[asyncio.Future[None]] = set()  # confirmations of records
        self._errands: set[asyncio.Task[None]] = set()
        self._stall: asyncio.TimerHandle | None = None
        self._stopped = False
        self._incoming = Incoming(self._taps, self._queues)
        self._moves = Moves(self)
        self._records = Records(self, worker_id, lease)
        self._holds = Holds(self, worker_id, lease)

    # -- what the helpers use

    @property
    def nodes(self) -> Nodes:
        return self._nodes

    @property
    def session(self) -> Session | None:
        """The open connection; None while there is none."""
        session = self._session
        return session if session is not None and session.open else None

    @property
    def intake(self) -> Intake:
        assert self._intake is not None
        return self._intake

    @property
    def epoch(self) -> int:
        """Counts connections, and their losses."""
        return self._epoch

    @property
    def incoming(self) -> Incoming:
        return self._incoming

    @property
    def queues(self) -> dict[str, Queue]:
        """The queues consumed, by name."""
        return self._queues

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        assert self._loop is not None
        return self._loop

    def say(self, data: bytes) -> None:
        """Have this sent with the rest of this round."""
        self._out.append(data)
        self._look_soon()

    def publish(
        self, exchange: str, key: str, properties: bytes, body: bytes, then: Callable[[Any], None]
    ) -> None:
        """Publish on the consumer's channel; `then` gets the message's `Fate`
        (and is not called if the link is lost before)."""
        self._pending += 1
        epoch = self._epoch

        def settled(fate: Any) -> None:
            if epoch == self._epoch:
                self._pending -= 1
                self._check_calm()
                then(fate)

        self.say(self._sender.publish(exchange, key, properties, body, settled))

    def spawn(self, coroutine: Any, *, counted: bool = True) -> None:
        """Run something beside; a lost connection is no error of it.

        Args:
            counted: `flush` waits for it.
        """
        epoch = self._epoch
        self._pending += counted

        async def run() -> None:
            try:
                await coroutine
            except BrokerError as error:
                logger.debug("left undone: %s", error)
            except Exception as error:  # noqa: BLE001 - the worker must hear of it
                self.intake.broken(error)
            finally:
                if counted and epoch == self._epoch:
                    self._pending -= 1
                self._check_calm()

        task = self.loop.create_task(run())
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    def _check_calm(self) -> None:
        if not self._pending and self._calm is not None:
            self._calm.set()

    def done(self, receipt: Receipt) -> None:
        """Acknowledge for good what was received with this receipt."""
        if receipt.epoch == self._epoch:
            self._acks.ack(receipt.tag)
            self._leave(receipt)

    def ended(self, receipt: Receipt) -> None:
        """A begun message is settled."""
        self._records.ended(receipt)

    def back(self, receipt: Receipt) -> None:
        """Give it back to the broker as it is."""
        if receipt.epoch == self._epoch:
            self._acks.give_back(receipt.tag)
            self._leave(receipt)

    def _leave(self, receipt: Receipt) -> None:
        if receipt.held:
            self._holds.out -= 1
        tap = receipt.tap
        if tap is not None and tap.out:
            tap.out -= 1
            grant = receipt.grant
            if grant is not None:
                grant.out -= 1
                if not (grant.out or grant.live):
                    self._incoming.forget(grant)
        self._look_soon()

    def take_in(self, delivery: Delivery) -> None:
        """Hand it on when there is room."""
        self._waiting.append(delivery)
        self._look_soon()

    def show_again(self, delivery: Delivery) -> None:
        """Deliver once more what was parked here for less than a second."""
        self._naps -= 1
        if delivery.receipt.epoch == self._epoch:
            self._waiting.append(delivery)
            self._look_soon()

    async def offer_again(self, delivery: Delivery) -> Fate:
        """Publish a message back into its queue that the broker has forgotten; what became of that."""
        return await self._moves.offer_again(delivery, delivery.receipt)

    def nap(self) -> None:
        """One more message waits here for its second to pass."""
        self._naps += 1

    def _clear(self) -> None:
        self._epoch += 1
        self._out.clear()
        self._waiting.clear()
        self._shown = self._pending = 0
        for tap in self._taps.values():
            tap.drop()
        self._taps.clear()
        for errand in self._errands:
            errand.cancel()
        for future in (*self._syncs, *self._awaited):
            if not future.done():
                future.set_result(None)
        self._syncs.clear()
        self._check_calm()

    async def _settled(self) -> None:
        """Return when nothing waits for a confirmation any more."""
        assert self._calm is not None
        self._look()
        while self._pending:
            self._calm.clear()
            await self._calm.wait()
            self._look()

    async def _synchronized(self) -> None:
        """Return when the broker's queues have carried out all that was said on our channel."""
        waiting = []
        for name, queue in self._queues.items():
            if name in self._taps and self._taps[name].ready:
                (*_, request) = (r for r in declare_queue(queue) if r.method == "queue.declare")
                future: asyncio.Future[None] = self.loop.create_future()
                self._syncs.append(future)
                waiting.append(future)
                self.say(method(SENDING, request.method, **request.values))
        self._look()
        for future in waiting:
            await future

    # -- what the broker says

    def _on_events(self, events: list[Command | Message]) -> None:
        try:
            for event in events:
                if isinstance(event, Message):
                    self._on_message(event)
                else:
                    self._on_command(event)
            if self._waiting:
                self._show()
            self._look_soon()
        except Exception as error:  # noqa: BLE001 - better a dead worker than a deaf one
            self.intake.broken(error)

    def _on_message(self, message: Message) -> None:
        if message.values is not None:
            self._sender.on_return(message)
            return
        self._acks.received(message.delivery_tag)
        if message.consumer_tag not in self._incoming.grants and (
            self._records.is_theirs(message) or self._holds.is_ours(message)
        ):
            return
        delivery = self._incoming.delivery(message)
        if self._holds.wants(delivery):
            self._holds.hold(delivery)
        else:
            self._waiting.append(delivery)

    def _on_command(self, event: Command) -> None:
        name = event.name
        if name in ("basic.ack", "basic.nack"):
            self._sender.on_confirm(event)
        elif name == "queue.declare-ok":
            if self._syncs:
                sync = self._syncs.popleft()
                if not sync.done():
                    sync.set_result(None)
        elif name == "basic.cancel":
            self._on_cancelled(event.values["consumer_tag"])
        elif name == "channel.close":
            session = self._session
            if session is not None:
                session.abort(
                    refused(session.endpoint, channel_error(event), "the broker closed the channel")
                )

    def _on_cancelled(self, tag: str) -> None:
        """The broker takes a consumer away: its queue was deleted, or moved."""
        name = tag.rpartition("#")[0]
        tap = self._taps.get(name)
        if tap is None or not tap.ready:
            return
        logger.warning("Queue %r is gone (deleted, or moved to another node): it is declared again", name)
        tap.drop()
        tap.ready = False
        self.spawn(self._restore(name))

    async def _restore(self, name: str) -> None:
        """Declare a queue that went away, and let it flow again."""
        while not self._stopped:
            session, queue, tap = self.session, self._queues.get(name), self._taps.get(name)
            if session is None or queue is None or tap is None:
                return
            try:
                for request in declare_queue(queue):
                    await session.carry_out(request)
            except BrokerUnavailable:
                return  # the connection is lost: it is declared when there is another one
            except BrokerError as error:
                logger.error("Queue %r cannot be declared again: %s", name, error)
                await asyncio.sleep(AGAIN)
            else:
                tap.ready, tap.out = True, 0
                self._look_soon()
                return

    # -- once a round of the loop

    def _look_soon(self) -> None:
        if not self._soon and self._loop is not None:
            self._soon = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        """Say everything that is to be said."""
        self._soon = False
        session = self._session
        if session is None or not session.open:
            return
        if self._waiting and self._shown < self._window:
            self._show()
        taps = list(self._taps.values())
        made = plan(taps, self._window + self._naps - self._holds.out) if taps else None
        parts: list[bytes] = []
        if made is not None and made.cancel:
            parts += [self._cancel(grant) for grant in made.cancel]
        if self._out:
            parts += self._out
            self._out = []
        parts.append(self._acks.flush())
        if made is not None:
            for tap, grant in made.grant:
                parts.append(self._consume(tap.name, grant.tag, grant.limit))
                self._incoming.granted(tap, grant)
        data = b"".join(parts)
        if data:
            session.write(data)

    def _cancel(self, grant: Grant) -> bytes:
        if not grant.out:
            self._incoming.forget(grant)
        return method(SENDING, "basic.cancel", consumer_tag=grant.tag, nowait=True)

    def _consume(self, queue: str, tag: str, limit: int) -> bytes:
        known = self._queues.get(queue)
        return method(SENDING, "basic.qos", prefetch_count=limit) + method(
            SENDING,
            "basic.consume",
            queue=queue,
            consumer_tag=tag,
            nowait=True,
            arguments=dict(known.consumer_arguments) if known is not None else {},
        )

    def _show(self) -> None:
        """Hand on what there is room for."""
        waiting = self._waiting
        batch: list[Delivery] = []
        while waiting and self._shown < self._window:
            delivery = waiting.popleft()
            if delivery.receipt is not None and delivery.receipt.epoch == self._epoch:
                self._shown += 1
                batch.append(delivery)
        if batch:
            self.intake.delivered(batch)
        if waiting and self._stall is None:
            self._stall = self.loop.call_later(STALL, self._give_back_stalled)

    def _give_back_stalled(self) -> None:
        self._stall = None
        if self._shown < self._window:
            return
        waiting, self._waiting = self._waiting, deque()
        for delivery in waiting:
            receipt = delivery.receipt
            if receipt is not None and receipt.epoch == self._epoch:
                self._moves.requeue(delivery, receipt, front=True, count=False)
