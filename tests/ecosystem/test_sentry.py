"""Sentry: spans of sending, publishing and running in one trace, and errors, as with Celery."""

from __future__ import annotations

from collections import Counter

import pytest

from .sides import Side

pytestmark = pytest.mark.timeout(400)

RUNS = {"add": 7, "again": 2, "custom": 1, "expected": 1, "fail": 1, "total": 1}


def check(items: list) -> None:
    transactions = [item for kind, item in items if kind == "transaction"]
    by_name = Counter(one["transaction"].removeprefix("sentry_tasks.") for one in transactions)
    assert by_name == {**RUNS, "shop": 1}
    assert len({one["contexts"]["trace"]["trace_id"] for one in transactions}) == 1
    spans = {span["span_id"]: span for one in transactions for span in one["spans"]}
    for one in transactions:
        trace, name = one["contexts"]["trace"], one["transaction"]
        if name == "shop":
            continue
        assert trace["op"] == "queue.task.celery"
        assert spans[trace["parent_span_id"]]["op"] == "queue.submit.celery"
        (process,) = [span for span in one["spans"] if span["op"] == "queue.process"]
        assert process["data"]["messaging.destination.name"] == "celery"
        assert process["data"]["messaging.message.id"] == one["tags"]["celery_task_id"]
        assert process["data"]["messaging.message.receive.latency"] > 0
    published = [span for span in spans.values() if span["op"] == "queue.publish"]
    assert Counter(span["description"].removeprefix("sentry_tasks.") for span in published) == {
        name: count for name, count in RUNS.items() if name != "total"
    } | {"total": 1}
    for span in published:
        assert spans[span["parent_span_id"]]["op"] == "queue.submit.celery"
        assert span["data"]["messaging.destination.name"] == "celery"
    statuses = {(one["transaction"], one["contexts"]["trace"].get("status")) for one in transactions}
    assert ("sentry_tasks.fail", "internal_error") in statuses
    assert {("sentry_tasks.again", "aborted"), ("sentry_tasks.again", "ok")} <= statuses
    ((_, error),) = [item for item in items if item[0] == "event"]
    (value,) = error["exception"]["values"]
    assert (value["type"], value["value"]) == ("ValueError", "broken")
    assert value["mechanism"] == {"type": "celery", "handled": False}
    assert error["transaction"] == "sentry_tasks.fail"


def test_a_program_and_its_worker(side: Side, broker, collector):
    env = broker | {"SENTRY_DSN": f"http://key@127.0.0.1:{collector.server_port}/1"}
    with side.worker("sentry_tasks", **env):
        out = side.run("sentry_tasks", **env)
    assert "[5, 40, 'yes', ValueError('broken'), KeyError('expected')]" in out
    check(collector.sentry_items())


def test_the_embedded_broker(tmp_path, collector):
    side, url = Side("celeriac", "usual", tmp_path), f"sqlite:///{tmp_path}/store.db"
    env = {"BROKER": url, "BACKEND": url} | {"SENTRY_DSN": f"http://key@127.0.0.1:{collector.server_port}/1"}
    with side.worker("sentry_tasks", **env):
        side.run("sentry_tasks", **env)
    check(collector.sentry_items())


def test_children_that_end_send_what_they_hold(side: Side, broker, collector):
    env = broker | {"SENTRY_DSN": f"http://key@127.0.0.1:{collector.server_port}/1"}
    call = "import sentry_tasks as s; [s.fail.delay('x').get(propagate=False, timeout=30) for _ in range(3)]"
    with side.worker("sentry_tasks", "--max-tasks-per-child", "1", **env):
        side.command("python", "-c", call, **env)
    kinds = Counter(
        kind for kind, item in collector.sentry_items() if item.get("transaction") == "sentry_tasks.fail"
    )
    assert kinds == {"event": 3, "transaction": 3}
