"""Going on with a workflow that failed, from what failed; by the notes that were kept (`resume_notes`).

To resume is to plan (read notes and results, change nothing), to claim the notes (by the mark of each: whoever comes
second is told), to forget the failures, to open the chords again under new ids and count the members that have
succeeded, and to send the calls of those that failed. The new id follows from the old one: who has to do it a second time,
as the first was broken off, opens the same chord, whose body runs once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import NAMESPACE_OID, uuid5

from celery import states
from celery.canvas import maybe_signature
from celery.canvas.plans import Plan
from celery.exceptions import ResumeError
from celery.result import GroupResult, workflow_of
from celery.utils import uuid

from . import resume_notes
from .relaying import singles
from .simple_chords import PollingChords

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .core import Backend

    Note = dict[str, Any]

#: Seconds in which what follows a failed task is told, usually much less.
_SETTLED_IN = 5.0


def resume(backend: Backend, task_ids: Iterable[str], *, force: bool = False) -> list[str]:
    """Run again what failed of the workflows that these tasks are of, and what depends on it.

    Args:
        force: although somebody else has begun to.

    Returns:
        The ids of the tasks that were sent.

    Raises:
        ResumeError: there is nothing to resume, or something that is needed is missing; nothing was changed.
        OperationalError: the broker did not take the messages; `force` tries again.
    """
    if not backend.keeps_results:
        raise ResumeError(f"{type(backend).__name__} keeps no results, so nothing can be resumed.")
    found = _Finder(backend, force).of(task_ids)
    plans = {key: _Resumption(backend, key, note) for key, note in found.items()}
    for plan in plans.values():
        plan.settle(wait=not force)
    won = [plan for key, plan in plans.items() if force or _claim(backend, key, found[key]["mark"])]
    if not won:
        raise ResumeError(
            f"{', '.join(found)} is being resumed already. (If that was broken off: force=True, or --force.)"
        )
    return [task_id for plan in won for task_id in plan.carry_out()]


def _claim(backend: Backend, key: str, mark: str) -> bool:
    """Take a note for ourselves; False if somebody else has."""
    claim = f"{resume_notes.id_of(key)}.{mark}"
    if not backend.chords.admit(claim, f"{mark}/{uuid()}"):
        return False
    if isinstance(backend.chords, PollingChords):  # it can only be asked
        backend.store_result(claim, None, states.SUCCESS)
    return True


class _Nothing(ResumeError):
    """There is nothing to do for a task. With force it may be one of several: others may have been sent before."""


class _Finder:
    """Finds the notes by which a workflow is resumed: those of what is in no other chord that failed."""

    def __init__(self, backend: Backend, force: bool) -> None:
        self._backend = backend
        self._force = force

    def of(self, task_ids: Iterable[str]) -> dict[str, Note]:
        """Notes by their keys."""
        found: dict[str, Note] = {}
        needless: list[_Nothing] = []
        for task_id in task_ids:
            try:
                found.update(self.tops(task_id))
            except _Nothing as error:
                needless.append(error)
        if needless and not (self._force and found):
            raise needless[0]
        return found

    def tops(self, task_id: str) -> Iterator[tuple[str, Note]]:
        """Keys and notes."""
        # A note is kept before the failure is stored, so they are read the other way round. It is not removed when the
        # task is resumed: it must be there if that is broken off, and is replaced if the task fails again.
        state = self._backend.get_task_meta(task_id, cache=False)["status"]
        note = resume_notes.read(self._backend, task_id)
        if note is None and state == states.PENDING and (found := dict(self._of_group(task_id))):
            yield from found.items()
            return
        if note is not None and state == states.PENDING and not self._force:
            raise ResumeError(
                f"{task_id} is being resumed already (if that was broken off: force=True, or --force), or ignores its "
                "result (resume by the id of the last task)."
            )
        if note is not None and state in (states.FAILURE, states.PENDING):
            yield self._top(task_id, note)
            return
        failed = self._failed_after(task_id) if state == states.SUCCESS else []
        if not failed:
            raise (_Nothing if state in (states.PENDING, states.SUCCESS) else ResumeError)(
                _nothing(task_id, state)
            )
        for one in failed:
            yield from self.tops(one)

    def _of_group(self, group_id: str) -> Iterator[tuple[str, Note]]:
        """Those of the header of a chord, or of a group that is stored."""
        note = resume_notes.read(self._backend, key := resume_notes.key_of_chord(group_id))
        if note is not None:
            yield self._top(key, note)
            return
        try:
            group = self._backend.restore_group(group_id, cache=False)
        except NotImplementedError:
            return
        if group is None:
            return
        wanted = {states.FAILURE, states.PENDING} if self._force else {states.FAILURE}
        metas = self._backend.get_task_metas([one.id for one in singles([group])])
        failed = [task_id for task_id, meta in metas.items() if meta["status"] in wanted]
        if not failed:
            raise _Nothing(f"There is nothing to resume: no member of the group {group_id} has failed (yet).")
        for task_id in failed:
            yield from self.tops(task_id)

    def _failed_after(self, task_id: str) -> list[str]:
        """What failed of the workflow that a task is of which has succeeded itself."""
        nodes = workflow_of(self._backend.app.AsyncResult(task_id)).nodes.values()
        return [node.id for node in nodes if node.state == states.FAILURE and node.kind == "task"]

    def _top(self, key: str, note: Note) -> tuple[str, Note]:
        while True:
            if note["kind"] == "after":
                key = note["of"]
                note = _need(self._backend, key)
                continue
            options = _last(note)["options"]
            chord = options.get("chord")
            if not chord:
                return key, note
            group_id = options["group_id"]
            above = resume_notes.read(self._backend, resume_notes.key_of_chord(group_id))
            if above is None:
                raise ResumeError(self._no_chord(key, group_id, chord))
            key, note = resume_notes.key_of_chord(group_id), above

    def _no_chord(self, key: str, group_id: str, chord: Any) -> str:
        body = (chord.get("options") or {}).get("task_id")
        state = self._backend.get_task_meta(body, cache=False)["status"] if body else states.PENDING
        if state in states.READY_STATES:
            return (
                f"Nothing is kept of the chord {group_id} that {key} is a member of (expired, or its body was failed "
                "by a worker of Celery's own), so it cannot be resumed."
            )
        return f"The chord {group_id} that {key} is a member of is still running: resume it when it is over."


def _last(note: Note) -> Any:
    """The task that gives the value of all that the call, or the body, of a note stands for; in its stored form."""
    sig = note["call"] if note["kind"] == "step" else note["body"]
    while True:
        kind = sig.get("subtask_type")
        if sig["options"].get("chain"):
            sig = sig["options"]["chain"][0]
        elif kind == "chord":
            sig = sig["kwargs"]["body"]
        elif kind == "chain":
            sig = sig["kwargs"]["tasks"][-1]
        elif kind == "group":
            sig = sig["kwargs"]["tasks"][0]
        else:
            return sig


class _Opened(NamedTuple):
    """What has changed of a chord that is opened again: its id, the places of its members by id, and its body."""

    group_id: str
    places: dict[str, int]
    body: Any


@dataclass(slots=True)
class _Chord:
    """A chord to be opened again.

    Attributes:
        done: ids and values of the members that have succeeded.
    """

    old: str
    opened: _Opened
    body: Any
    root_id: str | None
    done: list[tuple[str, Any]]


class _Member:
    """As much of a request as counting a member needs."""

    def __init__(self, chord: _Chord, task_id: str) -> None:
        self.id = task_id
        self.group = chord.opened.group_id
        self.group_index = chord.opened.places[task_id]
        self.chord = chord.body
        self.root_id = chord.root_id


class _Resumption:
    """What is done to resume one note: planned first, then carried out.

    Raises:
        ResumeError: something that is needed is missing.
    """

    def __init__(self, backend: Backend, key: str, note: Note) -> None:
        self._backend = backend
        self._planned: set[str] = set()
        self._calls: list[Any] = []
        self._chords: list[_Chord] = []
        #: Whose results are of the failure; and whether there may be none: of a task that ignores its result.
        self._stale: dict[str, bool] = {}
        self._failed: list[str] = []
        self._add(key, note, {})

    def _add(self, key: str, note: Note, opened: dict[str, _Opened]) -> None:
        """Plan what a note is about.

        Args:
            opened: the chords around it, by their old ids.
        """
        if key in self._planned:
            return
        self._planned.add(key)
        if note["kind"] == "step":
            self._add_step(key, note, opened)
        else:
            self._add_chord(note, opened)

    def settle(self, *, wait: bool) -> None:
        """Note what has failed, and is to be forgotten. What has not may be running, if it was sent before.

        Args:
            wait: until all that depends on what failed has failed, too: who tells it may not be through yet, and what is
                told later would be the last word.

        Raises:
            ResumeError: something is not over.
        """
        deadline = time.monotonic() + _SETTLED_IN
        while True:
            metas = self._backend.get_task_metas(self._stale)
            left = [one for one, may_lack in self._stale.items() if not may_lack]
            left = [one for one in left if metas[one]["status"] not in states.READY_STATES]
            if not (wait and left):
                self._failed = [one for one in self._stale if metas[one]["status"] in states.PROPAGATE_STATES]
                return
            if time.monotonic() > deadline:
                raise ResumeError(_nothing(left[0], metas[left[0]]["status"]))
            time.sleep(0.02)

    def carry_out(self) -> list[str]:
        """Do it; return the ids of what was sent.

        Raises:
            OperationalError: the broker did not take it.
        """
        backend = self._backend
        for task_id in self._failed:
            backend.forget(task_id)
        for chord in self._chords:
            self._open(chord)
        plan = Plan()
        for call in self._calls:
            call._plan(plan, (), None, {"add_to_parent": False})
        backend.app._launch(plan)
        for chord in self._chords:
            members = [backend.app.AsyncResult(task_id).as_tuple() for task_id in chord.opened.places]
            body = maybe_signature(chord.body, app=backend.app)
            backend.chords.follow((chord.opened.group_id, members), body, {})
        complete = [chord for chord in self._chords if len(chord.done) == len(chord.opened.places)]
        return [call.id for call in self._calls] + [chord.body["options"]["task_id"] for chord in complete]

    def _add_step(self, key: str, note: Note, opened: dict[str, _Opened]) -> None:
        state = self._backend.get_task_meta(key, cache=False)["status"]
        # Of a task that ignores its result nothing is stored.
        if state not in (states.FAILURE, states.PENDING):
            raise ResumeError(_nothing(key, state))
        call = maybe_signature(
            resume_notes.with_options(note["call"], _placed(opened)), app=self._backend.app
        )
        self._calls.append(call)
        self._stale.update(_ids_in(call))
        self._stale[key] = True  # as above

    def _add_chord(self, note: Note, opened: dict[str, _Opened]) -> None:
        old, places = note["group"], {task_id: place for place, (task_id, _) in enumerate(note["members"])}
        done, failed = self._members(note)
        new = _Opened(_again(old, {_last(one)["options"].get("group_id") for _, one in failed}), places, None)
        body = resume_notes.with_options(note["body"], _placed({**opened, old: new}))
        new = new._replace(body=body)
        self._chords.append(_Chord(old, new, body, note["root_id"], done))
        self._stale.update(_ids_in(body))
        for key, one in failed:
            self._add(key, one, {**opened, old: new})

    def _members(self, note: Note) -> tuple[list[tuple[str, Any]], list[tuple[str, Note]]]:
        """Of a chord: ids and values of the members that have succeeded, keys and notes of what failed of the others."""
        metas = self._backend.get_task_metas([task_id for task_id, _ in note["members"]])
        values = note.get("values") or {}
        done, failed = [], []
        for task_id, state in note["members"]:
            if task_id in values:  # it ignores its result
                done.append((task_id, values[task_id]))
                continue
            if metas[task_id]["status"] == states.SUCCESS:
                done.append((task_id, metas[task_id]["result"]))
                continue
            if state == states.SUCCESS:
                raise ResumeError(
                    f"The result of {task_id}, which succeeded, is not stored (any longer): the chord that it is a "
                    "member of cannot be resumed."
                )
            key, kept = task_id, resume_notes.read(self._backend, task_id)
            while kept is not None and kept["kind"] == "after":
                key = kept["of"]
                kept = resume_notes.read(self._backend, key)
            if kept is None:
                raise ResumeError(_nothing(task_id, state))
            failed.append((key, kept))
        return done, failed

    def _open(self, chord: _Chord) -> None:
        """Open a chord again, and count those of its members that have succeeded."""
        backend, new = self._backend, chord.opened.group_id
        shape = backend.restore_group(chord.old, cache=False)
        if shape is not None:
            backend.save_group(new, GroupResult(new, shape.results, app=backend.app))
        backend.set_chord_size(new, len(chord.opened.places))
        backend.defer()
        try:
            for task_id, value in chord.done:
                backend.chords.again(_Member(chord, task_id), states.SUCCESS, value)
        finally:
            backend.flush()


def _again(group_id: str, known: set[str | None]) -> str:
    """The id under which a chord is opened again: the same however often that is tried, unless a member has failed
    under it already, and been counted so.

    Args:
        known: of the chords under which members have failed.
    """
    known = {*known, group_id}
    while group_id in known:
        group_id = str(uuid5(NAMESPACE_OID, group_id))
    return group_id


def _placed(opened: dict[str, _Opened]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Gives the parts of a signature their place in the chords that are opened again, by their old ids."""

    def change(options: dict[str, Any]) -> dict[str, Any]:
        task_id = options.get("task_id")
        around = (one for one in opened.values() if task_id in one.places)
        new = next(around, None) or opened.get(options.get("group_id") or "")
        if new is None:
            return options
        options["group_id"] = new.group_id
        if options.get("chord"):
            options["chord"] = new.body
        if task_id in new.places:
            options["group_index"] = new.places[task_id]
        return options

    return change


def _ids_in(sig: Any) -> Iterator[tuple[str, bool]]:
    """The ids of all tasks that a signature, in its stored form, stands for, what follows it included; and whether
    they ignore their results."""
    options, kind = sig.get("options") or {}, sig.get("subtask_type")
    parts: list[Any] = list(options.get("chain") or ())
    if kind in ("chain", "group"):
        parts += sig["kwargs"]["tasks"]
    elif kind == "chord":
        header = sig["kwargs"]["header"]
        parts += header["kwargs"]["tasks"] if isinstance(header, dict) else header
        parts.append(sig["kwargs"]["body"])
    elif options.get("task_id"):
        yield options["task_id"], bool(options.get("ignore_result"))
    for part in parts:
        yield from _ids_in(part)


def _need(backend: Backend, key: str) -> Note:
    note = resume_notes.read(backend, key)
    if note is None:
        raise ResumeError(f"What is needed to run {key} again is not stored (any longer).")
    return note


def _nothing(task_id: str, state: str) -> str:
    """Why a task of which no note is kept cannot be resumed."""
    if state == states.SUCCESS:
        return f"There is nothing to resume: {task_id} succeeded, and nothing failed after it."
    if state == states.PENDING:
        return (
            f"Nothing is stored of {task_id}: it has not begun, its results have expired, or there is no such task. "
            "(A group is known by its id if it was saved: `save()`, or `result_extended`.)"
        )
    if state == states.REVOKED:
        return f"{task_id} was revoked: what was revoked is not resumed."
    if state == states.FAILURE:
        return (
            f"{task_id} failed, but nothing is kept to run it again: it is no part of a workflow, ran on a worker of "
            "Celery's own, result_resumable is off, or its arguments could not be stored."
        )
    return f"{task_id} is still running ({state}): resume it when it is over."
