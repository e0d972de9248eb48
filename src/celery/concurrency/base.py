"""The Pool port: where task code runs.

A pool gets `Job`s (headers and body still bytes) and tells a `Reports` what became of them.
The worker's core lives on an event loop on which no task code ever runs; every method of a
pool is called there and returns at once, and every report is made there.

**Windows.** A pool may hold more jobs than it has slots, so that a slot never waits for the core
between two short tasks. `room()` says how many more it wants now; how deep it queues behind a
slot follows measured run times (1 for long tasks, up to 64 for very short ones). A job that
waits behind a long one is taken back and given to an idle slot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from celery.app.jobs import Job, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Job", "Outcome", "Pool", "Reports", "Verdict"]


class Reports(Protocol):
    """What a pool tells the worker, always on the worker's loop."""

    def started(self, tag: int, pid: int, at: float) -> None:
        """The body is about to run (only for jobs with `announce`). `at` is unix time."""

    def finished(self, batch: Sequence[tuple[int, Outcome]]) -> None: ...

    def soft_limit(self, tag: int) -> None:
        """The soft time limit passed and the exception was raised in the task."""

    def hard_limit(self, tag: int) -> None:
        """The hard limit passed; the slot was killed. No `finished` will follow."""

    def lost(self, tag: int, exitcode: int, *, began: bool) -> None:
        """The slot died under this job (`exitcode` as of waitpid, negative for a signal). `began` False:
        it had not begun to run and can be run elsewhere at once. No `finished` will follow."""

    def broken(self, error: BaseException) -> None:
        """The pool cannot go on (children die at start, spawner gone): the worker must end."""

    def roomy(self) -> None:
        """`room()` grew: the core may submit more."""


class Pool(Protocol):
    """Runs jobs."""

    #: What this pool can enforce; the worker refuses or warns about what it cannot.
    soft_limits: bool
    hard_limits: bool
    can_terminate: bool
    #: True: tasks run in the main thread by `run_in_main`; the core gets a thread of its own.
    needs_main_thread: bool

    async def start(self, reports: Reports) -> None:
        """Return when every slot is ready to run a task."""

    def room(self) -> int:
        """How many more jobs it wants now."""

    def submit(self, jobs: Sequence[Job]) -> None: ...

    def take_back(self) -> list[Job]:
        """Give up everything not yet handed to a slot (warm shutdown). Jobs that wait inside a slot
        come back through `Reports.lost(..., began=False)`."""

    def terminate(self, tag: int, signum: int) -> bool:
        """Kill the run of one job; False if it is not running here or the pool cannot."""

    def resize(self, size: int) -> None: ...

    def info(self) -> dict[str, Any]:
        """The `pool` part of `inspect stats`."""

    async def stop(self) -> None:
        """Let running jobs end, then stop the slots."""

    async def kill(self) -> None:
        """End every slot now."""
