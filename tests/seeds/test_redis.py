"""The seeds' examples that need a Redis."""

from __future__ import annotations

import json

TASKS = """
import json, os
from celery import Celery
app = Celery("tasks", backend=os.environ["RESULTS"], broker=os.environ["BROKER"])
app.conf.broker_transport_options = json.loads(os.environ.get("OPTIONS", "{}"))

@app.task
def add(x, y):
    return x + y

@app.task
def note(n):
    app.backend.client.rpush("order", n)
"""


def test_redis_results_with_a_rabbitmq_broker(project, redis_url, amqp_url):
    """3-A7"""
    project.write("tasks.py", TASKS)
    project.env |= {"RESULTS": redis_url, "BROKER": amqp_url.replace("amqp://", "pyamqp://")}
    with project.worker():
        assert project.python("from tasks import add; print(add.delay(4, 4).get(timeout=30))").strip() == "8"


def test_redis_priorities(project, redis_url, redis_server):
    """3-R7: ten lists, 0 first."""
    project.write("tasks.py", TASKS)
    options = {"priority_steps": list(range(10)), "queue_order_strategy": "priority"}
    project.env |= {"RESULTS": redis_url, "BROKER": redis_url, "OPTIONS": json.dumps(options)}
    project.python("from tasks import note; [note.apply_async((9 - n,), priority=9 - n) for n in range(10)]")
    lists = redis_server.cli("KEYS", "celery*").splitlines()
    assert sorted(lists) == ["celery", *(f"celery\x06\x16{step}" for step in range(1, 10))]
    with project.worker("-c", "1") as worker:
        worker.wait_for(r"note\[.*\] succeeded")
        project.python(
            "import time; from tasks import app\nwhile app.backend.client.llen('order') < 10: time.sleep(0.05)"
        )
    assert redis_server.cli("LRANGE", "order", 0, -1).split() == [str(n) for n in range(10)]
