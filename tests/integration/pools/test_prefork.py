"""Children: windows, fairness, death, recycling."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conformance.pools.kit import job, lines, make, running, until_line, until_true

from celery import signals
from celery.app.jobs import Verdict
from celery.concurrency.base import PoolError
from celery.concurrency.pace import share_of
from celery.concurrency.prefork import child as child_module
from celery.concurrency.prefork.memory import MemoryWatch

if TYPE_CHECKING:
    from collections.abc import Iterator


def _exists(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# -- death


@pytest.mark.parametrize(
    ("how", "code"),
    [("kill", -9), ("exit", 3), ("abort", -6), ("segv", -11), ("close", None)],
)
def test_a_child_that_dies_is_replaced_and_its_jobs_are_told(how: str, code: int | None) -> None:
    async def main() -> None:
        async with running("prefork", 1) as (pool, reports):
            # All believed to be brief: they share a window.
            warm = [job("echo", 1, brief=1e-5) for _ in range(20)]
            pool.submit(warm)
            await reports.until_settled(*warm)
            before = job("echo", "before", brief=1e-5)
            fatal = job("die", how, brief=1e-5)
            after = [job("echo", "after", brief=1e-5) for _ in range(5)]
            pool.submit([before, fatal, *after])
            await reports.until_settled(before, fatal, *after)
            exitcode, began = reports.losses[fatal.tag]
            assert began
            if code is not None:
                assert exitcode == code
            # Before it: ran, and was told or is known to have begun. After it: not begun.
            assert before.tag in reports.outcomes or reports.losses[before.tag][1]
            if how != "close":  # there the rest was run before the child noticed
                assert {reports.losses[one.tag][1] for one in after if one.tag in reports.losses} <= {False}
            assert await reports.result_of(pool, job("echo", "alive")) == "alive"

    asyncio.run(main())


def test_a_task_that_exits_ends_its_child() -> None:
    async def main() -> None:
        async with running("prefork", 1) as (pool, reports):
            one = job("sysexit", 4)
            pool.submit([one])
            await reports.until_settled(one)
            assert reports.losses[one.tag] == (4, True)

    asyncio.run(main())


def test_random_kills_lose_nothing_silently(tmp_path: Path) -> None:
    """Every job is accounted for once, and those said not to have begun have not."""

    async def main() -> None:
        ledger = tmp_path / "ledger"
        async with running("prefork", 3) as (pool, reports):
            jobs = [job("write", str(ledger), str(n), brief=1e-5 if n % 5 else None) for n in range(3000)]
            reports.feed(pool, jobs)

            async def assassin() -> None:
                while not reports.settled(jobs):
                    await asyncio.sleep(0.02)
                    for pid in pool.info()["processes"][:1]:
                        os.kill(pid, signal.SIGKILL)

            killer = asyncio.create_task(assassin())
            await reports.until_settled(*jobs)
            killer.cancel()
        ran = set(map(int, lines(ledger)))
        assert len(ran) == len(lines(ledger))
        for n, one in enumerate(jobs):
            if one.tag in reports.outcomes:
                assert n in ran
            elif not reports.losses[one.tag][1]:
                assert n not in ran

    asyncio.run(main())


def test_children_that_die_at_start_break_the_pool() -> None:
    def die(app: Any, hostname: str) -> None:
        os._exit(7)

    async def main() -> None:
        with pytest.raises(PoolError, match="exitcode 7 before it was ready"):
            async with running("prefork", 2, initializer=die):
                pass

    asyncio.run(main())


def test_children_that_begin_to_die_at_start_break_a_running_pool(tmp_path: Path) -> None:
    doom = tmp_path / "doom"

    def die_later(app: Any, hostname: str) -> None:
        if doom.exists():
            os._exit(7)

    async def main() -> None:
        async with running("prefork", 1, initializer=die_later) as (pool, reports):
            doom.touch()
            one = job("die", "kill")
            pool.submit([one])
            await reports.until(lambda: reports.errors)
            assert "giving up" in str(reports.errors[0])

    asyncio.run(main())


def test_the_death_of_the_spawner_breaks_the_pool(tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    async def main() -> None:
        async with running("prefork", 2) as (pool, reports):
            one = job("sleep", 15.0, str(begun), "x")
            pool.submit([one])
            await until_line(begun, "x")
            pids = pool.info()["processes"]
            os.kill(pool._link.pid, signal.SIGKILL)
            await reports.until(lambda: reports.errors and one.tag in reports.losses)
            await until_true(lambda: not any(map(_exists, pids)))

    asyncio.run(main())


def test_no_orphans_when_the_core_is_killed(tmp_path: Path) -> None:
    script = """
import asyncio
from tests.conformance.pools.kit import running, job
async def main():
    async with running("prefork", 3) as (pool, reports):
        pool.submit([job("sleep", 60.0) for _ in range(3)])
        print(*pool.info()["processes"], pool._link.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        pids = list(map(int, process.stdout.readline().split()))
        assert len(pids) == 4
        assert all(map(_exists, pids))
        process.kill()
    _wait_until_gone(pids)


def test_no_orphans_when_a_process_forked_by_the_core_outlives_it(tmp_path: Path) -> None:
    script = """
import asyncio, os, time
from tests.conformance.pools.kit import running, job
async def main():
    async with running("prefork", 1) as (pool, reports):
        bystander = os.fork()
        if bystander == 0:
            time.sleep(30)
            os._exit(0)
        print(*pool.info()["processes"], pool._link.pid, bystander, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    bystander = 0
    try:
        *pids, bystander = map(int, process.stdout.readline().split())
        process.kill()
        _wait_until_gone(pids)
        assert _exists(bystander)
    finally:
        if bystander:
            os.kill(bystander, signal.SIGKILL)
        process.kill()
        process.communicate()


def _wait_until_gone(pids: list[int]) -> None:
    asyncio.run(until_true(lambda: not any(map(_exists, pids))))


# -- windows and fairness


def test_windows_follow_run_times() -> None:
    async def main() -> None:
        async with running("prefork", 2) as (pool, reports):
            assert pool.room() == 2
            brief = [job("echo", 1, brief=1e-5) for _ in range(300)]
            reports.feed(pool, brief)
            await reports.until_settled(*brief)
            assert (pool.room(), pool.room(share_of(1e-5)), pool.room(share_of(5e-4))) == (2, 128, 18)

    asyncio.run(main())


def test_a_window_is_full_of_work_not_of_a_number(tmp_path: Path) -> None:
    """Types share a window by what each takes: those of half a millisecond are not put in as deep as those of 10 us."""
    go, begun = tmp_path / "go", tmp_path / "begun"

    async def main() -> None:
        async with running("prefork", 1) as (pool, reports):
            gate = job("wait_for", str(go), str(begun), "x", brief=1e-5)
            slower = [job("echo", n, brief=5e-4) for n in range(20)]
            pool.submit([gate, *slower])
            back = pool.take_back()
            assert back == slower[9:]  # nine of seven sixty-fourths
            go.touch()
            recalled = [one for one in slower[:9] if one.tag in reports.losses]
            await reports.until_settled(gate, *(one for one in slower[:9] if one not in recalled))

    asyncio.run(main())


def test_nothing_waits_behind_a_long_task_that_was_thought_brief(tmp_path: Path) -> None:
    go, begun = tmp_path / "go", tmp_path / "begun"

    async def main() -> None:
        async with running("prefork", 2) as (pool, reports):
            warm = [job("echo", 1, brief=1e-5) for _ in range(200)]
            reports.feed(pool, warm)
            await reports.until_settled(*warm)
            liar = job("wait_for", str(go), str(begun), "x", brief=1e-5)
            others = [job("echo", n, brief=1e-5) for n in range(60)]
            pool.submit([*others[:20], liar, *others[20:]])
            await reports.until_settled(*others)
            assert not reports.settled([liar])
            assert not reports.losses
            go.touch()
            await reports.until_settled(liar)

    asyncio.run(main())


@pytest.mark.parametrize("brief", [1e-5, None])
@pytest.mark.parametrize("action", ["wait_for", "await_for", "wait_quietly"])
def test_results_and_reports_are_not_held_back_by_a_long_task(
    action: str, brief: float | None, tmp_path: Path
) -> None:
    go, store = tmp_path / "go", tmp_path / "results"

    async def main() -> None:
        async with running("prefork", 1) as (pool, reports):
            warm = [job("echo", 1, brief=1e-5) for _ in range(200)]
            reports.feed(pool, warm)
            await reports.until_settled(*warm)
            first = [job("echo", n, brief=1e-5, store=str(store)) for n in range(10)]
            pool.submit([*first, job(action, str(go), brief=brief)])
            await reports.until_settled(*first)
            assert sorted(lines(store)) == sorted(one.id for one in first)
            go.touch()
            await pool.stop()

    asyncio.run(main())


def test_results_are_stored_before_they_are_reported(tmp_path: Path) -> None:
    store = tmp_path / "results"

    async def main() -> None:
        async with running("prefork", 2) as (pool, reports):
            jobs = [job("echo", n, brief=1e-5, store=str(store)) for n in range(500)]
            missing: list[str] = []
            finished = reports.finished

            def check(batch: Any) -> None:
                stored = set(lines(store))
                missing.extend(f"id-{tag}" for tag, _ in batch if f"id-{tag}" not in stored)
                finished(batch)

            reports.finished = check  # type: ignore[method-assign]
            reports.feed(pool, jobs)
            await reports.until_settled(*jobs)
            assert not missing

    asyncio.run(main())


def test_results_that_cannot_be_stored_are_reported_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with running("prefork", 1) as (pool, reports):
            one = job("echo", 1, brief=1e-5, store=str(tmp_path / "missing" / "results"))
            pool.submit([one])
            await reports.until_settled(one)
            assert reports.outcomes[one.tag].verdict is Verdict.UNSTORED

    asyncio.run(main())


def test_recalled_jobs_come_back_as_not_begun(tmp_path: Path) -> None:
    go, begun = tmp_path / "go", tmp_path / "begun"

    async def main() -> None:
        async with running("prefork", 1) as (pool, reports):
            warm = [job("echo", 1, brief=1e-5) for _ in range(200)]
            reports.feed(pool, warm)
            await reports.until_settled(*warm)
            long = job("wait_for", str(go), str(begun), "x", brief=1e-5)
            others = [job("echo", n, brief=1e-5) for n in range(10)]
            pool.submit([long, *others])
            taken = {one.tag for one in pool.take_back()}
            await reports.until(lambda: reports.settled([one for one in others if one.tag not in taken]))
            assert set(reports.losses.values()) <= {(0, False)}
            assert not reports.settled([long])
            go.touch()
            await pool.stop()
            assert len(reports.losses) + len(taken) == 10

    asyncio.run(main())


def test_hard_limit_gives_back_what_waited_behind(tmp_path: Path) -> None:
    async def main() -> None:
        async with running("prefork", 1) as (pool, reports):
            warm = [job("echo", 1, brief=1e-5) for _ in range(200)]
            reports.feed(pool, warm)
            await reports.until_settled(*warm)
            first = job("echo", 0, brief=1e-5, store=str(tmp_path / "results"))
            stuck = job("sleep", 15.0, brief=1e-5, time_limit=0.1)
            others = [job("echo", n, brief=1e-5) for n in range(10)]
            pool.submit([first, stuck, *others])
            await reports.until_settled(first, stuck, *others)
            assert reports.hard == {stuck.tag}
            assert first.tag in reports.outcomes
            assert all(not began for _, began in reports.losses.values())

    asyncio.run(main())


# -- recycling


@pytest.mark.parametrize("quota", [1, 3])
def test_max_tasks_per_child(quota: int) -> None:
    async def main() -> None:
        async with running("prefork", 2, max_tasks_per_child=quota) as (pool, reports):
            jobs = [job("whoami", brief=1e-5) for _ in range(30)]
            reports.feed(pool, jobs)
            await reports.until_settled(*jobs)
            counts: dict[str, int] = {}
            for one in jobs:
                pid = reports.outcomes[one.tag].detail.split()[0]
                counts[pid] = counts.get(pid, 0) + 1
            assert max(counts.values()) <= quota
            assert len(counts) >= 30 // quota
            assert pool.info()["max-tasks-per-child"] == quota
            assert not reports.losses

    asyncio.run(main())


def test_never_more_tasks_at_a_time_than_the_limit(tmp_path: Path) -> None:
    """Also while a child has its last task and its replacement is ready."""
    go, begun = tmp_path / "go", tmp_path / "begun"

    async def main() -> None:
        async with running("prefork", 1, max_tasks_per_child=1) as (pool, reports):
            first, second = job("wait_for", str(go), str(begun), "1"), job("echo", 2)
            pool.submit([first, second])
            await until_line(begun, "1")
            await until_true(lambda: len(pool.info()["processes"]) == 2)
            assert not reports.settled([second])
            go.touch()
            await reports.until_settled(first, second)

    asyncio.run(main())


def test_max_memory_per_child() -> None:
    limit = MemoryWatch(None).resident() + 100_000  # a child begins with at most what this process has

    async def main() -> None:
        async with running("prefork", 1, max_memory_per_child=limit) as (pool, reports):
            pids = [await reports.result_of(pool, job("hog", 40)) for _ in range(8)]
            assert 2 <= len(set(pids)) <= 4
            assert not reports.losses

    asyncio.run(main())


def test_a_memory_limit_below_the_baseline_warns_once_and_does_not_loop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with running("prefork", 2, max_memory_per_child=10) as (pool, reports):
            jobs = [job("whoami") for _ in range(10)]
            pool.submit(jobs)
            await reports.until_settled(*jobs)
            assert len(pool.info()["processes"]) == 2

    asyncio.run(main())
    assert sum("max_memory_per_child" in text for text in caplog.messages) == 1


def test_sigterm_to_a_child_alone_replaces_it_after_its_task(tmp_path: Path) -> None:
    go, begun = tmp_path / "go", tmp_path / "begun"

    async def main() -> None:
        async with running("prefork", 1) as (pool, reports):
            one = job("wait_for", str(go), str(begun), "x")
            pool.submit([one])
            await until_line(begun, "x")
            (pid,) = pool.info()["processes"]
            for signum in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
                os.kill(pid, signum)
            go.touch()
            await reports.until_settled(one)
            assert reports.outcomes[one.tag].detail == "found"
            await reports.until(lambda: pool.info()["processes"] not in ([pid], []))
            idle = pool.info()["processes"][-1]
            os.kill(idle, signal.SIGTERM)
            await reports.until(lambda: idle not in pool.info()["processes"] and pool.room())
            assert await reports.result_of(pool, job("echo", 1)) == "1"

    asyncio.run(main())


# -- surroundings


@pytest.fixture
def life_signals(tmp_path: Path) -> Iterator[Path]:
    ledger = tmp_path / "life"

    def write(text: str) -> None:
        fd = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, f"{text}\n".encode())
        os.close(fd)

    def born(sender: Any, **_: Any) -> None:
        import atexit

        write(f"init {sender}")
        atexit.register(write, "atexit")

    def ended(sender: Any, pid: int, exitcode: int, **_: Any) -> None:
        write(f"shutdown {sender} {pid == os.getpid()} {exitcode}")

    def before(sender: Any, **_: Any) -> None:
        write(f"before {sender.name}")

    signals.worker_process_init.connect(born)
    signals.worker_process_shutdown.connect(ended)
    signals.worker_before_create_process.connect(before)
    yield ledger
    signals.worker_process_init.disconnect(born)
    signals.worker_process_shutdown.disconnect(ended)
    signals.worker_before_create_process.disconnect(before)


def test_signals_and_exit_handlers(life_signals: Path) -> None:
    async def main() -> None:
        async with running("prefork", 1) as (pool, reports):
            name = await reports.result_of(pool, job("whoami"))
            assert name.split()[1] == "ForkPoolWorker-1"
            await pool.stop()

    asyncio.run(main())
    assert lines(life_signals) == [
        "before ForkPoolWorker-1",
        "init w@test",
        "shutdown w@test True 0",
        "atexit",
    ]


def test_in_a_thread_and_twice_in_one_process(tmp_path: Path) -> None:
    """As the fixtures for tests do it; and each ends alone."""
    results: list[str] = []

    def one(name: str) -> None:
        async def main() -> None:
            async with running("prefork", 2) as (pool, reports):
                results.append(await reports.result_of(pool, job("echo", name)))
                await pool.stop()

        asyncio.run(main())

    threads = [threading.Thread(target=one, args=(name,)) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(results) == ["a", "b", "c"]


def test_nothing_is_left_behind() -> None:
    def descriptors() -> set[str]:
        return set(os.listdir("/proc/self/fd"))

    async def main() -> None:
        for _ in range(3):
            async with running("prefork", 2, max_tasks_per_child=2) as (pool, reports):
                jobs = [job("echo", 1) for _ in range(10)]
                pool.submit(jobs)
                await reports.until_settled(*jobs)
                before = len(descriptors())
                more = [job("echo", 1) for _ in range(20)]
                pool.submit(more)
                await reports.until_settled(*more)
                pids = [*pool.info()["processes"], pool._link.pid]
                await pool.stop()
                assert len(descriptors()) < before
                assert not any(map(_exists, pids))

    first = len(descriptors())
    asyncio.run(main())
    assert len(descriptors()) <= first


def test_children_hold_no_descriptors_of_others() -> None:
    async def main() -> None:
        async with running("prefork", 3) as (pool, _):
            counts = []
            for pid in pool.info()["processes"]:
                links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
                counts.append(sum(link.startswith("socket:") for link in links))
            core = sum(os.readlink(f"/proc/self/fd/{fd}").startswith("socket:") for fd in _open_descriptors())
            # Each has its own stream, and what this process had before (the loop's own pair).
            assert max(counts) <= core - 3

    asyncio.run(main())


def _open_descriptors() -> list[str]:
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")]


def test_stop_before_start() -> None:
    async def main() -> None:
        pool = make("prefork")
        pool.prefork()
        pid = pool._link.pid
        await pool.stop()
        assert not _exists(pid)

    asyncio.run(main())


def test_spawn(tmp_path: Path) -> None:
    async def main() -> None:
        async with running("prefork", 2, start_method="spawn", max_tasks_per_child=2) as (pool, reports):
            names = [await reports.result_of(pool, job("whoami")) for _ in range(4)]
            assert names[0].split()[1].startswith("SpawnPoolWorker-")
            assert len({name.split()[0] for name in names}) >= 2
            lost = job("die", "kill")
            pool.submit([lost])
            await reports.until_settled(lost)
            assert reports.losses[lost.tag] == (-9, True)
            await pool.stop()

    asyncio.run(main())


def test_a_slow_child_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    def slow(app: Any, hostname: str) -> None:
        import time

        time.sleep(0.3)

    async def main() -> None:
        async with running("prefork", 1, initializer=slow, alive_timeout=0.05) as (pool, reports):
            assert await reports.result_of(pool, job("echo", 1)) == "1"

    asyncio.run(main())
    assert any("worker_proc_alive_timeout" in text for text in caplog.messages)


def test_the_poke_is_harmless_to_a_process_without_a_handler() -> None:
    assert child_module.POKE is signal.SIGURG
