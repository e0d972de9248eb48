"""Many results at once, and groups that are saved and found again."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from celery.exceptions import TimeoutError  # noqa: A004 - the public name


def results_of(app, new_id, count):
    return app.GroupResult(new_id(), [app.AsyncResult(new_id()) for _ in range(count)])


def store_all(app, results):
    def run():
        for n, result in enumerate(results):
            app.backend.mark_as_done(result.id, n)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_hundred_results(app, new_id):
    group = results_of(app, new_id, 100)
    thread = store_all(app, list(group))
    assert group.get(timeout=40, interval=0.02) == list(range(100))
    assert group.join_native(timeout=1) == group.join(timeout=1) == list(range(100))
    thread.join()


def test_a_hundred_results_awaited(app, new_id):
    group = results_of(app, new_id, 100)
    thread = store_all(app, list(group))
    assert asyncio.run(group.aget(timeout=40, interval=0.02)) == list(range(100))
    thread.join()


def test_states_of_many(app, new_id):
    group = results_of(app, new_id, 3)
    assert (group.ready(), group.completed_count(), group.failed()) == (False, 0, False)
    app.backend.mark_as_done(group[0].id, 1)
    app.backend.mark_as_failure(group[1].id, KeyError("k"))
    assert (group.ready(), group.completed_count(), group.failed()) == (False, 1, True)
    with pytest.raises(KeyError):
        group.join_native(timeout=20)
    app.backend.mark_as_done(group[2].id, 2)
    assert (group.ready(), group.completed_count(), group.successful()) == (True, 2, False)
    metas = app.backend.get_task_metas([group[0].id, "nobody"])
    assert metas[group[0].id]["result"] == 1
    assert metas["nobody"]["status"] == "PENDING"


def test_not_all_in_time(app, new_id):
    group = results_of(app, new_id, 2)
    app.backend.mark_as_done(group[0].id, 1)
    for wait in (group.join_native, group.join):
        with pytest.raises(TimeoutError):
            wait(timeout=0.05, interval=0.01)
    with pytest.raises(TimeoutError):
        asyncio.run(group.aget(timeout=0.05, interval=0.01))


def test_get_many(app, new_id):
    ids = [new_id() for _ in range(3)]
    app.backend.mark_as_done(ids[0], 0)
    app.backend.mark_as_failure(ids[1], ValueError(1))
    timer = threading.Timer(0.05, lambda: app.backend.mark_as_done(ids[2], 2))
    timer.start()
    seen = []
    found = dict(app.backend.get_many(ids, timeout=30, interval=0.01, on_message=seen.append))
    assert [found[i]["status"] for i in ids] == ["SUCCESS", "FAILURE", "SUCCESS"]
    assert len(seen) == 3
    with pytest.raises(TimeoutError):
        list(app.backend.get_many([ids[0], new_id()], timeout=0.05, interval=0.01))
    assert list(app.backend.get_many([new_id()], interval=0.01, max_iterations=2)) == []
    timer.join()


def test_then(app, new_id):
    told, group = threading.Event(), results_of(app, new_id, 3)
    group.then(lambda _: told.set())
    store_all(app, list(group)).join()
    assert told.wait(30)


def test_groups_are_saved_and_found_again(app, make_app, new_id):
    inner = results_of(app, new_id, 1)
    group = app.GroupResult(new_id(), [app.AsyncResult(new_id()), inner], parent=app.AsyncResult(new_id()))
    assert app.backend.restore_group(group.id) is None
    assert app.backend.get_group_meta(group.id) is None
    assert group.save() is group
    found = make_app().GroupResult.restore(group.id)
    assert found == group
    assert found.parent == group.parent
    assert found[1].results == inner.results
    assert app.backend.get_group_meta(group.id)["result"] == group
    app.GroupResult(group.id, [inner[0]]).save()  # over what was there
    assert app.backend.restore_group(group.id, cache=False).results == [inner[0]]
    group.delete()
    assert app.GroupResult.restore(group.id) is None
    group.delete()


def test_group_metas_are_remembered(make_app, new_id):
    app = make_app(result_cache_max=10)
    group = results_of(app, new_id, 1).save()
    assert app.backend.restore_group(group.id) == group
    make_app().backend.delete_group(group.id)
    assert app.backend.restore_group(group.id) == group
    app.backend.delete_group(group.id)
    assert app.backend.restore_group(group.id) is None
    group.save()
    app.backend.reload_group_result(group.id)
    assert app.backend.is_cached(group.id)


def test_waiting_is_not_a_busy_loop(app, new_id, told):
    """A store that can be asked only is asked every `interval`."""
    if told:
        pytest.skip("it tells")
    looks = []
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        results_of(app, new_id, 5).join_native(
            timeout=0.2, interval=0.05, on_interval=lambda: looks.append(1)
        )
    assert len(looks) <= (time.monotonic() - start) / 0.05 + 1
