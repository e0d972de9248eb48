"""A worker that was stopped for longer than its lease is dead to the others: what it says later changes nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest

from tests.faults.conftest import on
from tests.faults.ledger import Ledger, send
from tests.support import wait_until

#: The first to run a task waits at the gate, and is stopped there; whoever runs it after that fails.
TASKS = """
import json, os, time
from pathlib import Path

from celery import Celery

app = Celery("tasks")
app.conf.update(json.loads(os.environ.get("TEST_CONF", "{}")))
LEDGER = str(Path(__file__).with_name("ledger.txt"))


def note(kind, task):
    line = f"{kind} {task.request.id} {os.getpid()} {time.time()}\\n".encode()
    fd = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, line)
    os.close(fd)


def run(task, how="return"):
    note("begin", task)
    here = Path(__file__).parent
    if (here / "gate").exists():
        raise ValueError("the survivor's outcome")
    while not (here / "gate").exists():
        time.sleep(0.01)
    note("end", task)
    if how == "progress":
        task.update_state(state="PROGRESS", meta="late")
    if how == "retry":
        raise task.retry(countdown=0)
    return "too late"


@app.task(bind=True)
def early(self, how="return"):
    return run(self, how)


@app.task(bind=True, acks_late=True)
def fails_first(self):
    note("begin", self)
    here = Path(__file__).parent
    try:
        (here / "first").touch(exist_ok=False)
    except FileExistsError:
        while not (here / "second gate").exists():
            time.sleep(0.01)
        return "the survivor's value"
    while not (here / "gate").exists():
        time.sleep(0.01)
    raise ValueError("too late")


@app.task
def same(value):
    return value


@app.task(bind=True)
def told(self, task_id):
    note("told", self)


@app.task(bind=True, acks_late=True, max_retries=1)
def late(self, how="return"):
    return run(self, how)
"""
#: Claims need a broker and a result store in the same place.
pytestmark = on("sqlite", "redis")
CONF = json.dumps({"broker_transport_options": {"lease": 1.0}})


@pytest.fixture
def ledger(project, site, request):
    if site != "sqlite" and "prefork" not in request.node.callspec.params.get("pool", "prefork"):
        pytest.skip("how pools carry claims does not depend on the broker")
    project.write("tasks.py", TASKS)
    return Ledger(project)


def family(pid):
    """The process and all that come from it."""
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from family(int(child))
    yield pid


@contextlib.contextmanager
def stopped(worker):
    """All of a worker's processes are stopped meanwhile."""
    pids = list(family(worker.pid))
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def outcome(project, task_id):
    return project.python(f"""
        from tasks import app
        found = app.AsyncResult({task_id!r})
        print(found.state, repr(found.result))
    """).strip()


def begin(project, ledger, call):
    (task_id,) = send(project, f"print({call}.id)", TEST_CONF=CONF)
    wait_until(lambda: task_id in ledger.begun)
    return task_id


def until_decided(project, task_id, state="FAILURE"):
    wait_until(lambda: outcome(project, task_id).startswith(state))
    return outcome(project, task_id)


@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio"])
def test_a_stopped_workers_success_does_not_replace_the_loss_that_was_recorded(project, ledger, pool):
    with project.worker("-n", "a@h", "-c", "1", "-P", pool, TEST_CONF=CONF) as stalled:
        holder = begin(project, ledger, "early.delay()")
        with project.worker("-n", "b@h", "-c", "1", TEST_CONF=CONF), stopped(stalled):
            recorded = until_decided(project, holder)
            (project.path / "gate").touch()
        assert "WorkerLostError" in recorded
        stalled.wait_for(f"SUCCESS of task {holder} is not stored")
        stalled.wait_for("cut off for longer than its lease")
        assert outcome(project, holder) == recorded
        assert stalled.process.poll() is None


@pytest.mark.parametrize("how", ["return", "progress", "retry"])
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_stopped_workers_outcome_does_not_replace_that_of_the_second_run(project, ledger, pool, how):
    with project.worker("-n", "a@h", "-c", "1", "-P", pool, TEST_CONF=CONF) as stalled:
        task_id = begin(project, ledger, f"late.delay({how!r})")
        with (
            project.worker("-n", "b@h", "-c", "1", TEST_CONF=CONF),
            stopped(stalled),
        ):
            wait_until(lambda: ledger.begun[task_id] == 1)
            (project.path / "gate").touch()
            recorded = until_decided(project, task_id)
        assert "the survivor's outcome" in recorded
        stalled.wait_for(f"of task {task_id} is not stored")
        more = send(project, "print(late.delay().id)", TEST_CONF=CONF)
        wait_until(lambda: outcome(project, more[0]).startswith("FAILURE"))
        assert outcome(project, task_id) == recorded
        assert ledger.begun[task_id] == 2, "a retry of the stopped run was sent"


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_stopped_workers_failure_does_not_reach_what_follows_the_second_run(project, ledger, pool, ignored):
    with project.worker("-n", "a@h", "-c", "1", "-P", pool, TEST_CONF=CONF) as stalled:
        call = f"(fails_first.s().set(ignore_result={ignored}) | same.s()).on_error(told.s()).delay()"
        task_id, last = send(
            project, f"last = {call}; print(last.parent.id, last.id, sep='\\n')", TEST_CONF=CONF
        )
        wait_until(lambda: task_id in ledger.begun)
        with project.worker("-n", "b@h", "-c", "1", TEST_CONF=CONF):
            with stopped(stalled):
                wait_until(lambda: ledger.begun[task_id] == 2)
                (project.path / "gate").touch()
            stalled.wait_for(f"FAILURE of task {last if ignored else task_id} is not stored")
            assert outcome(project, last).startswith("PENDING")
            (project.path / "second gate").touch()
            assert "the survivor's value" in until_decided(project, last, "SUCCESS")
    assert "told" not in (project.path / "ledger.txt").read_text()


def test_a_stopped_worker_that_gets_its_message_again_runs_it_again(project, ledger):
    """Alone, it is its own successor: the result of the run that was cut off is refused, so that run does not count."""
    with project.worker("-n", "a@h", "-c", "2", TEST_CONF=CONF) as worker:
        task_id = begin(project, ledger, "late.delay()")
        with stopped(worker):
            _expire(project)
        worker.wait_for("cut off")
        (project.path / "gate").touch()
        worker.wait_for(f"SUCCESS of task {task_id} is not stored")
        assert "the survivor's outcome" in until_decided(project, task_id)
        assert ledger.begun[task_id] == 2


def _expire(project):
    """Take over what the stopped worker holds, by a worker that wants none of it."""
    with project.worker("-n", "c@h", "-c", "1", "-Q", "other", TEST_CONF=CONF):
        wait_until(
            lambda: (
                project.python(
                    "from tasks import app; print(app.broker_for_read().size('celery'))", TEST_CONF=CONF
                ).split()
                == ["1"]
            )
        )
