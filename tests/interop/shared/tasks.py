"""The project of a mixed fleet: loaded by the real Celery and by ours alike.

The environment says where it is: `BROKER`, `RESULTS`, and `CONF` (JSON), further settings. `SIDE` says who runs it.
"""

import json
import os
import time

from celery import Celery
from celery.exceptions import Ignore, Reject

SIDE = os.environ["SIDE"]

app = Celery("mixed", broker=os.environ["BROKER"], backend=os.environ.get("RESULTS"))
app.conf.update(
    broker_connection_retry_on_startup=True,
    accept_content=["json", "pickle", "yaml", "msgpack"],
    result_accept_content=["json", "pickle", "yaml", "msgpack"],
    **json.loads(os.environ.get("CONF", "{}")),
)


class Trouble(Exception):
    """An exception of the user's."""

    class Nested(Exception):
        """One inside another class."""


class Awkward(Exception):
    """Its constructor does not take what `args` hold."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code


RAISED = {
    "builtin": lambda: ValueError("boom", 7),
    "user": lambda: Trouble("mine", {"a": [1, None]}),
    "nested": lambda: Trouble.Nested("deep"),
    "awkward": lambda: Awkward(5, "five"),
    "unserializable": lambda: RuntimeError("holds", object),
    "unicode": lambda: KeyError("schlüssel \U0001f511"),
}


@app.task
def add(x, y):
    return x + y


@app.task
def echo(*args, **kwargs):
    return [list(args), kwargs]


@app.task
def nap(seconds):
    time.sleep(seconds)


@app.task
def total(values):
    return sum(values)


@app.task
def fragile(x):
    """Fail as long as there is a key `broken`."""
    if app.backend.client.exists("broken"):
        raise ValueError("broken")
    return x


@app.task
def counted(label):
    """Say who ran this."""
    app.backend.client.rpush("runs", f"{SIDE}:{label}")
    return SIDE


@app.task(acks_late=True)
def held(label):
    """As `counted`; takes its time where `HOLD` (seconds) says so."""
    counted(label)
    time.sleep(float(os.environ.get("HOLD", "0")))


@app.task
def ended(values, label):
    """The body of a chord."""
    app.backend.client.rpush("bodies", label)
    return values


@app.task
def clock():
    return time.time()


@app.task
def kept(value, key):
    """`note`, with the value of the task before."""
    note(key, value)


@app.task
def who(*args):
    return SIDE


@app.task(bind=True)
def context(self):
    """What the message said."""
    request = self.request
    return {
        "id": request.id,
        "root_id": request.root_id,
        "parent_id": request.parent_id,
        "retries": request.retries,
        "priority": (request.delivery_info or {}).get("priority"),
        "timelimit": request.timelimit,
        "ignore_result": request.ignore_result,
        "shadow": request.shadow,
        "side": SIDE,
    }


@app.task
def fail(kind):
    raise RAISED[kind]()


@app.task(bind=True, max_retries=3, default_retry_delay=0)
def retried(self, times, **options):
    """Retry so often, then say by whom it was run."""
    path = self.request.root_id
    app.backend.client.rpush(f"runs:{path}", SIDE)
    if self.request.retries < times:
        raise self.retry(countdown=options.get("countdown", 0))
    return [self.request.retries, SIDE]


@app.task(bind=True)
def parent(self):
    """Call two others."""
    return [add.delay(1, 1).id, add.delay(2, 2).id]


@app.task(ignore_result=True)
def forgotten(key):
    note(key)


@app.task
def note(key, *args):
    """Leave a trace that does not need a result store."""
    app.backend.client.rpush(f"note:{key}", json.dumps([SIDE, list(args)]))


@app.task
def noted_error(request, exc, traceback):
    """An errback of the new style."""
    app.backend.client.rpush("errbacks", json.dumps([SIDE, request.id, repr(exc)]))


@app.task
def noted_failure(uuid):
    """An errback of the old style, signed as immutable by those who link it."""
    app.backend.client.rpush("errbacks", json.dumps([SIDE, uuid, None]))


@app.task
def ignored():
    raise Ignore


@app.task(acks_late=True)
def rejected():
    raise Reject("no", requeue=False)


@app.task(bind=True)
def reporting(self):
    """Report progress on the way."""
    self.update_state(state="PROGRESS", meta={"done": 1})
    return "reported"


@app.task(bind=True, max_retries=3)
def again(self):
    """Run twice."""
    if not self.request.retries:
        raise self.retry(exc=KeyError("k"), countdown=0)
