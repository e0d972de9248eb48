"""A worker's consumer: one connection, made again as often as it takes.

The connection is the lease. The broker gives what a dead connection held to others at once, so whatever was not settled
when a connection was lost is not this worker's any more (`Intake.fenced`). What was *begun* is: see `records`.

All that is said in one round of the loop leaves in one write: cancelled grants, settlements, new grants.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from celery.brokers.base import BrokerError, BrokerRefused, BrokerUnavailable, Delivery
from celery.net.backoff import Backoff
from celery.wire.amqp.connection import channel_error
from celery.wire.amqp.frames import Command, Message, method

from .acks import Acks
from .errors import refused
from .flow import Tap, plan
from .incoming import Incoming, Receipt
from .link import SENDING
from .moves import Moves
from .records import Records
from .requests import declare_queue, is_quorum
from .sender import Sender
from .session import Session, open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery.brokers.base import Intake
    from celery.brokers.topology import Queue

    from .nodes import Nodes

logger = logging.getLogger(__name__)

#: Seconds that a message waits here without room for it before it goes back: an idle worker may have room.
STALL = 0.5
#: Seconds between attempts to have a queue back that was deleted.
AGAIN = 1.0


class RabbitConsumer:
    """The `Consumer` of a RabbitMQ URL.

    Args:
        lease: seconds after which a worker that was cut off counts as dead (for what it had begun).
        guarded: tasks run in this process, so that a keeper must send heartbeats while one of them keeps all
            threads from running.
    """

    def __init__(self, nodes: Nodes, worker_id: str, *, lease: float, guarded: bool = False) -> None:
        self._nodes = nodes
        self._guarded = guarded
        self._worker_id = worker_id
        self._lease = lease
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
        self._errands: set[asyncio.Task[None]] = set()
        self._comeback: asyncio.Task[None] | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._stopped = False
        self._incoming = Incoming(self._taps, self._queues)
        self._moves = Moves(self)
        self._records = Records(self, worker_id, lease)

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

    def back(self, receipt: Receipt) -> None:
        """Give it back to the broker as it is."""
        if receipt.epoch == self._epoch:
            self._acks.give_back(receipt.tag)
            self._leave(receipt)

    def _leave(self, receipt: Receipt) -> None:
        tap = receipt.tap
        if tap is not None and tap.out:
            tap.out -= 1
            grant = receipt.grant
            if grant is not None:
                grant.out -= 1
        self._look_soon()

    def show_again(self, delivery: Delivery) -> None:
        """Deliver once more what was parked here for less than a second."""
        self._naps -= 1
        if delivery.receipt.epoch == self._epoch:
            self._waiting.append(delivery)
            self._look_soon()

    def offer_again(self, delivery: Delivery) -> None:
        """Publish a message back into its queue that the broker has forgotten."""
        self._moves.send_back(delivery, delivery.receipt)

    def nap(self) -> None:
        """One more message waits here for its second to pass."""
        self._naps += 1

    # -- the port: beginning and end

    async def start(self, queues: Sequence[Queue], intake: Intake) -> None:
        """See `Consumer.start`."""
        self._loop = asyncio.get_running_loop()
        self._calm = asyncio.Event()
        self._intake = intake
        self._queues.update((queue.name, queue) for queue in queues)
        error: BrokerError | None = None
        for _ in range(len(self._nodes)):
            tried = self._nodes.now
            try:
                await self._connect()
                return
            except BrokerError as exc:
                if error is None or isinstance(exc, BrokerRefused):
                    error = exc
                self._nodes.failed(tried)
        assert error is not None
        raise error

    async def _connect(self) -> None:
        session = await open_session(self._nodes.now, self._on_events, self._on_lost)
        try:
            for queue in self._queues.values():
                for request in declare_queue(queue):
                    await session.carry_out(request)
            await self._records.announce(session)
            if any(map(is_quorum, self._queues.values())):
                await self._moves.prepare(session, self._queues.values())
        except BaseException:
            session.abort(None)
            raise
        self._epoch += 1
        self._acks = Acks(SENDING)
        self._sender = Sender(session.machine.frame_max)
        self._out = [
            method(SENDING, "channel.open"),
            method(SENDING, "confirm.select", nowait=True),
        ]
        for name in self._queues:
            self._taps[name] = Tap(name)
        self._incoming.epoch = self._epoch
        self._session = session
        if self._guarded:
            session.guard()
        self._records.connected()
        self._look_soon()

    def _on_lost(self, error: BrokerError) -> None:
        """The connection is gone: nothing that was held is ours any more, but what was begun."""
        session, self._session = self._session, None
        if session is None or self._stopped:
            return
        stood_still = time.monotonic() - session.ticked
        self._clear()
        self.intake.disconnected(error)
        self.intake.fenced(str(error), begun=False)
        since = time.monotonic() - stood_still
        self._comeback = self.loop.create_task(self._reconnect(since))

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
        for sync in self._syncs:
            if not sync.done():
                sync.set_result(None)
        self._syncs.clear()
        self._check_calm()

    async def _reconnect(self, since: float) -> None:
        backoff = Backoff()
        while not self._stopped:
            tried = self._nodes.now
            try:
                await self._connect()
            except BrokerError as error:
                logger.debug("cannot reconnect: %s", error)
                self._nodes.failed(tried)
                await asyncio.sleep(backoff.next())
                continue
            except Exception as error:  # noqa: BLE001 - a consumer must not fall silent
                self.intake.broken(error)
                return
            if time.monotonic() - since > self._lease:
                self._records.forget()
                self.intake.fenced("the connection was away for longer than the lease")
            self.intake.connected()
            return

    def quiet_for(self) -> float:
        """See `Consumer.quiet_for`."""
        session = self.session
        return 0.0 if session is None else session.quiet_for()

    def reconnect(self, why: str) -> None:
        """See `Consumer.reconnect`."""
        if self._session is not None:
            self._session.abort(BrokerUnavailable(f"{self._session.endpoint.name}: {why}"))

    async def stop(self) -> None:
        """See `Consumer.stop`."""
        if self._stopped or self._loop is None:
            return
        self._window = 0
        if self.session is not None:
            try:
                async with asyncio.timeout(1.0):
                    await self._settled()
            except TimeoutError:
                logger.debug("%d messages could not be moved in time", self._pending)
        self._stopped = True
        session, self._session = self._session, None
        if session is not None and session.open:
            out = b"".join(self._out) + self._acks.flush()
            self._out.clear()
            session.write(out + method(SENDING, "basic.nack", delivery_tag=0, multiple=True, requeue=True))
            await self._records.retire(session)
            await session.close()
        self._epoch += 1
        for task in (*self._errands, self._comeback):
            if task is not None:
                task.cancel()
        if self._stall is not None:
            self._stall.cancel()

    # -- the port: what flows

    def allow(self, window: int) -> None:
        """See `Consumer.allow`."""
        if window != self._window:
            self._window = window
            self._look_soon()

    async def subscribe(self, queue: Queue) -> None:
        """See `Consumer.subscribe`."""
        self._queues[queue.name] = queue
        session = self.session
        if session is not None and queue.name not in self._taps:
            for request in declare_queue(queue):
                await session.carry_out(request)
            await self._records.listen(session, queue.name)
            if is_quorum(queue):
                await self._moves.prepare(session, [queue])
            self._taps.setdefault(queue.name, Tap(queue.name))
            self._look_soon()

    async def unsubscribe(self, queue: str) -> None:
        """See `Consumer.unsubscribe`."""
        self._queues.pop(queue, None)
        tap = self._taps.pop(queue, None)
        if tap is not None:
            for grant in list(tap.live):
                self.say(method(SENDING, "basic.cancel", consumer_tag=tap.cancel(grant).tag, nowait=True))
        self._records.ignore(queue)
        await self.flush()

    async def flush(self) -> None:
        """See `Consumer.flush`."""
        if self.session is not None:
            await self._settled()
            await self._synchronized()

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

    # -- the port: how deliveries end

    def _settle(self, delivery: Delivery) -> Receipt | None:
        """Take the receipt of a delivery; None if it was settled before, or belongs to a connection that is gone."""
        receipt: Receipt | None = delivery.receipt
        delivery.receipt = None
        if receipt is None:
            return None
        if receipt.record is not None:
            self._records.ended(receipt)
            return None
        if receipt.epoch != self._epoch:
            return None
        self._shown -= 1
        return receipt

    def ack(self, delivery: Delivery) -> None:
        """See `Consumer.ack`."""
        receipt = self._settle(delivery)
        if receipt is not None:
            self.done(receipt)

    def requeue(
        self, delivery: Delivery, *, front: bool = True, count: bool = True, ran: bool = True
    ) -> None:
        """See `Consumer.requeue`."""
        receipt = delivery.receipt
        if receipt is not None and receipt.record is not None:
            self._moves.send_back(delivery, receipt)
            self._settle(delivery)
            return
        receipt = self._settle(delivery)
        if receipt is not None:
            self._moves.requeue(delivery, receipt, front=front, count=count)

    def park(self, delivery: Delivery, due: float) -> None:
        """See `Consumer.park`."""
        receipt = self._settle(delivery)
        if receipt is not None:
            self._moves.park(delivery, receipt, due)

    def bury(self, delivery: Delivery, reason: str) -> None:
        """See `Consumer.bury`."""
        receipt = delivery.receipt
        if receipt is not None and receipt.record is not None:
            self._moves.bury(delivery, receipt, reason)
            self._settle(delivery)
            return
        receipt = self._settle(delivery)
        if receipt is not None:
            self._moves.bury(delivery, receipt, reason)

    async def begin(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """See `Consumer.begin`."""
        orphans = [d for d in batch if d.receipt is not None and d.receipt.record is not None]
        valid = [d for d in batch if d.receipt is not None and d.receipt.record is None]
        session = self.session
        if not valid or session is None:
            return orphans
        epoch = self._epoch
        await self._records.ready(session, {delivery.queue for delivery in valid})
        valid = [d for d in valid if d.receipt is not None and d.receipt.epoch == epoch == self._epoch]
        if not valid:
            return orphans
        for delivery in valid:
            receipt: Receipt = delivery.receipt
            self._shown -= 1
            self.done(receipt)
        # Said before the acknowledgements, which `_look` writes after it.
        made = self._records.begin(valid)
        self._look()
        await session.written()
        if self._epoch != epoch:
            self._records.undo(made)
            return orphans
        return orphans + valid

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
        if not self._records.is_theirs(message):
            delivery = self._incoming.delivery(message)
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
        made = plan(taps, self._window + self._naps) if taps else None
        parts: list[bytes] = []
        if made is not None and made.cancel:
            parts += [method(SENDING, "basic.cancel", consumer_tag=g.tag, nowait=True) for g in made.cancel]
        if self._out:
            parts += self._out
            self._out = []
        parts.append(self._acks.flush())
        if made is not None:
            for tap, grant in made.grant:
                parts.append(self._consume(tap.name, grant.tag, grant.limit))
                self._incoming.grants[grant.tag.encode("utf-8", "surrogateescape")] = (tap, grant)
        data = b"".join(parts)
        if data:
            session.write(data)

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
