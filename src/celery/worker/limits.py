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
#: And while a task has run less than so many times: its first runs load code and connect, which the others do not.
_FIRST_RUNS, _FIRST_WEIGHT = 12, 0.5
#: Weight of the newest message in the mean of what comes in.
_MIX_WEIGHT = 0.05


class RunTimes:
    """Moving means of run times, one per registered task that has run here, in seconds."""

    __slots__ = ("_known", "_means", "_young", "mix")

    def __init__(self) -> None:
        self._means: dict[str, float] = {}
        self._young: dict[str, int] = {}  # how often tasks have run that are not run often yet
        self._known = 0  # messages that came in of tasks that had run
        #: Expected run time of what came in lately.
        self.mix = UNKNOWN

    def ran(self, name: str, seconds: float) -> None:
        """Take note of one run. A long run counts at once, short ones must repeat themselves."""
        mean = self._means.get(name)
        if mean is None:
            self._means[name], self._young[name] = seconds, 1
        elif seconds > 4 * mean:
            self._means[name] = seconds
        else:
            weight = _FIRST_WEIGHT if name in self._young and seconds < mean else _WEIGHT
            self._means[name] = mean + weight * (seconds - mean)
        if name in self._young:
            self._grow(name)

    def _grow(self, name: str) -> None:
        runs = self._young[name] + 1
        if runs > _FIRST_RUNS:
            del self._young[name]
        else:
            self._young[name] = runs

    def of(self, name: str) -> float | None:
        """Mean run time of a task; None if it has not run here yet."""
        return self._means.get(name)

    def share(self, name: str) -> int:
        """What a run of the task takes of a slot's window."""
        return share_of(self._means.get(name))

    def came_in(self, name: str) -> None:
        """Take note of one received message."""
        expected = self._means.get(name)
        if expected is None:
            expected = UNKNOWN
        else:
            self._known += 1
        if expected > self.mix:
            self.mix += 4 * _MIX_WEIGHT * (expected - self.mix)
        else:  # in the beginning as if this were a mean over all messages
            self.mix += max(_MIX_WEIGHT, 1 / max(1, self._known)) * (expected - self.mix)

    def ahead(self, slots: int) -> int:
        """`fetch_ahead`, but in the beginning no more than twice the messages of which it was known what they are."""
        return min(fetch_ahead(self.mix, slots), 2 * self._known)


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
