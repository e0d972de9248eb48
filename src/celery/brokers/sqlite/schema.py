"""The tables of the store, and how an older file becomes a current one.

One file holds broker and results of all apps of a project. `user_version` counts the migrations that were
applied; `application_id` marks the file as ours, so that a mistyped path never writes into somebody's
database. Small rows move, large rows stay: a message is written once, and what moves
between *ready*, *parked* and *held* is a row of a few bytes.
"""

from __future__ import annotations

import sqlite3
import time

from celery.brokers.base import BrokerRefused, BrokerUnavailable

APPLICATION_ID = 0x43454C52  # "CELR"

#: The lower bits of `ready.place` are the message's id, the upper ones 9 - priority: ascending is the order of delivery.
PLACE_SHIFT = 56
PLACE_MASK = (1 << PLACE_SHIFT) - 1

_FIRST = (
    # One row that counts changes of queues and bindings, so that publishers may remember their routes.
    "CREATE TABLE topology (id INTEGER PRIMARY KEY CHECK (id = 1), generation INTEGER NOT NULL)",
    "INSERT INTO topology VALUES (1, 1)",
    # `expires`: seconds of disuse after which a temporary queue goes; `used`: unix time of its last use.
    "CREATE TABLE queue (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, expires REAL, used REAL)",
    "CREATE TABLE exchange (name TEXT PRIMARY KEY, type TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE binding (exchange TEXT NOT NULL, routing_key TEXT NOT NULL, queue INTEGER NOT NULL,"
    " PRIMARY KEY (exchange, routing_key, queue)) WITHOUT ROWID",
    "CREATE INDEX binding_queue ON binding (queue)",
    "CREATE TABLE message (id INTEGER PRIMARY KEY, queue INTEGER NOT NULL, priority INTEGER NOT NULL, due REAL,"
    " exchange TEXT NOT NULL, routing_key TEXT NOT NULL, headers BLOB NOT NULL, properties BLOB NOT NULL,"
    " body BLOB NOT NULL)",
    "CREATE TABLE ready (queue INTEGER NOT NULL, place INTEGER NOT NULL, deliveries INTEGER NOT NULL,"
    " PRIMARY KEY (queue, place)) WITHOUT ROWID",
    "CREATE TABLE parked (queue INTEGER NOT NULL, due REAL NOT NULL, message INTEGER NOT NULL,"
    " deliveries INTEGER NOT NULL, PRIMARY KEY (queue, due, message)) WITHOUT ROWID",
    # `turn` counts the consumer's reservations, so that it can read what the last one gave it.
    "CREATE TABLE held (consumer INTEGER NOT NULL, message INTEGER NOT NULL, deliveries INTEGER NOT NULL,"
    " begun INTEGER NOT NULL DEFAULT 0, turn INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (consumer, message)) WITHOUT ROWID",
    # Ids are never used twice: the id is the generation that fences a consumer whose lease ended.
    # `lease` is a time on this machine's monotonic clock, good only while `boot` is the same.
    "CREATE TABLE consumer (id INTEGER PRIMARY KEY AUTOINCREMENT, worker TEXT NOT NULL, address TEXT NOT NULL,"
    " process TEXT NOT NULL, boot TEXT NOT NULL, lease REAL NOT NULL)",
    # Who has room and found nothing: the next to be woken.
    "CREATE TABLE idle (queue INTEGER NOT NULL, consumer INTEGER NOT NULL, address TEXT NOT NULL,"
    " PRIMARY KEY (queue, consumer)) WITHOUT ROWID",
    "CREATE INDEX idle_consumer ON idle (consumer)",
    "CREATE TABLE dead (id INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, reason TEXT NOT NULL,"
    " died_at REAL NOT NULL, priority INTEGER NOT NULL, exchange TEXT NOT NULL, routing_key TEXT NOT NULL,"
    " headers BLOB NOT NULL, properties BLOB NOT NULL, body BLOB NOT NULL)",
    "CREATE INDEX dead_queue ON dead (queue)",
    # Results: any key of a key-value backend; `expires` is unix time, NULL for ever.
    "CREATE TABLE result (key TEXT PRIMARY KEY, value BLOB NOT NULL, expires REAL) WITHOUT ROWID",
    "CREATE INDEX result_expires ON result (expires) WHERE expires IS NOT NULL",
    # Who waits for a key: nudged by whoever stores it.
    "CREATE TABLE result_waiter (key TEXT NOT NULL, address TEXT NOT NULL, expires REAL NOT NULL,"
    " PRIMARY KEY (key, address)) WITHOUT ROWID",
)

#: Statements of each migration; the position + 1 is the `user_version` they lead to. Never edit one that was
#: released: append.
MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST,)
VERSION = len(MIGRATIONS)

# One statement, so that all three are of one moment: another process may be making the tables right now.
_WHOSE = (
    "SELECT (SELECT user_version FROM pragma_user_version), (SELECT application_id FROM pragma_application_id),"
    " (SELECT count(*) FROM sqlite_schema)"
)


def prepare(connection: sqlite3.Connection, path: str, deadline: float) -> None:
    """Make the store's tables, or bring an older file up to date, under the write lock.

    Args:
        connection: in autocommit mode.
        deadline: `time.monotonic()` value until which to wait for others that write.

    Raises:
        BrokerRefused: the file was written by a newer version, or is another program's database.
        BrokerUnavailable: others held the lock until the deadline.
        sqlite3.Error: as SQLite says it; `database.translate` makes it readable.
    """
    if _is_current(connection, path):
        return
    _patiently(connection, "PRAGMA journal_mode = WAL", path, deadline)
    _patiently(connection, "BEGIN IMMEDIATE", path, deadline)
    try:
        if not _is_current(connection, path):
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            for statements in MIGRATIONS[version:]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _is_current(connection: sqlite3.Connection, path: str) -> bool:
    version, owner, tables = connection.execute(_WHOSE).fetchone()
    if owner == APPLICATION_ID:
        if version > VERSION:
            raise BrokerRefused(
                f"{path}: a newer version of Celeriac wrote this store (schema {version}, this one knows "
                f"{VERSION}). Upgrade this installation, or use another file (setting embedded_store)."
            )
        return bool(version == VERSION)
    if tables or owner or version:
        raise BrokerRefused(
            f"{path}: this SQLite file belongs to another program. Name another file for the store "
            "(setting embedded_store, or the sqlite:// URL)."
        )
    return False


def _patiently(connection: sqlite3.Connection, statement: str, path: str, deadline: float) -> None:
    """Run a statement for which SQLite does not always wait by itself."""
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise
            if time.monotonic() >= deadline:
                raise BrokerUnavailable(f"{path}: another process kept the store locked.") from error
        time.sleep(0.005)
