"""What every pool does."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from tests.conformance.pools.kit import job, lines, running, until_line

from celery.app.jobs import Verdict
from celery.concurrency.pace import share_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.parametrize("kind", ["prefork", "threads", "solo", "asyncio", "ported"])


def test_runs_what_it_is_given(kind: str) -> None:
    async def main() -> None:
        async with running(kind) as (pool, reports):
            good, bad, named = job("echo", 42), job("fail", "no"), job("echo", "x" * 5000)
            pool.submit([good, bad, named])
            await reports.until_settled(good, bad, named)
            assert reports.outcomes[good.tag].verdict is Verdict.SUCCESS
            assert reports.outcomes[good.tag].detail == "42"
            assert reports.outcomes[named.tag].detail == "x" * 5000
            failed = reports.outcomes[bad.tag]
            assert failed.verdict is Verdict.FAILURE
            assert failed.detail == "ValueError('no')"
            assert failed.traceback == "Traceback ..."
            assert not reports.begun

    asyncio.run(main())


def test_announces_those_that_ask_for_it(kind: str) -> None:
    async def main() -> None:
        async with running(kind) as (pool, reports):
            loud, silent = job("echo", 1, announce=True), job("echo", 2)
            pool.submit([loud, silent])
            await reports.until_settled(loud, silent)
            assert list(reports.begun) == [loud.tag]
            assert reports.begun[loud.tag] > 1

    asyncio.run(main())


def test_thousands_each_once(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        ledger = tmp_path / "ledger"
        async with running(kind) as (pool, reports):
            jobs = [job("write", str(ledger), str(n), brief=0.0001 if n % 3 else None) for n in range(1500)]
            reports.feed(pool, jobs)
            await reports.until_settled(*jobs)
            await pool.stop()
        assert sorted(map(int, lines(ledger))) == list(range(1500))

    asyncio.run(main())


def test_a_large_body(kind: str) -> None:
    async def main() -> None:
        async with running(kind) as (pool, reports):
            large = job("echo", "y" * 30_000_000)
            after = job("echo", "after")
            pool.submit([large, after])
            await reports.until_settled(large, after)
            assert len(reports.outcomes[large.tag].detail) == 30_000_000

    asyncio.run(main())


def test_async_tasks(kind: str) -> None:
    async def main() -> None:
        async with running(kind) as (pool, reports):
            jobs = [job("asleep", 0.01) for _ in range(5)]
            pool.submit(jobs)
            await reports.until_settled(*jobs)
            assert {reports.outcomes[one.tag].detail for one in jobs} == {"slept"}

    asyncio.run(main())


def test_stop_lets_everything_end(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(kind) as (pool, reports):
            jobs = [job("sleep", 0.05) for _ in range(6)]
            pool.submit(jobs)
            await pool.stop()
            assert reports.settled(jobs)
            assert pool.room() == 0
            assert not reports.losses

    asyncio.run(main())


def test_room_and_take_back(kind: str, tmp_path: Path) -> None:
    go = tmp_path / "go"
    begun = tmp_path / "begun"

    async def main() -> None:
        async with running(kind) as (pool, reports):
            slots = pool.room()
            assert slots == (1 if kind == "solo" else 2)
            long = [job("wait_for", str(go), str(begun), f"long{n}") for n in range(slots)]
            late = [job("echo", n) for n in range(5)]
            pool.submit(long + late)
            assert pool.room() == 0
            for n in range(slots):
                await until_line(begun, f"long{n}")
            assert [one.tag for one in pool.take_back()] == [one.tag for one in late]
            assert pool.take_back() == []
            go.touch()
            await reports.until_settled(*long)
            await reports.until(lambda: pool.room() >= slots)
            pool.submit(late)
            await reports.until_settled(*late)

    asyncio.run(main())


def test_long_jobs_that_have_ended_leave_their_room_to_brief_ones(kind: str) -> None:
    async def main() -> None:
        async with running(kind) as (pool, reports):
            room = pool.room(share_of(1e-5))
            for _ in range(3):
                jobs = [job("echo", n) for n in range(pool.room())]
                pool.submit(jobs)
                await reports.until_settled(*jobs)
                await reports.until(lambda: pool.room(share_of(1e-5)) == room)

    asyncio.run(main())


def test_kill_does_not_wait(kind: str, tmp_path: Path) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"

    async def main() -> None:
        async with running(kind) as (pool, reports):
            one = job("wait_for", str(go), str(begun), "x")
            pool.submit([one])
            await until_line(begun, "x")
            await pool.kill()
            assert not reports.settled([one])
            assert pool.room() == 0
            go.touch()

    asyncio.run(main())


def test_what_has_ended_before_a_kill_is_reported(kind: str, tmp_path: Path) -> None:
    """Also what the worker has had no time to hear of."""
    if kind == "prefork":
        pytest.skip("its slots are not told of a second job while the worker hears nothing")
    begun, go = tmp_path / "begun", tmp_path / "go"

    async def main() -> None:
        async with running(kind, limit=2 if kind in ("asyncio", "ported") else 1) as (pool, reports):
            one, other = job("echo", 1), job("wait_for", str(go), str(begun), "x")
            pool.submit([one, other])
            if kind == "asyncio":
                ended = lambda: one.tag not in pool._tasks._runs  # noqa: E731
            else:
                unheard = 2 if kind == "ported" else 0  # that they have begun
                ended = lambda: len(pool._mailbox._items) > unheard  # noqa: E731
            while "x" not in lines(begun) or not ended():
                time.sleep(0.002)  # noqa: ASYNC251 - the loop is to hear nothing meanwhile
            assert not reports.outcomes
            await pool.kill()
            assert list(reports.outcomes) == [one.tag]
            go.touch()

    asyncio.run(main())


def test_info(kind: str) -> None:
    async def main() -> None:
        async with running(kind) as (pool, _):
            info = pool.info()
            assert info["max-concurrency"] == (1 if kind == "solo" else 2)
            assert info["implementation"]

    asyncio.run(main())


def test_resize(kind: str, tmp_path: Path) -> None:
    go, begun = tmp_path / "go", tmp_path / "begun"
    if kind in ("solo", "ported"):

        async def refuse() -> None:
            async with running(kind) as (pool, _):
                with pytest.raises(ValueError, match="cannot be resized"):
                    pool.resize(5)

        asyncio.run(refuse())
        return

    async def main() -> None:
        async with running(kind) as (pool, reports):
            pool.resize(4)
            jobs = [job("wait_for", str(go), str(begun), str(n)) for n in range(4)]
            pool.submit(jobs)
            for n in range(4):
                await until_line(begun, str(n))
            pool.resize(1)
            go.touch()
            await reports.until_settled(*jobs)
            await reports.until(lambda: pool.room() >= 1)
            more = [job("echo", 1) for _ in range(3)]
            pool.submit(more)
            await reports.until_settled(*more)

    asyncio.run(main())
