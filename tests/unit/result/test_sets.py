"""`ResultSet` and `GroupResult`; what needs a store uses the one in memory."""

from __future__ import annotations

import copy
import io
import pickle
import threading
import uuid

import pytest

from celery import Celery
from celery.app.context import Context
from celery.exceptions import ImproperlyConfigured, IncompleteStream, TaskRevokedError, TimeoutError  # noqa: A004
from celery.result import (
    AsyncResult,
    EagerResult,
    GroupResult,
    ResultSet,
    denied_join_result,
    result_from_tuple,
)


@pytest.fixture
def app():
    return Celery("t", broker="memory://", backend="cache+memory://", set_as_current=False)


@pytest.fixture
def group(app):
    """Make a group whose members are results of their values; PENDING is one that is not over."""

    def make(*values):
        return app.GroupResult(str(uuid.uuid4()), [stored(app, value) for value in values])

    return make


PENDING = object()


def stored(app, value):
    result = app.AsyncResult(str(uuid.uuid4()))
    if isinstance(value, Exception):
        app.backend.mark_as_failure(result.id, value, traceback="tb")
    elif value is not PENDING:
        app.backend.mark_as_done(result.id, value)
    return result


def test_members(app):
    a, b, c = (app.AsyncResult(i) for i in "abc")
    results = app.ResultSet([a, b])
    results.add(app.AsyncResult("a"))
    results.add(c)
    assert list(results) == [a, b, c]
    assert (len(results), results[0], results[1:]) == (3, a, [b, c])
    results.discard("nope")
    results.discard("c")
    results.remove("b")
    with pytest.raises(KeyError):
        results.remove("nope")
    results.update([a, b])
    assert repr(results) == "<ResultSet: [a, b]>"
    results.clear()
    assert (len(results), bool(results), results.results) == (0, False, [])


def test_an_empty_set_is_over(app):
    empty = app.ResultSet([])
    assert (empty.ready(), empty.successful(), empty.failed(), empty.waiting()) == (True, True, False, False)
    assert (empty.completed_count(), empty.get(), empty.join(), empty.join_native()) == (0, [], [], [])
    assert list(empty.iter_native()) == []
    assert empty.maybe_throw() is None
    assert empty.supports_native_join is None
    assert not GroupResult()
    assert GroupResult("id")


def test_app_of_a_set(app):
    assert ResultSet([app.AsyncResult("a")]).app is app
    assert ResultSet([], app=app).app is app
    assert app.ResultSet([]).app is app
    other = Celery("o", set_as_current=False)
    assert app.ResultSet([], app=other).app is other
    assert ResultSet([app.AsyncResult("a")]).backend is app.backend


def test_equality_and_hash(app):
    def made(*ids, **options):
        return app.GroupResult("g", [app.AsyncResult(i) for i in ids], **options)

    assert made("x", "y") == made("x", "y")
    assert made("x", "y") == "g"
    assert made("x") != made("x", "y")
    assert made("x") != made("x", parent=app.AsyncResult("p"))
    assert hash(made("x")) == hash("g")
    assert app.ResultSet([app.AsyncResult("x")]) == app.ResultSet([app.AsyncResult("x")])
    assert app.ResultSet([]) != 5
    with pytest.raises(TypeError):
        hash(app.ResultSet([]))


def test_text_and_tuples(app):
    inner = app.GroupResult("i", [app.AsyncResult("y")])
    group = app.GroupResult("g", [app.AsyncResult("x"), inner], parent=app.AsyncResult("p"))
    assert (str(group), repr(group)) == ("g", "<GroupResult: g [x, i]>")
    stored = (
        ("g", (("p", None), None)),
        [(("x", None), None), (("i", None), [(("y", None), None)])],
    )
    assert group.as_tuple() == group.serializable() == stored
    found = result_from_tuple(stored, app)
    assert found == group
    assert (found.parent, found.app, type(found[1])) == (group.parent, app, app.GroupResult)
    assert result_from_tuple((("g", None), []), app) == app.GroupResult("g", [])
    assert group.children == group.results


def test_copies_and_pickles(app):
    app.set_current()
    app.set_default()
    for made in (
        GroupResult("g", [AsyncResult("a")], parent=AsyncResult("p")),
        app.GroupResult("g", [AsyncResult("a")]),
        ResultSet([AsyncResult("a")]),
    ):
        for found in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
            assert found == made
            assert found.parent == made.parent
            assert found.results == made.results


def test_classes_live_in_the_public_module():
    assert {GroupResult.__module__, ResultSet.__module__, result_from_tuple.__module__} == {"celery.result"}
    assert GroupResult[int] is not None


@pytest.mark.parametrize(
    ("values", "ready", "successful", "failed", "completed"),
    [
        ((1, 2), True, True, False, 2),
        ((1, KeyError()), True, False, True, 1),
        ((1, PENDING), False, False, False, 1),
        ((KeyError(), PENDING), False, False, True, 0),
        ((PENDING,), False, False, False, 0),
    ],
)
def test_states(group, values, ready, successful, failed, completed):
    found = group(*values)
    assert (found.ready(), found.waiting(), found.successful(), found.failed(), found.completed_count()) == (
        ready, not ready, successful, failed, completed,
    )  # fmt: skip


def test_values_in_order(group):
    found = group(*range(20))
    assert found.get(timeout=5) == found.join(timeout=5) == found.join_native(timeout=5) == list(range(20))
    assert found.supports_native_join


@pytest.mark.parametrize("method", ["get", "join", "join_native"])
def test_failures(app, group, method):
    found = group(1, KeyError("k"))
    with pytest.raises(KeyError, match="k"):
        getattr(found, method)(timeout=5)
    one, error = getattr(group(1, KeyError("k")), method)(timeout=5, propagate=False)
    assert (one, type(error)) == (1, KeyError)
    app.backend.mark_as_revoked("r", "revoked")
    with pytest.raises(TaskRevokedError):
        getattr(app.ResultSet([app.AsyncResult("r")]), method)(timeout=5)


def test_a_failure_is_known_before_the_others_are_over(group):
    with pytest.raises(KeyError):
        group(PENDING, KeyError("k")).get()


@pytest.mark.parametrize("method", ["get", "join", "join_native"])
def test_time_is_for_all(group, method):
    with pytest.raises(TimeoutError, match="timed out"):
        getattr(group(1, PENDING, PENDING), method)(timeout=0.05, interval=0.01)
    assert getattr(group(1), method)(timeout=0) == [1]


@pytest.mark.parametrize("method", ["get", "join", "join_native"])
def test_callbacks(group, method):
    found, seen, ticks = group(1, 2), {}, []
    assert getattr(found, method)(timeout=5, callback=seen.__setitem__) == []
    assert seen == {found[0].id: 1, found[1].id: 2}
    with pytest.raises(TimeoutError):
        getattr(group(PENDING), method)(timeout=0.1, interval=0.01, on_interval=lambda: ticks.append(1))
    assert ticks


def test_on_message(group):
    seen = []
    assert group(1, 2).get(timeout=5, on_message=seen.append) == [1, 2]
    assert sorted(meta["result"] for meta in seen) == [1, 2]
    with pytest.raises(ImproperlyConfigured, match="does not support on_message"):
        group(1).join(on_message=seen.append)


@pytest.mark.parametrize("method", ["get", "join", "join_native"])
def test_members_that_are_sets(app, group, method):
    outer = app.GroupResult("o", [stored(app, 1), group(2, 3), group()])
    assert getattr(outer, method)(timeout=5) == [1, [2, 3], []]
    assert (outer.completed_count(), outer.successful(), len(outer)) == (3, True, 3)
    seen = {}
    getattr(outer, method)(timeout=5, callback=seen.__setitem__)
    assert list(seen.values()) == [1, [2, 3], []]
    failing = app.GroupResult("o", [stored(app, 1), group(2, KeyError())])
    with pytest.raises(KeyError):
        getattr(failing, method)(timeout=5)
    assert (failing.failed(), failing.completed_count()) == (True, 1)


def test_the_same_member_twice(app):
    one = stored(app, 5)
    assert app.ResultSet([one, app.AsyncResult(one.id), one]).get(timeout=5) == [5, 5, 5]


def test_eager_and_ignored_members(app):
    ignored = app.AsyncResult("never")
    ignored.ignored = True
    members = [EagerResult("e", 3, "SUCCESS"), ignored, stored(app, 1)]
    for method in ("join", "join_native", "get"):
        assert getattr(app.ResultSet(members), method)(timeout=5) == [3, None, 1]
    assert ResultSet([EagerResult("e", 3, "SUCCESS")]).get() == [3]
    bad = ResultSet([EagerResult("e", ValueError("x"), "FAILURE")])
    assert (bad.successful(), bad.failed(), bad.ready()) == (False, True, True)
    with pytest.raises(ValueError, match="x"):
        bad.get()


def test_iter_native(app, group):
    inner = group(2)
    outer = app.GroupResult("o", [stored(app, 1), inner, EagerResult("e", 3, "SUCCESS")])
    found = dict(outer.iter_native(timeout=5))
    assert found[inner.id] == inner.results
    assert (found[outer[0].id]["result"], found["e"]["result"]) == (1, 3)


def test_iterate(group):
    assert sorted(group(3, 1, 2).iterate(timeout=5)) == [1, 2, 3]
    with pytest.raises(KeyError):
        list(group(KeyError()).iterate(timeout=5))


def test_maybe_throw(group):
    seen = {}
    found = group(1, PENDING)
    assert found.maybe_throw(callback=seen.__setitem__) is None
    assert list(seen.values()) == [1, None]
    with pytest.raises(KeyError):
        group(1, KeyError()).maybe_reraise()
    assert group(1, KeyError()).maybe_throw(propagate=False) is None


@pytest.mark.parametrize("method", ["get", "join", "join_native"])
def test_waiting_inside_a_task(group, method):
    with denied_join_result():
        assert getattr(group(1), method)(timeout=1) == [1]  # it is there, so nothing is waited for
        with pytest.raises(RuntimeError, match=r"Never call result\.get\(\) within a task!"):
            getattr(group(1, PENDING), method)(timeout=1)
        with pytest.raises(TimeoutError):
            getattr(group(1, PENDING), method)(timeout=0.01, disable_sync_subtasks=False)


def test_save_and_restore(app, group):
    outer = app.GroupResult(str(uuid.uuid4()), [stored(app, 1), group(2)], parent=app.AsyncResult("p"))
    assert outer.save() is outer
    found = app.GroupResult.restore(outer.id)
    assert (found, found.parent, type(found)) == (outer, outer.parent, app.GroupResult)
    assert found.get(timeout=5) == [1, [2]]
    assert (
        GroupResult.restore(outer.id, app=app) == GroupResult.restore(outer.id, backend=app.backend) == outer
    )
    outer.delete()
    assert app.GroupResult.restore(outer.id) is None
    with pytest.raises(ValueError, match="group_id must not be empty"):
        app.GroupResult(results=[]).save()


def test_forget(group):
    found = group(1, 2)
    assert found.get(timeout=5) == [1, 2]
    found.forget()
    assert [r.state for r in found] == ["PENDING", "PENDING"]


class Control:
    def __init__(self):
        self.calls = []

    def revoke(self, ids, **options):
        self.calls.append((ids, options))
        return "replies"

    revoke_by_stamped_headers = revoke


def test_revoke_is_one_message_for_all(app, group):
    app.control = Control()
    outer = app.GroupResult("o", [app.AsyncResult("a"), app.GroupResult("i", [app.AsyncResult("b")])])
    assert outer.revoke(terminate=True, signal="INT", wait=True, timeout=2) == "replies"
    asked = {"connection": None, "terminate": True, "signal": "INT", "reply": True, "timeout": 2}
    assert app.control.calls == [(["a", "b"], asked)]
    app.AsyncResult("a").revoke()
    app.AsyncResult("a").revoke_by_stamped_headers({"s": "x"})
    assert [ids for ids, _ in app.control.calls[1:]] == ["a", {"s": "x"}]


def test_then(app, group):
    told, seen = threading.Event(), []
    found = group(1, PENDING)
    assert found.then(lambda r: seen.append(r.get()), on_error=seen.append) is found
    found.then(lambda _: told.set())
    app.backend.mark_as_done(found[1].id, 2)
    assert told.wait(30)
    assert seen == [[1, 2]]
    group(3).then(lambda r: seen.append(r.get()))
    group(3, KeyError("k")).then(seen.append, on_error=lambda exc: seen.append(type(exc)))
    assert seen == [[1, 2], [3], KeyError]


def test_a_barrier_says_when(app):
    class Barrier:
        def then(self, call):
            self.call = call

    barrier, seen = Barrier(), []
    ResultSet([], app=app, ready_barrier=barrier).then(seen.append)
    assert seen == []
    barrier.call()
    assert len(seen) == 1


async def wait_for_all(found):
    values = await found
    assert values == await found.aget(timeout=5) == await found.ajoin()
    seen = {}
    assert await found.aget(callback=seen.__setitem__) == []
    return values, list(seen.values()), [r.get() async for r in found]


def test_awaited(app, group):
    import asyncio

    found = group(1, PENDING)
    threading.Timer(0.02, lambda: app.backend.mark_as_done(found[1].id, 2)).start()
    assert asyncio.run(wait_for_all(found)) == ([1, 2], [1, 2], [1, 2])

    async def failing():
        with pytest.raises(KeyError):
            await group(PENDING, KeyError())
        with pytest.raises(TimeoutError):
            await group(PENDING).aget(timeout=0.01)

    asyncio.run(failing())


DOT = """\
digraph dependencies {
    graph [shape="oval", arrowhead="vee", style="filled", fontname="HelveticaNeue", bgcolor="mintcream", root="par"]
    "par" [shape="oval", arrowhead="vee", style="filled", fontname="HelveticaNeue", fillcolor="palegreen3", color="palegreen4"]
    "par" -> "c1" [shape="oval", arrowhead="vee", style="filled", fontname="HelveticaNeue", color="darkseagreen4", arrowcolor="black", arrowsize="0.7"]
    "par" -> "cg" [shape="oval", arrowhead="vee", style="filled", fontname="HelveticaNeue", color="darkseagreen4", arrowcolor="black", arrowsize="0.7"]
    "c1" [shape="oval", arrowhead="vee", style="filled", fontname="HelveticaNeue", fillcolor="palegreen1", color="palegreen2"]
    "cg" [shape="oval", arrowhead="vee", style="filled", fontname="HelveticaNeue", fillcolor="palegreen3", color="palegreen4"]
    "cg" -> "c2" [shape="oval", arrowhead="vee", style="filled", fontname="HelveticaNeue", color="darkseagreen4", arrowcolor="black", arrowsize="0.7"]
    "c2" [shape="oval", arrowhead="vee", style="filled", fontname="HelveticaNeue", fillcolor="palegreen1", color="palegreen2"]
}
"""


def test_the_graph_of_calls_is_drawn_as_celery_draws_it(app):
    parent, c1, c2 = (app.AsyncResult(i) for i in ("par", "c1", "c2"))
    inner = app.GroupResult("cg", [c2])
    request = Context(id="par")
    request.children = [c1, inner]
    app.backend.mark_as_done("par", 5, request=request)
    with pytest.raises(IncompleteStream):
        _ = parent.graph
    assert list(parent.build_graph(intermediate=True)) == [parent, c1, inner]
    app.backend.mark_as_done("c1", 1)
    app.backend.mark_as_done("c2", 2)
    assert list(parent.iterdeps()) == [(None, parent), (parent, c1), (parent, inner), (inner, c2)]
    assert list(parent.collect()) == [(parent, 5), (c1, 1), (inner, [2]), (c2, 2)]
    assert parent.get_leaf() == 2
    drawing = io.StringIO()
    parent.graph.to_dot(drawing)
    assert drawing.getvalue() == DOT
    assert [node for _, node in inner.iterdeps()] == [inner, c2]


def test_a_thousand_results_have_one_waiter(app, group):
    found, waiters = group(*range(999), PENDING), []

    def tick():
        waiters.append(len(app.backend.hub()._members))
        app.backend.mark_as_done(found[999].id, 999)

    assert found.get(timeout=30, interval=0.01, on_interval=tick) == list(range(1000))
    assert set(waiters) == {1}
