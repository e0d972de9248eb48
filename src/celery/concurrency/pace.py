"""How deep to queue: from measured run times to the depth of a slot's window.

A slot that waits for the core between two short tasks spends more time waiting than working, so short tasks
are handed over many at a time. A long task, or one of which nothing is known, is handed over alone: nothing may
wait behind it while another slot is idle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celery.app.jobs import Job, Outcome

#: A task whose mean run time is below this (seconds) may share a window.
BRIEF = 0.001
#: How much work (seconds) one slot may hold.
BUDGET = 0.005
#: The most jobs one slot may hold.
DEEPEST = 64


def is_brief(job: Job) -> bool:
    """Whether the job is known to be over in about a millisecond."""
    return job.brief is not None and job.brief < BRIEF


class Pace:
    """The moving mean of run times, and the window depth that follows from it.

    Attributes:
        depth: jobs a slot may hold now, 1 to `DEEPEST`.
    """

    __slots__ = ("_mean", "depth")

    def __init__(self) -> None:
        self._mean: float | None = None
        self.depth = 1

    def learn(self, batch: Iterable[tuple[int, Outcome]]) -> None:
        """Take in what has just finished."""
        mean = self._mean
        for _, outcome in batch:
            mean = outcome.runtime if mean is None else mean + (outcome.runtime - mean) * 0.1
        if mean is None:
            return
        self._mean = mean
        self.depth = DEEPEST if mean * DEEPEST <= BUDGET else max(1, int(BUDGET / mean))
