"""Taking messages one by one from a store, without a thread or a loop."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from . import leases, store, turn
from .database import abandon
from .forks import ForkLock
from .wakeup import nudge

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Sequence

    from celery.brokers.base import Delivery

    from .database import Database


#: Seconds between two notes that temporary queues are in use.
_TOUCH_EVERY = 3.0


class SqliteFetcher:
    """See `Fetcher`. Its lease lasts as long as its process: nobody is there to renew one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = ForkLock(self._after_fork)
        self._connection: sqlite3.Connection | None = None
        self._generation = 0
        self._touched = 0.0

    def _after_fork(self) -> None:
        abandon(self._connection)
        self._connection, self._generation = None, 0

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with self._lock.lock, self._database.errors():
            if self._connection is None:
                self._connection = self._database.connect()
            yield self._connection

    def _write(self, connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], list[str]]) -> None:
        database = self._database
        database.begin(connection)
        try:
            addresses = work(connection)
            database.commit(connection)
        except BaseException:
            database.rollback(connection)
            raise
        nudge(addresses)

    def get(self, queues: Sequence[str]) -> Delivery | None:
        """See `Fetcher.get`."""
        found: list[Delivery] = []

        def work(connection: sqlite3.Connection) -> list[str]:
            if not self._generation or not leases.is_valid(connection, self._generation):
                self._generation = leases.register(connection, "fetcher", "", leases.LIFELONG)
            store.touch(connection, names)
            self._touched = time.monotonic()
            for number in names:
                turn.promote(connection, number)
            rows, _ = turn.reserve(connection, self._generation, list(names), 1)
            found.extend(turn.delivery(row, names, self._generation) for row in rows)
            return []

        with self._opened() as connection:
            names = {
                number: name for name in queues if (number := store.queue_id(connection, name)) is not None
            }
            if store.has_ready(connection, names) or turn.has_due(connection, names):
                self._write(connection, work)
            elif time.monotonic() - self._touched > _TOUCH_EVERY and store.has_temporary(connection, names):
                self._write(connection, lambda opened: store.touch(opened, names))
                self._touched = time.monotonic()
        return found[0] if found else None

    def ack(self, delivery: Delivery) -> None:
        """See `Fetcher.ack`."""
        self._settle(delivery, "ack")

    def requeue(self, delivery: Delivery) -> None:
        """See `Fetcher.requeue`."""
        self._settle(delivery, "requeue")

    def _settle(self, delivery: Delivery, kind: str) -> None:
        generation, number = delivery.receipt
        said = turn.Said()
        said.add(kind, [number], (True, True, True))

        def work(connection: sqlite3.Connection) -> list[str]:
            if not leases.is_valid(connection, generation):
                return []
            return turn.settle(connection, generation, said, 0, 0.0)

        with self._opened() as connection:
            self._write(connection, work)

    def close(self) -> None:
        """See `Fetcher.close`."""
        if self._connection is None:
            return
        with self._opened() as connection:
            if self._generation:
                self._write(connection, lambda opened: leases.leave(opened, self._generation))
            self._generation, self._connection = 0, None
            connection.close()
