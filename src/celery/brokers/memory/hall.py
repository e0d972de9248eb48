"""What a broker in this process holds: queues, routes, parked messages, dead letters. Safe for threads."""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from celery.brokers.base import BrokerError, DeadLetter, Delivery, Unroutable
from celery.brokers.virtual import bindings_of, route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from celery.brokers.base import Outgoing
    from celery.brokers.topology import Exchange, Queue

HIGHEST = 9


@dataclass(slots=True, eq=False)
class Item:
    """One message that waits or is held; ordered by `order` among its queue's."""

    outgoing: Outgoing
    queue: str
    order: tuple[int, int]
    deliveries: int = 0
    due: float | None = None
    returned: bool = False

    def __lt__(self, other: Item) -> bool:
        return self.order < other.order

    def delivery(self, receipt: object) -> Delivery:
        """As the port's value."""
        sent = self.outgoing
        return Delivery(
            sent.body,
            sent.headers,
            sent.properties,
            self.queue,
            receipt,
            sent.exchange,
            sent.routing_key,
            HIGHEST - self.order[0],
            self.returned or self.deliveries > 1,
            self.deliveries,
            self.due,
        )


@dataclass(slots=True, eq=False)
class Waiting:
    """A queue: what is ready, in order, and what is parked, by due time."""

    ready: list[Item] = field(default_factory=list)
    parked: list[tuple[float, int, Item]] = field(default_factory=list)

    def promote(self, now: float) -> None:
        """Make ready whose time has come."""
        while self.parked and self.parked[0][0] <= now:
            heapq.heappush(self.ready, heapq.heappop(self.parked)[2])

    def next_due(self) -> float | None:
        """When the next parked message is due."""
        return self.parked[0][0] if self.parked else None


class Hall:
    """All that apps of one process share under one URL.

    After a fork the child's is empty of listeners: those live in the parent.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._queues: dict[str, Waiting] = {}
        self._exchanges: dict[str, str] = {}
        self._bindings: dict[str, list[tuple[str, str]]] = {}
        self._numbers = itertools.count(1)
        self._dead: deque[tuple[DeadLetter, Outgoing]] = deque()
        # Called, outside the lock, when a queue may have something for them.
        self._listeners: dict[str, dict[int, Callable[[], None]]] = {}
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        self._lock = threading.RLock()
        self._listeners = {}

    def declare(self, queues: Iterable[Queue]) -> None:
        """Make queues, exchanges and bindings that are not there."""
        with self._lock:
            for queue in queues:
                bindings = list(bindings_of(queue))
                self._queues.setdefault(queue.name, Waiting())
                for exchange, key in bindings:
                    self.bind(queue.name, exchange, key)

    def bind(self, queue: str, exchange: Exchange, key: str) -> None:
        """Bind a queue to an exchange."""
        self._exchanges[exchange.name] = exchange.type
        bound = self._bindings.setdefault(exchange.name, [])
        if (key, queue) not in bound:
            bound.append((key, queue))

    def unbind(self, queue: str, exchange: str, key: str) -> None:
        """Undo a binding."""
        with self._lock:
            bound = self._bindings.get(exchange, [])
            if (key, queue) in bound:
                bound.remove((key, queue))

    def bindings(self, exchange: str) -> list[tuple[str, str]]:
        """The (routing key, queue) pairs bound to an exchange."""
        with self._lock:
            return sorted(self._bindings.get(exchange, ()))

    def has_queue(self, queue: str) -> bool:
        """Whether there is a queue of this name."""
        return queue in self._queues

    def publish(self, batch: Sequence[Outgoing]) -> list[BrokerError | None]:
        """Route and keep messages; say what became of each."""
        outcomes: list[BrokerError | None] = []
        touched: dict[str, None] = {}
        with self._lock:
            for outgoing in batch:
                try:
                    if outgoing.declare:
                        self.declare(outgoing.declare)
                except BrokerError as error:
                    outcomes.append(error)
                    continue
                targets = self._route(outgoing)
                if not targets and outgoing.mandatory:
                    outcomes.append(_unroutable(outgoing))
                    continue
                for target in targets:
                    self._put(self._item(outgoing, target))
                    touched[target] = None
                outcomes.append(None)
        self.announce(touched)
        return outcomes

    def _route(self, outgoing: Outgoing) -> list[str]:
        if not outgoing.exchange:
            return [outgoing.routing_key] if outgoing.routing_key in self._queues else []
        kind = self._exchanges.get(outgoing.exchange)
        if kind is None:
            return []
        return route(kind, self._bindings.get(outgoing.exchange, ()), outgoing.routing_key)

    def _item(self, outgoing: Outgoing, queue: str) -> Item:
        priority = min(max(outgoing.priority, 0), HIGHEST)
        return Item(outgoing, queue, (HIGHEST - priority, next(self._numbers)), 0, outgoing.due)

    def _put(self, item: Item) -> None:
        waiting = self._queues.get(item.queue)
        if waiting is None:
            return  # the queue was deleted while a worker held this
        if item.due is not None and item.due > time.time():
            heapq.heappush(waiting.parked, (item.due, item.order[1], item))
        else:
            heapq.heappush(waiting.ready, item)

    def put_back(self, items: Iterable[Item], *, front: bool = True) -> None:
        """Offer messages again: in their old place, or behind all others of their priority."""
        touched: dict[str, None] = {}
        with self._lock:
            for item in items:
                if not front:
                    item.order = (item.order[0], next(self._numbers))
                self._put(item)
                touched[item.queue] = None
        self.announce(touched)

    def take(self, queues: Sequence[str], room: int) -> tuple[list[Item], float | None]:
        """Take up to `room` ready messages, one from each queue in turn; and when the next is due."""
        taken: list[Item] = []
        now = time.time()
        with self._lock:
            open_queues = [self._queues[name] for name in queues if name in self._queues]
            for waiting in open_queues:
                waiting.promote(now)
            hungry = True
            while hungry and len(taken) < room:
                hungry = False
                for waiting in open_queues:
                    if waiting.ready and len(taken) < room:
                        taken.append(heapq.heappop(waiting.ready))
                        hungry = True
            dues = [due for waiting in open_queues if (due := waiting.next_due()) is not None]
        for item in taken:
            item.deliveries += 1
        return taken, min(dues, default=None)

    def listen(self, queue: str, key: int, callback: Callable[[], None]) -> None:
        """Have `callback` called, from any thread, whenever the queue may have something."""
        with self._lock:
            self._listeners.setdefault(queue, {})[key] = callback

    def forget(self, queue: str, key: int) -> None:
        """Undo `listen`."""
        with self._lock:
            self._listeners.get(queue, {}).pop(key, None)

    def announce(self, queues: Iterable[str]) -> None:
        """Call those who listen to these queues."""
        for queue in queues:
            for callback in list(self._listeners.get(queue, {}).values()):
                callback()

    def size(self, queue: str) -> int:
        """How many are ready or parked."""
        with self._lock:
            waiting = self._queues.get(queue)
            return len(waiting.ready) + len(waiting.parked) if waiting else 0

    def purge(self, queue: str) -> int:
        """Throw away what is ready or parked."""
        with self._lock:
            count = self.size(queue)
            if queue in self._queues:
                self._queues[queue] = Waiting()
            return count

    def delete(self, queue: str) -> int:
        """Delete a queue and its bindings."""
        with self._lock:
            count = self.size(queue)
            self._queues.pop(queue, None)
            for exchange, bound in self._bindings.items():
                self._bindings[exchange] = [entry for entry in bound if entry[1] != queue]
            return count

    def bury(self, item: Item, reason: str, limit: int, ttl: float) -> None:
        """Set a message aside."""
        sent = item.outgoing
        with self._lock:
            letter = DeadLetter(
                next(self._numbers),
                item.queue,
                reason,
                time.time(),
                _readable(sent.headers),
                _readable(sent.properties),
                sent.body,
            )
            self._dead.append((letter, sent))
            mine = [entry for entry in self._dead if entry[0].queue == item.queue]
            oldest = time.time() - ttl
            keep = {entry[0].id for entry in mine[-limit:] if entry[0].died_at >= oldest}
            self._dead = deque(e for e in self._dead if e[0].queue != item.queue or e[0].id in keep)

    def dead(self, queue: str | None, limit: int) -> list[DeadLetter]:
        """Dead letters, oldest first."""
        with self._lock:
            letters = [letter for letter, _ in self._dead if queue is None or letter.queue == queue]
        return letters[:limit]

    def revive(self, ids: Sequence[int]) -> int:
        """Send dead letters back to their queues."""
        wanted = set(ids)
        touched: dict[str, None] = {}
        with self._lock:
            found = [e for e in self._dead if e[0].id in wanted and e[0].queue in self._queues]
            for letter, outgoing in found:
                item = self._item(outgoing, letter.queue)
                item.due = None
                self._put(item)
                touched[letter.queue] = None
            gone = {letter.id for letter, _ in found}
            self._dead = deque(e for e in self._dead if e[0].id not in gone)
        self.announce(touched)
        return len(found)

    def purge_dead(self, queue: str | None) -> int:
        """Throw dead letters away."""
        with self._lock:
            before = len(self._dead)
            self._dead = deque(e for e in self._dead if queue is not None and e[0].queue != queue)
            return before - len(self._dead)


def _readable(lazy: object) -> dict[str, object]:
    try:
        return dict(lazy.value)  # type: ignore[attr-defined]
    except ValueError:
        return {}


def _unroutable(outgoing: Outgoing) -> Unroutable:
    if outgoing.exchange:
        what = f"no queue is bound to exchange {outgoing.exchange!r} for routing key {outgoing.routing_key!r}"
    else:
        what = f"there is no queue {outgoing.routing_key!r}"
    return Unroutable(
        f"The message was refused: {what}. Declare the queue, or start a worker that consumes it."
    )
