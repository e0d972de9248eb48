"""The tasks of random workflows, for either Celery; what was called is written down where the test can read it."""

import json
import os

import redis
from tests.canvas.tasks import add_tasks

from celery import Celery

SIDE = os.environ["SIDE"]


class Log:
    """What was called, by run, in a Redis."""

    def __init__(self, client):
        self._client = client

    def call(self, label, args):
        run, _, label = label.rpartition(":")
        self._client.rpush(f"calls {run}", json.dumps([label, args]))
        self._client.hincrby("sides", SIDE, 1)

    def error(self, label):
        run, _, label = label.rpartition(":")
        self._client.rpush(f"errors {run}", label)


app = Celery("canvas", broker=os.environ["BROKER"], backend=os.environ["RESULTS"])
app.conf.broker_connection_retry_on_startup = True
add_tasks(app, Log(redis.Redis.from_url(os.environ["RESULTS"])))
