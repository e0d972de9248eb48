"""A worker's consumer: one connection, made again as often as it takes.

The connection is the lease. The broker gives what a dead connection held to others at once, so whatever was not settled
when a connection was lost is not this worker's any more (`Intake.fenced`). What was *begun* is: see `records`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING

from celery.brokers.base import BrokerError, BrokerRefused, BrokerUnavailable, Delivery
from celery.brokers.delaying import is_quorum
from celery.net.backoff import Backoff
from celery.wire.amqp.frames import method

from .acks import Acks
from .flow import Tap
from .line import Line
from .link import SENDING
from .requests import declare_queue
from .sender import Sender
from .session import open_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery.brokers.base import Intake
    from celery.brokers.topology import Queue

    from .incoming import Receipt
    from .nodes import Nodes
    from .records import Record

logger = logging.getLogger(__name__)

#: Seconds that a connection must last to be followed by another one at once.
_LASTING = 1.0


class RabbitConsumer(Line):
    """The `Consumer` of a RabbitMQ URL.

    Args:
        lease: seconds after which a worker that was cut off counts as dead (for what it had begun).
        guarded: tasks run in this process, so that a keeper must send heartbeats while one of them keeps all
            threads from running.
    """

    def __init__(self, nodes: Nodes, worker_id: str, *, lease: float, guarded: bool = False) -> None:
        super().__init__(nodes, worker_id, lease=lease)
        self._lease = lease
        self._guarded = guarded
        self._comeback: asyncio.Task[None] | None = None
        self._connected_at = 0.0
        self._hasty = Backoff()  # between connections that did not last
        self._told = ""

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
                # A refusal is what to tell, if all that others say is that they are away.
                if not isinstance(error, BrokerRefused) or isinstance(exc, BrokerRefused):
                    error = exc
                self._nodes.failed(tried)
        assert error is not None
        raise error

    async def _connect(self, since: float | None = None) -> bool:
        """Connect, and say what is to be said on every new connection.

        Args:
            since: when the last connection fell silent (`time.monotonic()`).

        Returns:
            Whether that was so long ago that others have taken over what was begun.
        """
        session = await open_session(self._nodes.now, self._on_events, self._on_lost)
        try:
            for queue in self._queues.values():
                for request in declare_queue(queue):
                    await session.carry_out(request)
            await self._records.announce(session)
            await self._holds.announce(session)
            if any(map(is_quorum, self._queues.values())):
                await self._moves.prepare(session, self._queues.values())
            session.ensure_open()  # it may have been lost with the last answer
        except BaseException:
            session.abort(None)
            raise
        self._epoch += 1
        self._pending = 0  # what was said without a connection is not carried out
        self._acks = Acks(SENDING)
        self._sender = Sender(session.machine.frame_max)
        self._out = [
            method(SENDING, "channel.open"),
            method(SENDING, "confirm.select", nowait=True),
        ]
        for name in self._queues:
            self._taps[name] = Tap(name)
        self._incoming.epoch = self._epoch
        self._incoming.grants.clear()
        self._session = session
        self._connected_at = time.monotonic()
        if self._guarded:
            session.guard()
        late = since is not None and self._connected_at - since > self._lease and not self._records.restarted
        if late:
            self._records.forget()
            self._moves.forget()
        self._records.connected()
        self._holds.connected()
        self._moves.connected()
        self._look_soon()
        return late

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

    async def _reconnect(self, since: float) -> None:
        backoff = Backoff()
        if time.monotonic() - self._connected_at > _LASTING:
            self._hasty.reset()
        else:
            await asyncio.sleep(self._hasty.next())
        while not self._stopped:
            tried = self._nodes.now
            try:
                late = await self._connect(since)
            except BrokerError as error:
                self._tell(error)
                self.intake.disconnected(error)
                self._nodes.failed(tried)
                await asyncio.sleep(backoff.next())
                continue
            except Exception as error:  # noqa: BLE001 - a consumer must not fall silent
                self.intake.broken(error)
                return
            if late:
                self.intake.fenced("the connection was away for longer than the lease")
            self.intake.connected()
            return

    def _tell(self, error: BrokerError) -> None:
        """Log why connecting again does not work: once, if somebody has to do something about it."""
        told = isinstance(error, BrokerRefused) and str(error) != self._told
        logger.log(logging.ERROR if told else logging.DEBUG, "Cannot connect again: %s", error)
        if told:
            self._told = str(error)

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
            self._give_back_held()
            # As long as the caller likes: what is on its way elsewhere, and not confirmed, would be there twice.
            await self._settled()
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

    def _give_back_held(self) -> None:
        """What was not handed on goes back at once: the broker would wait for a while with what is held here."""
        waiting, self._waiting = self._waiting, deque()
        for delivery in waiting:
            if delivery.receipt.held and delivery.receipt.epoch == self._epoch:
                self._moves.requeue(delivery, delivery.receipt, front=True, count=False)

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
                self.say(self._cancel(tap.cancel(grant)))
        self._records.ignore(queue)
        await self.flush()

    async def flush(self) -> None:
        """See `Consumer.flush`."""
        if self.session is not None:
            await self._settled()
            await self._synchronized()

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
            delivery.receipt = None
            self._moves.send_back(delivery, receipt)
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
            delivery.receipt = None
            self._moves.bury(delivery, receipt, reason)
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
        # Said before the acknowledgements, which `_look` writes after it.
        made = self._records.begin(valid)
        for delivery in valid:
            receipt: Receipt = delivery.receipt
            self._shown -= 1
            self.done(receipt)
        self._look()
        await self._confirmed(made)
        if self._epoch != epoch:
            self._records.undo(made)
            return orphans
        return orphans + valid

    async def _confirmed(self, made: Sequence[Record]) -> None:
        """Return when the broker has these records, and with them the acknowledgements; or when the connection is lost."""
        epoch = self._epoch
        for record in made:
            if not record.written and epoch == self._epoch:
                record.news = self.loop.create_future()
                self._awaited.add(record.news)
                try:
                    await record.news
                finally:
                    self._awaited.discard(record.news)
