"""Who is alive, and what becomes of what the dead held. Every function runs inside a transaction of its caller's.

A consumer's id is its generation: whoever comes back after its lease was taken gets a new one, and
whatever it says under the old one is void.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from . import clock
from .schema import PLACE_SHIFT
from .store import HIGHEST, wake

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

#: Columns of a delivery, in the order in which `turn.delivery` reads them.
MESSAGE = "m.id, m.queue, m.priority, m.due, m.exchange, m.routing_key, m.headers, m.properties, m.body"

#: What `consumer.lease` says of one whose lease was taken.
TAKEN = -1.0

#: A lease that lasts as long as its process, for those who cannot renew any.
LIFELONG = 1e18


class Other(NamedTuple):
    """Another consumer, as a reaper sees it."""

    id: int
    worker: str
    process: str
    boot: str
    lease: float


def register(connection: sqlite3.Connection, worker: str, address: str, seconds: float) -> int:
    """Announce a consumer; returns its generation.

    Args:
        seconds: how long the lease lasts; `LIFELONG` needs no renewal.
    """
    cursor = connection.execute(
        "INSERT INTO consumer (worker, address, process, boot, lease) VALUES (?, ?, ?, ?, ?)",
        (worker, address, clock.this_process(), clock.boot(), clock.now() + seconds),
    )
    return int(cursor.lastrowid or 0)


def is_valid(connection: sqlite3.Connection, consumer: int) -> bool:
    """Whether nobody has taken this consumer's lease."""
    row = connection.execute("SELECT lease FROM consumer WHERE id = ?", (consumer,)).fetchone()
    return row is not None and row[0] != TAKEN


def renew(connection: sqlite3.Connection, consumer: int, seconds: float) -> None:
    """Extend a lease that nobody has taken."""
    connection.execute(
        "UPDATE consumer SET lease = ? WHERE id = ? AND lease != ?", (clock.now() + seconds, consumer, TAKEN)
    )


def others(connection: sqlite3.Connection, consumer: int) -> list[Other]:
    """All consumers but this one."""
    rows = connection.execute(
        "SELECT id, worker, process, boot, lease FROM consumer WHERE id != ?", (consumer,)
    )
    return [Other(*row) for row in rows]


def is_dead(other: Other, *, trusting: bool, doubtful_after: float) -> bool:
    """Whether a consumer's messages may be taken.

    Args:
        trusting: believe an expired lease (not just after a stall of one's own).
        doubtful_after: seconds since its last renewal was due after which its process is looked at closely.
    """
    if other.boot != clock.boot():
        return True
    now = clock.now()
    if clock.is_gone(other.process, doubtful=other.lease >= LIFELONG or other.lease - doubtful_after < now):
        return True
    return trusting and other.lease < now


def take(connection: sqlite3.Connection, dead: int, lease: float | None = None) -> list[str]:
    """End a consumer's lease: what it had not begun is offered again, in its old place.

    Args:
        lease: the lease by which it was judged dead; if it has another by now, nothing happens.

    Returns:
        Addresses of consumers to nudge after the commit.
    """
    cursor = connection.execute(
        "UPDATE consumer SET lease = ? WHERE id = ? AND lease = coalesce(?, lease)", (TAKEN, dead, lease)
    )
    if not cursor.rowcount:
        return []
    connection.execute("DELETE FROM idle WHERE consumer = ?", (dead,))
    queues = connection.execute(
        "SELECT m.queue, count(*) FROM held h JOIN message m ON m.id = h.message"
        " WHERE h.consumer = ? AND h.begun = 0 GROUP BY m.queue",
        (dead,),
    ).fetchall()
    connection.execute(
        f"INSERT OR IGNORE INTO ready SELECT m.queue, ({HIGHEST} - m.priority) << {PLACE_SHIFT} | m.id, h.deliveries"
        " FROM held h JOIN message m ON m.id = h.message JOIN queue q ON q.id = m.queue"
        " WHERE h.consumer = ? AND h.begun = 0",
        (dead,),
    )
    connection.execute(
        "DELETE FROM message WHERE id IN (SELECT h.message FROM held h JOIN message m ON m.id = h.message"
        " WHERE h.consumer = ? AND h.begun = 0 AND m.queue NOT IN (SELECT id FROM queue))",
        (dead,),
    )
    connection.execute("DELETE FROM held WHERE consumer = ? AND begun = 0", (dead,))
    return [address for queue, count in queues for address in wake(connection, queue, count)]


def has_orphans(connection: sqlite3.Connection, queues: Iterable[int]) -> bool:
    """Whether the dead have left begun messages of these queues."""
    row = connection.execute(
        "SELECT 1 FROM consumer c JOIN held h ON h.consumer = c.id JOIN message m ON m.id = h.message"
        f" WHERE c.lease = ? AND m.queue IN ({_numbers(queues)}) LIMIT 1",
        (TAKEN,),
    ).fetchone()
    return row is not None


def _numbers(queues: Iterable[int]) -> str:
    return ",".join(str(int(queue)) for queue in queues)


def adopt(connection: sqlite3.Connection, consumer: int, queues: Iterable[int]) -> list[tuple[Any, ...]]:
    """Take over what dead consumers had begun, as far as it is of these queues; forget the dead who hold nothing.

    Returns:
        Rows of deliveries (deliveries, then `MESSAGE`).
    """
    rows = connection.execute(
        f"SELECT h.deliveries, {MESSAGE} FROM consumer c JOIN held h ON h.consumer = c.id"
        f" JOIN message m ON m.id = h.message WHERE c.lease = ? AND m.queue IN ({_numbers(queues)})",
        (TAKEN,),
    ).fetchall()
    for row in rows:
        connection.execute(
            "DELETE FROM held WHERE message = ? AND consumer IN (SELECT id FROM consumer WHERE lease = ?)",
            (row[1], TAKEN),
        )
        connection.execute(
            "INSERT INTO held (consumer, message, deliveries, begun) VALUES (?, ?, ?, 1)",
            (consumer, row[1], row[0]),
        )
    connection.execute(
        "DELETE FROM consumer WHERE lease = ? AND NOT EXISTS (SELECT 1 FROM held WHERE consumer = consumer.id)",
        (TAKEN,),
    )
    return rows


def leave(connection: sqlite3.Connection, consumer: int) -> list[str]:
    """End one's own lease: what was begun waits for others to adopt it, the rest is offered again."""
    addresses = take(connection, consumer)
    connection.execute(
        "DELETE FROM consumer WHERE id = ? AND NOT EXISTS (SELECT 1 FROM held WHERE consumer = consumer.id)",
        (consumer,),
    )
    return addresses
