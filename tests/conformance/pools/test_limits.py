"""Time limits and termination, in the pools that can."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from tests.conformance.pools.kit import KINDS, job, make, running, until_line

if TYPE_CHECKING:
    from pathlib import Path

ALL = list(KINDS)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("action", ["catch_soft", "acatch_soft"])
def test_soft_limit_is_raised_in_the_task(kind: str, action: str) -> None:
    async def main() -> None:
        async with running(kind) as (pool, reports):
            one, other = job(action, soft_time_limit=0.05), job("echo", 1, soft_time_limit=30.0)
            pool.submit([one, other])
            await reports.until_settled(one, other)
            assert reports.outcomes[one.tag].detail == "softened"
            assert reports.soft == [one.tag]
            assert await reports.result_of(pool, job("echo", 5)) == "5"

    asyncio.run(main())


@pytest.mark.parametrize("kind", ALL)
def test_soft_limit_not_caught_fails_the_task(kind: str) -> None:
    async def main() -> None:
        async with running(kind) as (pool, reports):
            one = job("spin", 15.0, soft_time_limit=0.05)
            if kind == "asyncio":
                one = job("asleep", 15.0, soft_time_limit=0.05)
            pool.submit([one])
            await reports.until_settled(one)
            assert reports.outcomes[one.tag].detail == "SoftTimeLimitExceeded()"

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["prefork"])
def test_soft_limit_ends_a_blocking_call(kind: str) -> None:
    async def main() -> None:
        async with running(kind) as (pool, reports):
            one = job("sleep", 15.0, soft_time_limit=0.05)
            pool.submit([one])
            await reports.until_settled(one)
            assert reports.outcomes[one.tag].detail == "SoftTimeLimitExceeded()"

    asyncio.run(main())


@pytest.mark.parametrize("kind", ALL)
def test_soft_limit_hits_only_the_task_that_is_over_it(kind: str) -> None:
    """Many tasks end just as their limit passes: whoever comes next must not suffer."""

    async def main() -> None:
        async with running(kind) as (pool, reports):
            close = [job("spin", 0.02, soft_time_limit=0.02) for _ in range(20)]
            innocent = [job("spin", 0.004) for _ in range(20)]
            mixed = [one for pair in zip(close, innocent, strict=True) for one in pair]
            pool.submit(mixed)
            await reports.until_settled(*mixed)
            assert {reports.outcomes[one.tag].detail for one in innocent} == {"spun"}
            # Either it ended in time, or it was told; nothing in between.
            assert {reports.outcomes[one.tag].detail for one in close} <= {"spun", "SoftTimeLimitExceeded()"}

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["prefork", "asyncio"])
def test_hard_limit(kind: str) -> None:
    async def main() -> None:
        async with running(kind) as (pool, reports):
            action = "asleep" if kind == "asyncio" else "sleep"
            one, other = job(action, 15.0, time_limit=0.05), job("echo", 1, time_limit=30.0)
            pool.submit([one, other])
            await reports.until_settled(one, other)
            assert reports.hard == {one.tag}
            assert reports.outcomes[other.tag].detail == "1"
            await reports.until(lambda: pool.room() >= 2)
            assert await reports.result_of(pool, job("echo", 5)) == "5"

    asyncio.run(main())


def test_soft_then_hard() -> None:
    async def main() -> None:
        async with running("prefork") as (pool, reports):
            one = job("stubborn", "/dev/null", "x", soft_time_limit=0.05, time_limit=0.2)
            pool.submit([one])
            await reports.until_settled(one)
            assert reports.soft == [one.tag]
            assert reports.hard == {one.tag}

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["threads", "solo", "ported"])
def test_pools_say_what_they_cannot_do(kind: str) -> None:
    pool = make(kind)
    assert not pool.hard_limits
    assert not pool.can_terminate
    assert not pool.terminate(1, signal.SIGTERM)


def test_soft_limit_in_solo_ends_a_blocking_call_of_the_main_thread(tmp_path: Path) -> None:
    """Only in a real main thread: so in a process of its own."""
    import subprocess

    script = """
import asyncio, threading
from tests.conformance.pools.kit import Recorder, job, make
pool = make("solo")
def core():
    async def main():
        reports = Recorder()
        await pool.start(reports)
        print(await reports.result_of(pool, job("sleep", 30.0, soft_time_limit=0.05)), flush=True)
        print(await reports.result_of(pool, job("echo", "next")), flush=True)
        await pool.stop()
    asyncio.run(main())
thread = threading.Thread(target=core)
thread.start()
pool.run_in_main()
thread.join()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=25, check=False
    )
    assert done.stdout.split() == ["SoftTimeLimitExceeded()", "next"], done.stderr


@pytest.mark.parametrize("kind", ["prefork", "asyncio"])
def test_terminate(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        begun = tmp_path / "begun"
        async with running(kind) as (pool, reports):
            one = job("asleep", 15.0, announce=True)
            if kind == "prefork":
                one = job("sleep", 15.0, str(begun), "x", announce=True)
            pool.submit([one])
            await reports.until(lambda: one.tag in reports.begun)
            if kind == "prefork":
                await until_line(begun, "x")
            assert pool.terminate(one.tag, signal.SIGTERM)
            await reports.until_settled(one)
            assert reports.losses == {one.tag: (-signal.SIGTERM, True)}
            assert not pool.terminate(one.tag, signal.SIGTERM)
            assert await reports.result_of(pool, job("echo", 5)) == "5"

    asyncio.run(main())


def test_terminate_a_coroutine_in_a_child() -> None:
    async def main() -> None:
        async with running("prefork", 1) as (pool, reports):
            one = job("asleep", 15.0, announce=True)
            pool.submit([one])
            await reports.until(lambda: one.tag in reports.begun)
            assert pool.terminate(one.tag, signal.SIGTERM)
            await reports.until_settled(one)
            assert reports.losses == {one.tag: (-signal.SIGTERM, True)}

    asyncio.run(main())


def test_terminate_what_has_not_begun(tmp_path: Path) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"

    async def main() -> None:
        async with running("prefork", 1) as (pool, reports):
            warm = [job("echo", 1, brief=1e-5) for _ in range(200)]
            reports.feed(pool, warm)
            await reports.until_settled(*warm)
            first = job("wait_for", str(go), str(begun), "x", brief=1e-5)
            second = job("echo", 2, brief=1e-5)
            pool.submit([first, second])
            if pool.terminate(second.tag, signal.SIGTERM):
                await reports.until_settled(second)
                assert reports.losses == {second.tag: (-signal.SIGTERM, False)}
            assert not reports.settled([first])
            go.touch()
            await reports.until_settled(first)
            assert reports.outcomes[first.tag].detail == "found"

    asyncio.run(main())


def test_limits_of_plain_functions_in_the_asyncio_pool(tmp_path: Path) -> None:
    """They run in threads: the soft limit is raised there, the hard one gives them up."""
    begun, go = tmp_path / "begun", tmp_path / "go"

    async def main() -> None:
        async with running("asyncio", 1) as (pool, reports):
            soft = job("catch_soft", soft_time_limit=0.05)
            hard = job("wait_for", str(go), str(begun), "x", time_limit=0.1)
            pool.submit([soft, hard])
            await reports.until_settled(soft, hard)
            assert reports.outcomes[soft.tag].detail == "softened"
            assert reports.hard == {hard.tag}
            go.touch()
            assert await reports.result_of(pool, job("echo", 5)) == "5"

    asyncio.run(main())


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR2])
def test_terminate_a_task_that_resists(signum: signal.Signals, tmp_path: Path) -> None:
    async def main() -> None:
        begun = tmp_path / "begun"
        async with running("prefork") as (pool, reports):
            one = job("stubborn", str(begun), "x")
            pool.submit([one])
            await until_line(begun, "x")
            assert pool.terminate(one.tag, signum)
            await reports.until_settled(one)
            code, began = reports.losses[one.tag]
            assert began
            assert code < 0

    asyncio.run(main())
