"""Sending into the store: one connection a process, one transaction for all threads that send at once."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING

from celery.brokers.base import BrokerError, BrokerUnavailable

from . import store
from .database import abandon
from .wakeup import nudge

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence
    from concurrent.futures import ThreadPoolExecutor

    from celery.brokers.base import Outgoing

    from .database import Database


class _Ticket:
    """One call of `publish` that waits for the transaction."""

    __slots__ = ("batch", "error", "on_done", "outcomes")

    def __init__(self, batch: Sequence[Outgoing], on_done: Callable[[_Ticket], None] | None = None) -> None:
        self.batch = batch
        self.outcomes: list[BrokerError | None] | None = None
        self.error: BrokerError | None = None
        self.on_done = on_done

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
        self._executor: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None
        self._inode = (0, 0)
        self._topology = store.Topology()
        self._lock = threading.Lock()
        self._draining = False
        _publishers.add(self)

    def publish(self, batch: Sequence[Outgoing], *, deadline: float) -> list[BrokerError | None]:
        """See `Publisher.publish`."""
        ticket = _Ticket(batch)
        self._waiting.append(ticket)
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            try:
                self._waiting.remove(ticket)
            except ValueError:
                self._lock.acquire()  # somebody is just writing it: the outcome is worth the wait
            else:
                raise BrokerUnavailable(
                    f"{self._database.path}: other threads were writing until the deadline."
                )
        try:
            if not ticket.done:
                self._write_all(deadline)
        finally:
            self._lock.release()
        return ticket.result()

    async def apublish(self, batch: Sequence[Outgoing], *, deadline: float) -> list[BrokerError | None]:
        """See `Publisher.apublish`: a thread writes, for all tasks of the loop that send at once."""
        import asyncio  # noqa: PLC0415 - a program that only calls `delay` need not load it

        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[BrokerError | None]] = loop.create_future()

        def settle(ticket: _Ticket) -> None:
            if not future.done():
                if ticket.error is not None:
                    future.set_exception(ticket.error)
                else:
                    future.set_result(ticket.result())

        def hand_over(ticket: _Ticket) -> None:
            try:
                loop.call_soon_threadsafe(settle, ticket)
            except RuntimeError:
                return  # the loop was closed meanwhile: nobody waits

        self._waiting.append(_Ticket(batch, hand_over))
        if not self._draining:
            self._draining = True
            if self._executor is None:
                from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - as above

                self._executor = ThreadPoolExecutor(1, thread_name_prefix="celery-publish")
            self._executor.submit(self._drain, deadline)
        return await future

    def _drain(self, deadline: float) -> None:
        self._draining = False
        with self._lock:
            self._write_all(deadline)

    def _write_all(self, deadline: float) -> None:
        """Write what waits, in one transaction if it can be; the lock is held."""
        tickets: list[_Ticket] = []
        while self._waiting:
            tickets.append(self._waiting.popleft())
        if not tickets:
            return
        addresses: list[str] = []
        try:
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
                ticket.outcomes, ticket.error = (
                    None,
                    BrokerUnavailable(f"{self._database.path}: interrupted."),
                )
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
        database = self._database
        try:
            connection = self._connected()
            database.begin(connection, deadline)
            try:
                if len(tickets) == 1:
                    outcomes, addresses = store.enqueue(connection, self._topology, tickets[0].batch)
                    database.commit(connection)
                    tickets[0].outcomes = outcomes
                    return addresses
                whole = [outgoing for ticket in tickets for outgoing in ticket.batch]
                outcomes, addresses = store.enqueue(connection, self._topology, whole)
                database.commit(connection)
            except BaseException:
                database.rollback(connection)
                self._topology = store.Topology()  # what it learned in this transaction is undone too
                raise
        except sqlite3.Error as error:
            raise database.translate(error) from error
        start = 0
        for ticket in tickets:
            ticket.outcomes = outcomes[start : start + len(ticket.batch)]
            start += len(ticket.batch)
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
        with self._lock:
            connection, self._connection = self._connection, None
            executor, self._executor = self._executor, None
            if connection is not None:
                connection.close()
        if executor is not None:
            executor.shutdown(wait=True)

    # A fork must not happen while a thread is inside SQLite: the child would inherit locks that nobody opens.

    def _before_fork(self) -> None:
        self._forking = self._lock.acquire(timeout=5.0)

    def _after_fork_in_parent(self) -> None:
        if self._forking:
            self._lock.release()

    def _after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        self._waiting = deque()
        self._draining = False
        abandon(self._executor)
        self._executor = None
        abandon(self._connection)
        self._connection = None


_publishers: weakref.WeakSet[SqlitePublisher] = weakref.WeakSet()


def _each(method: Callable[[SqlitePublisher], None]) -> Callable[[], None]:
    def run() -> None:
        for publisher in list(_publishers):
            method(publisher)

    return run


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_each(SqlitePublisher._before_fork),
        after_in_parent=_each(SqlitePublisher._after_fork_in_parent),
        after_in_child=_each(SqlitePublisher._after_fork_in_child),
    )
