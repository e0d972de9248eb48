"""`AsyncResult` and its guards; what needs a store uses the one in memory."""

from __future__ import annotations

import copy
import pickle
import uuid
from datetime import UTC, datetime

import pytest

from celery import Celery, _state
from celery.exceptions import IncompleteStream
from celery.result import (
    AsyncResult,
    allow_join_result,
    assert_will_not_block,
    denied_join_result,
    result_from_tuple,
    task_join_will_block,
)


@pytest.fixture
def app():
    return Celery("t", broker="memory://", backend="cache+memory://", set_as_current=False)


@pytest.fixture
def new_id():
    return lambda: str(uuid.uuid4())


@pytest.fixture
def in_a_task():
    _state._set_task_join_will_block(True)
    yield
    _state._set_task_join_will_block(False)


def test_it_needs_an_id(app):
    with pytest.raises(ValueError, match="AsyncResult requires valid id, not <class 'NoneType'>"):
        app.AsyncResult(None)


def test_text_equality_and_hash(app):
    result = app.AsyncResult("a", parent=app.AsyncResult("b"))
    assert (repr(result), str(result)) == ("<AsyncResult: a>", "a")
    assert result == "a"
    assert result == app.AsyncResult("a")
    assert result != app.AsyncResult("b")
    assert result != 5
    assert hash(result) == hash("a")
    assert result.as_list() == ["a", "b"]
    assert result.as_tuple() == (("a", (("b", None), None)), None)
    assert result.serializable() == result.as_tuple()
    assert result.task_id == "a"


def test_tuples_become_results(app):
    found = result_from_tuple(["a", None], app)
    assert (found.id, found.parent) == ("a", None)
    found = result_from_tuple((("x", (("y", None), None)), None), app)
    assert (found.id, found.parent.id, found.app) == ("x", "y", app)
    assert result_from_tuple(found, app) is found
    with pytest.raises(ValueError, match="unpack"):
        result_from_tuple("abc", app)


def test_copies_and_pickles(app):
    app.set_current()
    app.set_default()
    result = AsyncResult("a", app=app, parent=AsyncResult("b", app=app))
    assert copy.copy(result) == result
    for made in (result, app.AsyncResult("a", parent=result.parent)):
        found = pickle.loads(pickle.dumps(made))
        assert found == made
        assert found.parent == result.parent
        assert type(found.backend) is type(app.backend)


def test_the_class_lives_in_the_public_module():
    assert AsyncResult.__module__ == "celery.result"
    assert AsyncResult[int] is not None


def test_states_and_values(app, new_id):
    result = app.AsyncResult(new_id())
    assert (result.state, result.ready(), result.exists()) == ("PENDING", False, False)
    app.backend.store_result(result.id, {"done": 1}, "PROGRESS")
    assert (result.status, result.info, result.exists()) == ("PROGRESS", {"done": 1}, True)
    app.backend.mark_as_done(result.id, 5)
    assert (result.ready(), result.successful(), result.failed()) == (True, True, False)
    assert result.date_done.tzinfo is not None
    assert result.date_done <= datetime.now(UTC)
    assert result.children is None
    assert (result.name, result.args, result.kwargs, result.worker) == (None,) * 4
    assert (result.retries, result.queue, result.traceback) == (None,) * 3
    failed = app.AsyncResult(new_id())
    app.backend.mark_as_failure(failed.id, KeyError("k"), traceback="tb")
    assert (failed.ready(), failed.successful(), failed.failed()) == (True, False, True)
    assert failed.traceback == "tb"


def test_what_is_final_is_not_asked_for_again(app, new_id):
    result = app.AsyncResult(new_id())
    app.backend.mark_as_done(result.id, 5)
    assert result.get() == 5
    app.backend.forget(result.id)
    assert result.get() == 5
    result.forget()
    assert result.state == "PENDING"


def test_maybe_throw(app, new_id):
    result = app.AsyncResult(new_id())
    assert result.maybe_throw() is None
    app.backend.mark_as_failure(result.id, KeyError("k"))
    seen = []
    with pytest.raises(KeyError):
        result.maybe_reraise(callback=lambda *a: seen.append(a))
    assert isinstance(result.maybe_throw(propagate=False, callback=lambda *a: seen.append(a)), KeyError)
    assert [i for i, _ in seen] == [result.id]
    with pytest.raises(Exception, match="text"):
        result.throw("text")


def test_revoked_tasks_raise(app, new_id):
    from celery.exceptions import TaskRevokedError

    result = app.AsyncResult(new_id())
    app.backend.mark_as_revoked(result.id, "terminated")
    with pytest.raises(TaskRevokedError, match="terminated"):
        result.get(timeout=1)


def test_an_ignored_result_is_none_at_once(app):
    result = app.AsyncResult("never")
    result.ignored = True
    assert result.get() is None


def test_waiting_inside_a_task(app, new_id, in_a_task):
    result = app.AsyncResult(new_id())
    with pytest.raises(RuntimeError, match=r"Never call result\.get\(\) within a task!"):
        result.get(timeout=1)
    with pytest.raises(RuntimeError):
        assert_will_not_block()
    app.backend.mark_as_done(result.id, 5)
    assert result.get() == 5  # it is there, so nothing is waited for


def test_who_may_wait(in_a_task):
    with allow_join_result():
        assert not task_join_will_block()
        assert_will_not_block()
        with denied_join_result():
            assert task_join_will_block()
        assert not task_join_will_block()
    assert task_join_will_block()


def test_denying_concerns_this_thread_only():
    import threading

    seen = []
    with denied_join_result():
        thread = threading.Thread(target=lambda: seen.append(task_join_will_block()))
        thread.start()
        thread.join()
    assert seen == [False]


def test_the_graph_of_calls(app, new_id):
    from celery.app.context import Context

    child, parent = app.AsyncResult(new_id()), app.AsyncResult(new_id())
    request = Context(id=parent.id)
    request.children = [child]
    app.backend.mark_as_done(parent.id, 4, request=request)
    with pytest.raises(IncompleteStream):
        list(parent.iterdeps())
    assert list(parent.iterdeps(intermediate=True)) == [(None, parent), (parent, child)]
    app.backend.mark_as_done(child.id, 64)
    assert parent.children == [child]
    assert list(parent.collect()) == [(parent, 4), (child, 64)]
    assert parent.get_leaf() == 64


def test_eager_app_warns_about_results_not_stored():
    app = Celery(
        "t", broker="memory://", backend="cache+memory://", task_always_eager=True, set_as_current=False
    )
    with pytest.warns(RuntimeWarning, match="Results are not stored in backend"):
        assert app.AsyncResult("x").state == "PENDING"


def test_the_backend_is_made_when_needed():
    app = Celery("t", broker="memory://", backend="nosuch://", set_as_current=False)
    result = app.AsyncResult("a")
    assert result.id == "a"
    with pytest.raises(ModuleNotFoundError):
        result.ready()


def test_throw_is_propagate(app, new_id):
    result = app.AsyncResult(new_id())
    app.backend.mark_as_failure(result.id, KeyError("x"))
    assert repr(result.get(throw=False)) == "KeyError('x')"
    with pytest.raises(KeyError):
        result.get(throw=True)
