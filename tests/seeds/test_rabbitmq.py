"""The seeds' examples that need a RabbitMQ."""

from __future__ import annotations

import json

TASKS = """
import os
from celery import Celery, maybe_signature
from kombu import Exchange, Queue

app = Celery("tasks", backend=os.environ["RESULTS"], broker=os.environ["BROKER"])
app.conf.task_queues = [
    Queue("celery", Exchange("celery"), routing_key="celery"),
    Queue("images", Exchange("media", type="topic"), routing_key="media.images.#", max_priority=10),
]
app.conf.accept_content = ["json", "pickle"]

@app.task(bind=True)
def add(self, x, y):
    info = self.request.delivery_info
    return [x + y, info["exchange"], info["routing_key"], info["priority"]]

@app.task
def tsum(numbers):
    return sum(number for number, *_ in numbers)

@app.task(bind=True, serializer="pickle")
def unlock_chord(self, group, callback, interval=1, max_retries=None):
    if group.ready():
        return maybe_signature(callback).delay(group.join()).id
    raise self.retry(countdown=interval, max_retries=max_retries)
"""


def test_routing_options_and_polling(project, redis_url, amqp_url):
    """3-K16, 3-V28"""
    project.write("tasks.py", TASKS)
    project.env |= {"RESULTS": redis_url, "BROKER": amqp_url}
    with project.worker():
        said = project.python(
            """
            import json
            from celery import group
            from tasks import *
            through = add.apply_async((2, 2), exchange='media', routing_key='media.images.png', priority=255)
            parts = group(add.s(n, n) for n in range(3))()
            body = unlock_chord.delay(parts, tsum.s()).get(timeout=30)
            print(json.dumps([through.get(timeout=30), app.AsyncResult(body).get(timeout=30)]))
            """
        )
    assert json.loads(said) == [[4, "media", "media.images.png", 255], 6]
