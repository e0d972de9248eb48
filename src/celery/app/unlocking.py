"""What `celery.chord_unlock` does: look at a chord's members, and send the body when all are over.

It looks less and less often, and not for ever.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery import states
from celery.exceptions import ChordError

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger("celery.app.trace")

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
    from celery.backends import relaying  # noqa: PLC0415 - workers only

    backend = task.app.backend
    pause = interval or task.app.conf.result_chord_retry_interval
    try:
        wait = _look(task, group_id, body, pause, max_retries, members)
    except Exception as exc:
        if relaying.is_refusal(backend, exc):
            raise
        logger.warning("Chord %s cannot go on now, trying again: %s", group_id, exc)
        wait = pause
    if wait is not None:
        raise task.retry(countdown=wait, max_retries=None)


def _look(
    task: Any, group_id: str, body: Any, pause: float, max_retries: int | None, members: Sequence[Any]
) -> float | None:
    """Send the body, or fail it; the seconds until the next look, if some member is not over."""
    from celery.backends import dues, relaying  # noqa: PLC0415 - workers only
    from celery.backends.simple_chords import PollingChords  # noqa: PLC0415 - workers only
    from celery.result import result_from_tuple  # noqa: PLC0415 - workers only

    backend, request = task.app.backend, task.request
    results = [result_from_tuple(member, app=task.app) for member in members]
    singles = relaying.singles(results)
    ready = all(one.ready() for one in singles)
    if ready:
        results += PollingChords(backend).added(group_id, singles)
        singles = relaying.singles(results)
        ready = all(one.ready() for one in singles)
    if not ready:
        if max_retries is None or request.retries < max_retries:
            return wait_after(request.retries, pause)
        backend.fail_signature(
            body, ChordError(f"Join error: chord {group_id} was not over after {request.retries} looks")
        )
        return None
    metas = [backend.get_task_meta(one.id) for one in singles]
    found = [(one.id, meta["status"], meta["result"]) for one, meta in zip(singles, metas, strict=True)]
    if any(status not in states.READY_STATES for _, status, _ in found):
        return pause
    due = dues.Due(group_id, body, request.root_id, request.parent_id)
    relaying.relay_or_give_up(backend, due, found, results)
    return None


def wait_after(looks: int, pause: float) -> float:
    """Seconds until the next look, after so many; `pause` after the first."""
    return min(pause * GROWTH ** min(looks, 100), max(LONGEST, pause))  # any more is too large for a float
