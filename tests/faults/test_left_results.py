"""Whoever dies, or is away, between the end of a task and the storing of its result by the worker's core."""

from __future__ import annotations

import json
import os
import signal

import pytest

from celery import Celery
from tests.faults.conftest import LEASE
from tests.faults.ledger import TASKS, Ledger, send
from tests.support import wait_until

#: Comes to its end at once, unless it finds a gate: then it waits until that is gone.
GATED = """
@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def brief(self, gate=""):
    note("begin", self)
    while gate and os.path.exists(gate):
        time.sleep(0.005)
    note("end", self)
    return self.request.id

@app.task(bind=True)
def early_brief(self, gate=""):
    return brief.run.__func__(self, gate)
"""


@pytest.fixture
def ledger(project, redis_url, private_redis):
    project.write("tasks.py", TASKS + GATED)
    project.env |= {
        "CELERY_BROKER_URL": redis_url,
        "CELERY_RESULT_BACKEND": private_redis.url,
        "CELERY_BROKER_TRANSPORT_OPTIONS": json.dumps({"lease": LEASE}),
    }
    return Ledger(project)


@pytest.fixture
def results(private_redis):
    return Celery("t", broker="memory://", backend=private_redis.url, set_as_current=False)


def warm_up(project, ledger, task="brief", count=200):
    """Have the worker learn that these tasks are brief."""
    ledger.wait_for(send(project, f"print(*[{task}.delay().id for _ in range({count})])"))


def values(results, ids):
    metas = results.backend.get_task_metas(ids)
    return [metas[task_id]["result"] for task_id in ids]


def test_a_child_killed_after_its_tasks_ended_repeats_none(project, ledger, results, private_redis):
    """Their results are with the core, which cannot store them yet."""
    with project.worker("-c", "1") as worker:
        warm_up(project, ledger)
        ids = send(project, "print(*[r.id for r in app.send_many(brief, [()] * 3000)])")
        wait_until(lambda: len(set(ids) & set(ledger.ended)) > 100)
        private_redis.kill()
        worker.wait_for("The result store does not answer")
        os.kill(ledger.pid_of(next(iter(ledger.ended))), signal.SIGKILL)
        private_redis.start()
        ledger.wait_for(ids)
        wait_until(lambda: values(results, ids) == ids, 40)
    again = sum(count - 1 for count in ledger.begun.values())
    assert again <= 1, "only what it ran, or stored itself, runs again"


def test_a_worker_killed_before_results_are_stored_loses_none(project, ledger, results, private_redis):
    """Nothing was acknowledged whose result is not stored; how much ends unstored is bounded."""
    with project.worker("-c", "2", "-n", "a@h") as worker:
        warm_up(project, ledger)
        private_redis.kill()
        ids = send(project, "print(*[r.id for r in app.send_many(brief, [()] * 3000)])")
        worker.wait_for("The result store does not answer")
        with project.worker("-c", "2", "-n", "b@h", "-Q", "other"):
            worker.send(signal.SIGKILL)
            worker.wait()
            unstored = len(set(ids) & set(ledger.ended))
    assert unstored < 1500, "tasks go on although their results cannot be stored"
    private_redis.start()
    with project.worker("-c", "2", "-n", "c@h"):
        wait_until(lambda: values(results, ids) == ids, 40)


@pytest.mark.parametrize("pool", ["threads", "solo", "asyncio", "prefork"])
@pytest.mark.parametrize("task", ["brief", "early_brief"])
def test_a_stalled_task_delays_no_other_result(project, ledger, results, pool, task):
    """Not even where it was known to be brief, and so was handed over together with others."""
    with project.worker("-c", "1" if pool in ("solo", "prefork") else "2", "-P", pool):
        warm_up(project, ledger, task)
        gate = project.write("gate", "")
        try:
            before, (stalled,), after = (
                part.split()
                for part in project.python(f"""
                    from tasks import app, {task}
                    for given in ([()] * 30, [({str(gate)!r},)], [()] * 30):
                        print(*[r.id for r in app.send_many({task}, given)])
                """).splitlines()
            )
            done = before if pool in ("solo", "prefork") else before + after
            wait_until(lambda: stalled in ledger.begun)
            wait_until(lambda: values(results, done) == done)
            assert results.AsyncResult(stalled).state == "PENDING"
        finally:
            gate.unlink()
        wait_until(lambda: values(results, [stalled, *after]) == [stalled, *after])
    assert set(ledger.begun.values()) == {1}


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_results_that_are_messages_are_left_too(project, redis_url, pool):
    project.write("tasks.py", TASKS + GATED)
    project.env |= {"CELERY_BROKER_URL": redis_url, "CELERY_RESULT_BACKEND": "rpc://"}
    with project.worker("-c", "2", "-P", pool):
        project.python("""
            from tasks import app, brief
            for _ in range(3):
                results = app.send_many(brief, [()] * 300)
                assert [one.get(timeout=30) for one in results] == [one.id for one in results]
        """)


@pytest.mark.parametrize("pool", ["threads", "solo", "asyncio", "prefork"])
def test_nobody_waits_for_what_could_not_be_stored_before_a_cold_end(
    project, ledger, results, private_redis, pool
):
    """Tasks that were acknowledged early have ended, and the store hangs: whoever comes next says that they are lost."""
    with project.worker("-P", pool, "-c", "2", "-n", "a@h") as worker:
        first = send(project, "print(*[r.id for r in app.send_many(early_brief, [()] * 20)])")
        wait_until(lambda: values(results, first) == first)  # else no more are begun
        private_redis.freeze()
        ids = send(project, "print(*[r.id for r in app.send_many(early_brief, [()] * 20)])")
        wait_until(lambda: set(ids) & set(ledger.ended))
        worker.send(signal.SIGQUIT)
        worker.wait_for("left to the next worker")
        worker.wait()
    private_redis.thaw()
    with project.worker("-P", pool, "-c", "2", "-n", "b@h"):
        wait_until(lambda: all(told(results, ids)), 40, lambda: str(told(results, ids)))


def told(results, ids):
    """By id, whether its value, or that it was lost, is stored."""
    metas = results.backend.get_task_metas(ids)
    return [
        meta["status"] == "SUCCESS" or (meta["status"] == "FAILURE" and "WorkerLost" in repr(meta["result"]))
        for meta in metas.values()
    ]
