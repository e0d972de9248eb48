"""Chords in Redis, by Celery's keys, so that both fleets can work on one chord.

A member's result is stored and counted in one step; who counts the last one claims the body in that step and notes that
it is due. If that worker dies before it has sent the body, any other of ours finds the note. (One of Celery's
knows only the claim, which expires: there a member has to be delivered again.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.backends import chords, dues
from celery.backends.chords import REMEMBERED, Part
from celery.backends.dues import Due
from celery.backends.relaying import chord_of, singles, try_to_relay
from celery.canvas import graphs
from celery.utils import uuid

from .scripts import FINISH, GROW, GROWN, SWEEP
from .shelf import RedisShelf

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .backend import RedisBackend

#: Seconds for which who has claimed a body keeps all others from it, and for which our own leave the sending to it.
CLAIM = 30
LEASE = 5


class RedisChords:
    """How a Redis backend does chords: see `celery.backends.chords.Chords`.

    Args:
        ordered: the body gets the values in the order of the header, else in that of their ends
            (`result_chord_ordered` of `result_backend_transport_options`).
    """

    sweeps = True

    def __init__(self, backend: RedisBackend, *, ordered: bool = True) -> None:
        self._backend = backend
        self._ordered = ordered
        self.shelf = RedisShelf(backend, lambda: self._seconds)

    # -- as `Chords`

    def ensure_allowed(self) -> None:
        """They are."""

    def open(self, sizes: Mapping[str, int]) -> None:
        """See `Chords`."""
        seconds, key = self._seconds, self._key
        life = ("EX", seconds) if seconds else ()
        over = ("DEL", *[key(group_id, ".c") for group_id in sizes])
        self._backend.carry_out(over, *[("SET", key(one, ".s"), size, *life) for one, size in sizes.items()])

    def grow(self, due: Due, added: Any) -> int | None:
        """See `Chords`."""
        seconds, key, size = self._seconds, self._key(due.group_id, ".t"), len(singles([added]))
        if due.added:
            note = dues.written(self._backend.app, due)
            self._backend.run_script(
                GROW, [key, self._due_key], [size, seconds or "", due.note_id, note, LEASE]
            )
            return None
        life = (("EXPIRE", key, seconds),) if seconds else ()
        self._backend.carry_out(("INCRBY", key, size), *life)
        return None

    def grown(self, due: Due, added: Any, index: int | None, *, sent: bool = True) -> None:
        """See `Chords`."""
        if due.added:
            less = "" if sent else len(singles([added]))
            self._backend.run_script(
                GROWN, [self._key(due.group_id, ".t"), self._due_key], [due.note_id, less]
            )

    def follow(self, header: tuple[str, Sequence[Any]], body: Any, options: Mapping[str, Any]) -> None:
        """Nothing more is needed."""

    def end(self, task_id: str, result: Any, state: str, traceback: Any, request: Any, store: bool) -> None:
        """See `Chords`."""
        chords.store_end(self._backend, task_id, result, state, traceback, request, store)

    def again(self, request: Any, state: str, result: Any) -> None:
        """See `Chords`."""
        self.end(request.id, result, state, None, request, False)

    def admit(self, task_id: str, mark: str) -> bool:
        """See `Chords`."""
        key = self._backend.get_key_for_chord(chord_of(mark), f".first.{task_id}")
        life = ("EX", self._seconds) if self._seconds else ()
        _, first = self._backend.carry_out(("SET", key, mark, "NX", *life), ("GET", key))
        return bool(first.decode() == mark)

    def sweep(self) -> int:
        """See `Chords`."""
        notes = self._backend.run_script(SWEEP, [self._due_key], [LEASE])
        for note in notes:
            self.relay(dues.read(self._backend.app, note))
        return len(notes)

    # -- for the backend

    def keys_of(self, part: Part) -> list[str]:
        """The keys that the counting of members concerns, in the script's order."""
        books = [self._key(part.group_id, suffix) for suffix in (".j", ".t", ".s", ".d", ".c", "")]
        return [*books, self._due_key]

    def arguments_of(self, part: Part) -> list[Any]:
        """What the script needs to know of the chord to count members, of whom this is the last."""
        note = dues.written(self._backend.app, due_of(part))
        size = part.body.get("chord_size")
        return [
            *(self._seconds or "", "" if size is None else size, "1" if self._ordered else ""),
            *(uuid(), CLAIM, part.group_id, note, LEASE),
        ]

    def relay(self, due: Due, values: Sequence[bytes] | None = None) -> None:
        """Send what is due and take the note back. If that does not work now, somebody will find the note.

        Args:
            values: of the members, encoded; None: they are read.
        """
        backend, group_id = self._backend, due.group_id

        def members() -> list[tuple[str, str, Any]]:
            found = self._values(group_id) if values is None else values
            return [chords.member_of(backend, *backend.decode(value)) for value in found]

        if not try_to_relay(backend, due, members, lambda: self._tried(due.added or group_id)):
            return
        if due.added:
            backend.carry_out(("HDEL", self._due_key, due.note_id))
            return
        if graphs.is_reference(due.body):
            graphs.dropped(backend.app, due.group_id)
        books = [self._key(due.group_id, suffix) for suffix in (".c", ".j", ".t", ".s", ".d")]
        backend.run_script(FINISH, [*books, self._due_key], [due.group_id, int(REMEMBERED)])

    def _tried(self, group_id: str) -> int:
        key = self._key(group_id, ".f")
        count, _ = self._backend.carry_out(("INCR", key), ("EXPIRE", key, int(REMEMBERED)))
        return int(count)

    def _values(self, group_id: str) -> Sequence[bytes]:
        read = "ZRANGE" if self._ordered else "LRANGE"
        (found,) = self._backend.carry_out((read, self._key(group_id, ".j"), 0, -1))
        return found  # type: ignore[no-any-return]

    # -- keys

    @property
    def _seconds(self) -> int | None:
        expires = self._backend.chord_expires
        return int(expires) if expires else None

    def _key(self, group_id: str, suffix: str) -> str:
        return str(self._backend.get_key_for_group(group_id, suffix))

    @property
    def _due_key(self) -> str:
        return f"{self._backend.chord_keyprefix}due"


def due_of(part: Part) -> Due:
    """The body that is due when this member was the last."""
    return Due(part.group_id, part.body, part.root_id, part.task_id)
