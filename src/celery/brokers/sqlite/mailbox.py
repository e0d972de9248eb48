"""A mailbox of the store: a temporary queue bound to an exchange, read by one event loop."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from celery.brokers.topology import Queue

from . import store, turn
from .forks import ForkLock
from .leases import MESSAGE
from .schema import PLACE_MASK
from .wakeup import Listener, nudge

if TYPE_CHECKING:
    import sqlite3

    from celery.brokers.base import Delivery
    from celery.brokers.topology import Exchange

    from .database import Database

#: Messages returned by one `receive` at most.
_BATCH = 1000
#: Seconds between two looks without having been nudged.
_LOOK_OUT = 1.0


class SqliteMailbox:
    """See `Mailbox`.

    Args:
        expires: seconds after which the queue goes if nobody receives.
    """

    def __init__(
        self, database: Database, name: str, exchange: Exchange, routing_key: str, *, expires: float
    ) -> None:
        self._database = database
        self._queue = Queue(name, exchange, routing_key, durable=False, auto_delete=True, expires=expires)
        self._touch_every = expires / 3
        self._touched = 0.0
        self._number: int | None = None
        self._connection: sqlite3.Connection | None = None
        self._listener = Listener()
        self._lock = ForkLock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="celery-mailbox")
        self._closed = False

    async def open(self) -> None:
        """Declare the queue: from now on messages come in."""
        try:
            await self._run(self._take)
        except BaseException:
            self._listener.close()
            self._thread.shutdown(wait=False)
            raise

    async def _run(self, function: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def receive(self) -> list[Delivery]:
        """See `Mailbox.receive`."""
        while True:
            batch: list[Delivery] = await self._run(self._take)
            if batch:
                return batch
            await self._nudged()

    async def _nudged(self) -> None:
        loop = asyncio.get_running_loop()
        event = asyncio.Event()
        loop.add_reader(self._listener.fileno(), event.set)
        try:
            await asyncio.wait_for(event.wait(), min(_LOOK_OUT, self._touch_every))
        except TimeoutError:
            return
        finally:
            if not self._closed:
                loop.remove_reader(self._listener.fileno())
        self._listener.drain()

    def _take(self) -> list[Delivery]:
        """Take what is there; if nothing is, go on the idle list."""
        database = self._database
        with self._lock.lock, database.errors():
            if self._connection is None:
                self._connection = database.connect()
            connection = self._connection
            if self._is_fresh() and not self._has_news(connection):
                return []
            database.begin(connection)
            try:
                batch = self._transact(connection)
                database.commit(connection)
            except BaseException:
                database.rollback(connection)
                raise
        return batch

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._touched < self._touch_every

    def _has_news(self, connection: sqlite3.Connection) -> bool:
        """Whether there is something to take, or we are not on the idle list. Reads only."""
        row = connection.execute(
            "SELECT 1 FROM ready WHERE queue = ? UNION ALL SELECT 2 WHERE NOT EXISTS"
            " (SELECT 1 FROM idle WHERE queue = ?) LIMIT 1",
            (self._number, self._number),
        ).fetchone()
        return row is not None

    def _transact(self, connection: sqlite3.Connection) -> list[Delivery]:
        if not self._is_fresh():
            store.delete_disused(connection)
        store.declare(connection, [self._queue])
        number = self._number = store.queue_id(connection, self._queue.name)
        assert number is not None
        store.touch(connection, [number])
        self._touched = time.monotonic()
        rows = connection.execute(
            f"SELECT r.place, 1, {MESSAGE} FROM ready r CROSS JOIN message m ON m.id = (r.place & {PLACE_MASK})"
            " WHERE r.queue = ? ORDER BY r.place LIMIT ?",
            (number, _BATCH),
        ).fetchall()
        if not rows:
            # A consumer's numbers are positive: minus the queue's is nobody else's.
            store.register_idle(connection, [number], -number, self._listener.address)
            return []
        connection.execute("DELETE FROM ready WHERE queue = ? AND place <= ?", (number, rows[-1][0]))
        connection.executemany("DELETE FROM message WHERE id = ?", [(row[2],) for row in rows])
        return [turn.delivery(row[1:], {number: self._queue.name}, 0) for row in rows]

    async def aclose(self) -> None:
        """See `Mailbox.aclose`."""
        if not self._closed:
            self._closed = True
            try:
                await self._run(self._leave)
            finally:
                nudge([self._listener.address])
                self._listener.close()
                self._thread.shutdown(wait=False)

    def _leave(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            with self._database.errors():
                self._database.begin(connection)
                if self._number is not None:
                    store.delete(connection, self._number)
                self._database.commit(connection)
        finally:
            connection.close()
