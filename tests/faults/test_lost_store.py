"""Promise 6: a worker whose result store is gone for good ends when it is told to, and gives back what it can."""

from __future__ import annotations

import json
import signal

import pytest

from celery import Celery
from tests.faults.conftest import LEASE
from tests.faults.ledger import TASKS, Ledger, send
from tests.support import wait_until

POOLS = ("prefork", "threads", "solo", "asyncio")


@pytest.fixture
def ledger(project, private_redis):
    project.write("tasks.py", TASKS)
    project.env |= {
        "CELERY_BROKER_URL": private_redis.url,
        "CELERY_RESULT_BACKEND": private_redis.url,
        "CELERY_BROKER_TRANSPORT_OPTIONS": json.dumps({"lease": LEASE}),
    }
    return Ledger(project)


@pytest.mark.parametrize("pool", POOLS)
def test_an_idle_worker_without_its_servers_ends(project, ledger, private_redis, pool):
    with project.worker("-c", "1", "-P", pool) as worker:
        private_redis.kill()
        worker.wait_for("The result store does not answer")  # it looks for chords that are due
        worker.send(signal.SIGTERM)
        assert worker.wait(60) == 0


@pytest.mark.parametrize(
    ("pool", "count"), [*((pool, 1) for pool in POOLS), ("prefork", 20), ("threads", 20)]
)
def test_results_are_not_waited_for_without_end(project, ledger, private_redis, redis_url, pool, count):
    """Their tasks go back to the queue, and run again when the store is there."""
    project.env["CELERY_BROKER_URL"] = redis_url
    gate = project.path / "gate"
    with project.worker("-c", "1", "-P", pool) as worker:
        ids = send(project, f"print(*[late.delay({str(gate)!r}).id for _ in range({count})])")
        wait_until(lambda: ledger.begun)
        private_redis.kill()
        gate.touch()
        worker.wait_for("The result store does not answer")
        worker.send(signal.SIGTERM)
        assert worker.wait(60) == 0
    private_redis.start()
    results = Celery("t", broker="memory://", backend=private_redis.url, set_as_current=False)
    with project.worker("-c", "1", "-P", pool):
        wait_until(lambda: [results.AsyncResult(task_id).result for task_id in ids] == ids, 40)
