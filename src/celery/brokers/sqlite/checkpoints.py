"""Writes the store's log back into its file, on a thread of a worker's own.

SQLite leaves that to whoever commits once the log is long: it copies some megabytes and waits for the disk, in the
middle of somebody's `delay()` or task. A worker knows how much is being written, and sees to it before the log is
that long. The copying disturbs nobody: it is done in passive mode, which waits for no one and holds up no one. Where no
worker runs, and as a last resort, SQLite does as ever (`database.LOG_PAGES`).
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from celery.brokers.base import BrokerError

from .forks import ForkLock

if TYPE_CHECKING:
    import sqlite3

    from .database import Database

logger = logging.getLogger(__name__)

#: Pages of 4 KiB that are written, by estimate, between two checkpoints.
EVERY = 1000
#: A log of so many pages is begun anew even if writers must wait for that (some milliseconds): passive mode never
#: catches up with writers that do not pause.
LONG = 6000
#: Milliseconds to wait for readers and writers then.
_WAIT = 200
#: What a turn writes: its own pages and those of the publish and the result behind it; and more for each message.
_PAGES_A_TURN, _PAGES_A_MESSAGE = 8, 1


class Checkpointer:
    """See the module.

    Args:
        database: a connection of its own is made to it when the first checkpoint is due.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._written = 0
        self._due = threading.Event()
        self._ended = False
        self._lock = ForkLock()
        self._thread: threading.Thread | None = None

    def wrote(self, messages: int) -> None:
        """Take note of a turn in which so many messages were moved; called in one thread only."""
        self._written += _PAGES_A_TURN + _PAGES_A_MESSAGE * messages
        if self._written < EVERY:
            return
        self._written = 0
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="celery-store-log", daemon=True)
            self._thread.start()
        self._due.set()

    def close(self) -> None:
        """End the thread."""
        self._ended = True
        self._due.set()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        try:
            while True:
                self._due.wait()
                self._due.clear()
                if self._ended:
                    return
                try:
                    with self._lock.lock, self._database.errors():
                        checkpoint(self._database.connection())
                except BrokerError as error:  # whoever needs the store says so louder
                    logger.debug("no checkpoint: %s", error)
        finally:
            self._database.close()


def checkpoint(connection: sqlite3.Connection) -> None:
    """Write back what the log holds, as far as nobody is in the way."""
    _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    if pages < LONG:
        return
    connection.execute(f"PRAGMA busy_timeout = {_WAIT}")
    try:
        connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    finally:
        connection.execute("PRAGMA busy_timeout = 0")
