"""How much a worker fetches ahead: values and arithmetic, no I/O, no clock.

The rule: a message waits in a worker only as long as no idle worker could run it for long. So
tasks that take long, or of which nothing is known, are fetched only when a slot is free for
them; tasks that take microseconds are fetched by the hundred, because there the way to the broker
is what costs.
"""

from __future__ import annotations

from celery.concurrency.pace import share_of

#: Never more than this many messages wait in a worker.
MOST_AHEAD = 500
#: Seconds of work, by measured run times, that may wait in a worker.
HORIZON = 0.1
#: What a run is taken to last as long as nothing is known about its task, in seconds.
UNKNOWN = 1.0
#: Weight of the newest run in a task's mean.
_WEIGHT = 0.2
#: Weight of the newest message in the mean of what comes in.
_MIX_WEIGHT = 0.05


class RunTimes:
    """Moving means of run times, one per registered task that has run here, in seconds."""

    __slots__ = ("_means", "mix")

    def __init__(self) -> None:
        self._means: dict[str, float] = {}
        #: Expected run time of what came in lately.
        self.mix = UNKNOWN

    def ran(self, name: str, seconds: float) -> None:
        """Take note of one run. A long run counts at once, short ones must repeat themselves."""
        mean = self._means.get(name)
        if mean is None or seconds > 4 * mean:
            self._means[name] = seconds
        else:
            self._means[name] = mean + _WEIGHT * (seconds - mean)

    def of(self, name: str) -> float | None:
        """Mean run time of a task; None if it has not run here yet."""
        return self._means.get(name)

    def share(self, name: str) -> int:
        """What a run of the task takes of a slot's window."""
        return share_of(self._means.get(name))

    def came_in(self, name: str) -> None:
        """Take note of one received message."""
        expected = self._means.get(name, UNKNOWN)
        if expected > self.mix:
            self.mix += 4 * _MIX_WEIGHT * (expected - self.mix)
        else:
            self.mix += _MIX_WEIGHT * (expected - self.mix)


def fetch_ahead(mix: float, slots: int) -> int:
    """How many messages may wait in the worker beyond what its slots hold.

    Args:
        mix: expected run time of what comes in, seconds.
        slots: how many tasks run at once.
    """
    return min(MOST_AHEAD, int(slots * HORIZON / max(mix, 1e-6)))


def window(*, held: int, room: int, ahead: int, bound: int | None) -> int:
    """How many unsettled, un-begun deliveries the broker may have out to this worker.

    Args:
        held: deliveries that the pool has or is being given, and which the broker still counts
            (acknowledged late, or being begun).
        room: how many more jobs the pool wants.
        ahead: how many may wait beyond that.
        bound: the most the user allows (`worker_prefetch_multiplier` x concurrency); None: no bound.
    """
    wanted = held + max(room, 0) + ahead
    return wanted if bound is None else min(wanted, bound)
