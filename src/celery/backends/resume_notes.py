"""Notes by which a workflow that failed can be resumed.

When a step fails a *note* is kept beside its failure, under an id of its own and like any result: so it needs nothing
special of a store, expires with the results, and nobody else looks at it. There are three kinds:

- `step`: a task that raised. The note holds its call, as a retry would make it; what follows travels in that, but the
  bodies of chords around it: those are in the notes of these.
- `after`: what never ran because of it. The note says whose note counts.
- `chord`: members failed, so the body did not run. The note holds the body, and ids and states of the members.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

from celery import states
from celery.canvas import graphs
from celery.utils import uuid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .core import Backend
    from .dues import Due

    Note = dict[str, Any]

logger = logging.getLogger("celery.backends.base")

#: The state under which notes are stored.
NOTE = "RESUMABLE"


def key_of_chord(group_id: str) -> str:
    """The key of the note of a chord."""
    return f"{group_id}.chord"


def id_of(key: str) -> str:
    """The id under which the note of a task (or of `key_of_chord`) is stored."""
    return f"{key}.resume"


def read(backend: Backend, key: str) -> Note | None:
    """The note kept under a key; None if there is none."""
    meta = backend.get_task_meta(id_of(key), cache=False)
    return meta["result"] if meta["status"] == NOTE else None


def keep_step(backend: Backend, request: Any) -> str | None:
    """Keep the call of a task of a workflow that has failed; return the note's key, None if none was kept."""
    if not _is_step(request) or not _keeps(backend):
        return None
    task = backend.app.tasks.get(request.task)
    if task is None:
        return None  # the message is a dead letter
    call = task.signature_from_request(request, retries=0, expires=None)
    return _keep_whole(backend, request.id, {"kind": "step"}, "call", call)


def _is_step(request: Any) -> bool:
    if not hasattr(request, "as_execution_options") or request.is_eager or request.called_directly:
        return False
    others = request.chain or request.chord or request.group or request.callbacks
    return bool(others or (request.root_id and request.root_id != request.id))


def keep_chord(backend: Backend, due: Due, members: Sequence[tuple[str, str, Any]]) -> str | None:
    """Keep the body of a chord of which members failed; return the note's key, None if none was kept."""
    if not _keeps(backend):
        return None
    note = {
        "kind": "chord",
        "group": due.group_id,
        "root_id": due.root_id,
        "members": [(task_id, state) for task_id, state, _ in members],
        "values": _not_stored(backend, members),
    }
    # A chord fails once. If it is told twice (who told it first died), the note is claimed once.
    return _keep_whole(backend, key_of_chord(due.group_id), note, "body", due.body, due.group_id)


def _not_stored(backend: Backend, members: Sequence[tuple[str, str, Any]]) -> dict[str, Any]:
    """The values of members that succeeded and ignore their results, by their ids."""
    values = {task_id: value for task_id, state, value in members if state == states.SUCCESS}
    metas = backend.get_task_metas(values)
    return {task_id: value for task_id, value in values.items() if metas[task_id]["status"] != states.SUCCESS}


def point(backend: Backend, task_id: str, key: str) -> None:
    """Keep for a task that never ran whose note counts."""
    keep(backend, task_id, {"kind": "after", "of": key})


def _keep_whole(
    backend: Backend, key: str, note: Note, part: str, sig: Mapping[str, Any], mark: str | None = None
) -> str | None:
    """Keep a note with a signature; of what follows that is stored elsewhere all is read."""
    options = {name: value for name, value in sig["options"].items() if value is not None}
    try:
        chain = [dict(step) for step in graphs.steps(backend.app, options.get("chain"))]
    except Exception as lost:  # noqa: BLE001 - logged
        _give_up(backend, key, lost)
        return None
    if chain:
        options["chain"] = chain[::-1]
    kept = with_options({**sig, "options": options}, _without_body)
    return keep(backend, key, {**note, part: kept}, mark)


def _without_body(options: dict[str, Any]) -> dict[str, Any]:
    """With a reference in place of the body of the chord around it, which may be as large as all that follows."""
    body = options.get("chord")
    if body and not graphs.is_reference(body):
        body_id = (body.get("options") or {}).get("task_id")
        options["chord"] = graphs.reference(body["task"], body_id, options.get("group_id") or "", 0)
    return options


def _keeps(backend: Backend) -> bool:
    return backend.keeps_results and bool(backend.app.conf.result_resumable)


def keep(backend: Backend, key: str, note: Note, mark: str | None = None) -> str | None:
    """Store a note. That it cannot be stored must not keep the failure from being stored.

    Args:
        mark: by which it is claimed; default: a new one.
    """
    try:
        backend.store_result(id_of(key), {**note, "mark": mark or uuid()}, NOTE)
    except Exception as exc:  # noqa: BLE001 - logged
        _give_up(backend, key, exc)
        return None
    return key


def _give_up(backend: Backend, key: str, exc: Exception) -> None:
    logger.warning("What failed as %s cannot be resumed later: %r", key, exc)
    with contextlib.suppress(Exception):  # what was kept of an earlier failure would mislead
        backend.forget(id_of(key))


def with_options(
    sig: Mapping[str, Any], change: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    """A copy of a signature in its stored form; `change` is given the options of each of its parts, and of what follows
    it, and returns those of the copy."""

    def copied(parts: Any) -> Any:
        return (
            with_options(parts, change) if "task" in parts else [with_options(part, change) for part in parts]
        )

    options, kwargs = dict(sig.get("options") or {}), sig.get("kwargs")
    if options.get("chain"):
        options["chain"] = copied(options["chain"])
    if sig.get("subtask_type") in ("chain", "group", "chord"):
        kwargs = {
            name: copied(value) if name in ("tasks", "header", "body") else value
            for name, value in (kwargs or {}).items()
        }
    return {**sig, "options": change(options), "kwargs": kwargs}
