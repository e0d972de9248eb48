"""Workflows as their stored results tell of them: while they run, and afterwards."""

from __future__ import annotations

import json
import threading
import uuid
from typing import TYPE_CHECKING

import pytest
from tests.support import wait_until

from celery import Celery, chain, chord, group
from celery.contrib.testing.worker import start_worker
from celery.result import workflow_of

if TYPE_CHECKING:
    from collections.abc import Iterator


class Gate:
    """Holds tasks until it is opened; knows how many wait."""

    def __init__(self) -> None:
        self.waiting = threading.Semaphore(0)
        self.opened = threading.Event()

    def wait(self) -> None:
        self.waiting.release()
        assert self.opened.wait(30)

    def reached(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.waiting.acquire(timeout=30)


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path) -> str:
    return (
        f"sqlite:///{tmp_path}/store.db"
        if request.param == "sqlite"
        else request.getfixturevalue("redis_url")
    )


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.opened.set()


@pytest.fixture
def app(url: str, gate: Gate) -> Iterator[Celery]:
    app = Celery("flows", broker=url, backend=url, set_as_current=False)
    app.conf.update(result_extended=True, task_track_started=True, broker_connection_retry_on_startup=True)

    @app.task(name="add")
    def add(x, y):
        return x + y

    @app.task(name="total")
    def total(values):
        return sum(values)

    @app.task(name="held")
    def held(x):
        gate.wait()
        return x

    @app.task(name="boom")
    def boom(x):
        raise ValueError("no luck")

    with start_worker(app, pool="threads", concurrency=4, perform_ping_check=False, shutdown_timeout=30):
        yield app
        gate.opened.set()


def sig(app, name, *args):
    return app.tasks[name].s(*args)


def ended(result):
    """Wait until the results of all steps are stored: what comes after one is sent before."""
    steps = []
    while result is not None:
        steps += getattr(result, "results", None) or [result]
        result = result.parent
    wait_until(lambda: all(step.ready() for step in steps))


def shape(workflow, at=None):
    """Names, members and what follows, nested."""
    if at is None:
        return [shape(workflow, root) for root in workflow.roots]
    node = workflow.nodes[at]
    members = sorted((shape(workflow, m) for m in node.members), key=repr)
    return (node.name or node.kind, *([members] if members else []), *(shape(workflow, t) for t in node.then))


def test_a_chain(app):
    result = chain(sig(app, "add", 1, 1), sig(app, "add", 2), sig(app, "add", 3)).delay()
    assert result.get(timeout=30) == 7
    ended(result)
    expected = [("add", ("add", ("add",)))]
    for start in (result, result.parent, result.parent.parent):
        found = workflow_of(app.AsyncResult(start.id))
        assert shape(found) == expected
        assert {node.state for node in found.nodes.values()} == {"SUCCESS"}
    assert found.to_tree().splitlines()[1].startswith(f"then add[{result.parent.id}] SUCCESS at ")


@pytest.mark.parametrize("first", [True, False], ids=["at first", "after a step"])
def test_a_chord(app, first):
    flow = group(sig(app, "add", n, *([1] if first else [])) for n in range(3)) | sig(app, "total")
    result = (flow if first else sig(app, "add", 1, 1) | flow).delay()
    assert result.get(timeout=30) == (6 if first else 9)
    ended(result)
    chord_itself = ("group", [("add",)] * 3, ("total",))
    expected = chord_itself if first else ("add", chord_itself)
    for start in (result, result.parent[1], *([] if first else [result.parent.parent])):
        assert shape(workflow_of(app.AsyncResult(start.id))) == [expected]


def test_while_it_runs(app, gate):
    flow = chord([sig(app, "held", 1), sig(app, "add", 2, 3)], sig(app, "total"))
    result = flow.delay()
    header = result.parent
    gate.reached()
    assert header[1].get(timeout=30) == 5
    wait_until(lambda: header[0].state == "STARTED")
    found = workflow_of(app.GroupResult.restore(header.id))
    assert [found.nodes[i].state for i in (header.id, header[0].id, header[1].id, result.id)] == [
        "STARTED",
        "STARTED",
        "SUCCESS",
        "PENDING",
    ]
    first, *lines = found.to_tree().splitlines()
    assert first == f"group[{header.id}] 1 of 2 over"
    assert lines[0].startswith(f"  - held[{header[0].id}] STARTED at ")
    assert lines[-1] == f"then task[{result.id}] PENDING"
    gate.opened.set()
    assert result.get(timeout=30) == 6


def test_a_failure_is_told(app):
    result = chain(sig(app, "boom", 1), sig(app, "add", 2)).delay()
    with pytest.raises(ValueError, match="no luck"):
        result.get(timeout=30)
    node = workflow_of(result).nodes[result.parent.id]
    assert (node.name, node.state, node.info) == ("boom", "FAILURE", "ValueError('no luck')")
    assert shape(workflow_of(result)) == [("boom", ("add",))]


def test_what_a_result_knows_need_not_be_stored(app):
    parent = app.AsyncResult(str(uuid.uuid4()))
    result = app.AsyncResult(str(uuid.uuid4()), parent=parent)
    found = workflow_of(result)
    assert found.roots == (parent.id,)
    assert found.nodes[parent.id].then == (result.id,)
    assert found.nodes[result.id].state == "PENDING"


def test_forms(app):
    result = (group(sig(app, "add", n, 1) for n in range(2)) | sig(app, "total")).delay()
    assert result.get(timeout=30) == 3
    found = workflow_of(result)
    read = json.loads(found.to_json())
    assert read["roots"] == [result.parent.id]
    assert {node["id"] for node in read["nodes"]} == set(found.nodes)
    dot = found.to_dot()
    assert dot.startswith("digraph workflow {")
    assert f'"{result.parent.id}" -> "{result.parent[0].id}"' in dot
    assert f'"{result.parent.id}" -> "{result.id}"' in dot
    assert dot.count("{") == dot.count("}")
