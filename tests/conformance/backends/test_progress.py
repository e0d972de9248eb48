"""Results with progress: every task that counts is told of as it ends, of a chain those before it too."""

from __future__ import annotations

import asyncio
import threading

import pytest

from celery.exceptions import TimeoutError  # noqa: A004 - the public name


class Told(list):
    """What `on_progress` was called with; others wait until it has heard of something."""

    def __init__(self):
        super().__init__()
        self._changed = threading.Condition()

    def __call__(self, progress):
        with self._changed:
            self.append(progress)
            self._changed.notify_all()

    def wait_for(self, test):
        with self._changed:
            assert self._changed.wait_for(lambda: any(map(test, self)), 30)

    def counts(self):
        return sorted({(p.done, p.total, p.failed) for p in self})


def beside(run):
    thread = threading.Thread(target=run)
    thread.start()
    return thread


def chain_of(app, new_id, count):
    result = None
    for _ in range(count):
        result = app.AsyncResult(new_id(), parent=result)
    return result


def steps_of(result):
    return [*steps_of(result.parent), result] if result is not None else []


def get(result, how, **options):
    return (
        result.get(interval=0.02, **options)
        if how == "get"
        else asyncio.run(result.aget(interval=0.02, **options))
    )


@pytest.fixture(params=["get", "aget"])
def how(request):
    return request.param


def test_a_group(app, new_id, how):
    group = app.GroupResult(new_id(), [app.AsyncResult(new_id()) for _ in range(3)])
    told = Told()

    def run():
        for n, result in enumerate(group):
            told.wait_for(lambda p, n=n: p.done == n)
            app.backend.mark_as_done(result.id, n)

    thread = beside(run)
    assert get(group, how, timeout=40, on_progress=told) == [0, 1, 2]
    thread.join()
    assert told.counts() == [(0, 3, 0), (1, 3, 0), (2, 3, 0), (3, 3, 0)]
    assert [p.newest for p in told] == [None, *[r.id for r in group]]
    assert (told[0].state, told[1].state) == ("PENDING", "STARTED")
    assert (told[-1].state, told[-1].over, told[-1].fraction) == ("SUCCESS", True, 1.0)


def test_a_chain_counts_its_parents(app, new_id, how):
    result, told = chain_of(app, new_id, 3), Told()

    def run():
        for n, step in enumerate(steps_of(result)):
            told.wait_for(lambda p, n=n: p.done == n)
            app.backend.mark_as_done(step.id, n)

    thread = beside(run)
    assert get(result, how, timeout=40, on_progress=told) == 2
    thread.join()
    assert told.counts() == [(0, 3, 0), (1, 3, 0), (2, 3, 0), (3, 3, 0)]
    assert all(step._cache for step in steps_of(result))


def test_what_the_last_step_says_goes_for_those_before(app, new_id):
    result, told = chain_of(app, new_id, 3), Told()
    app.backend.mark_as_done(result.id, 1)  # of the others nothing is stored (any longer)
    assert result.get(timeout=20, on_progress=told) == 1
    assert (told[-1].done, told[-1].total, told[-1].state) == (3, 3, "SUCCESS")


def test_a_chord_counts_header_and_body(app, new_id):
    header = app.GroupResult(new_id(), [app.AsyncResult(new_id()) for _ in range(2)])
    body, told = app.AsyncResult(new_id(), parent=header), Told()
    for result in (*header, body):
        app.backend.mark_as_done(result.id, 1)
    assert body.get(timeout=20, on_progress=told) == 1
    assert (told[-1].done, told[-1].total) == (3, 3)


def test_a_failure_is_counted_and_raised(app, new_id, how):
    group, told = app.GroupResult(new_id(), [app.AsyncResult(new_id()) for _ in range(2)]), Told()
    app.backend.mark_as_failure(group[0].id, KeyError("k"))
    with pytest.raises(KeyError):
        get(group, how, timeout=20, on_progress=told)
    app.backend.mark_as_done(group[1].id, 1)
    values = get(group, how, timeout=20, propagate=False, on_progress=told)
    assert isinstance(values[0], KeyError)
    assert (told[-1].done, told[-1].failed, told[-1].state) == (2, 1, "FAILURE")


def test_a_state_of_the_tasks_own(app, task_id):
    result, told, messages = app.AsyncResult(task_id), Told(), []
    app.backend.store_result(task_id, {"at": 3}, "PROGRESS")

    def run():
        told.wait_for(lambda p: p.info == {"at": 3})
        app.backend.mark_as_done(task_id, 5)

    thread = beside(run)
    assert result.get(timeout=40, interval=0.02, on_progress=told, on_message=messages.append) == 5
    thread.join()
    heard = next(p for p in told if p.info)
    assert (heard.state, heard.info_id, heard.done) == ("PROGRESS", task_id, 0)
    assert (told[-1].state, told[-1].info, told[-1].done) == ("SUCCESS", None, 1)
    assert [(m["status"], m["result"]) for m in messages] == [("PROGRESS", {"at": 3}), ("SUCCESS", 5)]


def test_messages_of_a_group(app, new_id, told):
    if not told:
        pytest.skip("the backend can only be asked")
    group, messages, heard = app.GroupResult(new_id(), [app.AsyncResult(new_id())]), [], threading.Event()
    app.backend.store_result(group[0].id, {"at": 1}, "PROGRESS")

    def listen(meta):
        messages.append(meta["status"])
        heard.set()

    def run():
        assert heard.wait(30)
        app.backend.mark_as_done(group[0].id, 1)

    thread = beside(run)
    assert group.get(timeout=40, on_message=listen) == [1]
    thread.join()
    assert messages == ["PROGRESS", "SUCCESS"]


def test_not_in_time(app, new_id, how):
    result, told = chain_of(app, new_id, 2), Told()
    app.backend.mark_as_done(result.parent.id, 1)
    with pytest.raises(TimeoutError):
        get(result, how, timeout=0.1, on_progress=told)
    assert (told[-1].done, told[-1].total) == (1, 2)


def test_nothing_is_asked_of_what_is_known(app, task_id, how):
    result, told = app.AsyncResult(task_id), Told()
    app.backend.mark_as_done(task_id, 1)
    assert result.get(timeout=20) == 1
    app.backend.forget(task_id)
    assert get(result, how, timeout=20, on_progress=told) == 1
    assert [(p.done, p.total) for p in told] == [(1, 1)]
