"""`worker_cancel_long_running_tasks_on_connection_loss`, with a link that is cut."""

from __future__ import annotations

import json

import pytest
from tests.faults.ledger import TASKS, Ledger, send
from tests.servers.proxy import Proxy
from tests.support import wait_until


@pytest.mark.parametrize("asked", [True, False])
def test_a_running_late_task_is_cancelled_and_runs_again(project, redis_server, asked):
    project.write("tasks.py", TASKS)
    ledger = Ledger(project)
    conf = json.dumps({"worker_cancel_long_running_tasks_on_connection_loss": asked})
    with Proxy(redis_server.port) as proxy:
        env = {
            "TEST_CONF": conf,
            "CELERY_BROKER_URL": f"redis://127.0.0.1:{proxy.port}/7",
            "CELERY_RESULT_BACKEND": f"{redis_server.database(7)}",
        }
        with project.worker("-c", "2", **env) as worker:
            late, early = send(project, "print(late.delay(6).id, early.delay(6).id)", **env)
            wait_until(lambda: {late, early} <= set(ledger.begun))
            proxy.cut()
            if asked:
                worker.wait_for(f"{late}. is cancelled: the broker is away")
            ledger.wait_for([late, early])
        assert ledger.begun == {late: 1 + asked, early: 1}
