"""Producers delay natively where Celery's do, and nowhere where it would bring a task to other queues, too."""

from __future__ import annotations

import pytest
from tests.faults.ledger import Ledger
from tests.support import wait_until

TASKS = """
import os
from pathlib import Path
from kombu import Exchange, Queue
from celery import Celery

app = Celery("tasks", broker=os.environ["CELERY_BROKER_URL"])
QUORUM = {"x-queue-type": "quorum"}
app.conf.task_queues = [
    Queue("a", Exchange("a", "topic"), routing_key="same", queue_arguments=QUORUM),
    Queue("b", Exchange("b", "topic"), routing_key="same", queue_arguments=QUORUM),
    Queue("c", Exchange("c", "topic"), routing_key="c.#", queue_arguments=QUORUM),
    Queue("d", Exchange("d", "direct"), routing_key="d", queue_arguments=QUORUM),
    Queue("e", Exchange("e", "topic"), routing_key="e"),
    Queue("f", Exchange("f", "fanout"), routing_key="f"),
]
app.conf.task_default_queue = "a"
app.conf.task_ignore_result = True
LEDGER = str(Path(__file__).with_name("ledger.txt"))

@app.task(bind=True)
def seen(self, due=0.0):
    where = self.request.delivery_info
    fd = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"end {self.request.id} {where['exchange'] or '-'} {where['routing_key']}\\n".encode())
    os.close(fd)
    if self.request.retries == 0 and due:
        raise self.retry(countdown=1, args=())
"""
CALLS = """
from tasks import *
for queue in "abcdef":
    print(seen.apply_async(queue=queue, countdown=COUNTDOWN).id)
print(seen.apply_async(exchange="c", routing_key="c.x.y", countdown=COUNTDOWN).id)
"""


@pytest.fixture
def shop(project, amqp_url):
    project.write("tasks.py", TASKS)
    project.env["CELERY_BROKER_URL"] = amqp_url
    return project


def test_where_they_are_delayed_natively(shop):
    """Without any worker: what is not delayed natively is in its queue."""
    shop.python(CALLS.replace("COUNTDOWN", "300"))
    sizes = shop.python("""
        from tasks import app
        broker = app.broker_for_read()
        print(*[broker.size(queue) for queue in "abcdef"], broker.size("celery_delayed_8"))
    """)
    assert sizes.split() == ["1", "1", "0", "1", "0", "0", "4"]


def test_each_runs_once_when_it_is_due(shop):
    ledger = Ledger(shop)
    with shop.worker("-Q", "a,b,c,d,e,f"):
        ids = shop.python(CALLS.replace("COUNTDOWN", "3")).split()
        ids += shop.python("from tasks import *; print(seen.apply_async((1.0,), queue='c').id)").split()
        ledger.wait_for(ids)
        wait_until(lambda: ledger.ended[ids[-1]] == 2)
    assert set(ledger.ended.values()) == {1, 2}
    where = {line[1]: line[2:] for line in ledger.lines()}
    assert where[ids[6]] == ["c", "c.x.y"], "as it was sent"
    assert where[ids[4]] == ["e", "e"]
