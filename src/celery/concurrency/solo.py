"""The solo pool: one task at a time, in the thread that runs the worker.

The core has a thread of its own, so heartbeats and remote control answer while a task runs.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.concurrency.inprocess import InProcessPool
from celery.exceptions import WorkerTerminate

if TYPE_CHECKING:
    from types import FrameType

    from celery.app.jobs import Job
    from celery.concurrency.base import PoolOptions, Reports, RunnerFactory
    from celery.concurrency.lane import Lane

__all__ = ("TaskPool",)

#: Seconds within which a signal of the system is heard, also if it comes in the moment in which the thread falls asleep.
_GLANCE = 1.0


class TaskPool(InProcessPool):
    """Runs tasks in the thread that calls `run_in_main`. `limit` is taken as 1."""

    needs_main_thread = True

    def __init__(
        self,
        app: Any,
        *,
        limit: int = 1,
        hostname: str,
        options: PoolOptions | None = None,
        runner: RunnerFactory | None = None,
    ) -> None:
        more = {} if runner is None else {"runner": runner}
        super().__init__(app, limit=1, hostname=hostname, options=options, **more)
        self._lane: Lane | None = None
        self._started = threading.Event()
        self._in_real_main = False

    async def start(self, reports: Reports) -> None:
        """Return when `run_in_main` may take jobs; it need not have been called yet."""
        await super().start(reports)
        self._lane = self._new_lane()
        self._started.set()

    def run_in_main(self) -> None:
        """Run tasks in this thread until `stop` or `kill`."""
        while not self._started.wait(_GLANCE):
            continue
        lane = self._lane
        if lane is None:
            return
        signals.worker_process_init.send(sender=self.hostname)
        previous = self._listen_for_interrupts()
        try:
            lane.work(_GLANCE)
        except WorkerTerminate:
            if not self._killed:
                raise
        finally:
            if previous is not None:
                signal.signal(signal.SIGURG, previous)

    def _listen_for_interrupts(self) -> Any:
        """In the process's main thread a signal can end a blocking call; elsewhere nothing can."""
        if threading.current_thread() is not threading.main_thread():
            return None
        if signal.getsignal(signal.SIGURG) is not signal.SIG_DFL:
            return None  # the program's own
        self._in_real_main = True
        return signal.signal(signal.SIGURG, _wake)

    def _soften(self, lane: Lane, job: Job) -> bool:
        done = lane.soften(job)
        if done:
            self._interrupt(lane)
        return done

    def _interrupt(self, lane: Lane) -> None:
        """End a blocking call in the lane's thread, so that a pending exception is raised there."""
        if self._in_real_main and lane.current is not None:
            signal.pthread_kill(lane.ident, signal.SIGURG)

    async def stop(self) -> None:
        """Let everything submitted end; `run_in_main` then returns."""
        self._started.set()
        await super().stop()

    async def kill(self) -> None:
        """End the running task by raising `WorkerTerminate` in it; report nothing more."""
        lane = self._lane
        job = lane.current if lane is not None else None
        await super().kill()
        self._started.set()
        while lane is not None and job is not None and lane.current is job:
            if lane.raise_in(job, WorkerTerminate):
                self._interrupt(lane)
                return
            await asyncio.sleep(0.02)


def _wake(signum: int, frame: FrameType | None) -> None:
    """Between this handler and the call that it interrupted, the interpreter raises what is pending."""
