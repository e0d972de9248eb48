"""A tiny application for pools: jobs whose bodies say what to do, and a recorder of what the pool reports."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import threading
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery.app import coroutines
from celery.app.jobs import Job, Outcome, Verdict
from celery.concurrency.aio import TaskPool as AioPool
from celery.concurrency.base import BasePool, PoolOptions, apply_target
from celery.concurrency.pace import share_of
from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.concurrency.solo import TaskPool as SoloPool
from celery.concurrency.thread import TaskPool as ThreadPool
from celery.exceptions import SoftTimeLimitExceeded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

PATIENCE = 20.0


class _Loader:
    def init_worker(self) -> None:
        pass

    def init_worker_process(self) -> None:
        pass


class FakeApp:
    """As much of an application as pools use."""

    loader = _Loader()

    def set_current(self) -> None:
        pass


def note(path: str, text: str) -> None:
    """Append a line in one write, so that lines of many processes do not mix."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(fd, f"{text}\n".encode())
    finally:
        os.close(fd)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def until_true(done: Callable[[], Any]) -> None:
    """Wait for something that happens in another process and sets no event here."""
    async with asyncio.timeout(PATIENCE):
        while not done():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def until_line(path: Path, text: str) -> None:
    """Wait until a line is there."""
    await until_true(lambda: text in lines(path))


# -- what a job can do. Each is given the arguments of its body.


def do_nothing() -> None:
    pass


def echo(value: Any) -> Any:
    return value


def sleep(seconds: float, path: str = "", text: str = "") -> str:
    if path:
        note(path, text)
    time.sleep(seconds)
    return "slept"


def spin(seconds: float) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "spun"


def wait_for(path: str, begun: str = "", text: str = "") -> str:
    """Until a file exists."""
    if begun:
        note(begun, text)
    while not Path(path).exists():
        time.sleep(0.002)
    return "found"


def write(path: str, text: str) -> None:
    note(path, text)


def whoami() -> str:
    import multiprocessing

    process = multiprocessing.current_process()
    return f"{os.getpid()} {process.name} {threading.current_thread().name}"


def die(how: str) -> None:
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "exit":
        os._exit(3)
    elif how == "abort":
        os.abort()
    elif how == "segv":
        ctypes.string_at(0)
    elif how == "close":
        os.closerange(3, 4096)


def sysexit(code: int) -> None:
    raise SystemExit(code)


def fail(text: str) -> None:
    raise ValueError(text)


def catch_soft(path: str = "", text: str = "") -> str:
    try:
        if path:
            note(path, text)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            time.sleep(0.005)
    except SoftTimeLimitExceeded:
        return "softened"
    return "nothing came"


def stubborn(path: str, text: str) -> str:
    """Ignores SIGTERM's SystemExit as long as it can."""
    note(path, text)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with suppress(BaseException):
            time.sleep(0.01)
    return "survived"


def hog(megabytes: int) -> str:
    _held.append(bytearray(os.urandom(1024)) * (1024 * megabytes))
    return str(os.getpid())


_held: list[bytearray] = []


async def asleep(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "slept"


async def await_for(path: str) -> str:
    await until_true(Path(path).exists)
    return "found"


async def wait_quietly(path: str) -> str:
    """Awaits one thing for long, so that the loop is idle."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, wait_for, path)


async def acatch_soft() -> str:
    try:
        await asyncio.sleep(PATIENCE)
    except SoftTimeLimitExceeded:
        await asyncio.sleep(0)
        return "softened"
    return "nothing came"


class FakeRunner:
    """Like `JobRunner`, for the jobs above. Deferred results are lines in a file, written by `flush`."""

    def __init__(self, app: Any, hostname: str) -> None:
        self.hostname = hostname
        self.deferred: list[tuple[str, str]] = []

    def run(self, job: Job, *, defer: bool = False, leave: int = 0) -> Outcome:
        begun = time.monotonic()
        action, arguments, store = json.loads(job.body) if job.body else ("do_nothing", [], "")
        try:
            result = globals()[action](*arguments)
            if asyncio.iscoroutine(result):
                result = coroutines.run(result)
        except SystemExit:
            raise
        except BaseException as exc:
            return Outcome(Verdict.FAILURE, time.monotonic() - begun, repr(exc), "Traceback ...")
        if store:
            if defer:
                self.deferred.append((store, job.id))
            else:
                note(store, job.id)
        return Outcome(Verdict.SUCCESS, time.monotonic() - begun, "" if result is None else str(result))

    async def arun(self, job: Job) -> Outcome:
        begun = time.monotonic()
        action, arguments, _ = json.loads(job.body) if job.body else ("do_nothing", [], "")
        function = globals()[action]
        try:
            if asyncio.iscoroutinefunction(function):
                result = await function(*arguments)
            else:
                result = await asyncio.get_running_loop().run_in_executor(None, lambda: function(*arguments))
        except asyncio.CancelledError:
            raise
        except BaseException as exc:
            return Outcome(Verdict.FAILURE, time.monotonic() - begun, repr(exc), "Traceback ...")
        return Outcome(Verdict.SUCCESS, time.monotonic() - begun, "" if result is None else str(result))

    def flush(self) -> None:
        deferred, self.deferred = self.deferred, []
        for path, ident in deferred:
            if not os.path.isdir(os.path.dirname(path)):
                msg = f"no place to store {ident}"
                raise OSError(msg)
            note(path, ident)


_tags = iter(range(1, 1 << 40))


def job(action: str = "", *arguments: Any, store: str = "", brief: float | None = None, **fields: Any) -> Job:
    """A job that calls one of the functions above.

    Args:
        store: file into which the runner writes the job's id as its result.
        brief: mean run time, in seconds, that the task is thought to have.
    """
    tag = next(_tags)
    body = json.dumps([action, arguments, store]).encode() if action else b""
    name, info = action or "nothing", {"routing_key": "q"}
    return Job(tag, f"id-{tag}", name, b"{}", b"{}", body, info, share=share_of(brief), **fields)


class Recorder:
    """The `Reports` of a test."""

    def __init__(self) -> None:
        self.begun: dict[int, int] = {}
        self.outcomes: dict[int, Outcome] = {}
        self.losses: dict[int, tuple[int, bool]] = {}
        self.hard: set[int] = set()
        self.soft: list[int] = []
        self.errors: list[BaseException] = []
        self.order: list[int] = []
        self.on_roomy: Callable[[], None] = lambda: None
        self.thread = threading.get_ident()
        self._changed = asyncio.Event()

    def _change(self) -> None:
        assert threading.get_ident() == self.thread
        self._changed.set()

    def started(self, tag: int, pid: int, at: float) -> None:
        assert abs(time.time() - at) < PATIENCE
        self.begun[tag] = pid
        self._change()

    def finished(self, batch: Sequence[tuple[int, Outcome]]) -> None:
        for tag, outcome in batch:
            self._once(tag)
            self.outcomes[tag] = outcome
            self.order.append(tag)
        self._change()

    def soft_limit(self, tag: int) -> None:
        self.soft.append(tag)
        self._change()

    def hard_limit(self, tag: int) -> None:
        self._once(tag)
        self.hard.add(tag)
        self._change()

    def lost(self, tag: int, exitcode: int, *, began: bool) -> None:
        self._once(tag)
        self.losses[tag] = (exitcode, began)
        self._change()

    def broken(self, error: BaseException) -> None:
        self.errors.append(error)
        self._change()

    def roomy(self) -> None:
        self.on_roomy()
        self._change()

    def _once(self, tag: int) -> None:
        assert tag not in self.outcomes
        assert tag not in self.losses
        assert tag not in self.hard

    def settled(self, jobs: Sequence[Job]) -> bool:
        return all(j.tag in self.outcomes or j.tag in self.losses or j.tag in self.hard for j in jobs)

    async def until(self, done: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not done():
                self._changed.clear()
                await self._changed.wait()

    async def until_settled(self, *jobs: Job) -> None:
        await self.until(lambda: self.settled(jobs))

    async def result_of(self, pool: Any, one: Job) -> str:
        pool.submit([one])
        await self.until_settled(one)
        return self.outcomes[one.tag].detail

    def feed(self, pool: Any, jobs: Sequence[Job]) -> None:
        """Submit jobs as the pool has room, now and later."""
        waiting = list(jobs)
        waiting.reverse()

        def more() -> None:
            room = pool.room(waiting[-1].share) if waiting else 0
            batch = [waiting.pop() for _ in range(min(room, len(waiting)))]
            if batch:
                pool.submit(batch)

        self.on_roomy = more
        more()


class PlainPool(BasePool):
    """A third party's pool: one thread per task."""

    def on_start(self) -> None:
        self.threads: list[threading.Thread] = []

    def on_apply(
        self,
        target: Any,
        args: Any = None,
        kwargs: Any = None,
        callback: Any = None,
        accept_callback: Any = None,
        **options: Any,
    ) -> None:
        call = (target, args, kwargs, callback, accept_callback)
        thread = threading.Thread(target=apply_target, args=call)
        self.threads.append(thread)
        thread.start()

    def on_stop(self) -> None:
        for thread in self.threads:
            thread.join()


KINDS = {"prefork": PreforkPool, "threads": ThreadPool, "solo": SoloPool, "asyncio": AioPool}


def make(kind: str, limit: int = 2, **options: Any) -> Any:
    """A pool of the fake application."""
    if kind == "ported":
        from celery.concurrency.adapter import PortedPool

        return PortedPool(PlainPool, FakeApp(), limit=limit, hostname="w@test", runner=FakeRunner)
    return KINDS[kind](
        FakeApp(), limit=limit, hostname="w@test", options=PoolOptions(**options), runner=FakeRunner
    )


@asynccontextmanager
async def running(kind: str, limit: int = 2, **options: Any) -> AsyncIterator[tuple[Any, Recorder]]:
    """A started pool and what it reports; killed at the end if it is not stopped before."""
    pool, reports = make(kind, limit, **options), Recorder()
    main = None
    if pool.needs_main_thread:
        main = threading.Thread(target=pool.run_in_main)
        main.start()
    pool.prefork()
    try:
        await pool.start(reports)
        yield pool, reports
    finally:
        await pool.kill()
        if main is not None:
            await asyncio.to_thread(main.join, PATIENCE)
            assert not main.is_alive()
