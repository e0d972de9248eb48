"""Chords: counting the members that are over, and sending the body, once.

A member is counted when its end is stored, whatever the end is. Who counts the last one owes the body: it
reads the values and sends the body, under the id that the body has had from the beginning. How sure that is
depends on the store, so there are several ways; each is a `Chords`.

- `TransactionalChords`: the member is stored and counted in one transaction, which also writes that the body is due.
  Whoever wrote it sends the body and takes the note back; should it die between, any worker finds the note.
- `CountingChords`: the store can only count. Values and count are written one after another; a member that died
  between the two is stored again, by whoever takes its message over, and then counted.
- `PollingChords`: the store cannot even count. A task looks at the members from time to time.

A body may thus be *sent* twice. Each sending has a mark of its own (a header); the first mark that is shown for the body's
id and its chord runs, and whoever comes with another one does not. A repetition of the same message is told by the same mark.

Members are told apart by index and id, so that one that ends twice (late acknowledgement, a worker
taken for dead) counts once.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from celery import states
from celery.brokers.base import BrokerUnavailable
from celery.canvas import graphs, maybe_signature
from celery.canvas.plans import Plan
from celery.exceptions import BackendError, ChordError
from celery.utils import uuid

from . import dues, resume_notes
from .dues import Due
from .stored_graphs import LedgerShelf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from .core import Backend
    from .stored_graphs import Shelf

    Result = Any  # an AsyncResult, or a GroupResult

logger = logging.getLogger("celery.backends.base")

#: The header with the mark of one sending of a body.
MARK = "celeriac_mark"
#: Seconds for which who noted that a body is due has the sending of it to itself.
RELAY_LEASE = 5.0
#: How often a body that is refused (too large, unroutable, not to be serialized) is tried before the chord fails.
TRIES = 5
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

    def grow(self, group_id: str, added: Result) -> int | None:
        """A member that is running adds others: those of a result, or that itself.

        Returns:
            The index of the first of them; None: theirs may be anything.
        """

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
        """Send the bodies that are due and were not sent by who noted it; return how many those are."""


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


# -- sending the body


def relay(
    backend: Backend, due: Due, members: Iterable[tuple[str, str, Any]], shape: list[Any] | None = None
) -> None:
    """Send a body, or fail it; nothing if that was done before.

    Args:
        members: id, state and value (or exception) of each, in order.
        shape: the results of the header; None: as they were saved, if they were.

    Raises:
        OperationalError: the broker did not take it.
    """
    body = graphs.body_of(backend.app, due.body)
    if body is None:
        return
    due = due._replace(body=body)
    members = list(members)
    failed = next((member for member in members if member[1] in states.PROPAGATE_STATES), None)
    if failed is None:
        send_body(backend, due, _in_shape(backend, due.group_id, members, shape))
        return
    task_id, _, cause = failed
    error = ChordError(f"Dependency {task_id} raised {cause!r}")
    _log(due.group_id, error, cause)
    because = resume_notes.keep_chord(backend, due, members)
    # The members of a group fail as what they waited for.
    failure = cause if due.body.get("subtask_type") == "group" else error
    backend.fail_signature(due.body, failure, because=because)


def try_to_relay(
    backend: Backend,
    due: Due,
    members: Callable[[], Iterable[tuple[str, str, Any]]],
    tried: Callable[[], int],
) -> bool:
    """`relay`; whether that is settled, one way or the other. If not, the note has to stay.

    Args:
        members: reads them.
        tried: counts a try that was refused, and says how many that were.
    """
    try:
        relay(backend, due, members())
    except Exception as exc:
        try:
            if is_refusal(backend, exc) and tried() >= TRIES:
                give_up(backend, due, exc, members)
                return True
        except Exception as error:
            logger.exception("Chord %s could not be failed", due.group_id)
            if is_refusal(backend, error):
                return True  # nor can it be at another time
        logger.exception("The body of chord %s could not be sent now; it will be tried again", due.group_id)
        return False
    return True


def relay_or_give_up(
    backend: Backend, due: Due, members: Iterable[tuple[str, str, Any]], shape: list[Any] | None = None
) -> None:
    """`relay`, where nobody would try again: a body that is refused fails at once.

    Raises:
        Exception: broker or result store did not answer.
    """
    members = list(members)
    try:
        relay(backend, due, members, shape)
    except Exception as exc:
        if not is_refusal(backend, exc):
            raise
        give_up(backend, due, exc, lambda: members)


def is_refusal(backend: Backend, exc: Exception) -> bool:
    """Whether a body will not be sent at another time either; not if broker or store did not answer."""
    away = isinstance(exc, (BrokerUnavailable, BackendError)) or backend.exception_safe_to_retry(exc)
    return not away and not isinstance(exc.__cause__, BrokerUnavailable)


def give_up(
    backend: Backend, due: Due, exc: Exception, members: Callable[[], Iterable[tuple[str, str, Any]]]
) -> None:
    """Fail a body that cannot be sent. If it and its members can be read, it can be resumed when the reason is gone."""
    error = ChordError(f"The body of chord {due.group_id} could not be sent: {exc!r}")
    _log(due.group_id, error, exc)
    body, because = due.body, None
    try:
        body = graphs.body_of(backend.app, body)
        if body is None:
            return
        because = resume_notes.keep_chord(backend, due._replace(body=body), list(members()))
    except Exception as lost:
        if not is_refusal(backend, lost):
            raise
    backend.fail_signature(body, error, because=because)


def _log(group_id: str, error: ChordError, cause: BaseException) -> None:
    try:
        raise error from cause
    except ChordError:
        logger.exception("Chord %r raised: %r", group_id, error)
    finally:
        error.__traceback__ = None


def _in_shape(
    backend: Backend, group_id: str, members: list[tuple[str, str, Any]], shape: list[Any] | None
) -> list[Any]:
    """The values; where a member was a group at the end, a list of those."""
    if shape is None:
        saved = backend.restore_group(group_id, cache=False)
        if saved is None:
            return [value for _, _, value in members]
        shape = saved.results
    return nested(shape, {task_id: value for task_id, _, value in members})


def singles(results: Iterable[Result]) -> list[Result]:
    """The members, those of groups among them one by one."""
    found: list[Result] = []
    for result in results:
        inner = getattr(result, "results", None)
        found.extend([result] if inner is None else singles(inner))
    return found


def nested(results: Iterable[Any], values: dict[str, Any]) -> list[Any]:
    """Values by task id, in the shape of these results; those of members that were added follow. Uses `values` up."""

    def take(many: Iterable[Any]) -> list[Any]:
        return [
            take(one.results) if hasattr(one, "results") else values.pop(one.id)
            for one in many
            if hasattr(one, "results") or one.id in values
        ]

    found = take(results)
    return found + list(values.values())


def send_body(backend: Backend, due: Due, values: list[Any]) -> None:
    """Send a body with these values, under a mark of its own."""
    app = backend.app
    # Not the signature's own dict: what is noted must stay as it is.
    body = maybe_signature(dict(due.body), app=app).clone()
    plan = Plan()
    body._plan(plan, (values,), None, {"root_id": due.root_id, "parent_id": due.parent_id})
    mark = f"{due.group_id}/{uuid()}"
    for send in plan.sends:
        send.options["headers"] = {**(send.options.get("headers") or {}), MARK: mark}
        send.options["add_to_parent"] = False
    app._launch(plan)


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

    def grow(self, group_id: str, added: Result) -> int | None:
        """See `Chords`."""
        with self._transaction() as ledger:
            ledger.add(self._key(group_id, ".s"), len(singles([added])), self._seconds)
        return None

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
        ledger.put(self._due_key(group_id), _leased(dues.written(self._backend.app, due)), seconds)
        ledger.put(self._key(group_id, ".c"), "due", REMEMBERED)
        return due

    def relay(self, due: Due) -> None:
        """Send a body and take the note back. If that does not work now, somebody will find the note."""
        group_id = due.group_id
        if not try_to_relay(
            self._backend, due, lambda: self._members(group_id), lambda: self._tried(group_id)
        ):
            return
        if graphs.is_reference(due.body):
            graphs.dropped(self._backend.app, group_id)
        with self._transaction() as ledger:
            ledger.delete(self._due_key(due.group_id))
            for suffix in (".j", ".n", ".s", ".f"):
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

    def _due_key(self, group_id: str) -> Any:
        return self._backend.get_key_for_chord(f"due-{group_id}")


def _leased(note: str) -> str:
    """A note that is somebody's for some time."""
    return f"{time.time() + RELAY_LEASE} {note}"


def member_of(backend: Backend, _: Any, task_id: str, state: str, value: Any) -> tuple[str, str, Any]:
    if state in states.EXCEPTION_STATES:
        value = backend.exception_to_python(value)
    return task_id, state, value


def chord_of(mark: str) -> str:
    """The chord that a mark is of: a body may be replaced by another chord, whose body then has the same id."""
    return mark.partition("/")[0]


def as_text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
