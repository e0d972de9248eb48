"""Rate limits: when the next run of a task type may begin on this worker.

A run that has to wait waits in the broker, parked until its turn: it fills no window here, and other task
types are not held up behind it. The turn stays reserved for it; a worker that gets it in our place
goes by its own rate.
"""

from __future__ import annotations

from typing import Final

#: A turn within this many seconds is now.
SLACK: Final = 0.001

#: Reserved turns that are remembered; older ones went to other workers.
REMEMBERED: Final = 100_000


class RateLimits:
    """One token bucket of capacity 1 for each task type; times are monotonic: nobody's setting of a clock stops a task type."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}
        self._reserved: dict[str, float] = {}

    def reset(self, name: str) -> None:
        """The rate of a task type has changed: the next run may begin now."""
        self._next.pop(name, None)
        self._reserved.clear()

    def turn(self, name: str, rate: float, task_id: str, now: float) -> float | None:
        """Say when a run may begin.

        Args:
            name: of the task type.
            rate: runs per second, more than 0.

        Returns:
            None for now; else the time that is reserved for it.
        """
        reserved = self._reserved.pop(task_id, None)
        if reserved is not None and reserved <= now + SLACK:
            return None
        turn = reserved if reserved is not None else max(now, self._next.get(name, now))
        self._next[name] = max(self._next.get(name, now), turn + 1 / rate)
        if turn <= now + SLACK:
            return None
        self._reserved[task_id] = turn
        if len(self._reserved) > REMEMBERED:
            del self._reserved[next(iter(self._reserved))]
        return turn
