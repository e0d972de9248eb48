"""Promise 6: TERM, INT, QUIT and soft shutdown while tasks run."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.faults.conftest import on
from tests.faults.ledger import TASKS, Ledger, send
from tests.support import wait_until

SLOW_LEASE = json.dumps({"broker_transport_options": {"lease": 60}})


@pytest.fixture
def ledger(project, site):
    project.write("tasks.py", TASKS)
    return Ledger(project)


@pytest.fixture
def gate(project):
    """Tasks called with its path end when it is there."""
    return project.path / "gate"


def sizes(project):
    return int(project.python("from tasks import app; print(app.broker_for_read().size('celery'))"))


def started(project, ledger, worker, code):
    ids = send(project, code)
    wait_until(lambda: ledger.begun)
    return ids


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
@pytest.mark.parametrize("name", ["early", "late"])
def test_warm_lets_running_tasks_end_and_gives_the_rest_back(project, ledger, gate, pool, name):
    with project.worker("-P", pool, "-c", "1") as worker:
        ids = started(project, ledger, worker, f"print(*[{name}.delay({str(gate)!r}).id for _ in range(4)])")
        worker.send(signal.SIGTERM)
        worker.wait_for("Warm shutdown")
        wait_until(lambda: sizes(project) == 3)
        assert worker.process.poll() is None, "what waits is back before the running task has ended"
        assert not ledger.ended
        gate.touch()
        assert worker.wait() == 0
    assert list(ledger.ended.values()) == [1]
    with project.worker("-c", "2"):
        ledger.wait_for(ids)
    assert set(ledger.begun.values()) == {1}


@on("sqlite", "redis")
def test_a_second_term_changes_nothing(project, ledger, gate):
    with project.worker("-c", "1") as worker:
        (task_id,) = started(project, ledger, worker, f"print(late.delay({str(gate)!r}).id)")
        worker.send(signal.SIGTERM)
        worker.wait_for("Warm shutdown")
        worker.send(signal.SIGTERM)
        worker.wait_for("Already shutting down")
        gate.touch()
        assert worker.wait() == 0
    assert ledger.ended[task_id] == 1


@on("sqlite", "redis")
def test_interrupt_hints_and_ends_warm_with_exit_code_1(project, ledger, gate):
    with project.worker("-c", "1") as worker:
        (task_id,) = started(project, ledger, worker, f"print(late.delay({str(gate)!r}).id)")
        worker.send(signal.SIGINT)
        worker.wait_for(r"Hitting Ctrl\+C again will initiate cold shutdown")
        gate.touch()
        assert worker.wait() == 1
    assert ledger.ended[task_id] == 1


def test_a_second_interrupt_ends_cold(project, ledger):
    with project.worker("-c", "1") as worker:
        (task_id,) = started(project, ledger, worker, "print(late.delay(60).id)")
        worker.send(signal.SIGINT)
        worker.wait_for("Warm shutdown")
        worker.send(signal.SIGINT)
        worker.wait_for("Cold shutdown")
        assert worker.wait() == 1
    assert sizes(project) == 1
    assert ledger.begun[task_id] == 1


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_quit_requeues_late_tasks_and_records_early_ones(project, ledger, pool):
    with project.worker("-P", pool, "-c", "2" if pool != "solo" else "1") as worker:
        names = ["late", "early"] if pool != "solo" else ["late"]
        ids = [send(project, f"print({name}.delay(40).id)")[0] for name in names]
        wait_until(lambda: set(ids) <= set(ledger.begun))
        worker.send(signal.SIGQUIT)
        worker.wait_for("Cold shutdown")
        assert worker.wait() == 0
    assert sizes(project) == 1
    if len(ids) > 1:
        state = project.python(f"from tasks import app; print(app.AsyncResult({ids[1]!r}).state)")
        assert state.strip() == "FAILURE"


@on("sqlite", "redis")
def test_term_can_be_remapped_to_quit(project, ledger):
    with project.worker("-c", "1", REMAP_SIGTERM="SIGQUIT") as worker:
        started(project, ledger, worker, "print(late.delay(60).id)")
        worker.send(signal.SIGTERM)
        worker.wait_for("Cold shutdown")
        assert worker.wait() == 0
    assert sizes(project) == 1


@on("sqlite", "redis")
def test_soft_shutdown_waits_for_short_tasks_and_exits_as_soon_as_nothing_runs(project, ledger, gate):
    conf = json.dumps({"worker_soft_shutdown_timeout": 40})
    with project.worker("-c", "1", TEST_CONF=conf) as worker:
        (task_id,) = started(project, ledger, worker, f"print(early.delay({str(gate)!r}).id)")
        worker.send(signal.SIGQUIT)
        worker.wait_for("Initiating Soft Shutdown, terminating in 40 seconds")
        gate.touch()
        assert worker.wait(20) == 0
    assert ledger.ended[task_id] == 1


def test_soft_shutdown_gives_back_what_runs_longer(project, ledger):
    conf = json.dumps({"worker_soft_shutdown_timeout": 0.5})
    with project.worker("-c", "1", TEST_CONF=conf) as worker:
        started(project, ledger, worker, "print(late.delay(60).id)")
        worker.send(signal.SIGQUIT)
        assert worker.wait(20) == 0
    assert sizes(project) == 1


def test_the_grace_time_requeues_what_runs_longer(project, ledger):
    conf = json.dumps({"worker_shutdown_grace": 0.5})
    with project.worker("-c", "1", TEST_CONF=conf) as worker:
        started(project, ledger, worker, "print(late.delay(60).id)")
        worker.send(signal.SIGTERM)
        assert worker.wait(20) == 0
    assert sizes(project) == 1


def test_a_stopped_worker_is_fenced_and_goes_on(project, ledger, gate):
    conf = json.dumps({"broker_transport_options": {"lease": 1.0}})
    with (
        project.worker("-n", "a@h", "-c", "1", TEST_CONF=conf) as stalled,
        project.worker("-n", "b@h", "-c", "2", ready=False, TEST_CONF=conf) as other,
    ):
        other.wait_for(r"ready\.")
        os.kill(other.pid, signal.SIGSTOP)  # for less than its lease: the other one shall get the task
        (task_id,) = send(project, f"print(late.delay({str(gate)!r}).id)", TEST_CONF=conf)
        wait_until(lambda: task_id in ledger.begun)
        stalled.send(signal.SIGSTOP)
        os.kill(other.pid, signal.SIGCONT)
        wait_until(lambda: ledger.begun[task_id] == 2)  # taken over while it runs
        stalled.send(signal.SIGCONT)
        stalled.wait_for("This worker was cut off")
        gate.touch()
        ledger.wait_for([task_id])
        more = send(project, "print(*[late.delay(0.2).id for _ in range(10)])", TEST_CONF=conf)
        ledger.wait_for(more)
        assert all(ledger.begun[task_id] == 1 for task_id in more)


@on("sqlite", "redis")
def test_usr1_shows_the_stacks(project, ledger):
    with project.worker("-c", "1") as worker:
        worker.send(signal.SIGUSR1)
        worker.wait_for("MainThread")


@on("sqlite", "redis")
def test_hup_restarts_the_worker(project, ledger):
    with project.worker("-c", "1") as worker:
        worker.send(signal.SIGHUP)
        worker.wait_for(r"ready\.[\s\S]*ready\.")
        (task_id,) = send(project, "print(early.delay().id)")
        ledger.wait_for([task_id])
