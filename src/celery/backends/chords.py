"""Chords: counting the members that are over, and sending the body, once.

A member is counted when its end is stored, whatever the end is. Who counts the last one owes the body: it
reads the values and sends the body, under the id that the body has had from the beginning. How sure that is
depends on the store, so there are several ways; each is a `Chords`.

- `TransactionalChords`: the member is stored and counted in one transaction, which also writes that the body is due.
  Whoever wrote it sends the body and takes the note back; should it die between, any worker finds the note.
- `CountingChords`: the store can only count. Values and count are written one after another; a member that died
  between the two is stored again, by whoever takes its message over, and then counted.
- `PollingChords`: the store cannot even count. A task looks at the members from time to time.

A running member may add others. They are noted as due in the step that counts them in; where nothing can be noted they
are sent first, and counted before the member that added them is over.

How that is sent is `relaying`.

Members are told apart by index and id, so that one that ends twice (late acknowledgement, a worker
taken for dead) counts once.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from celery import states
from celery.canvas import graphs

from . import dues
from .dues import Due
from .relaying import chord_of, singles, try_to_relay
from .stored_graphs import LedgerShelf

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from .core import Backend
    from .stored_graphs import Shelf

    Result = Any  # an AsyncResult, or a GroupResult

logger = logging.getLogger("celery.backends.base")

#: Seconds for which who noted that a body is due has the sending of it to itself.
RELAY_LEASE = 5.0
#: Seconds for which a chord that is over is remembered, against members that end again.
REMEMBERED = 3600.0

E_NO_CHORDS = (
    "Starting chords requires a result backend that can count their members: {0}. Set result_backend, to redis or "
    "the embedded store for instance."
)


class Part(NamedTuple):
    """A member of a chord that is over.

    Attributes:
        place: its index among the values.
        value: `[1, task_id, state, result]`, encoded as the backend encodes.
        body: the signature in dict form.
    """

    group_id: str
    place: int
    task_id: str
    value: Any
    body: Mapping[str, Any]
    root_id: str | None


class Chords(Protocol):
    """How a backend does chords."""

    def ensure_allowed(self) -> None:
        """Raise NotImplementedError if there is no way."""

    def open(self, sizes: Mapping[str, int]) -> None:
        """Headers of so many members are about to be sent."""

    def grow(self, due: Due, added: Result) -> int | None:
        """A member that is running is about to add others: those of a result, or that itself.

        Args:
            due: how to send them; if it has no `added`, nobody else can.

        Returns:
            The index of the first of them; None: theirs may be anything.
        """

    def grown(self, due: Due, added: Result, index: int | None, *, sent: bool = True) -> None:
        """They were sent; or they will never be."""

    def follow(self, header: tuple[str, Sequence[Any]], body: Any, options: Mapping[str, Any]) -> None:
        """The header was sent."""

    def end(self, task_id: str, result: Any, state: str, traceback: Any, request: Any, store: bool) -> None:
        """Store the end of a member (if `store`), and count it."""

    def admit(self, task_id: str, mark: str) -> bool:
        """Whether a body sent with this mark may run."""

    def again(self, request: Any, state: str, result: Any) -> None:
        """Count a member whose end is stored already, in case it was not counted."""

    #: Whether there can be anything to `sweep`.
    sweeps: bool

    @property
    def shelf(self) -> Shelf | None:
        """Where what comes later in workflows can be stored; None: messages must carry it."""

    def sweep(self) -> int:
        """Send the bodies and members that are due and were not sent by who noted it; return how many those are."""


def part_of(backend: Backend, request: Any, state: str, result: Any) -> Part | None:
    """The member that a request was for; None if it is of no chord."""
    body, group_id = getattr(request, "chord", None), getattr(request, "group", None)
    if not body or not group_id or state not in states.READY_STATES:
        return None
    encoded = backend.encode_result(result, state)
    value = backend.encode([1, request.id, state, encoded])
    index = getattr(request, "group_index", None) or 0
    return Part(group_id, index, request.id, value, body, getattr(request, "root_id", None))


def store_end(
    backend: Any, task_id: str, result: Any, state: str, traceback: Any, request: Any, store: bool
) -> None:
    """Store the end of a task and, if it is a member of a chord, count it in the same step.

    Args:
        backend: counts, too, when its `_store_result` is given a `part`; has `count_end` for ends that are not stored.
        store: False: only count.
    """
    part = part_of(backend, request, state, result)
    if store:
        backend.store_result(task_id, result, state, traceback=traceback, request=request, part=part)
    elif part is not None:
        backend._insist_on_storing(
            lambda: backend.count_end(task_id, state, request, part),
            f"the end of task {task_id}",
            task_id=task_id,
        )


# -- stores with transactions


class Ledger(Protocol):
    """Keys and values within one transaction. Keys are the backend's."""

    def get(self, key: Any) -> Any:
        """The value; None if there is none."""

    def put(self, key: Any, value: Any, seconds: float | None) -> None:
        """Store, for so many seconds."""

    def insert(self, key: Any, value: Any, seconds: float | None) -> bool:
        """Store unless there is a value; whether it was stored."""

    def add(self, key: Any, amount: int, seconds: float | None) -> int:
        """Add to a number (0 if it is not there), and return the sum."""

    def scan(self, prefix: Any) -> list[tuple[Any, Any]]:
        """All keys that begin so, in order, with their values."""

    def delete(self, prefix: Any) -> None:
        """Remove all keys that begin so."""


class TransactionalChords:
    """Chords in a store that has transactions.

    Args:
        transaction: makes the context of one.
    """

    def __init__(self, backend: Any, transaction: Callable[[], AbstractContextManager[Ledger]]) -> None:
        self._backend = backend
        self._transaction = transaction
        self.shelf = LedgerShelf(transaction, self._key, lambda: self._seconds)

    # -- as `Chords`

    def ensure_allowed(self) -> None:
        """It is."""

    def open(self, sizes: Mapping[str, int]) -> None:
        """See `Chords`."""
        with self._transaction() as ledger:
            for group_id, size in sizes.items():
                if ledger.get(self._key(group_id, ".c")) is not None:  # it was over, and is sent again
                    ledger.delete(self._key(group_id, ".c"))
                ledger.put(self._key(group_id, ".s"), size, self._seconds)

    def grow(self, due: Due, added: Result) -> int | None:
        """See `Chords`."""
        with self._transaction() as ledger:
            noted = due.added and ledger.insert(self._due_key(due), self._note_of(due), self._seconds)
            if noted or not due.added:
                ledger.add(self._key(due.group_id, ".s"), len(singles([added])), self._seconds)
        return None

    def grown(self, due: Due, added: Result, index: int | None, *, sent: bool = True) -> None:
        """See `Chords`."""
        if not due.added and sent:
            return
        with self._transaction() as ledger:
            ledger.delete(self._due_key(due))
            if not sent:
                ledger.add(self._key(due.group_id, ".s"), -len(singles([added])), self._seconds)

    def follow(self, header: tuple[str, Sequence[Any]], body: Any, options: Mapping[str, Any]) -> None:
        """Nothing more is needed."""

    def end(self, task_id: str, result: Any, state: str, traceback: Any, request: Any, store: bool) -> None:
        """See `Chords`."""
        store_end(self._backend, task_id, result, state, traceback, request, store)

    def again(self, request: Any, state: str, result: Any) -> None:
        """See `Chords`."""
        self.end(request.id, result, state, None, request, False)

    sweeps = True

    def admit(self, task_id: str, mark: str) -> bool:
        """See `Chords`."""
        key = self._backend.get_key_for_chord(chord_of(mark), f".first.{task_id}")
        with self._transaction() as ledger:
            return ledger.insert(key, mark, self._seconds) or as_text(ledger.get(key)) == mark

    def sweep(self) -> int:
        """See `Chords`."""
        now = time.time()
        taken = []
        with self._transaction() as ledger:
            for key, value in ledger.scan(self._due_prefix):
                until, _, note = as_text(value).partition(" ")
                if float(until) <= now:
                    ledger.put(key, _leased(note), self._seconds)
                    taken.append(note)
        for note in taken:
            self.relay(dues.read(self._backend.app, note))
        return len(taken)

    # -- for the backend

    def count(self, ledger: Ledger, part: Part) -> Due | None:
        """Count a member in the transaction that stores it; what is returned has to be relayed after the commit."""
        group_id, seconds = part.group_id, self._seconds
        if ledger.get(self._key(group_id, ".c")) is not None:
            return None
        member = self._key(group_id, f".j{part.place:010}:{part.task_id}")
        if not ledger.insert(member, part.value, seconds):
            return None
        done = ledger.add(self._key(group_id, ".n"), 1, seconds)
        size = ledger.get(self._key(group_id, ".s")) or part.body.get("chord_size")
        if size is None or done < int(size):
            return None
        due = Due(group_id, part.body, part.root_id, part.task_id)
        ledger.put(self._due_key(due), self._note_of(due), seconds)
        ledger.put(self._key(group_id, ".c"), "due", REMEMBERED)
        return due

    def relay(self, due: Due) -> None:
        """Send what is due and take the note back. If that does not work now, somebody will find the note."""
        group_id = due.group_id
        if not try_to_relay(
            self._backend, due, lambda: self._members(group_id), lambda: self._tried(due.added or group_id)
        ):
            return
        if not due.added and graphs.is_reference(due.body):
            graphs.dropped(self._backend.app, group_id)
        with self._transaction() as ledger:
            ledger.delete(self._due_key(due))
            for suffix in () if due.added else (".j", ".n", ".s", ".f"):
                ledger.delete(self._key(group_id, suffix))

    def _members(self, group_id: str) -> list[tuple[str, str, Any]]:
        with self._transaction() as ledger:
            found = ledger.scan(self._key(group_id, ".j"))
        return [member_of(self._backend, *self._backend.decode(value)) for _, value in found]

    def _tried(self, group_id: str) -> int:
        with self._transaction() as ledger:
            return ledger.add(self._key(group_id, ".f"), 1, self._seconds)

    # -- keys

    @property
    def _seconds(self) -> float | None:
        expires: float | None = self._backend.chord_expires
        return expires

    def _key(self, group_id: str, suffix: str) -> Any:
        return self._backend.get_key_for_group(group_id, suffix)

    @property
    def _due_prefix(self) -> Any:
        key_t = self._backend.key_t
        return key_t("").join([key_t(self._backend.chord_keyprefix), key_t("due-")])

    def _due_key(self, due: Due) -> Any:
        return self._backend.get_key_for_chord(f"due-{due.note_id}")

    def _note_of(self, due: Due) -> str:
        return _leased(dues.written(self._backend.app, due))


def _leased(note: str) -> str:
    """A note that is somebody's for some time."""
    return f"{time.time() + RELAY_LEASE} {note}"


def member_of(backend: Backend, _: Any, task_id: str, state: str, value: Any) -> tuple[str, str, Any]:
    if state in states.EXCEPTION_STATES:
        value = backend.exception_to_python(value)
    return task_id, state, value


def as_text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
