"""Any subclass of `BasePool` as a `Pool`."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from celery.app.jobs import Job, Outcome, Verdict
from celery.concurrency.base import BasePool, PoolError, PoolOptions, Reports, Runner, RunnerFactory
from celery.concurrency.mailbox import Mailbox
from celery.concurrency.pace import SLOT
from celery.concurrency.runners import default_runner

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger("celery.pool")

__all__ = ("PortedPool",)


class _Target:
    """What the pool runs for a job; it makes a runner in each thread or process in which it finds itself.

    It and its argument can be pickled if the application can, so a pool may send them to other processes.
    """

    def __init__(self, app: Any, hostname: str, make_runner: RunnerFactory) -> None:
        self._app = app
        self._hostname = hostname
        self._make_runner = make_runner
        self._own = threading.local()

    def __getstate__(self) -> tuple[Any, str, RunnerFactory]:
        return self._app, self._hostname, self._make_runner

    def __setstate__(self, state: tuple[Any, str, RunnerFactory]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def __call__(self, job: Job) -> Outcome:
        runner: Runner | None = getattr(self._own, "runner", None)
        if runner is None or self._own.pid != os.getpid():
            self._app.set_current()
            runner = self._own.runner = self._make_runner(self._app, self._hostname)
            self._own.pid = os.getpid()
        begun = time.monotonic()
        try:
            return runner.run(job)
        except Exception as exc:
            logger.exception("Running a task failed outside of the task itself")
            return Outcome(Verdict.INTERNAL, time.monotonic() - begun, repr(exc)[:1000])


class PortedPool:
    """Runs tasks in a pool that someone else has written.

    Time limits are not kept by it. The pool's own `start`, `stop` and `terminate` may block: they are called in
    another thread, except `start`.

    Args:
        cls: the `BasePool` subclass.
    """

    soft_limits = False
    hard_limits = False
    can_terminate = False
    needs_main_thread = False

    def __init__(
        self,
        cls: type[BasePool],
        app: Any,
        *,
        limit: int,
        hostname: str,
        options: PoolOptions | None = None,
        runner: RunnerFactory = default_runner,
    ) -> None:
        self.app = app
        self.limit = limit
        self.options = options or PoolOptions()
        self.inner = cls(limit=limit, app=app)
        self.task_join_will_block = cls.task_join_will_block
        self.is_green = cls.is_green
        self.signal_safe = cls.signal_safe
        self._target = _Target(app, hostname, runner)
        self._waiting: dict[int, Job] = {}
        self._running: dict[int, tuple[int, float]] = {}  # tag -> pid, and when it began; 0 if it has not
        self._taking = True
        self._killed = False
        self._mailbox: Mailbox[tuple[Job, Any]] | None = None
        self._changed = asyncio.Event()

    def prefork(self) -> None:
        """Nothing to do."""

    async def start(self, reports: Reports) -> None:
        """Start the pool. Raises `PoolError` if it says that it did not come up."""
        self._reports = reports
        self._mailbox = Mailbox(asyncio.get_running_loop(), self._heard)
        self.inner.start()
        if not self.inner.did_start_ok():
            msg = f"{type(self.inner).__qualname__} did not start"
            raise PoolError(msg)

    def run_in_main(self) -> None:
        """Nothing to do."""

    def room(self, share: int = SLOT) -> int:
        """How many more jobs it wants now: one for each free place, whatever they are."""
        del share
        return max(0, self.limit - len(self._running) - len(self._waiting)) if self._taking else 0

    def submit(self, jobs: Sequence[Job]) -> None:
        """Apply the pool to jobs as far as there are places; the rest waits here."""
        for job in jobs:
            self._waiting[job.tag] = job
        self._advance()

    def _advance(self) -> None:
        for tag in list(self._waiting)[: max(0, self.limit - len(self._running))]:
            job = self._waiting.pop(tag)
            self._running[tag] = 0, 0.0
            self._apply(job)

    def _apply(self, job: Job) -> None:
        assert self._mailbox is not None
        post = self._mailbox.post

        def accepted(pid: int, monotonic: float) -> None:
            post((job, (pid, time.time() - max(0.0, time.monotonic() - monotonic))))

        def ended(outcome: Any) -> None:
            post((job, outcome))

        try:
            self.inner.apply_async(
                self._target,
                (job,),
                accept_callback=accepted,
                callback=ended,
                error_callback=ended,
                soft_timeout=job.soft_time_limit,
                timeout=job.time_limit,
                correlation_id=job.id,
            )
        except Exception as exc:
            logger.exception("%s could not take a task", type(self.inner).__qualname__)
            ended(exc)

    def take_back(self) -> list[Job]:
        """Give up what waits for a place."""
        jobs = list(self._waiting.values())
        self._waiting.clear()
        return jobs

    def worker_ends(self, since: float) -> None:
        """Nothing to do: tasks run in this process."""

    def running(self) -> dict[int, tuple[int, float]]:
        """See `Pool.running`."""
        return {tag: what for tag, what in self._running.items() if what[0]}

    def terminate(self, tag: int, signum: int) -> bool:
        """Ask the pool's `terminate_job`, if it has one and says in which process the job runs."""
        pid, _ = self._running.get(tag, (0, 0.0))
        if not pid or pid == os.getpid() or type(self.inner).terminate_job is BasePool.terminate_job:
            return False
        self.inner.terminate_job(pid, signum)
        return True

    def _heard(self, items: list[tuple[Job, Any]]) -> None:
        finished: list[tuple[int, Outcome]] = []
        for job, what in items:
            if self._killed:
                break
            if isinstance(what, tuple):
                if job.tag in self._running:
                    self._running[job.tag] = what
                    if job.announce:
                        self._reports.started(job.tag, *what)
            elif self._running.pop(job.tag, None) is not None:
                if not isinstance(what, Outcome):
                    what = Outcome(Verdict.INTERNAL, 0.0, repr(what)[:1000])
                finished.append((job.tag, what))
        self._changed.set()
        self._advance()
        if finished:
            self._reports.finished(finished)
            if self.room():
                self._reports.roomy()

    def resize(self, size: int) -> None:
        """Use the pool's `grow` and `shrink`, if it has them."""
        change = size - self.limit
        method = getattr(self.inner, "grow" if change > 0 else "shrink", None)
        if change and method is None:
            msg = f"{type(self.inner).__qualname__} cannot be resized"
            raise ValueError(msg)
        if change and method is not None:
            method(abs(change))
        self.limit = size
        self._advance()

    def info(self) -> dict[str, Any]:
        """The `pool` part of `inspect stats`."""
        return dict(self.inner.info)

    async def stop(self) -> None:
        """Let everything submitted end, then stop the pool."""
        self._taking = False
        while (self._running or self._waiting) and not self._killed:
            self._changed.clear()
            await self._changed.wait()
        if not self._killed:
            self.inner.close()
            await asyncio.to_thread(self.inner.stop)

    async def kill(self) -> None:
        """Terminate the pool; report nothing more than what has ended."""
        self._taking = False
        if self._mailbox is not None:
            self._mailbox.deliver()
        self._killed = True
        self._waiting.clear()
        self._changed.set()
        await asyncio.to_thread(self.inner.terminate)
