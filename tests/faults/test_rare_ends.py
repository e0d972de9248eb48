"""Workers whose end is disturbed: the spawner is killed, the store is locked or refuses results."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
from pathlib import Path

import pytest

from tests.faults.ledger import TASKS, Ledger, send
from tests.support import wait_until

SLOW_LEASE = {"broker_transport_options": {"lease": 60}}


@pytest.fixture
def ledger(project):
    project.write("tasks.py", TASKS)
    return Ledger(project)


def configure(project, **conf):
    project.env["TEST_CONF"] = json.dumps(conf)


def count(project, table):
    with contextlib.closing(sqlite3.connect(project.path / ".celery" / "store.db", timeout=20)) as store:
        return store.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def state(project, task_id):
    return project.python(
        f"from tasks import app; m = app.backend.get_task_meta({task_id!r}); print(m['status'], m['result'])"
    ).strip()


@contextlib.contextmanager
def locked(project):
    """Hold the store's write lock, as a process does that is stopped in the midst of a transaction."""
    with contextlib.closing(
        sqlite3.connect(project.path / ".celery" / "store.db", timeout=20, isolation_level=None)
    ) as store:
        store.execute("BEGIN IMMEDIATE")
        yield
        store.execute("ROLLBACK")


def spawner_of(worker):
    (pid,) = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    return int(pid)


def test_a_worker_whose_spawner_dies_ends_in_order(project, ledger):
    configure(project, **SLOW_LEASE)
    with project.worker("-c", "1") as worker:
        late, _ = send(project, "print(stubborn.delay(30).id, early.delay().id)")
        wait_until(lambda: ledger.begun)
        os.kill(spawner_of(worker), signal.SIGKILL)
        assert worker.wait() == 1
        assert "spawner process has died" in worker.output
        assert "Traceback" not in worker.output
    assert count(project, "ready") == 2, "given back, not left for others to take"
    assert set(ledger.begun) == {late}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGQUIT])
def test_a_locked_store_does_not_keep_a_worker_from_ending(project, ledger, how):
    configure(project, task_ignore_result=True, **SLOW_LEASE)
    with project.worker("-c", "1") as worker:
        # Hundreds of brief tasks are fetched ahead; those behind the slow one are to be acknowledged when it ends.
        ids = send(project, "for n in range(900): print(early.delay(0 if n != 300 else 0.4).id)")
        wait_until(lambda: ids[300] in ledger.begun)
        with locked(project):
            wait_until(lambda: ids[300] in ledger.ended)
            worker.send(how)
            assert worker.wait(40) == 0
    assert set(ledger.begun.values()) == {1}


@contextlib.contextmanager
def locked_results(project):
    """The result store, a file of its own, is locked: nothing can be stored."""
    with contextlib.closing(sqlite3.connect(project.path / "results.db", isolation_level=None)) as store:
        store.execute("BEGIN IMMEDIATE")
        yield
        store.execute("ROLLBACK")


@pytest.fixture
def two_stores(project, ledger):
    configure(
        project, result_backend="sqlite:///results.db", broker_url="sqlite:///.celery/store.db", **SLOW_LEASE
    )
    project.python("from tasks import app; app.backend.get_state('nobody')")


@pytest.mark.usefixtures("two_stores")
def test_results_are_stored_when_the_store_is_back(project, ledger):
    with project.worker("-c", "2") as worker:
        with locked_results(project):
            ids = send(project, "print(early.delay().id, late.delay(how='exit').id)")
            # Each is a try of ten seconds: a program that is no worker would give up after one.
            wait_until(lambda: worker.output.count("The result store does not answer") > 3, 50)
        wait_until(lambda: state(project, ids[0]).startswith("SUCCESS"))
        wait_until(lambda: state(project, ids[1]).startswith("FAILURE Worker exited prematurely"))
    assert set(ledger.begun.values()) == {1}


@pytest.mark.usefixtures("two_stores")
def test_a_loss_that_cannot_be_recorded_is_left_to_the_next_worker(project, ledger):
    with project.worker("-c", "1") as worker, locked_results(project):
        (task_id,) = send(project, "print(early.delay(how='exit').id)")
        worker.wait_for("Worker exited prematurely")
        worker.send(signal.SIGQUIT)
        assert worker.wait(50) == 0
        assert "left to the next worker" in worker.output
    assert state(project, task_id).startswith("PENDING")
    with project.worker("-c", "1"):
        wait_until(lambda: state(project, task_id).startswith("FAILURE"))
    assert ledger.begun[task_id] == 1


COUNTING = (
    TASKS
    + """
@app.task(bind=True)
def counting(self, number):
    note("begin", self)
    sum(range(number))  # one call into C: no signal is handled meanwhile
"""
)


def test_what_had_not_begun_behind_a_busy_task_is_given_back_by_a_cold_end(project, ledger):
    project.write("tasks.py", COUNTING)
    configure(project, **SLOW_LEASE)
    with project.worker("-c", "1") as worker:
        ids = send(project, "for n in range(400): print(counting.delay(10**9 if n == 300 else 1).id)")
        wait_until(lambda: ids[300] in ledger.begun)
        worker.send(signal.SIGQUIT)
        assert worker.wait() == 0
    assert count(project, "ready") == 99
    assert state(project, ids[300]).startswith("FAILURE")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGQUIT])
def test_a_worker_that_cannot_connect_yet_ends_when_told(project, ledger, how):
    project.python("from tasks import app; app.broker_for_read().size('celery'); app.send_task('x')")
    with locked(project), project.worker("-c", "1", ready=False) as worker:
        wait_until(lambda: Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text())
        worker.wait_for("Cannot connect")
        worker.send(how)
        assert worker.wait() == 0
        assert "Traceback" not in worker.output


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "asyncio"])
def test_a_task_that_asks_for_the_workers_end_fails(project, ledger, pool):
    ending = """
from celery.exceptions import WorkerTerminate

@app.task
def ending():
    raise WorkerTerminate(3)
"""
    project.write("tasks.py", TASKS + ending)
    with project.worker("-c", "1", "-P", pool) as worker:
        task_id, last = send(project, "print(ending.delay().id, early.delay().id)")
        ledger.wait_for([last], 15)
        wait_until(lambda: state(project, task_id).startswith("FAILURE"))
        worker.send(signal.SIGTERM)
        assert worker.wait(15) == 0


BUG = (
    TASKS
    + """
from celery.brokers.sqlite import leases

others = leases.others


def buggy(*args):
    if Path(LEDGER).with_name("bug").exists():
        raise RuntimeError("a bug in the driver")
    return others(*args)


leases.others = buggy
"""
)


@pytest.mark.parametrize("name", ["early", "late"])
def test_a_bug_in_the_stores_thread_ends_the_worker_loudly(project, ledger, name):
    project.write("tasks.py", BUG)
    with project.worker("-c", "1") as worker:
        ids = send(project, f"print({name}.delay(30).id, {name}.delay().id)")
        wait_until(lambda: ledger.begun)
        project.write("bug", "")
        assert worker.wait() == 1
        assert "a bug in the driver" in worker.output
        assert "the broker's driver cannot go on" in worker.output
    (project.path / "bug").unlink()
    with project.worker("-c", "2") as worker:
        ledger.wait_for(ids[1:])
        if name == "early":
            wait_until(lambda: state(project, ids[0]).startswith("FAILURE"))
        else:
            wait_until(lambda: ledger.begun[ids[0]] == 2)
        worker.send(signal.SIGQUIT)
    assert ledger.begun[ids[1]] == 1
