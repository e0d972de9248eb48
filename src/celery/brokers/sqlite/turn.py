"""One transaction of a consumer: everything it said, then everything it may have. Runs inside the caller's transaction."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celery.brokers.base import Delivery
from celery.message.headers import LazyObject

from . import claims, store
from .leases import MESSAGE
from .schema import PLACE_MASK, PLACE_SHIFT
from .store import HIGHEST

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

#: A bit in `deliveries`: the task has had it before, though that delivery does not count.
RETURNED = 1 << 16

#: How many parked messages become ready in one transaction at most.
_PROMOTE_AT_MOST = 2000


@dataclass(slots=True)
class Said:
    """What a worker said about its deliveries since the last turn; ids are of messages."""

    acks: list[int] = field(default_factory=list)
    begins: list[int] = field(default_factory=list)
    requeues: list[tuple[int, bool, bool, bool]] = field(default_factory=list)  # id, front, count, ran
    parks: list[tuple[int, float]] = field(default_factory=list)
    burials: list[tuple[int, str]] = field(default_factory=list)

    def add(self, kind: str, numbers: list[int], value: Any) -> None:
        """Note what was said of some messages.

        Args:
            kind: ack, begin, requeue, park or bury.
            value: (front, count, ran) of a requeue, the due time of a park, the reason of a burial.
        """
        if kind == "ack":
            self.acks += numbers
        elif kind == "begin":
            self.begins += numbers
        elif kind == "requeue":
            self.requeues += [(number, *value) for number in numbers]
        elif kind == "park":
            self.parks += [(number, value) for number in numbers]
        else:
            self.burials += [(number, value) for number in numbers]

    def released(self) -> set[int]:
        """The messages that leave the window by what was said."""
        ids = {*self.acks, *self.begins}
        ids.update(entry[0] for entry in self.requeues)
        ids.update(entry[0] for entry in self.parks)
        ids.update(entry[0] for entry in self.burials)
        return ids


def settle(connection: sqlite3.Connection, consumer: int, said: Said, limit: int, ttl: float) -> list[str]:
    """Carry out what was said, by a consumer whose lease holds.

    Args:
        limit, ttl: bounds of a queue's dead letters.

    Returns:
        Addresses of consumers to nudge after the commit.
    """
    if said.begins:
        connection.executemany(
            "UPDATE held SET begun = 1 WHERE consumer = ? AND message = ?",
            [(consumer, n) for n in said.begins],
        )
    if said.acks:
        pairs = [(consumer, number) for number in said.acks]
        connection.executemany(
            "DELETE FROM message WHERE id = (SELECT message FROM held WHERE consumer = ? AND message = ?)",
            pairs,
        )
        connection.executemany("DELETE FROM held WHERE consumer = ? AND message = ?", pairs)
    addresses: list[str] = []
    for number, front, count, ran in said.requeues:
        addresses += _requeue(connection, consumer, number, front=front, count=count, ran=ran)
    for number, due in said.parks:
        addresses += _park(connection, consumer, number, due)
    for number, reason in said.burials:
        if _release(connection, consumer, number) is not None:
            store.bury(connection, number, reason, limit, ttl)
    return addresses


def _release(connection: sqlite3.Connection, consumer: int, number: int) -> tuple[int, int, int] | None:
    """Let go of a message: its (deliveries, queue, priority); None if it was not held, or if its queue was
    deleted meanwhile: then it goes too."""
    row: tuple[int, int, int] | None = connection.execute(
        "SELECT h.deliveries, m.queue, m.priority FROM held h JOIN message m ON m.id = h.message"
        " WHERE h.consumer = ? AND h.message = ?",
        (consumer, number),
    ).fetchone()
    connection.execute("DELETE FROM held WHERE consumer = ? AND message = ?", (consumer, number))
    if row is not None and not connection.execute("SELECT 1 FROM queue WHERE id = ?", (row[1],)).fetchone():
        connection.execute("DELETE FROM message WHERE id = ?", (number,))
        return None
    return row


def _requeue(
    connection: sqlite3.Connection, consumer: int, number: int, *, front: bool, count: bool, ran: bool
) -> list[str]:
    found = _release(connection, consumer, number)
    if found is None:
        return []
    deliveries, queue, priority = found
    if not front:
        (last,) = connection.execute("SELECT max(id) FROM message").fetchone()
        connection.execute("UPDATE message SET id = ? WHERE id = ?", (last + 1, number))
        number = last + 1
    place = (HIGHEST - priority) << PLACE_SHIFT | number
    left = (deliveries - (not count)) | (RETURNED if ran else 0)
    connection.execute("INSERT INTO ready VALUES (?, ?, ?)", (queue, place, left))
    return store.wake(connection, queue, 1, but=consumer)


def _park(connection: sqlite3.Connection, consumer: int, number: int, due: float) -> list[str]:
    found = _release(connection, consumer, number)
    if found is None:
        return []
    deliveries, queue, _ = found
    addresses = store.wake_for_due(connection, [(queue, due)])
    connection.execute("UPDATE message SET due = ? WHERE id = ?", (due, number))
    connection.execute("INSERT INTO parked VALUES (?, ?, ?, ?)", (queue, due, number, deliveries - 1))
    return addresses


def has_due(connection: sqlite3.Connection, queues: Iterable[int]) -> bool:
    """Whether a parked message of these queues is due."""
    now = time.time()
    return any(
        connection.execute(
            "SELECT 1 FROM parked WHERE queue = ? AND due <= ? LIMIT 1", (queue, now)
        ).fetchone()
        for queue in queues
    )


def next_dues(connection: sqlite3.Connection, queues: Iterable[int]) -> list[float]:
    """When the next parked message of each queue that has any is due."""
    return [
        due
        for queue in queues
        if (due := connection.execute("SELECT min(due) FROM parked WHERE queue = ?", (queue,)).fetchone()[0])
        is not None
    ]


def strays(connection: sqlite3.Connection, consumer: int, turn: int) -> tuple[list[tuple[Any, ...]], int]:
    """What strokes after a turn have reserved, and the last turn there is."""
    rows = connection.execute(
        f"SELECT h.deliveries, {MESSAGE} FROM held h JOIN message m ON m.id = h.message"
        " WHERE h.consumer = ? AND h.turn > ? ORDER BY m.priority DESC, m.id",
        (consumer, turn),
    ).fetchall()
    (last,) = connection.execute("SELECT max(turn) FROM held WHERE consumer = ?", (consumer,)).fetchone()
    return rows, max(last or 0, turn)


def promote(connection: sqlite3.Connection, queue: int) -> float | None:
    """Make parked messages ready whose time has come; return the due time of the next one."""
    now = time.time()
    (first,) = connection.execute("SELECT min(due) FROM parked WHERE queue = ?", (queue,)).fetchone()
    if first is None or first > now:
        return first  # type: ignore[no-any-return]
    rows = connection.execute(
        "SELECT due, message FROM parked WHERE queue = ? AND due <= ? ORDER BY due, message LIMIT ?",
        (queue, now, _PROMOTE_AT_MOST),
    ).fetchall()
    connection.execute(
        f"INSERT INTO ready SELECT p.queue, ({HIGHEST} - m.priority) << {PLACE_SHIFT} | m.id, p.deliveries"
        " FROM parked p JOIN message m ON m.id = p.message WHERE p.queue = ? AND (p.due, p.message) <= (?, ?)",
        (queue, *rows[-1]),
    )
    connection.execute("DELETE FROM parked WHERE queue = ? AND (due, message) <= (?, ?)", (queue, *rows[-1]))
    (first,) = connection.execute("SELECT min(due) FROM parked WHERE queue = ?", (queue,)).fetchone()
    return first  # type: ignore[no-any-return]


def reserve(
    connection: sqlite3.Connection, consumer: int, queues: list[int], room: int
) -> tuple[list[tuple[Any, ...]], list[int]]:
    """Hold up to `room` ready messages, a fair share of each queue.

    Args:
        queues: in the order in which they get their turn.

    Returns:
        Rows of deliveries (deliveries, then `MESSAGE`), and the queues that may have more.
    """
    taken: list[tuple[Any, ...]] = []
    fuller = queues
    while fuller and room > len(taken):
        left, hungry = room - len(taken), []
        share = -(-left // len(fuller))
        for queue in fuller:
            wanted = min(share, room - len(taken))
            rows = _reserve_from(connection, consumer, queue, wanted) if wanted else []
            taken += rows
            if len(rows) == wanted:
                hungry.append(queue)
        fuller = hungry
    return taken, fuller


def _reserve_from(
    connection: sqlite3.Connection, consumer: int, queue: int, count: int
) -> list[tuple[Any, ...]]:
    rows = connection.execute(
        f"SELECT r.place, r.deliveries + 1, {MESSAGE} FROM ready r CROSS JOIN message m ON m.id = (r.place & {PLACE_MASK})"
        " WHERE r.queue = ? ORDER BY r.place LIMIT ?",
        (queue, count),
    ).fetchall()
    if not rows:
        return rows
    last = rows[-1][0]
    connection.execute(
        f"INSERT INTO held SELECT ?, place & {PLACE_MASK}, deliveries + 1, 0, 0 FROM ready"
        " WHERE queue = ? AND place <= ?",
        (consumer, queue, last),
    )
    connection.execute("DELETE FROM ready WHERE queue = ? AND place <= ?", (queue, last))
    return [row[1:] for row in rows]


def delivery(row: tuple[Any, ...], names: dict[int, str], generation: int, place: str = "") -> Delivery:
    """A row as the port's value; the receipt is the generation and the message's id.

    Args:
        place: what claims on messages of this store begin with; without it the delivery carries none.
    """
    deliveries, number, queue, priority, due, exchange, routing_key, headers, properties, body = row
    return Delivery(
        body,
        LazyObject(raw=headers),
        LazyObject(raw=properties),
        names[queue],
        (generation, number),
        exchange,
        routing_key,
        priority,
        deliveries > 1,
        deliveries & (RETURNED - 1),
        due,
        claims.claim(place, generation, number) if place else "",
    )
