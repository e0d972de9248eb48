"""Results that tasks leave to the core: stored together, before their messages are settled, and not without bounds."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from tests.support import wait_until
from tests.unit.worker.bench import Bench

from celery.app.jobs import Outcome, Verdict
from celery.backends.claims import claim_lost
from celery.brokers.base import Settlement
from celery.exceptions import BackendStoreError
from celery.worker import storing
from celery.worker.loops import Stop


class Store:
    """A store of rows that takes its time: each write waits until it is let through."""

    def __init__(self) -> None:
        self.writes: list[list[str]] = []
        self.stored: list[str] = []
        self.errors: dict[str, Exception] = {}
        self.broken: Exception | None = None
        self._gate = threading.Semaphore(0)

    def store(self, rows):
        names = [row[0] for row in rows]
        self.writes.append(names)
        assert self._gate.acquire(timeout=20)
        if self.broken is not None:
            raise self.broken
        self.stored += names
        return [self.errors.get(name) for name in names]

    def let(self, writes: int = 1) -> None:
        """Let so many writes through."""
        self._gate.release(writes)


@pytest.fixture
def bench():
    with Bench(slots=10) as bench:
        bench.backend._rows = Store()
        try:
            yield bench
        finally:
            bench.backend._rows.let(1000)


@pytest.fixture
def store(bench) -> Store:
    return bench.backend._rows


def end(bench, task_id, size=1):
    """A task ends, and leaves its result."""
    job = bench.job(task_id)
    del bench.pool.held[job.tag]
    outcome = Outcome(Verdict.SUCCESS, 0.001, row=[task_id, b"x" * size])
    bench.report("finished", [(job.tag, outcome)])


def held(bench, task_id):
    return any(run.id == task_id for run in list(bench.state.runs.values()))


@pytest.mark.parametrize("name", ["early", "late"])
def test_a_message_is_settled_when_the_result_is_stored(bench, store, name):
    task_id = bench.send(name)
    end(bench, task_id)
    wait_until(lambda: store.writes == [[task_id]])
    assert held(bench, task_id)
    assert bench.state.totals == {}
    store.let()
    bench.settled()
    assert bench.broker.size("q") == 0
    assert bench.state.totals == {name: 1}


def test_a_lone_result_is_written_at_once_and_what_comes_meanwhile_together(bench, store):
    first, *others = [bench.send("late") for _ in range(5)]
    end(bench, first)
    wait_until(lambda: store.writes == [[first]])
    for task_id in others:
        end(bench, task_id)
    wait_until(lambda: bench.core._storer.waiting == 4)
    store.let()
    wait_until(lambda: len(store.writes) == 2)
    assert store.writes[1] == others
    store.let()
    bench.settled()


def test_a_store_that_is_away_delays_no_result_of_another(bench, store):
    other = Store()
    other.let(1000)
    bench.policies["early"].task.backend = SimpleNamespace(_rows=other)
    away, stored = bench.send("late"), bench.send("early")
    end(bench, away)
    wait_until(lambda: store.writes == [[away]])
    end(bench, stored)
    wait_until(lambda: other.stored == [stored] and not held(bench, stored))
    assert held(bench, away)
    store.let()
    bench.settled()


def test_a_task_that_runs_delays_no_result(bench, store):
    stalled, brief = bench.send("early"), bench.send("early")
    end(bench, brief)
    store.let()
    wait_until(lambda: store.stored == [brief] and not held(bench, brief))
    assert held(bench, stalled)
    bench.end(stalled)
    bench.settled()


@pytest.mark.parametrize("bound", ["ROWS_WAITING", "BYTES_WAITING", "SLOW"])
def test_no_more_tasks_are_begun_than_their_results_are_taken(bench, store, monkeypatch, bound):
    monkeypatch.setattr(storing, bound, {"ROWS_WAITING": 3, "BYTES_WAITING": 3000, "SLOW": 0.0}[bound])
    first = [bench.send("late") for _ in range(10)]
    end(bench, first[0])
    wait_until(lambda: store.writes == [first[:1]])
    for task_id in first[1:]:
        end(bench, task_id, size=1000)
    wait_until(lambda: bench.core._storer.waiting == 9)
    later = [bench.send("late") for _ in range(10)]
    answered = threading.Event()
    bench.core.call_soon(lambda: (bench.core.crew.dispatcher.pump(), answered.set()))
    assert answered.wait(10)
    assert bench.pool.ran == first
    store.let(100)
    wait_until(lambda: bench.pool.ran == first + later)
    for task_id in later:
        end(bench, task_id)
    bench.settled()
    assert store.stored == first + later


def test_a_slow_write_does_not_stop_the_worker(bench, store, monkeypatch):
    """It was behind while it wrote; when it has nothing more to write it is not."""
    monkeypatch.setattr(storing, "SLOW", 0.0)
    for _ in range(3):
        task_id = bench.send("late")
        end(bench, task_id)
        store.let()
        bench.settled()


def test_a_result_that_is_not_taken_concerns_its_own_task_alone(bench, store):
    good, bad, early = bench.send("late"), bench.send("late"), bench.send("early")
    store.errors = dict.fromkeys([bad, early], ValueError("too large"))
    for task_id in (good, bad, early):
        end(bench, task_id)
    store.let(3)
    wait_until(lambda: bench.pool.ran.count(bad) == 2)
    assert (bench.pool.ran.count(good), bench.pool.ran.count(early)) == (1, 1)
    store.errors.clear()
    end(bench, bad)
    store.let()
    bench.settled()


def test_a_refused_result_does_not_acknowledge(bench, store):
    task_id = bench.send("late")
    store.errors = {task_id: claim_lost(task_id, "SUCCESS")}
    end(bench, task_id)
    store.let()
    wait_until(lambda: bench.pool.ran.count(task_id) == 2)
    store.errors.clear()
    end(bench, task_id)
    store.let()
    bench.settled()


def test_a_store_that_breaks_is_survived(bench, store, caplog):
    task_id = bench.send("late")
    store.broken = RuntimeError("a bug")
    end(bench, task_id)
    store.let()
    wait_until(lambda: bench.pool.ran.count(task_id) == 2)
    store.broken = None
    end(bench, task_id)
    store.let()
    bench.settled()
    assert "Storing 1 results failed" in caplog.text


@pytest.mark.parametrize("how", [Stop.WARM, Stop.COLD])
@pytest.mark.parametrize("name", ["early", "late"])
def test_a_shutdown_waits_for_results(bench, store, name, how):
    task_id = bench.send(name)
    end(bench, task_id)
    wait_until(lambda: store.writes == [[task_id]])
    bench.core.stop(how)
    if how is Stop.COLD:
        wait_until(lambda: bench.pool.killed or bench.pool.stopped)
    store.let()
    bench.thread.join(15)
    assert not bench.thread.is_alive()
    assert store.stored == [task_id]
    assert bench.broker.size("q") == 0
    assert bench.backend.states == {}, "it was recorded as lost"


@pytest.mark.parametrize("how", [Stop.COLD, Stop.NOW])
@pytest.mark.parametrize("name", ["early", "late"])
def test_a_shutdown_in_a_hurry_cuts_short_only_what_runs(bench, store, name, how):
    """What has ended is neither run again nor called a failure, although its result is not stored yet."""
    ended, running = bench.send(name), bench.send(name)
    bench.job(running)
    end(bench, ended)
    wait_until(lambda: store.writes == [[ended]])
    bench.core.stop(how)
    wait_until(lambda: not held(bench, running))
    store.let()
    bench.thread.join(15)
    assert not bench.thread.is_alive()
    assert store.stored == [ended]
    assert bench.broker.size("q") == (1 if name == "late" else 0)
    assert list(bench.backend.states) == ([] if name == "late" else [running])


def test_a_shutdown_in_a_hurry_is_not_patient_with_the_store(bench, store):
    task_id = bench.send("late")
    end(bench, task_id)
    wait_until(lambda: store.writes == [[task_id]])
    bench.core.stop(Stop.COLD)
    assert bench.core._no_patience.wait(10)
    store.errors = {task_id: BackendStoreError("it is away")}
    store.let()
    bench.thread.join(15)
    assert not bench.thread.is_alive()
    assert bench.broker.size("q") == 1


def test_a_store_that_is_away_at_a_shutdown_is_not_held_against_the_message(bench, store):
    """Or else the message would be set aside after a few restarts."""
    endings, settle = [], bench.core.crew.settler.settle
    bench.core.crew.settler.settle = lambda run, ending: (endings.append(ending), settle(run, ending))
    task_id = bench.send("late")
    end(bench, task_id)
    wait_until(lambda: store.writes == [[task_id]])
    bench.core.stop(Stop.COLD)
    assert bench.core._no_patience.wait(10)
    store.errors = {task_id: BackendStoreError("it is away")}
    store.let()
    bench.thread.join(15)
    assert [(ending.settlement, ending.counted) for ending in endings] == [(Settlement.REQUEUE, False)]


def test_a_result_of_a_run_that_was_settled_already_is_stored(bench, store):
    """Its request acknowledged it."""
    task_id = bench.send("early")
    job = bench.job(task_id)
    run = bench.state.runs[job.tag]
    bench.core.call_soon(bench.state.remove, run)
    end(bench, task_id)
    store.let()
    wait_until(lambda: store.stored == [task_id])
