"""What is stored is read back, in Celery's exact form."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.conformance.backends.conftest import TEXT_ONLY

from celery.app.context import Context
from celery.exceptions import (
    ContentDisallowed,
    EncodeError,
    ImproperlyConfigured,
    SecurityError,
    TaskRevokedError,
)


class Outer:
    class Inner(Exception):
        pass


class Odd(Exception):
    """Cannot be made from what it stores."""

    def __init__(self, a, b):
        super().__init__(a)


@pytest.mark.parametrize("value", [None, 5, "é", 1.5, True, [1, [2]], {"a": {"b": None}}, [], ""])
def test_a_value_comes_back(app, task_id, value):
    app.backend.mark_as_done(task_id, value)
    meta = app.backend.get_task_meta(task_id)
    assert meta["result"] == value
    assert meta["status"] == "SUCCESS"
    assert meta["task_id"] == task_id
    assert meta["traceback"] is None
    assert meta["children"] is None
    done = meta["date_done"]
    done = done.replace(tzinfo=UTC) if isinstance(done, datetime) else datetime.fromisoformat(done)
    assert done.utcoffset() == timedelta(0)
    assert abs(done - datetime.now(UTC)) < timedelta(minutes=1)


def test_celerys_extended_json_types(app, task_id):
    value = {"at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "raw": b"\xff\x00"}
    app.backend.mark_as_done(task_id, value)
    assert app.backend.get_result(task_id) == value


def test_nothing_is_known_of_an_unknown_id(app, task_id):
    assert app.backend.get_task_meta(task_id) == {"status": "PENDING", "result": None}
    assert app.backend.get_state(task_id) == "PENDING"
    assert app.backend.get_result(task_id) is None
    assert app.backend.get_traceback(task_id) is None
    assert app.backend.get_children(task_id) is None
    assert not app.backend.task_result_exists(task_id)


def test_a_failure_keeps_class_arguments_and_traceback(app, task_id):
    app.backend.mark_as_failure(task_id, ValueError("boom", 7), traceback="Traceback: here")
    meta = app.backend.get_task_meta(task_id)
    assert meta["status"] == "FAILURE"
    assert type(meta["result"]) is ValueError
    assert meta["result"].args == ("boom", 7)
    assert meta["traceback"] == "Traceback: here"
    assert meta["date_done"]


@pytest.mark.parametrize(
    ("exc", "expected", "args"),
    [
        (KeyError(), KeyError, ()),
        (KeyError("k"), KeyError, ("k",)),
        (Outer.Inner("x"), Outer.Inner, ("x",)),
        (TaskRevokedError("terminated"), TaskRevokedError, ("terminated",)),
        (ValueError({1: 2}), ValueError, ({"1": 2},)),
        (SystemExit(3), SystemExit, (3,)),
    ],
)
def test_exceptions_of_many_kinds(app, task_id, exc, expected, args):
    app.backend.mark_as_failure(task_id, exc)
    found = app.backend.get_result(task_id)
    assert type(found) is expected
    assert found.args == args


def test_arguments_that_cannot_be_stored_are_stored_as_text(app, task_id):
    thing = object()
    app.backend.mark_as_failure(task_id, ValueError("x", thing))
    assert app.backend.get_result(task_id).args == ("x", repr(thing))


def test_an_exception_that_cannot_be_made_again_says_what_it_was(app, task_id):
    app.backend.mark_as_failure(task_id, Odd(1, 2))
    found = app.backend.get_result(task_id)
    assert type(found) is Exception
    assert str(found) == f"{Odd}([1])"


def test_retry_started_revoked_and_own_states(app, new_id):
    backend = app.backend
    ids = [new_id() for _ in range(4)]
    backend.mark_as_retry(ids[0], KeyError("k"), traceback="tb")
    backend.mark_as_started(ids[1], pid=3, hostname="h")
    backend.mark_as_revoked(ids[2], "expired")
    backend.store_result(ids[3], {"done": 50}, "PROGRESS")
    metas = [backend.get_task_meta(i) for i in ids]
    assert [m["status"] for m in metas] == ["RETRY", "STARTED", "REVOKED", "PROGRESS"]
    assert type(metas[0]["result"]) is KeyError
    assert metas[1]["result"] == {"pid": 3, "hostname": "h"}
    assert type(metas[2]["result"]) is TaskRevokedError
    assert metas[2]["result"].args == ("expired",)
    assert metas[3]["result"] == {"done": 50}
    assert [bool(m["date_done"]) for m in metas] == [False, False, True, False]


def test_a_success_stays(app, task_id):
    backend = app.backend
    backend.mark_as_done(task_id, 1)
    backend.mark_as_failure(task_id, ValueError())
    backend.mark_as_done(task_id, 2)
    backend.mark_as_revoked(task_id, "late")
    backend.mark_as_started(task_id, pid=1)
    assert backend.get_task_meta(task_id)["result"] == 1
    assert backend.get_state(task_id) == "SUCCESS"


def test_a_failure_can_be_followed_by_another_run(app, task_id):
    backend = app.backend
    backend.mark_as_failure(task_id, ValueError())
    backend.mark_as_started(task_id, pid=1)
    assert backend.get_state(task_id) == "STARTED"
    backend.mark_as_done(task_id, 3)
    assert backend.get_result(task_id) == 3


def test_children_group_and_parent(app, task_id, new_id, table):
    child = app.AsyncResult(new_id(), parent=app.AsyncResult(new_id()))
    request = Context(id=task_id, group="g", parent_id="p")
    request.children = [child]
    app.backend.mark_as_done(task_id, 1, request=request)
    meta = app.backend.get_task_meta(task_id)
    assert table or (meta["group_id"], meta["parent_id"]) == ("g", "p")
    (found,) = app.AsyncResult(task_id).children
    assert found == child
    assert found.parent == child.parent


def test_an_extended_result_knows_the_call(make_app, task_id, kind):
    app = make_app(result_extended=True)
    request = Context(
        id=task_id,
        task="t.add",
        args=[1, 2],
        kwargs={"a": 1},
        hostname="h@x",
        retries=2,
        delivery_info={"routing_key": "q"},
        stamps={"s": 1},
        stamped_headers=["s"],
    )
    app.backend.mark_as_done(task_id, 3, request=request)
    meta = app.backend.get_task_meta(task_id)
    assert (meta["name"], meta["worker"], meta["retries"], meta["queue"]) == ("t.add", "h@x", 2, "q")
    assert (meta["s"], meta["stamped_headers"]) == (1, ["s"])
    if kind == "rows":  # who asks for it gets them encoded
        assert (meta["args"], meta["kwargs"]) == (b"[1,2]", b'{"a":1}')
    else:
        assert (meta["args"], meta["kwargs"]) == ([1, 2], {"a": 1})


def test_an_ignored_result_is_not_stored(app, task_id):
    app.backend.mark_as_done(task_id, 3, request=Context(id=task_id, ignore_result=True))
    app.backend.mark_as_done(task_id, 3, store_result=False)
    app.backend.mark_as_failure(task_id, ValueError(), store_result=False)
    assert app.backend.get_state(task_id) == "PENDING"


def test_a_result_as_value_is_stored_as_tuple(app, task_id):
    app.backend.mark_as_done(task_id, app.AsyncResult("other"))
    assert app.backend.get_result(task_id) == [["other", None], None]


def test_what_cannot_be_written_is_refused_and_nothing_stored(app, task_id):
    with pytest.raises(EncodeError):
        app.backend.store_result(task_id, {1, 2}, "SUCCESS")
    assert app.backend.get_state(task_id) == "PENDING"


def test_forget(app, task_id):
    app.backend.mark_as_done(task_id, 1)
    app.backend.forget(task_id)
    assert app.backend.get_state(task_id) == "PENDING"
    app.backend.forget(task_id)


def test_pickled_results(make_app, task_id, new_id, kind):
    if kind in TEXT_ONLY:
        with pytest.raises(
            ImproperlyConfigured, match="stores text, and result_serializer 'pickle' makes bytes"
        ):
            _ = make_app(result_serializer="pickle", accept_content=["pickle"]).backend
        return
    app = make_app(result_serializer="pickle", accept_content=["pickle", "json"])
    app.backend.mark_as_done(task_id, {1, 2})
    assert app.backend.get_result(task_id) == {1, 2}
    good, bad = new_id(), new_id()
    app.backend.mark_as_failure(good, ValueError("x"))
    assert app.backend.get_result(good).args == ("x",)
    app.backend.mark_as_failure(bad, Odd(1, 2))
    found = app.backend.get_result(bad)
    assert type(found).__name__ == "Odd"
    assert found.args == (1,)
    refusing = make_app(accept_content=["json"], result_serializer="pickle")
    with pytest.raises(ContentDisallowed):
        refusing.backend.get_task_meta(task_id)


def test_what_is_no_exception_is_not_made(app, task_id):
    stored = {"exc_type": "system", "exc_message": "rm", "exc_module": "os"}
    app.backend.store_result(task_id, stored, "FAILURE")
    with pytest.raises(SecurityError, match=r"Expected an exception class, got os\.system with payload rm"):
        app.backend.get_task_meta(task_id)


def test_an_empty_id_is_refused(app, kind, table):
    if kind in ("rows", "mongodb") or table:
        pytest.skip("its own business")
    with pytest.raises(ValueError, match="task_id must not be empty"):
        app.backend.get_task_meta("")


def test_cached_metas(make_app, task_id):
    app = make_app(result_cache_max=10)
    backend = app.backend
    assert not backend.is_cached(task_id)
    backend.mark_as_done(task_id, 1)
    backend.get_task_meta(task_id)
    assert backend.is_cached(task_id)
    backend.reload_task_result(task_id)
    backend.forget(task_id)
    assert not backend.is_cached(task_id)
