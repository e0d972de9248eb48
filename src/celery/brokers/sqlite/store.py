"""Queues, routes and messages of the store as SQL. Every function runs inside a transaction of its caller's."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from celery.brokers.base import BrokerError, DeadLetter, Unroutable
from celery.brokers.virtual import bindings_of, route
from celery.message.headers import LazyObject

from .schema import PLACE_MASK, PLACE_SHIFT

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from celery.brokers.base import Outgoing
    from celery.brokers.topology import Exchange, Queue

HIGHEST = 9

#: Seconds of disuse that a temporary queue outlives, however short it wants to live: its users note the use less often.
SHORTEST_LIFE = 10.0

#: How many idle consumers one publish wakes at most; they wake others if they leave something.
_WAKE_AT_MOST = 16


class Topology:
    """Queues and routes as one connection remembers them; stale as soon as `generation` differs from the file's.

    Attributes:
        queues: name -> id.
        routes: (exchange, routing key) -> ids of the queues, filled as asked.
    """

    __slots__ = ("generation", "known", "queues", "routes")

    def __init__(self) -> None:
        self.generation = 0
        self.queues: dict[str, int] = {}
        self.routes: dict[tuple[str, str], list[int]] = {}
        # Queue values that were declared under this generation, by identity; the value keeps the id from reuse.
        self.known: dict[int, Queue] = {}

    def refresh(self, connection: sqlite3.Connection) -> None:
        """Forget everything if somebody changed the topology."""
        if generation(connection) != self.generation:
            self.reload(connection)

    def reload(self, connection: sqlite3.Connection) -> None:
        """Read the queues again."""
        self.generation = generation(connection)
        self.queues = dict(connection.execute("SELECT name, id FROM queue"))
        self.routes = {}
        self.known = {}

    def route(self, connection: sqlite3.Connection, exchange: str, routing_key: str) -> list[int]:
        """The queues that get a message; empty if none is bound."""
        if not exchange:
            found = self.queues.get(routing_key)
            return [] if found is None else [found]
        key = (exchange, routing_key)
        ids = self.routes.get(key)
        if ids is None:
            if len(self.routes) > 10_000:  # keys made per message must not fill the memory
                self.routes.clear()
            row = connection.execute("SELECT type FROM exchange WHERE name = ?", (exchange,)).fetchone()
            bindings = connection.execute(
                "SELECT routing_key, queue FROM binding WHERE exchange = ?", (exchange,)
            )
            ids = self.routes[key] = route(row[0], bindings, routing_key) if row else []
        return ids

    def knows(self, queues: Iterable[Queue]) -> bool:
        """Whether all of these were declared already."""
        return all(id(queue) in self.known for queue in queues)

    def declare(self, connection: sqlite3.Connection, queues: Iterable[Queue]) -> None:
        """Make queues that are not there; remembers what it has seen."""
        fresh = [queue for queue in queues if id(queue) not in self.known]
        if fresh:
            if declare(connection, fresh):
                self.reload(connection)
            if len(self.known) > 10_000:
                self.known.clear()
            self.known.update((id(queue), queue) for queue in fresh)


def declare(connection: sqlite3.Connection, queues: Iterable[Queue]) -> bool:
    """Make queues, exchanges and bindings that are not there yet; True if anything changed.

    Raises:
        BrokerRefused: an exchange type that the store cannot do.
    """
    before = connection.total_changes
    for queue in queues:
        bound = list(bindings_of(queue))
        connection.execute(
            "INSERT INTO queue (name, expires, used) VALUES (?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET expires = excluded.expires WHERE expires IS NOT excluded.expires",
            (queue.name, queue.expires, time.time() if queue.expires is not None else None),
        )
        (number,) = connection.execute("SELECT id FROM queue WHERE name = ?", (queue.name,)).fetchone()
        for exchange, key in bound:
            bind(connection, number, exchange, key)
    changed = connection.total_changes > before
    if changed:
        connection.execute("UPDATE topology SET generation = generation + 1")
    return changed


def bind(connection: sqlite3.Connection, queue: int, exchange: Exchange, key: str) -> None:
    """Bind a queue to an exchange; the exchange's type is what was said last."""
    connection.execute(
        "INSERT INTO exchange VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET type = excluded.type WHERE type != excluded.type",
        (exchange.name, exchange.type),
    )
    connection.execute("INSERT OR IGNORE INTO binding VALUES (?, ?, ?)", (exchange.name, key, queue))


def generation(connection: sqlite3.Connection) -> int:
    """How often queues and bindings were changed."""
    (count,) = connection.execute("SELECT generation FROM topology").fetchone()
    return int(count)


def unbind(connection: sqlite3.Connection, queue: str, exchange: str, routing_key: str) -> None:
    """Undo a binding."""
    connection.execute(
        "DELETE FROM binding WHERE exchange = ? AND routing_key = ?"
        " AND queue = (SELECT id FROM queue WHERE name = ?)",
        (exchange, routing_key, queue),
    )
    connection.execute("UPDATE topology SET generation = generation + 1")


def bindings(connection: sqlite3.Connection, exchange: str) -> list[tuple[str, str]]:
    """The (routing key, queue name) pairs bound to an exchange."""
    return connection.execute(
        "SELECT b.routing_key, q.name FROM binding b JOIN queue q ON q.id = b.queue WHERE b.exchange = ?"
        " ORDER BY 1, 2",
        (exchange,),
    ).fetchall()


def queue_id(connection: sqlite3.Connection, name: str) -> int | None:
    """The number of a queue; None if there is none of that name."""
    row = connection.execute("SELECT id FROM queue WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None


def enqueue(
    connection: sqlite3.Connection, topology: Topology, batch: Sequence[Outgoing]
) -> tuple[list[BrokerError | None], list[str]]:
    """Store messages.

    Returns:
        What became of each (None: stored), and the addresses of consumers to nudge after the commit.
    """
    topology.refresh(connection)
    now = time.time()
    outcomes: list[BrokerError | None] = []
    messages: list[tuple[Any, ...]] = []
    ready: list[tuple[int, int]] = []
    parked: list[tuple[int, float, int]] = []
    (last,) = connection.execute("SELECT max(id) FROM message").fetchone()
    number: int = last or 0
    for outgoing in batch:
        try:
            if outgoing.declare:
                topology.declare(connection, outgoing.declare)
            targets = topology.route(connection, outgoing.exchange, outgoing.routing_key)
        except BrokerError as error:
            outcomes.append(error)
            continue
        if not targets and outgoing.mandatory:
            outcomes.append(unroutable(outgoing))
            continue
        priority = min(max(outgoing.priority, 0), HIGHEST)
        due = outgoing.due
        address = (outgoing.exchange, outgoing.routing_key)
        content = (outgoing.headers.raw, outgoing.properties.raw, outgoing.body)
        for target in targets:
            number += 1
            messages.append((number, target, priority, due, *address, *content))
            if due is None or due <= now:
                ready.append((target, (HIGHEST - priority) << PLACE_SHIFT | number))
            else:
                parked.append((target, due, number))
        outcomes.append(None)
    _insert(connection, "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", messages)
    _insert(connection, "INSERT INTO ready VALUES (?, ?, 0)", ready)
    addresses = _wake_ready(connection, ready)
    if parked:
        addresses += wake_for_due(connection, [(queue, due) for queue, due, _ in parked])
        _insert(connection, "INSERT INTO parked VALUES (?, ?, ?, 0)", parked)
    return outcomes, addresses


def _insert(connection: sqlite3.Connection, statement: str, rows: list[Any]) -> None:
    if len(rows) == 1:
        connection.execute(statement, rows[0])
    elif rows:
        connection.executemany(statement, rows)


def unroutable(outgoing: Outgoing) -> Unroutable:
    """Why a mandatory message was refused."""
    if outgoing.exchange:
        what = f"no queue is bound to exchange {outgoing.exchange!r} for routing key {outgoing.routing_key!r}"
    else:
        what = f"there is no queue {outgoing.routing_key!r}"
    return Unroutable(
        f"The message was refused: {what}. Declare the queue, or start a worker that consumes it."
    )


def _wake_ready(connection: sqlite3.Connection, ready: list[tuple[int, int]]) -> list[str]:
    if len(ready) == 1:
        return wake(connection, ready[0][0], 1)
    counts: dict[int, int] = {}
    for queue, _ in ready:
        counts[queue] = counts.get(queue, 0) + 1
    return [address for queue, count in counts.items() for address in wake(connection, queue, count)]


def wake(connection: sqlite3.Connection, queue: int, count: int, *, but: int = 0) -> list[str]:
    """Take up to `count` consumers off the idle list of a queue; nudge the addresses after the commit.

    Args:
        but: a consumer that need not be woken.
    """
    rows = connection.execute(
        "SELECT consumer, address FROM idle WHERE queue = ? AND consumer != ? LIMIT ?",
        (queue, but, min(count, _WAKE_AT_MOST)),
    ).fetchall()
    for consumer, _ in rows:
        connection.execute("DELETE FROM idle WHERE consumer = ?", (consumer,))
    return [address for _, address in rows]


def register_idle(connection: sqlite3.Connection, queues: Iterable[int], consumer: int, address: str) -> None:
    """Put a consumer on the idle lists of its queues: whoever publishes there nudges it."""
    for queue in queues:
        connection.execute("INSERT OR IGNORE INTO idle VALUES (?, ?, ?)", (queue, consumer, address))


def forget_idle(connection: sqlite3.Connection, consumer: int) -> None:
    """Take a consumer off all idle lists."""
    connection.execute("DELETE FROM idle WHERE consumer = ?", (consumer,))


def has_ready(connection: sqlite3.Connection, queues: Iterable[int]) -> bool:
    """Whether any of these queues has something ready."""
    return any(
        connection.execute("SELECT 1 FROM ready WHERE queue = ? LIMIT 1", (queue,)).fetchone()
        for queue in queues
    )


def has_temporary(connection: sqlite3.Connection, queues: Iterable[int]) -> bool:
    """Whether any of these queues goes when nobody uses it."""
    return any(
        connection.execute("SELECT expires FROM queue WHERE id = ?", (queue,)).fetchone()
        not in (None, (None,))
        for queue in queues
    )


def touch(connection: sqlite3.Connection, queues: Iterable[int]) -> list[str]:
    """Note that temporary queues are in use; nobody needs a nudge for that."""
    for queue in queues:
        connection.execute(
            "UPDATE queue SET used = ? WHERE id = ? AND expires IS NOT NULL", (time.time(), queue)
        )
    return []


def replace_idle(connection: sqlite3.Connection, gone: Iterable[str]) -> list[str]:
    """Forget idle consumers at which nobody listens any more; return others that may still sleep over messages."""
    marks = ",".join("?" * len(addresses := list(gone)))
    connection.execute(f"DELETE FROM idle WHERE address IN ({marks})", addresses)
    queues = connection.execute(
        "SELECT DISTINCT i.queue FROM idle i WHERE EXISTS (SELECT 1 FROM ready r WHERE r.queue = i.queue)"
    ).fetchall()
    return [address for (queue,) in queues for address in wake(connection, queue, 1)]


def wake_for_due(connection: sqlite3.Connection, parked: Iterable[tuple[int, float]]) -> list[str]:
    """One idle consumer of each queue whose next due time comes forward: it sleeps too long otherwise."""
    soonest: dict[int, float] = {}
    for queue, due in parked:
        soonest[queue] = min(due, soonest.get(queue, due))
    addresses: list[str] = []
    for queue, due in soonest.items():
        (first,) = connection.execute("SELECT min(due) FROM parked WHERE queue = ?", (queue,)).fetchone()
        if first is None or due < first:
            addresses += wake(connection, queue, 1)
    return addresses


def size(connection: sqlite3.Connection, queue: int) -> int:
    """How many messages are ready or parked."""
    (ready,) = connection.execute("SELECT count(*) FROM ready WHERE queue = ?", (queue,)).fetchone()
    (parked,) = connection.execute("SELECT count(*) FROM parked WHERE queue = ?", (queue,)).fetchone()
    return int(ready + parked)


def purge(connection: sqlite3.Connection, queue: int, limit: int = -1) -> int:
    """Throw away what is ready or parked; return how many messages that were.

    Args:
        limit: of ready and of parked messages each, so that others get their turn between; -1: all.
    """
    count = 0
    for table, key, number in (
        ("ready", "place", f"place & {PLACE_MASK}"),
        ("parked", "(due, message)", "message"),
    ):
        connection.execute(
            f"DELETE FROM message WHERE id IN (SELECT {number} FROM {table} WHERE queue = ? LIMIT ?)",
            (queue, limit),
        )
        count += connection.execute(
            f"DELETE FROM {table} WHERE queue = ? AND {key} IN"
            f" (SELECT {key.strip('()')} FROM {table} WHERE queue = ? LIMIT ?)",
            (queue, queue, limit),
        ).rowcount
    return count


def delete(connection: sqlite3.Connection, queue: int) -> int:
    """Delete a queue and its bindings; messages that a worker holds go when it settles them."""
    count = purge(connection, queue)
    connection.execute("DELETE FROM queue WHERE id = ?", (queue,))
    connection.execute("DELETE FROM binding WHERE queue = ?", (queue,))
    connection.execute("DELETE FROM idle WHERE queue = ?", (queue,))
    connection.execute("UPDATE topology SET generation = generation + 1")
    return count


def delete_disused(connection: sqlite3.Connection) -> None:
    """Delete temporary queues that nobody has used for as long as they allow, and `SHORTEST_LIFE` at least."""
    rows = connection.execute(
        "SELECT id FROM queue WHERE expires IS NOT NULL AND used + max(expires, ?) < ?",
        (SHORTEST_LIFE, time.time()),
    ).fetchall()
    for (queue,) in rows:
        delete(connection, queue)


def bury(connection: sqlite3.Connection, message: int, reason: str, limit: int, ttl: float) -> None:
    """Move a message to the dead letters of its queue, and drop what is above `limit` or older than `ttl` seconds."""
    now = time.time()
    reason = reason.encode(errors="backslashreplace").decode()  # it may quote what is no proper text
    connection.execute(
        "INSERT INTO dead (queue, reason, died_at, priority, exchange, routing_key, headers, properties, body)"
        " SELECT coalesce((SELECT name FROM queue WHERE id = m.queue), ''), ?, ?, m.priority, m.exchange,"
        " m.routing_key, m.headers, m.properties, m.body FROM message m WHERE m.id = ?",
        (reason, now, message),
    )
    row = connection.execute("SELECT queue FROM dead WHERE id = last_insert_rowid()").fetchone()
    connection.execute("DELETE FROM message WHERE id = ?", (message,))
    if row:
        connection.execute(
            "DELETE FROM dead WHERE queue = ? AND (died_at < ? OR id <="
            " (SELECT id FROM dead WHERE queue = ? ORDER BY id DESC LIMIT 1 OFFSET ?))",
            (row[0], now - ttl, row[0], limit),
        )


def dead(connection: sqlite3.Connection, queue: str | None, limit: int) -> list[DeadLetter]:
    """The dead letters of one queue or of all, oldest first."""
    rows = connection.execute(
        "SELECT id, queue, reason, died_at, headers, properties, body FROM dead"
        " WHERE queue = coalesce(?, queue) ORDER BY id LIMIT ?",
        (queue, limit),
    )
    return [
        DeadLetter(number, name, reason, died_at, _readable(headers), _readable(properties), body)
        for number, name, reason, died_at, headers, properties, body in rows
    ]


def _readable(raw: bytes) -> dict[str, Any]:
    try:
        return LazyObject(raw=raw).value
    except ValueError:  # msgspec.DecodeError is one: the message may be dead for just that
        return {}


def revive(connection: sqlite3.Connection, ids: Sequence[int]) -> tuple[int, list[str]]:
    """Put dead letters back into their queues, as new; return how many, and whom to nudge."""
    count = 0
    addresses: list[str] = []
    for number in ids:
        row = connection.execute(
            "SELECT q.id, d.priority FROM dead d JOIN queue q ON q.name = d.queue WHERE d.id = ?", (number,)
        ).fetchone()
        if row is None:
            continue
        queue, priority = row
        cursor = connection.execute(
            "INSERT INTO message (queue, priority, due, exchange, routing_key, headers, properties, body)"
            " SELECT ?, priority, NULL, exchange, routing_key, headers, properties, body FROM dead WHERE id = ?",
            (queue, number),
        )
        place = (HIGHEST - priority) << PLACE_SHIFT | int(cursor.lastrowid or 0)
        connection.execute("INSERT INTO ready VALUES (?, ?, 0)", (queue, place))
        connection.execute("DELETE FROM dead WHERE id = ?", (number,))
        addresses += wake(connection, queue, 1)
        count += 1
    return count, addresses


def purge_dead(connection: sqlite3.Connection, queue: str | None, limit: int) -> int:
    """Throw away at most `limit` dead letters of one queue or of all; return how many that were."""
    return connection.execute(
        "DELETE FROM dead WHERE id IN (SELECT id FROM dead WHERE queue = coalesce(?, queue) LIMIT ?)",
        (queue, limit),
    ).rowcount
