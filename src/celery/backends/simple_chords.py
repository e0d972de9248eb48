"""Chords in stores without transactions: those that can count, those that can only be asked, and those that cannot do chords.

See `celery.backends.chords` for the others, and for what all have in common.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import states
from celery._state import get_current_task
from celery.result import result_from_tuple

from .chords import E_NO_CHORDS, as_text, member_of, part_of
from .dues import Due
from .relaying import chord_of, relay_or_give_up, singles
from .resume_notes import NOTE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .chords import Part
    from .core import Backend


#: More than a header has members.
_PLACES = 10_000_000


class CountingChords:
    """Chords in a key-value store that has `incr`. It may not take large values, so there is no shelf."""

    shelf = None

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def ensure_allowed(self) -> None:
        """It is."""

    def open(self, sizes: Mapping[str, int]) -> None:
        """See `Chords`."""
        for group_id, size in sizes.items():
            self._backend.set(self._key(group_id, ".s"), str(size))

    def grow(self, due: Due, added: Any) -> int | None:
        """See `Chords`. Each addition has a number, and all places from its `_place_of` on."""
        return _place_of(int(self._backend.incr(self._key(due.group_id, ".a"))))

    def grown(self, due: Due, added: Any, index: int | None, *, sent: bool = True) -> None:
        """See `Chords`."""
        if sent and index is not None:
            key = self._key(due.group_id, f".a{_number_of(index)}")
            self._backend.set(key, str(len(singles([added]))))

    def follow(self, header: tuple[str, Sequence[Any]], body: Any, options: Mapping[str, Any]) -> None:
        """Nothing more is needed."""

    def end(self, task_id: str, result: Any, state: str, traceback: Any, request: Any, store: bool) -> None:
        """See `Chords`."""
        backend = self._backend
        if store:
            backend.store_result(task_id, result, state, traceback=traceback, request=request)
        part = part_of(backend, request, state, result)
        if part is None:
            return
        given = backend.get(self._key(part.group_id, ".s")) or part.body.get("chord_size")
        if given is None:
            return
        size = int(given)
        backend.set(self._key(part.group_id, f".j{part.place}"), part.value)
        if backend.incr(self._key(part.group_id, "")) >= size:
            self._check(part, size)

    def _check(self, part: Part, size: int) -> None:
        """Send the body if really every member is there: one that ended twice was counted twice, as were those added."""
        backend = self._backend
        keys: list[Any] = []
        values: list[Any] = []
        places, additions = self._places(part.group_id, size)
        while len(places) > len(keys):
            keys = [self._key(part.group_id, f".j{place}") for place in places]
            found = backend.mget(keys)
            values = [found.get(key) for key in keys] if hasattr(found, "get") else list(found)
            if any(value is None for value in values):
                return
            # All of these are over, so what they have added can be seen now.
            places, additions = self._places(part.group_id, size)
        members = [member_of(backend, *backend.decode(value)) for value in values]
        relay_or_give_up(backend, Due(part.group_id, part.body, part.root_id, part.task_id), members)
        for key in (self._key(part.group_id, ".s"), *keys, *additions):
            backend.delete(key)

    def _places(self, group_id: str, size: int) -> tuple[list[int], list[Any]]:
        """Where the values of the members are that are known now, and the keys that say so of those added.

        An addition that cannot be seen yet is of a member that is not over, or was never sent.
        """
        places = [*range(size)]
        keys: list[Any] = [self._key(group_id, ".a")]
        for number in range(1, int(self._backend.get(keys[0]) or 0) + 1):
            added = self._backend.get(key := self._key(group_id, f".a{number}"))
            if added is not None:
                keys.append(key)
                places += range(first := _place_of(number), first + int(added))
        return places, keys

    def again(self, request: Any, state: str, result: Any) -> None:
        """See `Chords`."""
        self.end(request.id, result, state, None, request, False)

    sweeps = False

    def admit(self, task_id: str, mark: str) -> bool:
        """See `Chords`."""
        backend = self._backend
        key = self._key(chord_of(mark), f".mark.{task_id}")
        return bool(backend._add(key, mark)) or as_text(backend.get(key)) == mark

    def sweep(self) -> int:
        """A member that could not send the body is run, or recorded, again."""
        return 0

    def _key(self, group_id: str, suffix: str) -> Any:
        return self._backend.get_key_for_chord(group_id, suffix)


def _place_of(number: int) -> int:
    """The first place of an addition to a chord: after all of the header, of which nobody knows here how long it is."""
    return number * _PLACES


def _number_of(place: int) -> int:
    return place // _PLACES


class PollingChords:
    """Chords in any store: the task `celery.chord_unlock` looks at the members, less and less often."""

    shelf = None

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def ensure_allowed(self) -> None:
        """It is."""

    def open(self, sizes: Mapping[str, int]) -> None:
        """Nothing to remember."""

    def grow(self, due: Due, added: Any) -> int | None:
        """See `Chords`."""
        return None

    def grown(self, due: Due, added: Any, index: int | None, *, sent: bool = True) -> None:
        """See `Chords`. Kept for whoever looks: with the member that adds, and that there is something at all.

        Raises:
            RuntimeError: no task is running here.
        """
        if not sent:
            return
        task = get_current_task()
        if task is None or not task.request.id:
            raise RuntimeError("Members are added to a chord by a member that is running.")
        backend, key = self._backend, _added_by(task.request.id)
        meta = backend.get_task_meta(key, cache=False)
        known = meta["result"] if meta["status"] == NOTE else []
        backend.store_result(key, [*known, added.as_tuple()], NOTE)
        backend.store_result(_added_by(due.group_id), True, NOTE)

    def added(self, group_id: str, members: Sequence[Any]) -> list[Any]:
        """The results that members have added which are over, those that these added included."""
        backend = self._backend
        found: list[Any] = []
        if backend.get_task_meta(_added_by(group_id), cache=False)["status"] != NOTE:
            return []
        while members:
            metas = backend.get_task_metas([_added_by(member.id) for member in members])
            tuples = [one for meta in metas.values() if meta["status"] == NOTE for one in meta["result"]]
            members = singles(result_from_tuple(one, app=backend.app) for one in tuples)
            found += members
        return found

    def follow(self, header: tuple[str, Sequence[Any]], body: Any, options: Mapping[str, Any]) -> None:
        """See `Chords`."""
        app = self._backend.app
        interval = options.get("interval") or app.conf.result_chord_retry_interval
        queue = body.options.get("queue") or getattr(app.tasks.get(body.task), "queue", None)
        group_id, members = header
        app.tasks["celery.chord_unlock"].apply_async(
            (group_id, body),
            {"interval": interval, "max_retries": options.get("max_retries"), "result": list(members)},
            countdown=interval,
            add_to_parent=False,
            **({"queue": queue} if queue else {}),
        )

    def end(self, task_id: str, result: Any, state: str, traceback: Any, request: Any, store: bool) -> None:
        """See `Chords`."""
        if store:
            self._backend.store_result(task_id, result, state, traceback=traceback, request=request)
        self._backend.on_chord_part_return(request, state, result)

    def again(self, request: Any, state: str, result: Any) -> None:
        """What is stored will be seen."""

    sweeps = False

    def admit(self, task_id: str, mark: str) -> bool:
        """See `Chords`. All that can be told is whether the body is over already."""
        try:
            return self._backend.get_state(task_id) not in states.READY_STATES
        except NotImplementedError:
            return True

    def sweep(self) -> int:
        """The task that looks is a message like any other."""
        return 0


def _added_by(task_id: str) -> str:
    """The id under which is kept what a member (or anybody, for the id of a chord) has added."""
    return f"{task_id}.added"


class NoChords(PollingChords):
    """A store in which results are lost when they are read, or that is none.

    Args:
        reason: what is said to who starts a chord.
    """

    def __init__(self, backend: Backend, reason: str) -> None:
        super().__init__(backend)
        self._reason = reason

    def ensure_allowed(self) -> None:
        """Refuse.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(E_NO_CHORDS.format(self._reason))
