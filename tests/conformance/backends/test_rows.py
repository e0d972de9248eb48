"""Results that a store leaves to whoever runs the task: stored later, by somebody else, they are as any other."""

from __future__ import annotations

import pytest

from celery.app.context import Context
from celery.app.jobs import Outcome, Verdict
from celery.concurrency.prefork.frames import Note, RecordReader, encode_records


@pytest.fixture
def request_of(app, task_id):
    if app.conf.result_backend == "rpc://":
        pytest.skip("a result goes to whoever asked for it, here nobody")

    def make(**fields) -> Context:
        request = Context({"id": task_id, "task": "t", "args": [], "kwargs": {}, "children": [], **fields})
        request._left, request._may_leave = [], 1000
        return request

    return make


def _sent(row):
    """As it arrives from a process of the pool."""
    frame = encode_records([(Note.DONE, 1, Outcome(Verdict.SUCCESS, 0.0, row=row))])
    ((_, _, outcome),) = RecordReader().feed(bytes(frame))
    return outcome.row


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("travels", [False, True])
def test_a_row_that_was_left_is_stored_like_any_other(app, task_id, request_of, travels, extended):
    app.backend._extended = extended
    request = request_of(hostname="w@h", retries=2)
    plain = Context({**request.__dict__, "id": "other", "_left": None})
    app.backend.mark_as_done("other", {"a": [1, "é"]}, request=plain)
    app.backend.mark_as_done(task_id, {"a": [1, "é"]}, request=request)
    if app.backend._rows is None:
        assert request._left == []
    else:
        (row,) = request._left
        assert app.backend.get_state(task_id) == "PENDING"
        assert app.backend._rows.store([_sent(row) if travels else row]) == [None]
    meta, other = (app.backend.get_task_meta(i, cache=False) for i in (task_id, "other"))
    assert meta["result"] == {"a": [1, "é"]}
    differs = ("task_id", "date_done")
    assert {k: v for k, v in meta.items() if k not in differs} == {
        k: v for k, v in other.items() if k not in differs
    }
    assert type(meta["date_done"]) is type(other["date_done"])
    app.backend.forget("other")


def test_only_successes_are_left(app, task_id, request_of):
    request = request_of()
    app.backend.mark_as_failure(task_id, ValueError("no"), request=request)
    assert request._left == []
    assert app.backend.get_state(task_id) == "FAILURE"


def test_what_is_larger_than_wanted_is_not_left(app, task_id, request_of):
    request = request_of()
    app.backend.mark_as_done(task_id, "x" * 2000, request=request)
    assert request._left == []
    assert app.backend.get_state(task_id) == "SUCCESS"


def test_a_success_that_is_there_stays(app, task_id, request_of):
    request = request_of()
    app.backend.mark_as_done(task_id, 1, request=request)
    app.backend.mark_as_done(task_id, 2)
    if request._left:
        app.backend._rows.store(request._left)
        assert app.backend.get_result(task_id) == 2


def test_many_are_stored_together(app, task_id, request_of):
    if app.backend._rows is None:
        pytest.skip("it stores each at once")
    ids = [f"{task_id}-{n}" for n in range(450)]
    rows = []
    for n, one in enumerate(ids):
        request = request_of(id=one)
        app.backend.mark_as_done(one, n, request=request)
        rows += request._left
    assert app.backend._rows.store(rows) == [None] * 450
    metas = app.backend.get_task_metas(ids)
    assert [metas[one]["result"] for one in ids] == list(range(450))


@pytest.mark.parametrize(("value", "light"), [(1, True), ("x" * 100_000, False)])
def test_it_is_known_whether_a_result_was_small(app, task_id, request_of, value, light):
    """What is stored alone, and small, tells nothing about how long the task takes."""
    if app.backend._rows is None:
        pytest.skip("it stores each at once")
    request = request_of()
    request._left = None
    app.backend.store_result(task_id, {"pid": 1}, "STARTED", request=request)
    app.backend.mark_as_done(task_id, value, request=request)
    assert request._is_light == light
