"""Writes that are one statement each.

SQLite carries a statement out, commit included, without giving control back to the interpreter. So a
thread that must wait for the interpreter's lock, because a task computes or hogs it, never holds the store's lock
meanwhile, and the other processes go on. What happens most is done this way: sending, acknowledging, reserving.
The statements are inserts into temporary views whose triggers do the work.
"""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

from .leases import MESSAGE, TAKEN
from .schema import PLACE_MASK, PLACE_SHIFT
from .store import HIGHEST

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .database import Database

#: Rows of one insert; each a power of two, so that few statements are ever compiled.
_CHUNKS = (64, 32, 16, 8, 4, 2, 1)

_SEND_COLUMNS = (
    "generation",
    "queue",
    "priority",
    "due",
    "exchange",
    "routing_key",
    "headers",
    "properties",
    "body",
)
_TURN_COLUMNS = ("consumer", "lease", "acks", "begins", "turn", "queue", "room", "address")

_PLACE = f"({HIGHEST} - NEW.priority) << {PLACE_SHIFT} | last_insert_rowid()"
_STORE = """
    SELECT RAISE(ABORT, 'stale') WHERE (SELECT generation FROM topology) IS NOT NEW.generation;
    INSERT INTO message VALUES (NULL, NEW.queue, NEW.priority, NEW.due, NEW.exchange, NEW.routing_key,
                                NEW.headers, NEW.properties, NEW.body);"""
_TRIGGERS = {
    "send_now": (_SEND_COLUMNS, f"{_STORE} INSERT INTO ready VALUES (NEW.queue, {_PLACE}, 0);"),
    "send_later": (
        _SEND_COLUMNS,
        f"{_STORE} INSERT INTO parked VALUES (NEW.queue, NEW.due, last_insert_rowid(), 0);",
    ),
    # `changes()` are the rows just reserved: fewer than there is room for puts the consumer on the idle list.
    "take_turn": (
        _TURN_COLUMNS,
        f"""
    SELECT RAISE(ABORT, 'fenced') WHERE NOT EXISTS
        (SELECT 1 FROM consumer WHERE id = NEW.consumer AND lease != {TAKEN});
    UPDATE consumer SET lease = NEW.lease WHERE id = NEW.consumer AND NEW.lease IS NOT NULL;
    UPDATE held SET begun = 1 WHERE consumer = NEW.consumer AND message IN (SELECT value FROM json_each(NEW.begins));
    DELETE FROM message WHERE id IN (SELECT h.message FROM held h
        WHERE h.consumer = NEW.consumer AND h.message IN (SELECT value FROM json_each(NEW.acks)));
    DELETE FROM held WHERE consumer = NEW.consumer AND message IN (SELECT value FROM json_each(NEW.acks));
    INSERT INTO held SELECT NEW.consumer, place & {PLACE_MASK}, deliveries + 1, 0, NEW.turn FROM ready
        WHERE queue = NEW.queue ORDER BY place LIMIT NEW.room;
    INSERT OR IGNORE INTO idle SELECT NEW.queue, NEW.consumer, NEW.address WHERE changes() < NEW.room;
    DELETE FROM ready WHERE queue = NEW.queue AND place <=
        (SELECT max(place) FROM (SELECT place FROM ready WHERE queue = NEW.queue ORDER BY place LIMIT NEW.room));""",
    ),
}


class Stale(Exception):
    """Queues or bindings were changed by somebody: nothing was written."""


class Fenced(Exception):
    """Others have taken the lease: nothing was written."""


def install(connection: sqlite3.Connection) -> None:
    """Make the views and triggers of this module, for this connection."""
    for name, (columns, body) in _TRIGGERS.items():
        nulls = ", ".join(f"NULL AS {column}" for column in columns)
        connection.execute(f"CREATE TEMP VIEW {name} AS SELECT {nulls}")
        connection.execute(f"CREATE TEMP TRIGGER {name}_do INSTEAD OF INSERT ON {name} BEGIN {body} END")


def _insert(view: str, columns: int, rows: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"INSERT INTO {view} VALUES {', '.join([row] * rows)}"


_SEND = {
    (view, size): _insert(view, len(_SEND_COLUMNS), size)
    for view in ("send_now", "send_later")
    for size in _CHUNKS
}
_TURN = _insert("take_turn", len(_TURN_COLUMNS), 1)
_TAKEN = (
    f"SELECT h.deliveries, {MESSAGE} FROM held h CROSS JOIN message m ON m.id = h.message"
    f" WHERE h.consumer = ? AND h.turn = ? ORDER BY ({HIGHEST} - m.priority) << {PLACE_SHIFT} | m.id"
)


def chunks(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Cut rows into lots of which each is one statement."""
    if len(rows) < 2:
        if rows:
            yield rows
        return
    start = 0
    for size in _CHUNKS:
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size


def send(
    database: Database,
    connection: sqlite3.Connection,
    rows: Sequence[tuple[Any, ...]],
    deadline: float,
    *,
    later: bool,
) -> None:
    """Store one lot of messages.

    Args:
        rows: generation, queue, priority, due, exchange, routing key, headers, properties and body of each.
        later: all are due in the future.

    Raises:
        Stale: the generation is not the file's.
        BrokerUnavailable: the lock was not free before the deadline.
    """
    statement = _SEND["send_later" if later else "send_now", len(rows)]
    values = rows[0] if len(rows) == 1 else [value for row in rows for value in row]
    try:
        database.insist(connection, statement, values, deadline)
    except sqlite3.IntegrityError as error:
        raise Stale from error


def take_turn(
    database: Database,
    connection: sqlite3.Connection,
    consumer: int,
    *,
    deadline: float,
    lease: float | None = None,
    acks: Sequence[int] = (),
    begins: Sequence[int] = (),
    turn: int = 0,
    queue: int = 0,
    room: int = 0,
    address: str = "",
) -> list[tuple[Any, ...]]:
    """Renew, acknowledge, begin and reserve from one queue; who gets less than there is room for is idle there.

    Args:
        lease: the new end of the lease; None leaves it.
        turn: of the consumer's counting; what an earlier try of the same turn reserved is returned again.
        queue, room: how much to reserve from where.
        address: of the consumer's listener.

    Returns:
        Rows of deliveries (deliveries, then `MESSAGE`), if there was room.

    Raises:
        Fenced: others have taken the lease.
        BrokerUnavailable: the lock was not free before the deadline.
    """
    values = (consumer, lease, _numbers(acks), _numbers(begins), turn, queue, room, address)
    try:
        database.insist(connection, _TURN, values, deadline)
    except sqlite3.IntegrityError as error:
        raise Fenced from error
    return connection.execute(_TAKEN, (consumer, turn)).fetchall() if room else []


def _numbers(numbers: Sequence[int]) -> str:
    return json.dumps(list(numbers)) if numbers else "[]"


def wake(
    database: Database,
    connection: sqlite3.Connection,
    queue: int,
    count: int,
    deadline: float,
    *,
    but: int = 0,
) -> list[str]:
    """Take consumers off the idle list of a queue, each by a statement of its own; nudge the addresses then."""
    rows = connection.execute(
        "SELECT consumer, address FROM idle WHERE queue = ? AND consumer != ? LIMIT ?", (queue, but, count)
    ).fetchall()
    for consumer, _ in rows:
        database.insist(connection, "DELETE FROM idle WHERE consumer = ?", (consumer,), deadline)
    return [address for _, address in rows]


def is_soonest(connection: sqlite3.Connection, queue: int, due: float) -> bool:
    """Whether nothing is parked in the queue for an earlier time."""
    (first,) = connection.execute("SELECT min(due) FROM parked WHERE queue = ?", (queue,)).fetchone()
    return first is None or bool(due <= first)
