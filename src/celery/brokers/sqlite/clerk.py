"""The thread of a consumer that talks to the store.

Everything the worker said since the last turn, and everything it may have now, go out in one transaction; with
nothing to do the thread sleeps on its wake-up socket until the next due time, renewal or (for nudges
that went astray) look-out.
"""

from __future__ import annotations

import random
import select
import sqlite3
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from celery.brokers.base import LEASE, LEASE_RENEW_EVERY, BrokerError

from . import clock, leases, store, turn
from .keeper import Keeper
from .wakeup import Listener, nudge

if TYPE_CHECKING:
    import asyncio
    from collections import deque
    from collections.abc import Callable, Sequence

    from celery.brokers.base import BrokerOptions, Delivery
    from celery.brokers.topology import Queue

    from .database import Database

#: Seconds between two looks at the store without having been nudged.
LOOK_OUT = 1.0
#: Seconds between two sweeps of temporary queues.
SWEEP = 10.0

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
_SETTLING = frozenset({"ack", "begin", "requeue", "park", "bury"})


#: Of a delivery: the generation it was reserved under, and the message's id.
Receipt = tuple[int, int]


@dataclass(slots=True, eq=False)
class Word:
    """One thing that the worker's loop says to the clerk.

    Attributes:
        kind: ack, begin, requeue, park, bury, allow, subscribe, unsubscribe, flush or stop.
        answer: is set when it has been carried out.
    """

    kind: str
    receipts: Sequence[Receipt] = ()
    value: Any = None
    answer: asyncio.Future[Any] | None = None


@dataclass(slots=True)
class Report:
    """What the clerk says to the worker's loop after a turn."""

    delivered: list[Delivery] = field(default_factory=list)
    orphaned: list[Delivery] = field(default_factory=list)
    answers: list[tuple[asyncio.Future[Any], Any]] = field(default_factory=list)
    fenced: str = ""
    error: BrokerError | None = None
    connected: bool = False

    def __bool__(self) -> bool:
        return bool(
            self.delivered or self.orphaned or self.answers or self.fenced or self.error or self.connected
        )

    def clear(self) -> None:
        """Forget what a turn that failed had to say."""
        self.delivered, self.orphaned, self.answers, self.fenced = [], [], [], ""


@dataclass(slots=True)
class _State:
    """What the clerk knows of its place in the store, as of the last commit.

    Attributes:
        names: of the queues consumed, by number.
        window: how many deliveries may be out.
        out: messages delivered, not settled, not begun.
        idle: on the idle lists, as far as we know.
        first: counts reservations, so that each queue is first in its turn.
    """

    queues: dict[str, Queue]
    names: dict[int, str] = field(default_factory=dict)
    generation: int = 0
    window: int = 0
    out: set[int] = field(default_factory=set)
    idle: bool = False
    next_due: float | None = None
    first: int = 0
    ended: bool = False

    @property
    def room(self) -> int:
        return self.window - len(self.out)

    def copy(self) -> _State:
        return replace(self)

    def forget(self) -> None:
        """Everything held is somebody else's."""
        self.generation, self.out, self.idle = 0, set(), False


class Clerk:
    """See the module. `run` is the thread's target.

    Args:
        words: what the worker's loop says, in order; it calls `poke` after adding to it.
        tell: called in the clerk's thread with each report.
        guarded: a keeper renews the lease while this process cannot.
    """

    def __init__(
        self,
        database: Database,
        worker: str,
        queues: Sequence[Queue],
        words: deque[Word],
        tell: Callable[[Report], None],
        options: BrokerOptions,
        *,
        guarded: bool,
    ) -> None:
        self._database = database
        self._worker = worker
        self._queues = {queue.name: queue for queue in queues}
        self._words = words
        self._tell = tell
        self._options = options
        self._lease = float(options.transport_options.get("lease", LEASE))
        self._renew_every = self._lease * LEASE_RENEW_EVERY / LEASE
        self._tick = min(LOOK_OUT, self._renew_every / 3)
        self._keeper = Keeper(database.path, self._lease) if guarded else None
        self.listener = Listener()
        self._connection: sqlite3.Connection | None = None
        self._inode = (0, 0)
        self._state = _State(queues={queue.name: queue for queue in queues})
        self._unsaid: list[Word] = []
        self._asleep = False
        # What calls for a turn, besides words:
        self._look = True  # there may be something ready
        self._dead: list[leases.Other] = []
        self._orphans = False
        self._renew_at = 0.0
        self._look_out_at = 0.0
        self._sweep_at = 0.0
        # Stalls of our own:
        self._last_round = clock.now()
        self._trusting_from = clock.now() + self._lease
        self._down: BrokerError | None = None
        self._pause = _FIRST_PAUSE

    def poke(self) -> None:
        """Wake the thread if it sleeps; called by the worker's loop after adding words."""
        if self._asleep:
            nudge([self.listener.address])

    def open(self) -> Report:
        """Declare the queues and announce the worker, in the calling thread.

        Returns:
            What there is to tell already: orphans, perhaps.

        Raises:
            BrokerUnavailable, BrokerRefused: as they say; then everything is closed again.
        """
        report = Report()
        try:
            self._round(report)
        except BaseException:
            self._close()
            raise
        return report

    def run(self) -> None:
        """Work until told to stop."""
        try:
            while not self._state.ended:
                report = Report()
                try:
                    self._round(report)
                except BrokerError as error:
                    self._trouble(error, report)
                if self._state.ended:
                    self._close()
                if report:
                    self._tell(report)
                if self._down is not None:
                    self._wait_out()
                elif not self._state.ended:
                    self._sleep()
        finally:
            self._close()

    def _round(self, report: Report) -> None:
        """Look around if it is time to, and make a turn if there is anything to do."""
        self._hear()
        now = clock.now()
        if now - self._last_round > self._renew_every:
            # We stood still for so long that others may only seem dead because everything did.
            self._trusting_from = now + self._lease
        self._last_round = now
        state = self._state
        try:
            connection = self._connected()
            if now >= self._look_out_at:
                self._look_out_at = now + self._tick
                self._look_out(connection, state, trusting=now >= self._trusting_from)
            due = state.room > 0 and state.next_due is not None and state.next_due <= time.time()
            if self._unsaid or self._look or self._dead or self._orphans or due or now >= self._renew_at:
                self._turn(connection, report, look=self._look or due)
        except sqlite3.Error as error:
            raise self._database.translate(error) from error
        if self._down is not None:
            self._down, self._pause, report.connected = None, _FIRST_PAUSE, True

    def _hear(self) -> None:
        while True:
            try:
                self._unsaid.append(self._words.popleft())
            except IndexError:
                return

    def _look_out(self, connection: sqlite3.Connection, state: _State, *, trusting: bool) -> None:
        """Look for the dead, and for messages that nobody nudged us for. Reads only."""
        found = leases.others(connection, state.generation)
        self._dead = [
            other
            for other in found
            if other.lease != leases.TAKEN
            and leases.is_dead(other, trusting=trusting, doubtful_after=self._lease - 1.2 * self._renew_every)
        ]
        self._orphans = any(other.lease == leases.TAKEN for other in found) and leases.has_orphans(
            connection, state.names
        )
        if state.room > 0 and not self._look and store.has_ready(connection, state.names):
            self._look, state.idle = True, False

    def _turn(self, connection: sqlite3.Connection, report: Report, *, look: bool) -> None:
        """One transaction. What it changes in memory counts only once it is committed."""
        database = self._database
        state = self._state.copy()
        database.begin(connection, time.monotonic() + max(self._renew_every, 0.5))
        try:
            addresses = self._transact(connection, state, report, look=look)
            database.commit(connection)
        except BaseException:
            database.rollback(connection)
            report.clear()
            raise
        self._state, self._unsaid, self._look, self._dead, self._orphans = state, [], False, [], False
        if addresses:
            nudge(addresses)

    def _transact(
        self, connection: sqlite3.Connection, state: _State, report: Report, *, look: bool
    ) -> list[str]:
        now = clock.now()
        if state.generation and not leases.is_valid(connection, state.generation):
            report.fenced = (
                f"the lease of {self._worker} had ended ({self._lease:g} s without a renewal), and others have taken "
                "over what it held"
            )
            state.forget()
        if not state.generation:
            self._announce(connection, state)
            self._renew_at = now + self._renew_every
        addresses = self._carry_out(connection, state, report)
        if state.ended:
            return addresses + leases.leave(connection, state.generation)
        if now >= self._renew_at:
            leases.renew(connection, state.generation, self._lease)
            self._renew_at = now + self._renew_every
            if self._keeper is not None:
                self._keeper.keep(state.generation)
        if now >= self._sweep_at:
            store.touch(connection, state.names)
            store.delete_disused(connection)
            self._sweep_at = now + SWEEP
        for other in self._dead:
            addresses += leases.take(connection, other.id, other.lease)
        if self._dead or self._orphans:
            rows = leases.adopt(connection, state.generation, state.names)
            report.orphaned += [turn.delivery(row, state.names, state.generation) for row in rows]
        if state.room > 0 and (look or not state.idle or self._dead):
            addresses += self._reserve(connection, state, report)
        self._register_idle(connection, state)
        return addresses

    def _announce(self, connection: sqlite3.Connection, state: _State) -> None:
        store.declare(connection, state.queues.values())
        self._learn(connection, state)
        state.generation = leases.register(connection, self._worker, self.listener.address, self._lease)
        if self._keeper is not None:
            self._keeper.keep(state.generation)

    @staticmethod
    def _learn(connection: sqlite3.Connection, state: _State) -> None:
        """Read the numbers of our queues."""
        numbers = {name: store.queue_id(connection, name) for name in state.queues}
        state.names = {number: name for name, number in numbers.items() if number is not None}

    def _carry_out(self, connection: sqlite3.Connection, state: _State, report: Report) -> list[str]:
        """Do what the worker said, in order; what it said of an older generation is void."""
        said = turn.Said()
        for word in self._unsaid:
            valid = [receipt for receipt in word.receipts if receipt[0] == state.generation]
            answer: Any = None
            if word.kind == "begin":
                answer = valid
            if word.kind in _SETTLING:
                said.add(word.kind, [number for _, number in valid], word.value)
            elif word.kind == "allow":
                state.window = word.value
            elif word.kind == "subscribe":
                state.queues = {**state.queues, word.value.name: word.value}
                store.declare(connection, [word.value])
                self._learn(connection, state)
                state.idle = False
            elif word.kind == "unsubscribe":
                state.queues = {name: queue for name, queue in state.queues.items() if name != word.value}
                store.forget_idle(connection, state.generation)
                self._learn(connection, state)
                state.idle = False
            elif word.kind == "stop":
                state.ended = True
            if word.answer is not None:
                report.answers.append((word.answer, answer))
        addresses = turn.settle(
            connection, state.generation, said, self._options.dead_letter_limit, self._options.dead_letter_ttl
        )
        state.out = state.out - said.released()
        return addresses

    def _reserve(self, connection: sqlite3.Connection, state: _State, report: Report) -> list[str]:
        """Take what may be had; where more is left than we have room for, the next idle one is called."""
        dues = [due for queue in state.names if (due := turn.promote(connection, queue)) is not None]
        state.next_due = min(dues, default=None)
        queues = list(state.names)
        state.first += 1
        first = state.first % len(queues) if queues else 0
        rows, fuller = turn.reserve(connection, state.generation, queues[first:] + queues[:first], state.room)
        report.delivered += [turn.delivery(row, state.names, state.generation) for row in rows]
        state.out = state.out.union(row[1] for row in rows)
        return [
            address for queue in fuller for address in store.wake(connection, queue, 1, but=state.generation)
        ]

    def _register_idle(self, connection: sqlite3.Connection, state: _State) -> None:
        hungry = state.room > 0
        if hungry and not state.idle:
            store.register_idle(connection, state.names, state.generation, self.listener.address)
        elif state.idle and not hungry:
            store.forget_idle(connection, state.generation)
        state.idle = hungry

    def _sleep(self) -> None:
        """Until a nudge, a word, the next due time, renewal or look-out."""
        self._asleep = True
        try:
            if self._words:
                return
            now = clock.now()
            wait = min(self._renew_at, self._look_out_at) - now
            if self._state.room > 0 and self._state.next_due is not None:
                wait = min(wait, self._state.next_due - time.time())
            if select.select([self.listener], [], [], max(wait, 0.0))[0]:
                self.listener.drain()
                self._look, self._state.idle = True, False
        finally:
            self._asleep = False

    def _trouble(self, error: BrokerError, report: Report) -> None:
        """The store cannot be used now: say so once, keep what was not said, try again later."""
        self._hear()
        if self._down is None:
            report.error = error
        self._down = error
        self._trusting_from = clock.now() + self._lease
        self._disconnect()
        if any(word.kind == "stop" for word in self._unsaid):
            # Nothing can be given back now; the lease will end by itself.
            report.answers += [(word.answer, None) for word in self._unsaid if word.answer is not None]
            self._state.ended = True
            self._down = None

    def _wait_out(self) -> None:
        until = clock.now() + self._pause * (0.5 + random.random())
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        while (left := until - clock.now()) > 0 and not any(word.kind == "stop" for word in self._words):
            self._asleep = True
            if select.select([self.listener], [], [], left)[0]:
                self.listener.drain()
            self._asleep = False

    def _connected(self) -> sqlite3.Connection:
        """The connection; a new one if the file was removed or replaced."""
        if self._connection is not None:
            if self._database.inode() == self._inode:
                return self._connection
            self._disconnect()
        self._connection = self._database.connect()
        self._inode = self._database.inode()
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _close(self) -> None:
        self._disconnect()
        self.listener.close()
        if self._keeper is not None:
            self._keeper.close()
