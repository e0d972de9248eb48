"""What a consumer knows and has to say: values without I/O."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celery.wire.resp import pack

from . import messages
from .scripts import RESERVE

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Sequence

    from celery.brokers.topology import Queue

    from .keys import Keys


class Held:
    """A message that this worker has; the receipt of its delivery.

    Attributes:
        number: the part of its tag that is ours to choose.
        raw: the message as it was in its list.
        ready: that list.
        begun: acknowledged early.
    """

    __slots__ = ("begun", "number", "queue", "raw", "ready", "tag")

    def __init__(self, number: int, tag: str, raw: bytes, queue: str, ready: str) -> None:
        self.number = number
        self.tag = tag
        self.raw = raw
        self.queue = queue
        self.ready = ready
        self.begun = False


class Entry:
    """Commands that must be carried out, once or more often with the same effect.

    Attributes:
        done: called with the replies.
        answer: is given `void` if the consumer is fenced first.
        late: what it acknowledges late.
    """

    __slots__ = ("answer", "count", "data", "done", "late", "void")

    def __init__(
        self,
        data: bytes,
        count: int = 1,
        done: Callable[[list[Any]], None] | None = None,
        answer: asyncio.Future[Any] | None = None,
        void: Any = None,
    ) -> None:
        self.data = data
        self.count = count
        self.done = done
        self.answer = answer
        self.void = void
        self.late: Sequence[Held] = ()


@dataclass(slots=True)
class Turn:
    """One write on its way: entries, then perhaps a reservation of so many messages from a number on."""

    entries: list[Entry]
    first: int = 0
    room: int = 0
    order: list[Place] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Place:
    """One list of a queue."""

    ready: str
    queue: str
    step: int
    suffix: bytes


class Queues:
    """The queues that are consumed, and in which order their lists are asked.

    Args:
        strategy: `round_robin` (another queue first each time), `sorted` (by name), `priority` (as they were given).
    """

    def __init__(self, keys: Keys, strategy: str) -> None:
        self._keys = keys
        self._strategy = strategy
        self._turn = itertools.count()
        self.by_name: dict[str, Queue] = {}
        self.places: list[list[Place]] = []  # by step, then queue
        self._all: list[Place] = []
        #: Every list that was ever consumed: a waiter may have moved something from it just before it was given up.
        self.seen: dict[str, Place] = {}

    def set(self, queues: Iterable[Queue]) -> None:
        """Consume these."""
        self.by_name = {queue.name: queue for queue in queues}
        names = sorted(self.by_name) if self._strategy == "sorted" else list(self.by_name)
        keys = self._keys
        self.places = [
            [Place(keys.ready(name, step), name, index, messages.suffix(name)) for name in names]
            for index, step in enumerate(keys.steps)
        ]
        self._all = [place for step in self.places for place in step]
        self.seen.update({place.ready: place for place in self._all})

    def __len__(self) -> int:
        return len(self.by_name)

    def all(self) -> list[Place]:
        """Every list, the most urgent first. Not to be changed."""
        return self._all

    def in_turn(self) -> list[Place]:
        """Every list, in the order in which they are to be asked now."""
        width = len(self.by_name)
        if width < 2 or self._strategy != "round_robin":
            return self.all()
        first = next(self._turn) % width
        return [place for step in self.places for place in (*step[first:], *step[:first])]

    def reserve(
        self, record: str, prefix: str, first: int, room: int, order: list[Place], connection: int
    ) -> bytes:
        """The command that reserves."""
        width = max(len(self.by_name), 1)
        share = -(-room // width) if self._strategy == "round_robin" else room
        keys = self._keys
        return pack(
            *RESERVE.call(
                [record, keys.unacked, keys.index, *(place.ready for place in order)],
                [prefix, first, room, share, width, connection, *(place.suffix for place in order)],
            )
        )
