"""Sending into the store: one connection a process, one transaction for all threads that send at once."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from celery.brokers.base import BrokerError, BrokerUnavailable
from celery.net.aside import Aside
from celery.utils.locks import TAKEN, holding

from . import store, strokes
from .database import abandon
from .forks import ForkLock
from .wakeup import nudge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery.brokers.base import Outgoing

    from .database import Database


# The index of a message in its batch, and its row as `strokes.send` takes it.
_Row = tuple[int, tuple[Any, ...]]


class _Ticket:
    """One call of `publish` that waits for the transaction."""

    __slots__ = ("batch", "error", "on_done", "outcomes")

    def __init__(self, batch: Sequence[Outgoing]) -> None:
        self.batch = batch
        self.outcomes: list[BrokerError | None] | None = None
        self.error: BrokerError | None = None
        self.on_done: Callable[[_Ticket], None] | None = None

    @property
    def done(self) -> bool:
        return self.outcomes is not None or self.error is not None

    def result(self) -> list[BrokerError | None]:
        if self.error is not None:
            raise self.error
        assert self.outcomes is not None
        return self.outcomes


class SqlitePublisher:
    """The `Publisher` of a store.

    Whoever gets the lock writes for all who wait: threads that send at the same time share one commit.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Ticket] = deque()
        self._aside = Aside(self._serve)
        self._connection: sqlite3.Connection | None = None
        self._inode = (0, 0)
        self._topology = store.Topology()
        self._lock = ForkLock(self._after_fork)

    def publish(self, batch: Sequence[Outgoing], *, deadline: float) -> list[BrokerError | None]:
        """See `Publisher.publish`."""
        ticket = _Ticket(batch)
        self._waiting.append(ticket)
        if holding(self._lock.lock, deadline - time.monotonic(), self._write_for, ticket, deadline) is TAKEN:
            try:
                self._waiting.remove(ticket)
            except ValueError:
                with self._lock.lock:  # somebody is just writing it: the outcome is worth the wait
                    pass
            else:
                raise BrokerUnavailable(
                    f"{self._database.path}: other threads were writing until the deadline."
                )
        if not ticket.done:
            raise self._interrupted()
        return ticket.result()

    def _write_for(self, ticket: _Ticket, deadline: float) -> None:
        if not ticket.done:
            self._write_all(deadline)

    def _interrupted(self) -> BrokerUnavailable:
        return BrokerUnavailable(f"{self._database.path}: the thread that wrote this was interrupted.")

    async def apublish(self, batch: Sequence[Outgoing], *, deadline: float) -> list[BrokerError | None]:
        """See `Publisher.apublish`: a thread writes, for all tasks of the loop that send at once."""
        ticket = _Ticket(batch)

        def put(tell: Callable[[_Ticket], None]) -> None:
            ticket.on_done = tell
            self._waiting.append(ticket)

        await self._aside.made(put, deadline)
        return ticket.result()

    def _serve(self, deadline: float) -> None:
        with self._lock.lock:
            self._write_all(deadline)

    def _write_all(self, deadline: float) -> None:
        """Write what waits, in one transaction if it can be; the lock is held."""
        tickets: list[_Ticket] = []
        addresses: list[str] = []
        try:
            with contextlib.suppress(IndexError):  # one may be taken back at any time
                while True:
                    tickets.append(self._waiting.popleft())
            if tickets:
                addresses = self._write(tickets, deadline)
        except BrokerError as error:
            if len(tickets) == 1 or isinstance(error, BrokerUnavailable):
                for ticket in tickets:
                    ticket.outcomes, ticket.error = None, error
            else:
                addresses = self._write_singly(
                    tickets, deadline
                )  # one bad message must not refuse the others
        except BaseException:
            for ticket in tickets:
                ticket.outcomes, ticket.error = None, self._interrupted()
            raise
        finally:
            for ticket in tickets:
                if ticket.on_done is not None:
                    ticket.on_done(ticket)
        if addresses:
            self._nudge(addresses)

    def _write_singly(self, tickets: list[_Ticket], deadline: float) -> list[str]:
        addresses: list[str] = []
        for ticket in tickets:
            try:
                addresses += self._write([ticket], deadline)
            except BrokerError as error:
                ticket.outcomes, ticket.error = None, error
        return addresses

    def _write(self, tickets: list[_Ticket], deadline: float) -> list[str]:
        """Write the messages of these tickets and note the outcomes; returns whom to nudge."""
        batch = tickets[0].batch if len(tickets) == 1 else [out for ticket in tickets for out in ticket.batch]
        try:
            connection = self._connected()
            rows = self._plan(connection, batch)
            if rows is None:
                outcomes, addresses = self._transact(connection, batch, deadline)
            else:
                outcomes, addresses = self._stroke(connection, batch, rows, deadline)
        except sqlite3.Error as error:
            raise self._database.translate(error) from error
        start = 0
        for ticket in tickets:
            part = outcomes[start : start + len(ticket.batch)]
            start += len(ticket.batch)
            if part and all(isinstance(outcome, BrokerUnavailable) for outcome in part):
                ticket.error = part[0]
            else:
                ticket.outcomes = part
        return addresses

    def _transact(
        self, connection: sqlite3.Connection, batch: Sequence[Outgoing], deadline: float
    ) -> tuple[list[BrokerError | None], list[str]]:
        """Everything in one transaction: declarations, and messages for several queues at once."""
        database = self._database
        database.begin(connection, deadline)
        try:
            result = store.enqueue(connection, self._topology, batch)
            database.commit(connection)
        except BaseException:
            database.rollback(connection)
            self._topology = store.Topology()  # what it learned in this transaction is undone too
            raise
        return result

    def _plan(self, connection: sqlite3.Connection, batch: Sequence[Outgoing]) -> list[int | None] | None:
        """The queue of each message (None: there is none), if each goes to one at most and nothing must be declared."""
        topology = self._topology
        if not topology.generation:
            return None
        targets: list[int | None] = []
        for outgoing in batch:
            if outgoing.declare and not topology.knows(outgoing.declare):
                return None
            found = topology.route(connection, outgoing.exchange, outgoing.routing_key)
            if not found:
                topology.refresh(
                    connection
                )  # refusing needs fresh eyes; whatever is written is checked anyway
                found = topology.route(connection, outgoing.exchange, outgoing.routing_key)
            if len(found) > 1:
                return None
            targets.append(found[0] if found else None)
        return targets

    def _stroke(
        self,
        connection: sqlite3.Connection,
        batch: Sequence[Outgoing],
        targets: list[int | None],
        deadline: float,
    ) -> tuple[list[BrokerError | None], list[str]]:
        """Lots of one statement each."""
        now, generation = time.time(), self._topology.generation
        outcomes: list[BrokerError | None] = [None] * len(batch)
        lots: tuple[list[_Row], list[_Row]] = ([], [])
        for index, (outgoing, target) in enumerate(zip(batch, targets, strict=True)):
            due = outgoing.due
            if target is not None:
                priority = min(max(outgoing.priority, 0), store.HIGHEST)
                values = (generation, target, priority, due, outgoing.exchange, outgoing.routing_key)
                content = (outgoing.headers.raw, outgoing.properties.raw, outgoing.body)
                lots[due is not None and due > now].append((index, (*values, *content)))
            elif outgoing.mandatory:
                outcomes[index] = store.unroutable(outgoing)
        for rows, later in zip(lots, (False, True), strict=True):
            for lot in strokes.chunks(rows):
                self._send_lot(connection, batch, lot, outcomes, deadline, later=later)
        return outcomes, self._whom_to_wake(connection, lots, deadline)

    def _send_lot(
        self,
        connection: sqlite3.Connection,
        batch: Sequence[Outgoing],
        lot: Sequence[_Row],
        outcomes: list[BrokerError | None],
        deadline: float,
        *,
        later: bool,
    ) -> None:
        """Send one lot and note what became of it. An error counts for its own messages only."""
        database = self._database
        try:
            strokes.send(database, connection, [row for _, row in lot], deadline, later=later)
            return
        except strokes.Stale:
            # Somebody changed queues or bindings since: once more, the slow way that looks again.
            self._topology = store.Topology()
        except sqlite3.Error as error:
            failure = database.translate(error)
            if len(lot) > 1 and not isinstance(failure, BrokerUnavailable):
                for single in lot:  # one bad message must not refuse the others
                    self._send_lot(connection, batch, [single], outcomes, deadline, later=later)
                return
            for index, _ in lot:
                outcomes[index] = failure
            return
        except BrokerUnavailable as failure:
            for index, _ in lot:
                outcomes[index] = failure
            return
        again, addresses = self._transact(connection, [batch[index] for index, _ in lot], deadline)
        for (index, _), outcome in zip(lot, again, strict=True):
            outcomes[index] = outcome
        nudge(addresses)

    def _whom_to_wake(
        self, connection: sqlite3.Connection, lots: tuple[list[_Row], list[_Row]], deadline: float
    ) -> list[str]:
        ready, parked = lots
        addresses: list[str] = []
        try:
            if len(ready) == 1:
                addresses = strokes.wake(self._database, connection, ready[0][1][1], 1, deadline)
            elif ready:
                counts = Counter(row[1] for _, row in ready)
                for queue, count in counts.items():
                    addresses += strokes.wake(self._database, connection, queue, min(count, 16), deadline)
            soonest: dict[int, float] = {}
            for _, row in parked:
                soonest[row[1]] = min(row[3], soonest.get(row[1], row[3]))
            for queue, due in soonest.items():
                if strokes.is_soonest(connection, queue, due):
                    addresses += strokes.wake(self._database, connection, queue, 1, deadline)
        except (sqlite3.Error, BrokerError):
            return addresses  # the messages are stored: who was not woken looks by himself
        return addresses

    def _connected(self) -> sqlite3.Connection:
        """The connection; a new one if the file was removed or replaced."""
        if self._connection is not None:
            if self._database.inode() == self._inode:
                return self._connection
            self._connection.close()
            self._connection = None
        self._topology = store.Topology()
        self._connection = self._database.connect()
        strokes.install(self._connection)
        self._inode = self._database.inode()
        return self._connection

    def _nudge(self, addresses: list[str]) -> None:
        gone = nudge(addresses)
        if gone:
            self._wake_others(gone)

    def _wake_others(self, gone: list[str]) -> None:
        """Somebody died idle: his turn goes to the others of his queues. If it fails, they look by themselves soon."""
        try:
            with self._database.transaction(time.monotonic() + 1.0) as connection:
                others = store.replace_idle(connection, gone)
        except BrokerError:
            return
        nudge(others)

    def close(self) -> None:
        """Close the connection; a later `publish` opens it again."""
        with self._lock.lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()
        self._aside.close()

    def _after_fork(self) -> None:
        """In a child: what was inherited is the parent's, and so is what waited."""
        self._waiting = deque()
        abandon(self._aside)
        self._aside = Aside(self._serve)
        abandon(self._connection)
        self._connection = None
