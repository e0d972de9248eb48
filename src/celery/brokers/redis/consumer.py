"""The Redis driver's `Consumer`: batches in by one script, settlements out with the next write.

Everything happens on the worker's loop, over two connections: see `core` for what is said and reserved, `session` for the
connections, `waiting` for how an idle consumer wakes, `lease` and `reaper` for who lives and who does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

from celery.brokers.base import BrokerError, BrokerRefused, Unroutable
from celery.brokers.topology import Queue
from celery.wire.resp import pack, pack_all

from . import messages, scripts
from .core import Core
from .desk import Entry, Held
from .ear import Ear

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery.brokers.base import Delivery, Intake, Outgoing
    from celery.brokers.topology import Exchange


logger = logging.getLogger("celery.brokers.redis")


class RedisConsumer(Core):
    """See `Consumer`."""

    async def start(self, queues: Sequence[Queue], intake: Intake) -> None:
        """See `Consumer.start`."""
        self.loop = asyncio.get_running_loop()
        self.intake = intake
        self.queues.set(queues)
        try:
            await self.session.begin()
        except BaseException:
            self.session.close()
            raise
        self.lease.trusting_from = self.loop.time() + self.lease_seconds
        self.lease.sweep_at = self.lease.seen_at = self.loop.time()
        self.lease.tick()

    def allow(self, window: int) -> None:
        """See `Consumer.allow`."""
        if window != self.window:
            grew = window > self.window
            self.window = window
            if grew and self.dues.at:
                self.dues.set_timer()
            self.flush_soon()

    async def subscribe(self, queue: Queue) -> None:
        """See `Consumer.subscribe`."""
        self.queues.set([*self.queues.by_name.values(), queue])
        await self._requeued()

    async def unsubscribe(self, queue: str) -> None:
        """See `Consumer.unsubscribe`."""
        gone = self.queues.by_name.get(queue)
        if gone is None:
            return
        self.queues.set([one for one in self.queues.by_name.values() if one.name != queue])
        self.dues.at.pop(queue, None)
        if patterns := self.waiting.patterns(gone):
            self.waiting.subscriptions("PUNSUBSCRIBE", patterns)
        await self._requeued()
        await self.flush()

    async def _requeued(self) -> None:
        """The queues have changed: say so to reapers, then take what there is."""
        for queue in self.queues.by_name.values():
            commands = self.declaring(queue)
            if commands:
                self.say(*commands)
            if patterns := self.waiting.patterns(queue):
                self.waiting.subscriptions("PSUBSCRIBE", patterns)
        if self.link is not None:
            with contextlib.suppress(BrokerError):  # the next connection announces it
                if not await self.session.announce():
                    self.fenced_now()
        self.more()
        self.lease.tick()

    async def broadcast(self, batch: Sequence[Outgoing]) -> Sequence[BrokerError | None]:
        """See `Broadcaster.broadcast`."""
        answer: asyncio.Future[list[Any]] = self.loop.create_future()
        channel = self.keys.channel
        commands = [("PUBLISH", channel(one.exchange, one.routing_key), messages.pack(one)) for one in batch]

        def done(replies: list[Any]) -> None:
            if not answer.done():
                answer.set_result(replies)

        self.outbox.append(Entry(pack_all(commands), len(commands), done, answer, [None] * len(batch)))
        self.flush_soon()
        replies = await answer
        # A node of a cluster knows only of those who listen there.
        counts = not self.broker.settings.cluster
        return [
            Unroutable(f"Nobody listens to {one.exchange!r}.")
            if counts and one.mandatory and count == 0
            else None
            for one, count in zip(batch, replies, strict=True)
        ]

    async def listen(self, name: str, exchange: Exchange, *, expires: float) -> Ear:
        """See `Listener.listen`."""
        ear = Ear(self, Queue(name, exchange, auto_delete=True, expires=expires))
        await ear.open()
        return ear

    async def begin(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """See `Consumer.begin`."""
        mine = {
            delivery.receipt.number: delivery
            for delivery in batch
            if delivery.receipt is not None and self._holds(delivery.receipt)
        }
        if not mine:
            return []
        answer: asyncio.Future[set[int]] = self.loop.create_future()
        helds = [delivery.receipt for delivery in mine.values()]
        tags = [held.tag for held in helds]
        data = pack(*scripts.BEGIN.call([self.keys.worker(self.incarnation), self.keys.index], tags))

        def done(replies: list[Any]) -> None:
            if replies[0] is None:
                self._begun([], answer)
                self.fenced_now()
            elif replies[0] == len(helds):
                self._begun(helds, answer)
            else:  # some were begun before, or are gone
                self.say(
                    ("HMGET", self.keys.unacked, *tags),
                    done=lambda found: self._begun(self._still_there(helds, found[0]), answer),
                )

        self.outbox.append(Entry(data, 1, done, answer, set()))
        self.flush_soon()
        begun = await answer
        return [delivery for number, delivery in mine.items() if number in begun]

    def _still_there(self, helds: list[Held], values: list[Any]) -> list[Held]:
        for held, value in zip(helds, values, strict=True):
            if value is None and self._holds(held):
                self.let_go(held.number)
        return [held for held, value in zip(helds, values, strict=True) if value is not None]

    def _begun(self, helds: list[Held], answer: asyncio.Future[set[int]]) -> None:
        for held in helds:
            if not held.begun and self.held.get(held.number) is held:
                held.begun = True
                self.out -= 1
        if not answer.done():
            answer.set_result({held.number for held in helds})

    def _holds(self, held: Held) -> bool:
        return self.held.get(held.number) is held

    def _settled(self, delivery: Delivery) -> Held | None:
        """Let go of a delivery; what is said a second time, or after a fence, is void."""
        held: Held | None = delivery.receipt
        if held is None:
            return None
        delivery.receipt = None
        if self.held.get(held.number) is not held:
            return None
        del self.held[held.number]
        if not held.begun:
            self.out -= 1
        return held

    def ack(self, delivery: Delivery) -> None:
        """See `Consumer.ack`."""
        held = self._settled(delivery)
        if held is None:
            return
        if held.begun:
            self.ended.append(held)
            if self._tidying is None:
                self.tidy_soon()
            return
        self.acks.append(held)
        if not self.flushing:
            self.flushing = True
            self.loop.call_soon(self._flush)

    def requeue(
        self, delivery: Delivery, *, front: bool = True, count: bool = True, ran: bool = True
    ) -> None:
        """See `Consumer.requeue`."""
        deliveries = delivery.deliveries - (0 if count else 1)
        held = self._settled(delivery)
        if held is None:
            return
        raw = held.raw if not (count or ran) else messages.again(held.raw, deliveries, redelivered=ran)
        self.say(self._giving_back(held, raw, front=front), done=lambda _: self.more())

    def _giving_back(self, held: Held, raw: bytes, *, front: bool) -> Any:
        keys = self.keys
        return scripts.GIVE_BACK.call([keys.unacked, keys.index], [held.tag, held.ready, raw, int(front)])

    def park(self, delivery: Delivery, due: float) -> None:
        """See `Consumer.park`."""
        held = self._settled(delivery)
        if held is None:
            return
        keys = self.keys
        step = self.keys.lists(held.queue).index(held.ready) if held.ready in keys.lists(held.queue) else 0
        number, self.next = self.next, self.next + 1
        new = f"{self.incarnation}:p{number}:{step}"
        changed = messages.value(messages.announced(held.raw), held.queue) if delivery.announced else ""
        self.parks.setdefault(held.queue, []).extend((held.tag, new, repr(due), changed))
        self.flush_soon()

    def bury(self, delivery: Delivery, reason: str) -> None:
        """See `Consumer.bury`."""
        held = self._settled(delivery)
        if held is None:
            return
        keys, options = self.keys, self.broker.options
        call = scripts.BURY.call(
            [keys.unacked, keys.index, keys.dead(held.queue), keys.dead_queues, keys.dead_counter],
            [options.dead_letter_limit, held.queue, held.tag, reason, held.raw],
        )
        self.say(call)

    async def flush(self) -> None:
        """See `Consumer.flush`."""
        answer: asyncio.Future[None] = self.loop.create_future()

        def done(replies: list[Any]) -> None:
            if not answer.done():
                answer.set_result(None)

        self.say_again()
        self.gather()
        self.outbox.append(Entry(pack("PING"), 1, done, answer))
        self.flush_soon()
        await answer
        while self.link is not None and (
            self.waiting.waiter.unblocking or any(turn.room for turn in self.turns)
        ):
            if self.waiting.waiter.place is None and not any(turn.room for turn in self.turns):
                break
            self.rested.clear()
            await self.rested.wait()

    def quiet_for(self) -> float:
        """See `Consumer.quiet_for`."""
        link = self.link
        return 0.0 if link is None or self.stopped else self.loop.time() - link.heard_at

    def reconnect(self, why: str) -> None:
        """See `Consumer.reconnect`."""
        if self.link is not None:
            self.link.abort(why)

    async def stop(self) -> None:
        """See `Consumer.stop`."""
        if self.stopped or self.stopping:
            return
        self.stopping = True
        try:
            if self.link is not None:
                await self.flush()
                await self._take_leave()
        except BrokerError as error:
            if isinstance(error, BrokerRefused):
                logger.warning("%s", error)
        finally:
            self.stopped = True
            for timer in (self.lease.timer, self.dues.timer, self._impatience, self._tidying):
                if timer is not None:
                    timer.cancel()
            for task in list(self.tasks):
                task.cancel()
            self.session.close()
            if self.lease.keeper is not None:
                self.lease.keeper.close()
            self.say_again()
            for entry in self.outbox:
                if entry.answer is not None and not entry.answer.done():
                    entry.answer.set_result(entry.void)

    async def _take_leave(self) -> None:
        """Give everything back, then end the lease."""
        self.gather()  # what has ended since the flush
        self._flush()
        keys = self.keys
        commands: list[Any] = []
        for held in sorted(self.held.values(), key=lambda held: -held.number):
            if held.begun:
                commands.append(
                    scripts.INHERIT.call(
                        [keys.worker(self.incarnation), keys.unacked, keys.index, keys.orphans(held.queue)],
                        [held.tag, "", messages.value(held.raw, held.queue), 0],
                    )
                )
            else:
                commands.append(self._giving_back(held, messages.again(held.raw), front=True))
        self.held.clear()
        commands.append(("ZREM", keys.leases, self.incarnation))
        commands.append(("DEL", keys.worker(self.incarnation)))
        await self.ask(*commands)
