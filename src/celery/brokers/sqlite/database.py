"""Connections to the store: made when needed, one a thread, never carried over a fork, errors in plain words."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from celery.brokers.base import BrokerError, BrokerRefused, BrokerUnavailable

from . import location, schema
from .forks import ForkLock
from .inherited import StoreConnection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

#: Seconds to wait for another process's write lock, unless a deadline says otherwise.
PATIENCE = 10.0

#: Bytes of write-ahead log that stay on disk after a burst.
_JOURNAL_LIMIT = 32 << 20

#: Pages of log after which whoever commits writes it back into the file. Workers do that sooner, on a thread of
#: their own (`checkpoints`).
LOG_PAGES = 8000

_SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

# Connections that were open when this process was forked off: closing them here could disturb the parent.
_inherited: list[object] = []


def abandon(thing: object) -> None:
    """Keep something inherited by a fork as it is, for ever: neither used nor closed."""
    if thing is not None:
        _inherited.append(thing)


class _PerThread(threading.local):
    connection: sqlite3.Connection | None = None
    pid: int = 0
    inode: tuple[int, int] = (0, 0)

    def __init__(self) -> None:
        self.lock = ForkLock()


class Database:
    """One store file.

    Args:
        path: the file; it is made on first use, and so is its folder if that is called `.celery`.
        synchronous: SQLite's `synchronous` (NORMAL survives every kill of a process, FULL the loss of power).
        patience: seconds to wait for a lock.

    Raises:
        BrokerRefused: `synchronous` is no word that SQLite knows.
    """

    def __init__(
        self, path: str | os.PathLike[str], synchronous: str = "NORMAL", *, patience: float = PATIENCE
    ) -> None:
        self.path = os.path.abspath(path)
        self.patience = patience
        self.synchronous = synchronous.upper()
        if self.synchronous not in _SYNCHRONOUS:
            raise BrokerRefused(
                f"{self.path}: synchronous must be one of {', '.join(_SYNCHRONOUS)}, not {synchronous!r}."
            )
        self._local = _PerThread()

    def connect(self) -> sqlite3.Connection:
        """A new connection, in autocommit mode, usable from one thread at a time, the schema in place.

        Raises:
            BrokerUnavailable, BrokerRefused: naming the file and what to do.
        """
        self._check_place()
        with self.errors():
            connection = sqlite3.connect(
                self.path,
                timeout=self.patience,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
                factory=StoreConnection,
            )
            try:
                connection.execute(f"PRAGMA synchronous = {self.synchronous}")
                connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_LIMIT}")
                connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
                schema.prepare(connection, self.path, time.monotonic() + self.patience)
                # From here on `begin` waits: SQLite's own pauses are longer than our transactions.
                connection.execute("PRAGMA busy_timeout = 0")
            except BaseException:
                connection.close()
                raise
        return connection

    def connection(self) -> sqlite3.Connection:
        """The calling thread's own connection, kept until `close`; a new one after a fork, or when the
        file was removed or replaced.

        Raises:
            BrokerUnavailable, BrokerRefused: as `connect`.
        """
        local = self._local
        found = local.connection
        if found is not None:
            if local.pid == os.getpid() and self.inode() == local.inode:
                return found
            if local.pid == os.getpid():
                found.close()
            else:
                abandon(found)
        local.connection = None
        fresh = self.connect()
        local.pid, local.inode = os.getpid(), self.inode()
        local.connection = fresh
        return fresh

    @contextlib.contextmanager
    def transaction(self, deadline: float | None = None) -> Iterator[sqlite3.Connection]:
        """A write transaction on the calling thread's connection: committed at the end, undone on any exception.

        Args:
            deadline: `time.monotonic()` value until which to wait for others that write; None: `patience`.

        Raises:
            BrokerUnavailable, BrokerRefused: naming the file and what to do; then nothing was changed.
        """
        with self._local.lock.lock, self.errors():
            connection = self.connection()
            self.begin(connection, deadline)
            try:
                yield connection
                self.commit(connection)
            except BaseException:
                self.rollback(connection)
                raise

    def begin(self, connection: sqlite3.Connection, deadline: float | None = None) -> None:
        """`BEGIN IMMEDIATE`, waiting for others in short random pauses.

        Raises:
            BrokerUnavailable: the lock was not free before the deadline.
        """
        self.insist(connection, "BEGIN IMMEDIATE", (), deadline)

    def commit(self, connection: sqlite3.Connection) -> None:
        """`COMMIT`. On an error the transaction may still be open: `rollback`."""
        self.insist(connection, "COMMIT", (), None)

    def insist(
        self, connection: sqlite3.Connection, statement: str, values: Sequence[Any], deadline: float | None
    ) -> sqlite3.Cursor:
        """Execute a statement, waiting in short random pauses while others write.

        Args:
            deadline: `time.monotonic()` value; None: `patience`.

        Raises:
            BrokerUnavailable: the lock was not free before the deadline.
        """
        try:
            return connection.execute(statement, values)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _BUSY:
                raise
        start = time.monotonic()
        if deadline is None:
            deadline = start + self.patience
        pause = 0.0001
        while True:
            time.sleep(pause * (0.5 + random.random()))
            pause = min(pause * 1.5, 0.005)
            try:
                return connection.execute(statement, values)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in _BUSY:
                    raise
                if time.monotonic() >= deadline:
                    raise BrokerUnavailable(
                        f"{self.path}: another process has held the store's lock for "
                        f"{time.monotonic() - start:.1f} s. End or resume that process (`fuser {self.path}` names it)."
                    ) from error

    @staticmethod
    def rollback(connection: sqlite3.Connection) -> None:
        """Undo the open transaction, if there is one."""
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn SQLite's errors into the port's, in plain words."""
        try:
            yield
        except sqlite3.Error as error:
            raise translate(error, self.path) from error

    def translate(self, error: sqlite3.Error) -> BrokerError:
        """What a SQLite error means for this store, in plain words."""
        return translate(error, self.path)

    def inode(self) -> tuple[int, int]:
        """Which file the path names now; zeros if none."""
        try:
            found = os.stat(self.path)
        except OSError:
            return (0, 0)
        return (found.st_dev, found.st_ino)

    def close(self) -> None:
        """Close the calling thread's connection. Others end with their threads."""
        found, self._local.connection = self._local.connection, None
        if found is not None:
            if self._local.pid == os.getpid():
                found.close()
            else:
                abandon(found)

    def _check_place(self) -> None:
        """Say what SQLite would put as `unable to open database file`, and make our own folder."""
        if os.path.isfile(self.path):
            location.refuse_network(self.path)
            return
        if os.path.isdir(self.path):
            raise BrokerRefused(
                f"{self.path}: this is a folder. The store is a file: name one inside it, such as "
                f"{os.path.join(self.path, location.FILE)}."
            )
        folder = Path(self.path).parent
        location.refuse_network(folder)
        try:
            if folder.name == location.FOLDER and not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
                (folder / ".gitignore").write_text("*\n")
        except OSError as error:
            raise BrokerRefused(f"{folder}: cannot make the store's folder: {error.strerror}.") from error
        if not folder.is_dir():
            raise BrokerRefused(
                f"{self.path}: the folder {folder} does not exist. Make it, or name another file."
            )


_SAYINGS: dict[int, tuple[type[BrokerError], str]] = {
    sqlite3.SQLITE_FULL: (
        BrokerUnavailable,
        "the disk is full; nothing was written. Make room and try again.",
    ),
    sqlite3.SQLITE_READONLY: (
        BrokerRefused,
        "the file or its folder is read-only for this user. The store needs write access to both.",
    ),
    sqlite3.SQLITE_PERM: (BrokerRefused, "access denied. The store needs read and write access."),
    sqlite3.SQLITE_AUTH: (BrokerRefused, "access denied. The store needs read and write access."),
    sqlite3.SQLITE_CORRUPT: (
        BrokerRefused,
        "the file is damaged. Stop all workers, keep a copy, then `sqlite3 FILE .recover` or remove it.",
    ),
    sqlite3.SQLITE_NOTADB: (
        BrokerRefused,
        "this is not a store, nor any SQLite database. Name another file.",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        BrokerRefused,
        "it cannot be opened or made. Check that its folder exists and that this user may write there.",
    ),
    sqlite3.SQLITE_BUSY: (BrokerUnavailable, "another process keeps the store locked."),
    sqlite3.SQLITE_LOCKED: (BrokerUnavailable, "another thread keeps the store locked."),
    sqlite3.SQLITE_IOERR: (
        BrokerUnavailable,
        "reading or writing failed. Check the disk and the system's log.",
    ),
    sqlite3.SQLITE_NOMEM: (BrokerUnavailable, "out of memory."),
    sqlite3.SQLITE_TOOBIG: (BrokerRefused, "the message is larger than SQLite can store (1 GB)."),
}


def translate(error: sqlite3.Error, path: str) -> BrokerError:
    """What a SQLite error means for whoever uses the store at `path`."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    kind, saying = _SAYINGS.get((code or 0) & 0xFF, (BrokerUnavailable, ""))
    name: str | None = getattr(error, "sqlite_errorname", None)
    detail = f"{error} [{name}]" if name else str(error)
    return kind(f"{path}: {saying} ({detail})" if saying else f"{path}: {detail}")
