"""Events between the two Celeries: each kind of receiver hears each kind of worker, in the same words."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.interop.conftest import NAMES, SHARED
from tests.interop.sides import Side

pytestmark = pytest.mark.timeout(120)

LISTEN = """
    import json, threading, time
    import tasks
    from tasks import add, again, app, fail, ignored, rejected

    app.conf.task_send_sent_event = True
    heard, state = [], app.events.State()

    def on(event):
        copy = dict(event)  # Celery's State takes things out of it
        state.event(event)
        heard.append(copy)

    def until(condition):
        deadline = time.time() + 30
        while not condition():
            assert time.time() < deadline, [(e["type"], e.get("uuid")) for e in heard]
            time.sleep(0.02)

    def has(kind, uuid=None):
        return [e for e in list(heard) if e["type"] == kind and (uuid is None or e["uuid"] == uuid)]

    receiver = app.events.Receiver(app.connection(), handlers={"*": on})
    threading.Thread(target=receiver.capture, daemon=True).start()
    until(lambda: has("worker-heartbeat"))
    ids = {
        "add": add.apply_async((2, 3), expires=600).id,
        "fail": fail.delay("builtin").id,
        "retried": again.delay().id,
        "ignored": ignored.delay().id,
        "rejected": rejected.delay().id,
    }
    ends = {"add": "succeeded", "fail": "failed", "retried": "succeeded", "ignored": "started", "rejected": "rejected"}
    for name, kind in ends.items():
        until(lambda: has("task-" + kind, ids[name]))
        until(lambda: has("task-sent", ids[name]))
    until(lambda: len(has("worker-heartbeat")) > 2)
    (worker,) = state.alive_workers()
    task = state.tasks[ids["add"]]
    print(json.dumps({
        "stories": {name: sorted({e["type"] for e in heard if e.get("uuid") == task_id}) for name, task_id in ids.items()},
        "fields": {e["type"]: list(e) for e in heard if e["hostname"] == worker.hostname},
        "states": {name: state.tasks[task_id].state for name, task_id in ids.items()},
        "add": [task.name, task.args, task.kwargs, task.result, task.retries, task.eta, task.client == has("task-sent")[0]["hostname"]],
        "failure": [state.tasks[ids["fail"]].exception, "Traceback" in state.tasks[ids["fail"]].traceback],
        "worker": [worker.hostname, worker.freq, worker.sw_ident, worker.sw_ver, worker.status_string],
    }))
"""


@pytest.fixture(params=["redis", "rabbitmq"])
def sides(request, stock_celery, tmp_path):
    url = request.getfixturevalue({"redis": "redis_url", "rabbitmq": "amqp_url"}[request.param])
    env = {"BROKER": url, "RESULTS": "cache+memory://", "PYTHONPATH": str(SHARED)}
    return {
        "ours": Side("ours", Path(sys.executable), tmp_path, env),
        "stock": Side("stock", stock_celery.python, tmp_path, env),
    }


def fields(heard):
    """Of each type of event, whatever a receiver and its `State` add to it."""
    found = {kind: set(names) - {"local_received", "requeued"} for kind, names in heard["fields"].items()}
    return {kind: names for kind, names in found.items() if kind != "worker-online"}


def test_each_hears_each(sides):
    heard = {}
    for works in NAMES:
        with sides[works].worker("-E", "-n", f"{works}@h"):
            for listens in NAMES:
                heard[listens, works] = sides[listens].json(LISTEN)
    for (listens, works), told in heard.items():
        assert told["add"] == ["tasks.add", "(2, 3)", "{}", "5", 0, None, True], (listens, works)
        assert told["failure"] == ["ValueError('boom', 7)", True]
        assert told["worker"] == [f"{works}@h", 2.0, "py-celery", "5.7.0", "ONLINE"]
        assert told["states"]["add"] == "SUCCESS"
        assert told["states"]["fail"] == "FAILURE"
    stories = {pair: told["stories"] for pair, told in heard.items()}
    for told in stories.values():  # a stock worker reports what a task rejects as failed, too
        told["rejected"] = [kind for kind in told["rejected"] if kind != "task-failed"]
    for story in stories.values():
        assert story == stories["stock", "stock"], json.dumps(stories, indent=1)
    for (listens, _), told in heard.items():
        assert fields(told) == fields(heard[listens, "stock"])
