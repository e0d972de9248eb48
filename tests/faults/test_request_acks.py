"""A request class of the user's that acknowledges while its task runs."""

from __future__ import annotations

import os
import signal

import pytest

from tests.faults.ledger import TASKS, Ledger, send
from tests.support import wait_until

ACKNOWLEDGING = """
from celery import Task
from celery.worker.request import Request


class AtOnce(Request):
    def on_accepted(self, pid, at):
        super().on_accepted(pid, at)
        while Path(LEDGER).with_name("hold").exists():
            time.sleep(0.005)
        self.acknowledge()
        Path(LEDGER).with_name("told").touch()


class Own(Task):
    Request = "tasks:AtOnce"


@app.task(bind=True, base=Own, acks_late=True, reject_on_worker_lost=True)
def gated(self, gate):
    note("begin", self)
    while os.path.exists(gate):
        time.sleep(0.005)
    note("end", self)
    return self.request.id
"""


@pytest.fixture
def ledger(project):
    project.write("tasks.py", TASKS + ACKNOWLEDGING)
    return Ledger(project)


@pytest.mark.parametrize("killed", [False, True])
def test_the_result_is_stored_and_nothing_runs_twice(project, site, ledger, killed):
    gate = project.write("gate", "")
    with project.worker("-c", "1"):
        (task_id,) = send(project, f"print(gated.delay({str(gate)!r}).id)")
        wait_until(lambda: task_id in ledger.begun and (project.path / "told").exists())
        if killed:
            os.kill(ledger.pid_of(task_id), signal.SIGKILL)
        gate.unlink()
        state = project.python(f"""
            from tasks import app
            result = app.AsyncResult({task_id!r})
            result.get(timeout=20, propagate=False)
            print(result.state)
        """).strip()
        assert state == ("FAILURE" if killed else "SUCCESS")
    assert ledger.begun[task_id] == 1


def test_a_broker_that_is_gone_for_good_is_not_waited_for(project, private_redis, ledger):
    project.env |= {
        "CELERY_BROKER_URL": private_redis.url,
        "CELERY_RESULT_BACKEND": f"sqlite:///{project.path}/results.db",
    }
    gate, hold = project.write("gate", ""), project.write("hold", "")
    with project.worker("-c", "1") as worker:
        (task_id,) = send(project, f"print(gated.delay({str(gate)!r}).id)")
        wait_until(lambda: task_id in ledger.begun)
        private_redis.kill()
        worker.wait_for("Connection to broker lost")
        hold.unlink()
        wait_until(lambda: (project.path / "told").exists())
        gate.unlink()
        wait_until(lambda: task_id in ledger.ended)
        worker.send(signal.SIGTERM)
        assert worker.wait(40) == 0
