"""What passes between a worker's loop and its clerk, and what the clerk remembers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from celery.brokers.base import BrokerError, Delivery
    from celery.brokers.topology import Queue

    from .leases import Other

#: Of a delivery: the generation it was reserved under, and the message's id.
Receipt = tuple[int, int]


@dataclass(slots=True, eq=False)
class Word:
    """One thing that the worker's loop says to the clerk.

    Attributes:
        kind: ack, begin, requeue, park, bury, allow, subscribe, unsubscribe, flush or stop.
        answer: is set when it has been carried out.
    """

    kind: str
    receipts: Sequence[Receipt] = ()
    value: Any = None
    answer: asyncio.Future[Any] | None = None


@dataclass(slots=True)
class Report:
    """What the clerk says to the worker's loop after a turn."""

    delivered: list[Delivery] = field(default_factory=list)
    orphaned: list[Delivery] = field(default_factory=list)
    answers: list[tuple[asyncio.Future[Any], Any]] = field(default_factory=list)
    fenced: str = ""
    error: BrokerError | None = None
    connected: bool = False

    def __bool__(self) -> bool:
        return bool(
            self.delivered or self.orphaned or self.answers or self.fenced or self.error or self.connected
        )

    def clear(self) -> None:
        """Forget what a turn that failed had to say."""
        self.delivered, self.orphaned, self.answers, self.fenced = [], [], [], ""


@dataclass(slots=True)
class Errand:
    """What calls for a turn, besides words.

    Attributes:
        look: there may be something ready.
        due: something parked is due.
        dead: consumers whose messages may be taken.
        orphans: the dead have left begun messages of our queues.
        renew: the lease must be renewed.
        sweep: it is time to look for disused temporary queues.
        relearn: somebody changed queues: one of ours may have been deleted, and made again.
    """

    look: bool = True
    due: bool = False
    dead: list[Other] = field(default_factory=list)
    orphans: bool = False
    renew: bool = False
    sweep: bool = False
    relearn: bool = False

    def __bool__(self) -> bool:
        return bool(self.look or self.due or self.dead or self.orphans or self.renew or self.relearn)


@dataclass(slots=True)
class State:
    """What the clerk knows of its place in the store, as of the last commit.

    Attributes:
        queues, names: those consumed, by name; their names by number.
        generation: the consumer's number; 0 before it has one.
        topology: the generation of queues and bindings that `names` is of.
        window: how many deliveries may be out.
        out: messages delivered, not settled, not begun.
        idle: on the idle lists, as far as we know.
        first: counts reservations, so that each queue is first in its turn.
        turn: counts strokes that reserve; see `strokes.take_turn`.
        astray: a stroke may have reserved what nobody has read.
        carried: so many of the words that will be said again were carried out by a turn that then failed. Saying them
            once more would be wrong: the number of a message that is gone may be that of a new one.
    """

    queues: dict[str, Queue]
    names: dict[int, str] = field(default_factory=dict)
    generation: int = 0
    topology: int = 0
    window: int = 0
    out: set[int] = field(default_factory=set)
    idle: bool = False
    next_due: float | None = None
    first: int = 0
    turn: int = 0
    astray: bool = False
    carried: int = 0
    ended: bool = False

    @property
    def room(self) -> int:
        """How many more may be delivered."""
        return self.window - len(self.out)

    def copy(self) -> State:
        """For a turn to change; nothing inside is ever changed in place."""
        return replace(self)

    def forget(self) -> None:
        """Everything held is somebody else's."""
        self.generation, self.out, self.idle, self.astray = 0, set(), False, False
        self.carried = 0

    def in_turn(self) -> list[int]:
        """The numbers of the queues, another one first each time."""
        numbers = list(self.names)
        self.first += 1
        first = self.first % len(numbers) if numbers else 0
        return numbers[first:] + numbers[:first]
