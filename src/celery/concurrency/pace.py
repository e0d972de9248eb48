"""How deep to queue: from a task's measured run times to the share that one run of it takes of a slot's window.

A slot that waits for the core between two short tasks spends more time waiting than working, so short tasks are handed
over many at a time. A long task, or one of which nothing is known, is handed over alone: nothing may wait behind it
while another slot is idle. A window is full when the work in it is, each task counted by its own run times: a type that
is slow does not make that of others shallow, and is not put deep into a window that others have made deep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery.app.jobs import Job

#: How much work (seconds) one slot may hold.
BUDGET = 0.005
#: All of a slot's window, in the unit in which shares are counted: the most jobs one slot may hold.
SLOT = 64
#: A job that takes no more than this may share a window: its task is known to be over in about a millisecond.
BRIEF = 12

_PER_SECOND = SLOT / BUDGET


def share_of(mean: float | None) -> int:
    """What a run of a task takes of a slot's window, 1 to `SLOT`.

    Args:
        mean: its mean run time in seconds; None if not known.
    """
    if mean is None or mean >= BUDGET:
        return SLOT
    return min(SLOT, int(mean * _PER_SECOND) + 1)


def is_brief(job: Job) -> bool:
    """Whether the job may share a window."""
    return job.share <= BRIEF
