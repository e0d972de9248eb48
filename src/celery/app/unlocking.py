"""What `celery.chord_unlock` does: look at a chord's members, and send the body when all are over.

It looks less and less often, and not for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import states
from celery.exceptions import ChordError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds between two looks, at most; and by how much each wait is longer than the one before.
LONGEST = 10.0
GROWTH = 1.2


def look_at_chord(
    task: Any,
    group_id: str,
    body: Any,
    interval: float | None,
    max_retries: int | None,
    members: Sequence[Any],
) -> None:
    """Send the body, or look again later.

    Args:
        task: `celery.chord_unlock`, running.
        members: results of the header, as tuples.

    Raises:
        Retry: some member is not over.
    """
    from celery.backends import chords  # noqa: PLC0415 - workers only
    from celery.result import result_from_tuple  # noqa: PLC0415 - workers only

    app = task.app
    backend = app.backend
    results = [result_from_tuple(member, app=app) for member in members]
    singles = _singles(results)
    if not all(one.ready() for one in singles):
        retries = task.request.retries
        if max_retries is not None and retries >= max_retries:
            backend.fail_signature(
                body, ChordError(f"Join error: chord {group_id} was not over after {retries} looks")
            )
            return
        first = interval or app.conf.result_chord_retry_interval
        raise task.retry(countdown=min(first * GROWTH**retries, max(LONGEST, first)), max_retries=None)
    metas = [backend.get_task_meta(one.id) for one in singles]
    found = [(one.id, meta["status"], meta["result"]) for one, meta in zip(singles, metas, strict=True)]
    if any(status not in states.READY_STATES for _, status, _ in found):
        raise task.retry(countdown=interval or app.conf.result_chord_retry_interval, max_retries=None)
    request = task.request
    due = chords.Due(group_id, body, request.root_id, request.parent_id)
    chords.relay(backend, due, found, results)


def _singles(results: Sequence[Any]) -> list[Any]:
    """The members, those of groups among them one by one."""
    found: list[Any] = []
    for result in results:
        inner = getattr(result, "results", None)
        found.extend([result] if inner is None else _singles(inner))
    return found
