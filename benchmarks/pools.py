"""What a pool costs by itself: no broker, no results, jobs whose body is 900 bytes and which do nothing.

    python -m benchmarks.pools [--jobs N] [--rounds N]

Columns: jobs a second; CPU microseconds a job of this process (in the threads, solo and asyncio pools that is
everything) and of the children. `known brief` shows windows at work, `unknown` one job at a time to each slot, `hop`
one job at a time altogether (its median round trip). `recycled` is `max_tasks_per_child=1`.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import threading
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from celery.app.jobs import Job, Outcome, Verdict
from celery.concurrency import ALIASES, get_implementation
from celery.concurrency.base import PoolOptions
from celery.concurrency.pace import share_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

HEADERS = b'{"lang": "py", "task": "bench", "id": "id"}' + b" " * 500
BODY = b"x" * 900
BRIEF = 1e-5


class App:
    """As much of an application as pools use."""

    class loader:
        @staticmethod
        def init_worker() -> None: ...

        @staticmethod
        def init_worker_process() -> None: ...

    def set_current(self) -> None: ...


class Runner:
    """Does nothing, successfully."""

    def __init__(self, app: Any, hostname: str) -> None: ...

    def run(self, job: Job, *, defer: bool = False) -> Outcome:
        return Outcome(Verdict.SUCCESS, BRIEF)

    async def arun(self, job: Job) -> Outcome:
        return Outcome(Verdict.SUCCESS, BRIEF)

    def flush(self) -> None: ...


class Reports:
    """Feeds the pool and counts."""

    def __init__(self, pool: Any, jobs: list[Job]) -> None:
        self._pool = pool
        self._jobs = jobs
        self._left = len(jobs)
        self.done = asyncio.Event()

    def finished(self, batch: Sequence[tuple[int, Outcome]]) -> None:
        self._left -= len(batch)
        if not self._left:
            self.done.set()

    def roomy(self) -> None:
        room = min(self._pool.room(self._jobs[-1].share), len(self._jobs)) if self._jobs else 0
        if room:
            batch, self._jobs[-room:] = self._jobs[-room:], []
            self._pool.submit(batch)

    def load(self, jobs: list[Job]) -> None:
        self._jobs, self._left = jobs, len(jobs)
        self.done.clear()
        self.roomy()

    def lost(self, tag: int, exitcode: int, *, began: bool) -> None:
        msg = f"job {tag} was lost: {exitcode}"
        raise RuntimeError(msg)

    def broken(self, error: BaseException) -> None:
        raise error

    def started(self, tag: int, pid: int, at: float) -> None: ...

    def soft_limit(self, tag: int) -> None: ...

    def hard_limit(self, tag: int) -> None: ...


def jobs_of(count: int, brief: float | None) -> list[Job]:
    """Fresh jobs."""
    info = {"exchange": "", "routing_key": "celery", "priority": 0, "redelivered": False}
    return [
        Job(n, f"id-{n}", "bench", HEADERS, b"{}", BODY, info, share=share_of(brief))
        for n in range(1, count + 1)
    ]


@asynccontextmanager
async def running(kind: str, limit: int, **options: Any) -> AsyncIterator[tuple[Any, Reports]]:
    """A started pool."""
    factory = get_implementation(kind)
    pool = factory(App(), limit=limit, hostname="bench", options=PoolOptions(**options), runner=Runner)
    reports = Reports(pool, [])
    main = threading.Thread(target=pool.run_in_main)
    if pool.needs_main_thread:
        main.start()
    await pool.start(reports)
    yield pool, reports
    await pool.stop()
    if pool.needs_main_thread:
        await asyncio.to_thread(main.join)


def cpu(who: int) -> float:
    """Seconds of CPU so far."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


async def burst(kind: str, limit: int, count: int, brief: float | None, **options: Any) -> tuple[float, ...]:
    """Jobs a second, and CPU microseconds a job of this process and of its children."""
    # The children's usage is known when the spawner, which has waited for them, has been waited for.
    children = cpu(resource.RUSAGE_CHILDREN)
    async with running(kind, limit, **options) as (_, reports):
        if not options:
            reports.load(jobs_of(300, brief))
            await reports.done.wait()
        jobs = jobs_of(count, brief)
        began, own = time.perf_counter(), cpu(resource.RUSAGE_SELF)
        reports.load(jobs)
        await reports.done.wait()
        took, own = time.perf_counter() - began, cpu(resource.RUSAGE_SELF) - own
    children = cpu(resource.RUSAGE_CHILDREN) - children
    return count / took, own / count * 1e6, children / count * 1e6


async def hop(kind: str, count: int) -> float:
    """Median microseconds from submit to report of one job."""
    times = []
    async with running(kind, 2) as (_, reports):
        for _ in range(count):
            began = time.perf_counter()
            reports.load(jobs_of(1, None))
            await reports.done.wait()
            times.append((time.perf_counter() - began) * 1e6)
    return statistics.median(times)


def run(main: Any) -> Any:
    """On uvloop, as the worker does."""
    import uvloop

    return uvloop.run(main)


def show(label: str, rounds: list[tuple[float, ...]]) -> None:
    """One line: the medians, and the range of the first figure."""
    rate, own, children = (statistics.median(column) for column in zip(*rounds, strict=True))
    low, high = min(r[0] for r in rounds), max(r[0] for r in rounds)
    print(
        f"{label:38} {rate:>9,.0f}/s ({low:,.0f}-{high:,.0f})   {own:6.1f} us here {children:8.1f} us children"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.pools", description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    count, rounds = options.jobs, range(options.rounds)
    for kind in dict.fromkeys(name for name in ALIASES if name != "processes"):
        for label, brief in (("known brief", BRIEF), ("unknown", None)):
            show(f"{kind} -c 2, {label}", [run(burst(kind, 2, count, brief)) for _ in rounds])
        print(f"{kind} -c 2, hop {run(hop(kind, 2000)):30.0f} us")
    show("prefork -c 10, known brief", [run(burst("prefork", 10, count, BRIEF)) for _ in rounds])
    recycled = [run(burst("prefork", 2, 300, None, max_tasks_per_child=1)) for _ in rounds]
    show("prefork -c 2, recycled", recycled)


if __name__ == "__main__":
    main()
