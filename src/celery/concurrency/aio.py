"""The asyncio pool: many tasks at a time on an event loop of the pool's own, in a thread of its own.

`async def` tasks run there natively; any other task runs in a thread of that loop's executor. A soft limit is
raised where the coroutine waits; a hard limit cancels it. A task that blocks the loop instead of awaiting stops its
neighbours and cannot be interrupted, but never the worker's core.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import _foreign, exceptions
from celery.app.coroutines import Interruptible
from celery.app.jobs import Job, Outcome, Verdict
from celery.concurrency.base import PoolError, PoolOptions, Reports, RunnerFactory
from celery.concurrency.interrupt import in_body
from celery.concurrency.lane import raise_in_thread
from celery.concurrency.mailbox import Mailbox
from celery.concurrency.pace import SLOT, is_brief
from celery.concurrency.runners import default_runner
from celery.utils.frames import frames_of_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery.concurrency.base import Runner

__all__ = ("TaskPool",)

logger = logging.getLogger("celery.pool")

#: An exception that could not be raised in an executor's thread is tried again after this (seconds).
_AGAIN = 0.02


@dataclass(slots=True)
class _News:
    """What the tasks' loop tells the core about one job; `outcome` None: only what the kind says."""

    kind: str  # of a job: started, ended, soft, hard, killed; of the loop: ready, failed, left
    tag: int
    at: float = 0.0
    outcome: Outcome | None = None


class _Executor(ThreadPoolExecutor):
    """Knows in which thread each job's body runs."""

    def __init__(self, size: int, job_of: Callable[[], _Run | None]) -> None:
        super().__init__(max_workers=size, thread_name_prefix="AsyncioPoolThread")
        self._job_of = job_of

    def grow(self, size: int) -> None:
        """Allow so many threads, if there were fewer."""
        self._max_workers = max(self._max_workers, size)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        run = self._job_of()
        if run is None:
            return super().submit(fn, *args, **kwargs)
        return super().submit(run.in_thread, partial(fn, *args, **kwargs))


class _Run:
    """One job on the tasks' loop."""

    def __init__(self, job: Job, coroutine: Interruptible) -> None:
        self.job = job
        self.coroutine = coroutine
        self.timers: list[asyncio.TimerHandle] = []
        self.given_up = False
        self.begun: float | None = None  # unix time
        self._thread = 0
        self._lock = threading.Lock()

    def in_thread(self, call: Callable[[], Any]) -> Any:
        self._thread = threading.get_ident()
        try:
            return call()
        finally:
            with self._lock:
                self._thread = 0

    def raise_in_body(self, exception: type[BaseException]) -> bool:
        """Raise it where the task waits or, if it runs in a thread, there. False: not possible at this moment."""
        with self._lock:
            if not self._thread:
                self.coroutine.interrupt(exception())
                return True
            if in_body(frames_of_threads().get(self._thread), _ROOT):
                raise_in_thread(self._thread, exception)
                return True
            return False

    def cancel(self) -> None:
        """End the coroutine and, as far as that is possible, what it waits for in a thread."""
        self.given_up = True
        with self._lock:
            if self._thread and in_body(frames_of_threads().get(self._thread), _ROOT):
                raise_in_thread(self._thread, exceptions.WorkerTerminate)
        if self.coroutine.task is not None:
            self.coroutine.task.cancel()


class _TaskLoop:
    """The loop on which the tasks run, and its thread."""

    def __init__(
        self, app: Any, size: int, make_runner: Callable[[], Runner], tell: Callable[[_News], None]
    ) -> None:
        self._app = app
        self._make_runner = make_runner
        self._tell = tell
        self._runs: dict[int, _Run] = {}
        self._by_task: dict[asyncio.Task[Any], _Run] = {}
        self._runner: Runner | None = None
        self.loop = new_event_loop()
        self.executor = _Executor(max(1, size), self._current)
        self.mailbox: Mailbox[Job] = Mailbox(self.loop, self._begin)
        self.thread = threading.Thread(target=self._serve, name="AsyncioPoolWorker-1", daemon=True)

    def _serve(self) -> None:
        self._app.set_current()
        asyncio.set_event_loop(self.loop)
        executor = self.executor
        self.loop.set_default_executor(executor)
        try:
            self._runner = self._make_runner()
            self.loop.call_soon(self._tell, _News("ready", 0))
            self.loop.run_forever()
            for run in self._runs.values():
                run.cancel()
            _cancel_rest(self.loop)
        except BaseException as exc:
            logger.critical("The asyncio pool's loop failed", exc_info=True)
            self._tell(_News("failed", 0, outcome=Outcome(Verdict.INTERNAL, 0.0, repr(exc))))
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            self.loop.close()
            self._tell(_News("left", 0))

    def _current(self) -> _Run | None:
        task = asyncio.current_task(self.loop)
        return self._by_task.get(task) if task is not None else None

    def _begin(self, jobs: list[Job]) -> None:
        assert self._runner is not None
        for job in jobs:
            coroutine = Interruptible(self._runner.arun(job))
            run = _Run(job, coroutine)
            task = self.loop.create_task(self._live(run))
            coroutine.task = task
            self._runs[job.tag], self._by_task[task] = run, run

    async def _live(self, run: _Run) -> None:
        job, begun = run.job, time.monotonic()
        run.begun = time.time()
        if job.announce:
            self._tell(_News("started", job.tag, time.time()))
        if job.soft_time_limit is not None:
            run.timers.append(self.loop.call_later(job.soft_time_limit, self._soft_limit, run))
        if job.time_limit is not None:
            run.timers.append(self.loop.call_later(job.time_limit, self._give_up, run, "hard"))
        try:
            outcome = await run.coroutine
        except BaseException as exc:
            if not run.given_up:
                logger.error("Running a task failed outside of the task itself: %r", exc, exc_info=exc)
            outcome = Outcome(Verdict.INTERNAL, time.monotonic() - begun, repr(exc)[:1000])
        for timer in run.timers:
            timer.cancel()
        self._runs.pop(job.tag, None)
        task = asyncio.current_task()
        if task is not None:
            self._by_task.pop(task, None)
        if not run.given_up:
            self._tell(_News("ended", job.tag, outcome=outcome))

    def _soft_limit(self, run: _Run) -> None:
        if run.given_up:
            return
        if run.raise_in_body(_foreign.raised_class(exceptions.SoftTimeLimitExceeded)):
            self._tell(_News("soft", run.job.tag))
        else:
            run.timers.append(self.loop.call_later(_AGAIN, self._soft_limit, run))

    def _give_up(self, run: _Run, kind: str) -> None:
        """Cancel it and report at once: what it does from now on is nobody's concern."""
        if run.given_up or run.job.tag not in self._runs:
            return
        self._tell(_News(kind, run.job.tag))
        run.cancel()

    def running(self) -> dict[int, float]:
        """Jobs that have begun, and when; from the core's thread."""
        return {run.job.tag: run.begun for run in list(self._runs.values()) if run.begun is not None}

    def terminate(self, tag: int) -> None:
        """Cancel a job, from the core's thread."""
        self.loop.call_soon_threadsafe(self._terminate, tag)

    def _terminate(self, tag: int) -> None:
        run = self._runs.get(tag)
        if run is not None:
            self._give_up(run, "killed")

    def stop(self) -> None:
        """End the loop, from the core's thread."""
        try:
            self.loop.call_soon_threadsafe(self.loop.stop)
        except RuntimeError:
            return  # it has ended already


class TaskPool:
    """Runs up to `limit` tasks at a time on an event loop."""

    soft_limits = True
    hard_limits = True
    can_terminate = True
    needs_main_thread = False
    is_green = False
    task_join_will_block = True
    signal_safe = False

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
        self._waiting: dict[int, Job] = {}
        self._running: dict[int, Job] = {}
        self._terminated: dict[int, int] = {}
        self._long = 0  # of those held, not known to be brief
        self._taking = True
        self._killed = False
        self._left = False
        self._changed = asyncio.Event()
        self._ready = False
        self._error: PoolError | None = None
        self._tasks: _TaskLoop | None = None

    def prefork(self) -> None:
        """Nothing to do: nothing is forked."""

    async def start(self, reports: Reports) -> None:
        """Start the tasks' loop. Raises `PoolError`."""
        self._reports = reports
        mailbox = Mailbox(asyncio.get_running_loop(), self._heard)
        self._tasks = tasks = _TaskLoop(self.app, self.limit, self._make_runner, mailbox.post)
        tasks.thread.start()
        while not self._ready:
            if self._error is not None:
                raise self._error
            await self._next_change()

    def run_in_main(self) -> None:
        """Nothing to do: tasks run in another thread."""

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    # -- jobs

    def room(self, share: int = SLOT) -> int:
        """See `Pool.room`: the free places, and a few more of very brief ones unless long ones have every place."""
        if not self._taking:
            return 0
        ahead = SLOT // share - 1 if self._long < self.limit else 0
        return max(0, self.limit + ahead - len(self._running) - len(self._waiting))

    def submit(self, jobs: Sequence[Job]) -> None:
        """Run jobs as far as there are places; the rest waits here."""
        for job in jobs:
            self._waiting[job.tag] = job
            self._long += not is_brief(job)
        self._advance()

    def _advance(self) -> None:
        free = self.limit - len(self._running)
        if free <= 0 or not self._waiting or self._tasks is None:
            return
        batch = list(self._waiting.values())[:free]
        for job in batch:
            del self._waiting[job.tag]
            self._running[job.tag] = job
        self._tasks.mailbox.post(*batch)

    def take_back(self) -> list[Job]:
        """Give up what waits for a place."""
        jobs = list(self._waiting.values())
        self._waiting.clear()
        self._long -= sum(not is_brief(job) for job in jobs)
        return jobs

    def worker_ends(self, since: float) -> None:
        """Nothing to do: tasks run in this process."""

    def running(self) -> dict[int, tuple[int, float]]:
        """See `Pool.running`."""
        pid = os.getpid()
        return {} if self._tasks is None else {tag: (pid, at) for tag, at in self._tasks.running().items()}

    def terminate(self, tag: int, signum: int) -> bool:
        """Cancel a job; the core hears `lost`."""
        if self._killed or tag not in self._running or self._tasks is None:
            return False
        self._terminated[tag] = signum
        self._tasks.terminate(tag)
        return True

    # -- news

    def _heard(self, items: list[_News]) -> None:
        finished: list[tuple[int, Outcome]] = []
        for news in items:
            self._hear(news, finished)
        self._changed.set()
        if not self._killed:
            self._advance()
        if finished:
            self._reports.finished(finished)
        if self._ready and not self._killed and self.room(1):
            self._reports.roomy()

    def _hear(self, news: _News, finished: list[tuple[int, Outcome]]) -> None:
        tag = news.tag
        if news.kind in ("ended", "hard", "killed"):
            job = self._running.pop(tag, None)
            signum = self._terminated.pop(tag, 0)
            if job is None:
                return
            self._long -= not is_brief(job)
            if news.outcome is not None:
                finished.append((tag, news.outcome))
            elif self._killed:
                return
            elif news.kind == "hard":
                self._reports.hard_limit(tag)
            else:
                self._reports.lost(tag, -signum, began=True)
        elif news.kind == "started":
            self._reports.started(tag, os.getpid(), news.at)
        elif news.kind == "soft":
            self._reports.soft_limit(tag)
        else:
            self._hear_of_loop(news)

    def _hear_of_loop(self, news: _News) -> None:
        if news.kind == "ready":
            self._ready = True
        elif news.kind == "failed":
            detail = news.outcome.detail if news.outcome is not None else ""
            self._error = PoolError(f"the asyncio pool's loop failed: {detail}")
            if self._ready:
                self._reports.broken(self._error)
        else:
            self._left = True

    # -- size, figures, end

    def resize(self, size: int) -> None:
        """Run at most so many tasks at a time."""
        self.limit = max(0, size)
        if self._tasks is not None:
            self._tasks.executor.grow(self.limit)
        self._advance()
        if self.room(1):
            self._reports.roomy()

    def info(self) -> dict[str, Any]:
        """The `pool` part of `inspect stats`."""
        return {
            "implementation": "celery.concurrency.aio:TaskPool",
            "max-concurrency": self.limit,
            "processes": [os.getpid()],
            "max-tasks-per-child": "N/A",
            "put-guarded-by-semaphore": False,
            "timeouts": [self.options.soft_time_limit or 0, self.options.time_limit or 0],
            "running": len(self._running),
            "writes": {},
        }

    async def stop(self) -> None:
        """Let everything submitted end, then the loop."""
        self._taking = False
        while (self._running or self._waiting) and not self._left:
            await self._next_change()
        await self.kill()

    async def kill(self) -> None:
        """Cancel all tasks and end the loop; report only what has ended by itself before. Returns after a second if a
        task blocks the loop."""
        self._taking = False
        self._killed = True
        self._waiting.clear()
        self._changed.set()
        if self._tasks is None:
            return
        self._tasks.stop()
        try:
            async with asyncio.timeout(1.0):
                while not self._left:
                    await self._next_change()
        except TimeoutError:
            logger.warning("A task blocks the event loop of the asyncio pool; it ends with this process")
        self._running.clear()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A uvloop where it is installed, else asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _cancel_rest(loop: asyncio.AbstractEventLoop) -> None:
    rest = asyncio.all_tasks(loop)
    for task in rest:
        task.cancel()
    if rest:
        loop.run_until_complete(asyncio.wait(rest, timeout=0.5))
    loop.run_until_complete(loop.shutdown_asyncgens())


_ROOT = _Run.in_thread.__code__.co_filename
