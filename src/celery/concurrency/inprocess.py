"""What the threads and solo pools have in common: jobs wait in one queue, lanes take them."""

from __future__ import annotations

import asyncio
import os
import queue
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from celery.concurrency.base import PoolOptions, Reports, RunnerFactory
from celery.concurrency.lane import Begun, Ended, Lane, Left
from celery.concurrency.mailbox import Mailbox
from celery.concurrency.pace import SLOT
from celery.concurrency.runners import default_runner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery.app.jobs import Job, Outcome

#: A soft limit's exception that could not be raised is tried again after this (seconds).
_AGAIN = 0.02


class InProcessPool:
    """Runs tasks in lanes of this process.

    Args:
        limit: number of tasks that may run at a time.
        runner: makes what runs the jobs, in each lane; the application's `JobRunner` by default.
    """

    soft_limits = True
    hard_limits = False
    can_terminate = False
    needs_main_thread = False
    is_green = False
    task_join_will_block = True
    signal_safe = True
    body_can_be_buffer = True

    def __init__(
        self,
        app: Any,
        *,
        limit: int,
        hostname: str,
        options: PoolOptions | None = None,
        runner: RunnerFactory = default_runner,
    ) -> None:
        self.app = app
        self.limit = limit
        self.hostname = hostname
        self.options = options or PoolOptions()
        self._make_runner = partial(runner, app, hostname)
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._pending: dict[int, Job] = {}
        self._limited = 0
        self._lanes: set[Lane] = set()
        self._held = 0  # by what is pending, in shares
        self._taking = True
        self._mailbox: Mailbox[Begun | Ended | Left] | None = None
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def prefork(self) -> None:
        """Nothing to do: nothing is forked."""

    async def start(self, reports: Reports) -> None:
        """Begin to take jobs."""
        self._reports = reports
        self._loop = asyncio.get_running_loop()
        self._mailbox = Mailbox(self._loop, self._heard)

    def run_in_main(self) -> None:
        """Nothing to do: tasks run in other threads."""

    def _new_lane(self) -> Lane:
        assert self._mailbox is not None
        lane = Lane(self.app, self._jobs, self._mailbox, self._make_runner)
        self._lanes.add(lane)
        return lane

    # -- jobs

    def room(self, share: int = SLOT) -> int:
        """See `Pool.room`."""
        return max(0, self.limit * SLOT - self._held) // share if self._taking else 0

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue jobs for whichever lane is free first."""
        for job in jobs:
            self._pending[job.tag] = job
            self._held += job.share
            if job.soft_time_limit is not None:
                self._limited += 1
                self._wake_in(job.soft_time_limit)
            self._jobs.put(job)

    def take_back(self) -> list[Job]:
        """Give up everything that no lane has taken."""
        jobs: list[Job] = []
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is not None:
                jobs.append(job)
                self._forget(job.tag)
        return jobs

    def _forget(self, tag: int) -> bool:
        job = self._pending.pop(tag, None)
        if job is None:
            return False
        self._held -= job.share
        self._limited -= job.soft_time_limit is not None
        return True

    def _heard(self, items: list[Begun | Ended | Left]) -> None:
        finished: list[tuple[int, Outcome]] = []
        for item in items:
            if isinstance(item, Ended):
                if self._forget(item.tag):
                    finished.append((item.tag, item.outcome))
            elif isinstance(item, Begun):
                self._reports.started(item.tag, os.getpid(), item.at)
            else:
                self._lanes.discard(item.lane)
        self._changed.set()
        if finished:
            self._reports.finished(finished)
            if self.room(1):
                self._reports.roomy()

    def worker_ends(self, since: float) -> None:
        """Nothing to do: tasks run in this process."""

    def running(self) -> dict[int, tuple[int, float]]:
        """See `Pool.running`."""
        offset, pid = time.time() - time.monotonic(), os.getpid()
        begun = [(lane.current, lane.begun) for lane in list(self._lanes)]
        return {job.tag: (pid, offset + since) for job, since in begun if job is not None}

    def terminate(self, tag: int, signum: int) -> bool:
        """Not possible: a thread cannot be killed.

        Returns:
            False.
        """
        return False

    # -- soft limits

    def _wake_in(self, wait: float) -> None:
        due = self._loop.time() + wait
        if self._timer is None or self._timer.when() > due:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(max(0.001, wait), self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._limited:
            return
        now = time.monotonic()
        limits = (job.soft_time_limit for job in self._pending.values() if job.soft_time_limit is not None)
        wait = min(limits)
        for lane in self._lanes:
            job, begun = lane.current, lane.begun
            if job is None or job.soft_time_limit is None or lane.softened == job.tag:
                continue
            left = job.soft_time_limit - (now - begun)
            if left > 0:
                wait = min(wait, left)
            elif self._soften(lane, job):
                self._reports.soft_limit(job.tag)
            else:
                wait = min(wait, _AGAIN)
        self._wake_in(wait)

    def _soften(self, lane: Lane, job: Job) -> bool:
        return lane.soften(job)

    # -- size, figures, end

    def resize(self, size: int) -> None:
        """Keep the size: this pool has none that could change."""
        if size != self.limit:
            msg = f"A {type(self).__module__.rpartition('.')[2]} pool cannot be resized"
            raise ValueError(msg)

    def info(self) -> dict[str, Any]:
        """The `pool` part of `inspect stats`."""
        return {
            "implementation": f"{type(self).__module__}:{type(self).__name__}",
            "max-concurrency": self.limit,
            "processes": [os.getpid()],
            "max-tasks-per-child": "N/A",
            "put-guarded-by-semaphore": False,
            "timeouts": [self.options.soft_time_limit or 0, 0],
            "writes": {},
        }

    async def stop(self) -> None:
        """Let everything submitted end, then the lanes."""
        self._taking = False
        await self._until_empty()
        for _ in self._lanes:
            self._jobs.put(None)
        while self._lanes and not self._killed:
            self._changed.clear()
            await self._changed.wait()
        self._end()

    _killed = False

    async def _until_empty(self) -> None:
        while self._pending and not self._killed:
            self._changed.clear()
            await self._changed.wait()

    async def kill(self) -> None:
        """Take nothing more and report nothing more than what has ended. Threads cannot be killed: running tasks end with
        the process."""
        self._taking = False
        if self._mailbox is not None:
            self._mailbox.deliver()
        self._killed = True
        self.take_back()
        self._pending.clear()
        self._held = 0
        for _ in self._lanes:
            self._jobs.put(None)
        self._changed.set()
        self._end()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
