"""Taking over what others have left: dead workers of ours, and stock workers by Celery's visibility timeout.

Whoever reaps moves each message in one atomic step that only works while its tag is there, so several may reap the same
worker, and any of them may die over it. The record of a dead worker goes when all it may have held has been
looked at.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery.brokers.base import BrokerError
from celery.wire.resp import pack

from . import messages, scripts
from .desk import Held, Turn

if TYPE_CHECKING:
    from celery.wire.resp import Command

    from .core import Core

logger = logging.getLogger("celery.brokers.redis")

#: Numbers looked at in one command.
_CHUNK = 500
#: Orphans taken at once, and overdue messages restored at once.
_ORPHANS = 100
_RESTORE = 200


class Reaper:
    """The part of a consumer that looks after others."""

    def __init__(self, consumer: Core) -> None:
        self._consumer = consumer
        self._reaping: set[str] = set()
        self._restoring = False
        self._taking: set[str] = set()

    # -- the dead ---------------------------------------------------------------------------------
    def reap(self, incarnations: list[str]) -> None:
        """Take over what these workers held, beside everything else."""
        for incarnation in incarnations:
            if incarnation not in self._reaping:
                self._reaping.add(incarnation)
                self._consumer.spawn(self._reap, incarnation)

    async def _reap(self, incarnation: str) -> None:
        consumer = self._consumer
        keys = consumer.keys
        try:
            (record,) = await consumer.ask(
                scripts.FENCE.call(
                    [keys.leases, keys.worker(incarnation), keys.reaped(incarnation)], [incarnation]
                )
            )
            if record is None:
                return  # it came back
            fields = dict(zip(record[::2], record[1::2], strict=True))
            if fields:
                await self._take_over(incarnation, fields)
            await consumer.ask(("DEL", keys.reaped(incarnation)), ("ZREM", keys.leases, incarnation))
        finally:
            self._reaping.discard(incarnation)

    async def _take_over(self, incarnation: str, fields: dict[bytes, bytes]) -> None:
        consumer = self._consumer
        name = fields.get(b"name", b"").decode(errors="replace")
        if (
            fields.get(b"run") == consumer.session.server_run
        ):  # ids of clients begin anew when the server does
            await self._hang_up(fields.get(b"waiter", b""))
        lists = messages.mapping(fields.get(b"lists", b"{}"))
        for ready in lists:
            await self._unpend(consumer.keys.pending(incarnation, ready), ready)
        numbers = [int(number) for number in fields.get(b"held", b"").split(b",") if number]
        since, upto = int(fields.get(b"since", 0)), int(fields.get(b"next", 0))
        numbers += range(since, upto)
        numbers = sorted(set(numbers), reverse=True)
        count = 0
        for start in range(0, len(numbers), _CHUNK):
            count += await self._take([f"{incarnation}:{n}" for n in numbers[start : start + _CHUNK]])
        logger.warning(
            "Worker %s (%s) has not renewed its lease: %d messages it held are offered again",
            name,
            incarnation,
            count,
        )

    async def _hang_up(self, client_id: bytes) -> None:
        """End the connection on which it waits or may yet wait: what comes there nobody would see."""
        link = self._consumer.link
        if client_id not in (b"", b"0") and link is not None:
            await link.send(pack("CLIENT", "KILL", "ID", client_id), 1)

    async def _unpend(self, pending: str, ready: str) -> None:
        consumer = self._consumer
        (raws,) = await consumer.ask(("LRANGE", pending, 0, -1))
        for raw in raws:
            await consumer.ask(scripts.UNPEND.call([pending, ready], [raw, messages.again(raw)]))

    async def _take(self, tags: list[str]) -> int:
        """Offer again, or inherit, what is still there under these tags; the newest first."""
        consumer = self._consumer
        keys = consumer.keys
        values, scores = await consumer.ask(("HMGET", keys.unacked, *tags), ("ZMSCORE", keys.index, *tags))
        back: list[Any] = []
        count = 0
        for tag, value, score in zip(tags, values, scores, strict=True):
            if value is None:
                continue
            raw, _, queue = messages.split(value)
            count += 1
            if score is None:
                await self._inherit(tag, value, raw, queue)
            else:
                ready = keys.ready(queue, keys.steps[keys.step_of(messages.priority_of(raw))])
                back += [tag, ready, messages.again(raw), 1]
        if back:
            await consumer.ask(scripts.GIVE_BACK.call([keys.unacked, keys.index], back))
        return count

    # -- orphans ----------------------------------------------------------------------------------
    async def _inherit(self, tag: str, value: bytes, raw: bytes, queue: str) -> None:
        """A begun message: ours now if we consume its queue, else whoever's who does."""
        consumer = self._consumer
        keys = consumer.keys
        number, consumer.next = consumer.next, consumer.next + 1
        mine = consumer.tag(number) if queue in consumer.queues.by_name else ""
        taken = await self._ask_for(
            number,
            1,
            scripts.INHERIT.call(
                [keys.worker(consumer.incarnation), keys.unacked, keys.index, keys.orphans(queue)],
                [tag, mine, value, number + 1, consumer.session.connection],
            ),
        )
        if taken == 1:
            self.hand_over([(number, raw)], queue)

    async def _ask_for(self, first: int, room: int, command: Command) -> Any:
        """Ask for begun messages. If the answer is lost the next connection looks for them."""
        try:
            (reply,) = await self._consumer.ask(command)
        except BrokerError:
            self._consumer.astray.append(Turn([], first, room))
            raise
        return reply

    def take_orphans(self, queue: str) -> None:
        """Take what waits for a worker of this queue."""
        if queue not in self._taking:
            self._taking.add(queue)
            self._consumer.spawn(self._take_orphans, queue)

    async def _take_orphans(self, queue: str) -> None:
        consumer = self._consumer
        keys = consumer.keys
        try:
            first, consumer.next = consumer.next, consumer.next + _ORPHANS
            values = await self._ask_for(
                first,
                _ORPHANS,
                scripts.ORPHANS.call(
                    [keys.worker(consumer.incarnation), keys.unacked, keys.orphans(queue)],
                    [f"{consumer.incarnation}:", first, _ORPHANS, consumer.session.connection],
                ),
            )
            found = [(first + index, messages.split(value)[0]) for index, value in enumerate(values or ())]
            self.hand_over(found, queue)
        finally:
            self._taking.discard(queue)

    def hand_over(self, found: list[tuple[int, bytes]], queue: str) -> None:
        """Give begun messages of dead workers, which are ours now, to the worker."""
        consumer = self._consumer
        batch = []
        for number, raw in found:
            ready = consumer.keys.ready(queue, 0)
            held = consumer.held[number] = Held(number, consumer.tag(number), raw, queue, ready)
            held.begun = True
            batch.append(messages.read(raw, queue, held))
        if batch:
            consumer.intake.orphaned(batch)

    # -- stock workers ----------------------------------------------------------------------------
    def restore_overdue(self) -> None:
        """Offer again what stock workers have held for longer than the visibility timeout, as they do themselves."""
        if not self._restoring:
            self._restoring = True
            self._consumer.spawn(self._restore)

    async def _restore(self) -> None:
        consumer = self._consumer
        keys = consumer.keys
        limit = int(consumer.broker.settings.options.get("unacked_restore_limit") or _RESTORE)
        try:
            (found,) = await consumer.ask(
                scripts.OVERDUE.call([keys.unacked, keys.index], [consumer.broker.visibility_timeout, limit])
            )
            for tag, value in zip(found[::2], found[1::2], strict=True):
                await self._restore_one(tag, value)
        finally:
            self._restoring = False

    async def _restore_one(self, tag: bytes, value: bytes) -> None:
        consumer = self._consumer
        keys = consumer.keys
        try:
            raw, exchange, key = messages.split(value)
        except ValueError:
            return  # nobody can say what this was
        owner, colon, _ = tag.partition(b":")
        if colon and owner.decode() == consumer.incarnation:
            return
        step = keys.steps[keys.step_of(messages.priority_of(raw))]
        parked = b":p" in tag
        targets = [key]
        if exchange:
            (members,) = await consumer.ask(("SMEMBERS", keys.binding(exchange)))
            targets = consumer.broker.exchanges.route(members, key) or [key]
        changed = raw if parked else messages.again(raw)
        first, *others = targets
        commands: list[Any] = [
            scripts.GIVE_BACK.call([keys.unacked, keys.index], [tag, keys.ready(first, step), changed, 1])
        ]
        if parked:
            commands.append(("ZREM", keys.due(first), tag))
        taken = await consumer.ask(*commands)
        if taken[0] and others:
            await consumer.ask(*(("RPUSH", keys.ready(queue, step), changed) for queue in others))
        if taken[0] and not parked:
            logger.warning("A message that was held for longer than the visibility timeout is offered again")
