"""What a worker's core holds in memory, counted in modules: bytes and seconds are for `benchmarks/`."""

from __future__ import annotations

import json
import re

import pytest

TASKS = """
import json, os, sys
from celery import Celery, signals

app = Celery("tasks")
app.conf.broker_url = os.environ.get("BROKER") or None
shared = set()
os.register_at_fork(before=lambda: shared.update(sys.modules))

@app.task
def nothing():
    pass

@signals.worker_ready.connect
def tell(sender, **kwargs):
    loaded = set(sys.modules)
    figures = {"loaded": sorted(loaded), "late": sorted(loaded - shared)}
    print("FOOTPRINT", json.dumps(figures), file=sys.__stdout__, flush=True)
"""
#: What workers of no broker need that is tested here.
UNWANTED = {
    *(
        "hashlib",
        "_hashlib",
        "hmac",
        "secrets",
        "sysconfig",
        "zoneinfo",
        "tempfile",
        "email",
        "http",
        "http.client",
    ),
    *("kombu", "billiard", "amqp", "vine", "redis", "sqlalchemy", "celery.bootsteps", "celery.worker.steps"),
}
#: Our own modules that a core may hold, with those of its driver. Think twice before you raise it.
AT_MOST = 310


@pytest.fixture(params=["embedded", "redis", "rabbitmq"])
def footprint(request, project):
    fixture = {"redis": "redis_url", "rabbitmq": "amqp_url"}.get(request.param)
    project.env["BROKER"] = request.getfixturevalue(fixture) if fixture else ""
    project.write("tasks.py", TASKS)
    with project.worker("-c", "1") as worker:
        worker.wait_for("FOOTPRINT .*\n")
    return json.loads(re.search("FOOTPRINT (.*)", worker.output)[1])


def test_children_share_what_the_core_loads(footprint):
    assert footprint["late"] == []


def test_it_loads_what_it_uses(footprint):
    loaded = set(footprint["loaded"])
    assert loaded & UNWANTED == set()
    assert len({name for name in loaded if name.partition(".")[0] == "celery"}) <= AT_MOST
