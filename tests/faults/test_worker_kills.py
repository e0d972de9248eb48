"""Promise 1: a worker is killed under load. Promise 2: its children are."""

from __future__ import annotations

import contextlib
import json
import os
import signal

import pytest

from tests.faults.conftest import on
from tests.faults.ledger import TASKS, Ledger, send
from tests.support import wait_until

REPEATS = 3


@pytest.fixture
def ledger(project, site):
    project.write("tasks.py", TASKS)
    return Ledger(project)


@pytest.mark.parametrize("repeat", range(REPEATS))
def test_a_worker_killed_under_load_loses_nothing_late(project, ledger, repeat):
    with project.worker("-n", "a@h", ready=False) as victim, project.worker("-n", "b@h") as survivor:
        victim.wait_for(r"ready\.")
        ids = send(project, "print(*[late.delay(0.02).id for _ in range(200)])")
        wait_until(lambda: len(ledger.ended) > 20 + 10 * repeat)
        victim.send(signal.SIGKILL)
        ledger.wait_for(ids)
        repeated = {task_id for task_id, count in ledger.begun.items() if count > 1}
        assert len(repeated) <= 2 + 2, f"only what was running may run again: {repeated}"
        assert all(count == 1 for count in (ledger.ended - ledger.begun).values())
        assert survivor.process.poll() is None


def test_early_tasks_of_a_killed_worker_are_recorded_as_lost(project, ledger):
    with project.worker("-n", "a@h") as victim:
        (task_id,) = send(project, "print(early.delay(60).id)")
        wait_until(lambda: task_id in ledger.begun)
        victim.send(signal.SIGKILL)
        victim.wait()
    with project.worker("-n", "b@h"):
        text = project.python(f"""
            from tasks import app
            print(repr(app.AsyncResult({task_id!r}).get(timeout=30, propagate=False)))
        """)
    assert "WorkerLostError" in text
    assert ledger.begun[task_id] == 1


def test_children_of_a_killed_worker_are_gone(project, ledger):
    with project.worker("-n", "a@h") as victim:
        (task_id,) = send(project, "print(late.delay(60).id)")
        wait_until(lambda: task_id in ledger.begun)
        child = ledger.pid_of(task_id)
        victim.send(signal.SIGKILL)
        victim.wait()
        wait_until(lambda: not _alive(child))


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


DEATHS = ["kill", "abort", "segfault", "exit"]


@pytest.mark.parametrize("how", DEATHS)
def test_a_task_that_kills_its_process_fails(project, ledger, how):
    with project.worker() as worker:
        text = project.python(f"""
            from tasks import *
            dead = [early.delay(how={how!r}), late.delay(how={how!r})]
            fine = [early.delay() for _ in range(10)]
            for result in dead:
                print(type(result.get(timeout=30, propagate=False)).__name__)
            print(sum(r.get(timeout=30) == r.id for r in fine))
        """)
        assert text.split() == ["WorkerLostError", "WorkerLostError", "10"]
        assert worker.process.poll() is None
    assert set(ledger.begun.values()) == {1}


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_a_task_that_always_kills_its_process_is_given_up(project, ledger, how):
    with project.worker() as worker:
        text = project.python(f"""
            import time
            from tasks import *
            deadly = stubborn.delay(how={how!r})
            print(type(deadly.get(timeout=40, propagate=False)).__name__)
            broker = app.broker_for_read()
            while not broker.dead("celery"):
                time.sleep(0.05)
            print(len(broker.dead("celery")), stubborn.delay().get(timeout=20) != "", deadly.id)
        """)
        name, dead, lives, task_id = text.split()
        assert (name, dead, lives) == ("WorkerLostError", "1", "True")
        assert worker.process.poll() is None
    assert ledger.begun[task_id] == 5


@on("rabbitmq")
def test_a_task_that_always_kills_its_worker_is_given_up(project, ledger):
    """On a classic queue, whose broker does not count."""
    project.env["CELERY_BROKER_TRANSPORT_OPTIONS"] = json.dumps({"lease": 1})
    (task_id,) = send(project, "print(late.delay(how='kill').id)")
    for _ in range(5):
        with project.worker("-P", "solo", "-c", "1", ready=False) as victim:
            assert victim.wait() == -signal.SIGKILL
    with project.worker() as worker:
        worker.wait_for("delivered 5 times, and each time the worker or its process died")
        text = project.python(f"""
            from tasks import app
            print(type(app.AsyncResult({task_id!r}).get(timeout=30, propagate=False)).__name__)
            print(len(app.broker_for_read().dead("celery")))
        """)
    assert text.split() == ["WorkerLostError", "1"]
    assert ledger.begun[task_id] == 5


@pytest.mark.parametrize(
    ("how", "error"),
    [("memory", "MemoryError"), ("systemexit", "SystemExit"), ("interrupt", "KeyboardInterrupt")],
)
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_no_exception_of_a_task_ends_the_worker(project, ledger, pool, how, error):
    with project.worker("-P", pool) as worker:
        text = project.python(f"""
            from tasks import *
            first = early.delay(how={how!r})
            second = early.delay()
            print(second.get(timeout=30) == second.id, first.state)
        """)
        assert text.split()[0] == "True"
        assert worker.process.poll() is None


@pytest.mark.parametrize("repeat", range(REPEATS))
def test_children_killed_under_load_lose_nothing(project, ledger, repeat):
    with project.worker("-c", "3"):
        ids = send(project, "print(*[stubborn.delay(0.02).id for _ in range(150)])")
        killed: set[str] = set()
        while len(killed) < 5 and len(ledger.ended) < 150:
            # Each task is killed once at most: five deaths of one would end it for good.
            victim = next((task_id for task_id in ledger.running if task_id not in killed), None)
            if victim is not None:
                killed.add(victim)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(ledger.pid_of(victim), signal.SIGKILL)
        ledger.wait_for(ids)
    again = sum(count - 1 for count in ledger.begun.values())
    assert again <= len(killed) + 3


def test_an_early_message_waiting_in_a_dead_child_is_run_elsewhere(project, ledger):
    with project.worker("-c", "1"):
        ids = send(
            project,
            "ids = [early.delay().id for _ in range(300)]; early.delay(how='kill');"
            "ids += [early.delay().id for _ in range(300)]; print(*ids)",
        )
        ledger.wait_for(ids)
    assert {count for task_id, count in ledger.begun.items()} == {1}


def test_retry_on_worker_lost_runs_again(project, ledger):
    conf = json.dumps(
        {"task_retry_on_worker_lost": True, "task_annotations": {"*": {"default_retry_delay": 0}}}
    )
    with project.worker(TEST_CONF=conf):
        text = project.python(
            """
            from tasks import *
            result = late.delay(how="kill")
            print(type(result.get(timeout=40, propagate=False)).__name__, result.id)
            """,
            TEST_CONF=conf,
        )
    name, task_id = text.split()
    assert name == "WorkerLostError"
    assert ledger.begun[task_id] == 4


#: Brief like the others of its name, until it meets a mark that nobody has made: then it kills a process.
SUDDEN = """
@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def sudden(self, mark=""):
    note("begin", self)
    if mark:
        try:
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    note("end", self)
"""


def test_what_ended_before_a_child_died_is_not_repeated(project, ledger):
    """Ends of brief tasks are told together only where nothing runs again for that."""
    project.write("tasks.py", TASKS + SUDDEN)
    with project.worker("-c", "1"):
        ids = send(
            project, "print(*[sudden.delay(n % 50 == 49 and f'mark-{n}' or '').id for n in range(300)])"
        )
        ledger.wait_for(ids)
    assert sum(ledger.begun.values()) == 300 + 6
