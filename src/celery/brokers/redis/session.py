"""A consumer's connections: made, made again, and what has to be in order each time."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import TYPE_CHECKING, Any

from celery.brokers.base import BrokerError, BrokerUnavailable
from celery.net.backoff import Backoff
from celery.utils.uuids import uuid
from celery.wire.resp import pack

from . import claims, messages, scripts
from .aio import Link, ignore
from .errors import translate
from .locate import locator_of

if TYPE_CHECKING:
    from celery.brokers.base import Delivery

    from .core import Core
    from .desk import Turn
    from .locate import Locator

logger = logging.getLogger("celery.brokers.redis")


class Session:
    """Two connections: one for all commands, the other (`waiting.waiter`) only waits.

    Attributes:
        server_run: names this run of the server: ids of clients begin anew with each.
        era: changes when the server has lost everything; empty before a lease has begun.
        connection: counts connections: what was sent on an earlier one may arrive late, and must have no effect then.
        claim: how the claims of this incarnation begin.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self.locator: Locator = locator_of(core.broker.settings)
        self.server_run = b""
        self.era = b""
        self.connection = 0
        self.claim = ""
        self._waiters: set[tuple[bytes, int]] = set()

    async def begin(self) -> None:
        """Connect to the first server that is there. Raises like `connect`."""
        for left in reversed(range(len(self._core.broker.settings.targets))):
            try:
                await self.connect()
            except BrokerUnavailable:
                if not left:
                    raise
            else:
                return

    async def connect(self) -> None:
        """Open both connections and be known to the server.

        Raises:
            BrokerError: it did not work; nothing is open then.
        """
        core = self._core
        broker = core.broker
        link = await Link.open(
            broker.settings, self.locator, on_push=core.waiting.pushed, scripts=scripts.OF_WORKERS
        )
        try:
            assert link.target is not None
            await core.waiting.waiter.connect(link.target)
            await self._resume(link)
        except BaseException:
            link.close()
            core.waiting.waiter.close()
            raise
        if not (link.is_open and core.waiting.waiter.is_open):
            link.close()
            core.waiting.waiter.close()
            raise translate(ConnectionResetError("Connection closed by server"), broker.settings.url)
        link.on_lost = self._lost  # until here whoever called hears of it
        core.link = link
        core.flush_soon()

    async def _resume(self, link: Link) -> None:
        """Go on where the last connection ended, or begin."""
        core = self._core
        keys = core.keys
        declaring = [command for queue in core.queues.by_name.values() for command in core.declaring(queue)]
        exchanges = core.broker.exchanges
        declaring += [
            command for ear in core.waiting.ears.values() for command in exchanges.declaring(ear.queue)
        ]
        channels = [keys.nudges]
        *_, info = await core.ask(
            *declaring, ("CLIENT", "TRACKING", "ON", "OPTIN"), ("INFO", "server"), link=link
        )
        self.server_run = run_of(info)
        link.write(pack("SUBSCRIBE", *channels) + core.waiting.broadcasts() + pack("PING"), 1, ignore)
        self.connection += 1
        if core.incarnation and not await self.announce(link):
            core.fence("the connection was lost for longer than the lease")
        if not core.incarnation:
            core.incarnation, self.era = uuid(), b""
            await self.announce(link)
        await self._recover(link)
        core.drained = False
        core.waiting.tracked.clear()

    @property
    def _waiting_as(self) -> tuple[bytes, int]:
        return self.server_run, self._core.waiting.waiter.client_id

    async def announce(self, link: Link | None = None) -> bool:
        """Write down who we are and what we may hold; begins the lease. False if it is over."""
        core = self._core
        keys = core.keys
        record: dict[str, Any] = {
            "name": core.worker_id,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "run": self.server_run,
            "waiter": core.waiting.waiter.client_id,
            "connection": self.connection,
            "lists": messages.text({place.ready: place.queue for place in core.queues.seen.values()}),
            "held": core.numbers(),
            "since": core.since(),
            "next": core.next,
        }
        fields = [part for pair in record.items() for part in pair]
        call = scripts.ANNOUNCE.call(
            [keys.leases, keys.worker(core.incarnation), keys.era],
            [core.incarnation, core.lease.ms, uuid(), self.era, *fields],
        )
        (era,) = await core.ask(call, link=link)
        if era is None:
            return False
        self.era = era
        place = claims.prefix(core.broker.settings)
        self.claim = claims.beginning(place, keys.unacked, keys.era, self.era.decode())
        core.lease.guard(link or core.link)
        return True

    async def _recover(self, link: Link) -> None:
        """Find what was reserved or moved for us and never arrived; say again what may not have been heard."""
        core = self._core
        unsaid = [entry for turn in (*core.astray, *core.turns) for entry in turn.entries]
        lost = [turn for turn in (*core.astray, *core.turns) if turn.room]
        core.outbox[:0] = unsaid
        core.say_again()  # it is older
        for turn in lost:
            turn.entries = []
        core.turns, core.astray = [], lost
        for run, old in self._waiters - {self._waiting_as}:
            # It may still wait on the server, and take messages that nobody would see.
            if run == self.server_run:
                link.tell("CLIENT", "KILL", "ID", old)
        self._waiters = {self._waiting_as}
        for turn in list(core.astray):
            await self._look_up(turn, link)
            core.astray.remove(turn)
        await self._adopt_pending(link)

    async def _look_up(self, turn: Turn, link: Link) -> None:
        """Deliver what came under the numbers of a turn whose answer was lost."""
        core = self._core
        numbers = range(turn.first, turn.first + turn.room)
        tags = [core.tag(number) for number in numbers]
        values, scores = await core.ask(
            ("HMGET", core.keys.unacked, *tags), ("ZMSCORE", core.keys.index, *tags), link=link
        )
        found: list[Delivery] = []
        for number, value, score in zip(numbers, values, scores, strict=True):
            if value is None or number in core.held:
                continue
            raw, _, queue = messages.split(value)
            if score is None:
                core.reaper.hand_over([(number, raw)], queue)
            else:
                found.append(core.hold(number, raw, queue, core.ready_of(raw, queue)))
        core.deliver(found)

    async def _adopt_pending(self, link: Link) -> None:
        """Make ours what was moved for us while nobody listened."""
        core = self._core
        if core.waiting.adopting:
            return  # what is pending is ours already
        places = list(core.queues.seen.values())
        if not places:
            return
        pending = [("LRANGE", core.keys.pending(core.incarnation, place.ready), 0, -1) for place in places]
        for place, raws in zip(places, await core.ask(*pending, link=link), strict=True):
            for raw in reversed(raws):
                if place.queue in core.queues.by_name:
                    core.waiting.adopt(place, raw)
                else:
                    core.waiting.put_back(place, raw)

    def _lost(self, error: BrokerError) -> None:
        """The connection has ended: make another one."""
        core = self._core
        core.link = None
        core.waiting.waiter.close()
        core.lease.ticking = False
        if core.stopped:
            return
        core.intake.disconnected(error)
        core.spawn(self._reconnect)

    def waiter_lost(self, error: BrokerError) -> None:
        """Only the second connection has ended: begin anew with both, that is the simplest."""
        core = self._core
        if core.link is not None:
            core.link.abort(str(error))

    async def _reconnect(self) -> None:
        core = self._core
        backoff = Backoff()
        while not core.stopped:
            await asyncio.sleep(backoff.next())
            try:
                await self.connect()
            except BrokerError as error:
                logger.debug("Still no connection: %s", error)
                core.intake.disconnected(error)
                continue
            core.lease.seen_at = core.loop.time()
            core.lease.trusting_from = core.lease.seen_at + core.lease_seconds
            core.intake.connected()
            core.lease.tick()
            return

    def close(self) -> None:
        """Close both connections, without a word."""
        core = self._core
        core.waiting.waiter.close()
        link, core.link = core.link, None
        if link is not None:
            link.close()


def run_of(info: Any) -> bytes:
    """Which run of the server `INFO` is of."""
    text = info if isinstance(info, bytes) else str(info).encode()
    return text.partition(b"run_id:")[2].split(b"\r\n")[0]
