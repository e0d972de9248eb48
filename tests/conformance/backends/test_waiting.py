"""Waiting: by threads, by coroutines, over forks; nobody waits longer than for the result."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest

from celery.exceptions import ImproperlyConfigured, TimeoutError  # noqa: A004 - the public name


def store_later(app, task_id, value=5, seconds=0.05):
    timer = threading.Timer(seconds, lambda: app.backend.mark_as_done(task_id, value))
    timer.start()
    return timer


def test_what_is_there_is_not_waited_for(app, task_id):
    app.backend.mark_as_done(task_id, 5)
    assert app.backend.wait_for(task_id, timeout=0)["result"] == 5
    assert app.AsyncResult(task_id).get() == 5


def test_wait_until_it_is_stored(app, task_id):
    timer = store_later(app, task_id)
    assert app.AsyncResult(task_id).get(timeout=30, interval=0.02) == 5
    timer.join()


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_it_is_not_there_in_time(app, task_id, timeout):
    with pytest.raises(TimeoutError, match=r"The operation timed out\."):
        app.AsyncResult(task_id).get(timeout=timeout, interval=0.01)


def test_a_failure_is_raised_or_returned(app, task_id):
    app.backend.mark_as_failure(task_id, KeyError("k"))
    with pytest.raises(KeyError):
        app.AsyncResult(task_id).get(timeout=30)
    assert isinstance(app.AsyncResult(task_id).get(timeout=30, propagate=False), KeyError)
    assert isinstance(app.AsyncResult(task_id).get(timeout=30, throw=False), KeyError)


def test_callbacks(app, task_id):
    seen, ticks = [], []

    def tick():
        ticks.append(1)
        if len(ticks) == 2:
            app.backend.mark_as_done(task_id, 5)

    result = app.AsyncResult(task_id)
    assert result.get(30, interval=0.01, on_interval=tick, callback=lambda *a: seen.append(a)) == 5
    assert seen == [(task_id, 5)]
    assert len(ticks) >= 2


def test_on_message_sees_the_states_on_the_way(app, task_id, told):
    seen = []
    if not told:
        with pytest.raises(ImproperlyConfigured, match="does not support on_message"):
            app.AsyncResult(task_id).get(timeout=1, on_message=seen.append)
        return

    def report(meta):
        seen.append((meta["status"], meta["result"], meta["task_id"]))
        step()

    def step():
        if len(seen) < 2:
            app.backend.store_result(task_id, len(seen), "PROGRESS")
        else:
            app.backend.mark_as_done(task_id, 5)

    threading.Timer(0.02, step).start()
    assert app.AsyncResult(task_id).get(timeout=30, on_message=report) == 5
    assert seen == [("PROGRESS", 0, task_id), ("PROGRESS", 1, task_id), ("SUCCESS", 5, task_id)]


def test_many_threads_wait_for_many_results(app, new_id):
    ids = [new_id() for _ in range(60)]
    got = {}

    def wait(task_id):
        got[task_id] = app.AsyncResult(task_id).get(timeout=40, interval=0.05)

    threads = [threading.Thread(target=wait, args=(i,)) for i in ids for _ in range(2)]
    for thread in threads:
        thread.start()
    for n, task_id in enumerate(ids):
        app.backend.mark_as_done(task_id, n)
    for thread in threads:
        thread.join()
    assert got == {task_id: n for n, task_id in enumerate(ids)}


def test_coroutines_wait_beside_threads(app, new_id):
    ids = [new_id() for _ in range(40)]
    got = []

    async def main():
        waits = asyncio.gather(*(app.AsyncResult(i).aget(timeout=40, interval=0.05) for i in ids))
        thread = threading.Thread(target=lambda: got.append(app.AsyncResult(ids[-1]).get(timeout=40)))
        thread.start()
        await asyncio.sleep(0)
        await asyncio.to_thread(lambda: [app.backend.mark_as_done(i, n) for n, i in enumerate(ids)])
        values = await waits
        await asyncio.to_thread(thread.join)
        return values

    assert asyncio.run(main()) == list(range(40))
    assert got == [39]


def test_await_a_result(app, new_id):
    done, failed, never = new_id(), new_id(), new_id()
    app.backend.mark_as_done(done, 5)
    app.backend.mark_as_failure(failed, KeyError("k"))

    async def main():
        assert await app.AsyncResult(done) == 5
        with pytest.raises(KeyError):
            await app.AsyncResult(failed)
        with pytest.raises(TimeoutError):
            await app.AsyncResult(never).aget(timeout=0.02, interval=0.01)

    asyncio.run(main())


def test_a_cancelled_wait_leaves_nothing_behind(app, new_id):
    task_id, other = new_id(), new_id()

    async def main():
        waiting = asyncio.create_task(app.AsyncResult(task_id).aget())
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
    hub = app.backend.hub()
    assert hub is None or (not hub._entries and not hub._loops)
    app.backend.mark_as_done(other, 1)
    assert app.AsyncResult(other).get(timeout=30) == 1


def test_then(app, new_id):
    done, failed = new_id(), new_id()
    told, called = threading.Event(), []
    result = app.AsyncResult(done)
    assert result.then(lambda r: (called.append((r.id, r.result)), told.set())) is result
    app.backend.mark_as_done(done, 5)
    assert told.wait(30)
    app.AsyncResult(done).then(called.append)
    app.backend.mark_as_failure(failed, KeyError("k"))
    app.AsyncResult(failed).then(called.append, on_error=lambda exc: called.append(type(exc)))
    assert called == [(done, 5), done, KeyError]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_waits_on_its_own(app, new_id, kind):
    if kind not in ("sqlite", "redis"):
        pytest.skip("other processes do not see it")
    mine, theirs, later = new_id(), new_id(), new_id()
    waiting = threading.Thread(target=lambda: app.AsyncResult(mine).get(timeout=40))
    waiting.start()
    while app.backend.hub()._leader is None:
        time.sleep(0.001)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            timer = store_later(app, theirs, 1)
            if app.AsyncResult(theirs).get(timeout=30) == 1:
                app.backend.mark_as_done(mine, 2)
                code = 0 if app.AsyncResult(later).get(timeout=30) == 3 else 2
            timer.join()
        finally:
            os._exit(code)
    assert app.AsyncResult(mine).get(timeout=40) == 2
    app.backend.mark_as_done(later, 3)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    waiting.join()


def test_parents_are_followed(app, new_id):
    parent, child = new_id(), new_id()
    result = app.AsyncResult(child, parent=app.AsyncResult(parent))
    threading.Timer(0.03, lambda: app.backend.mark_as_failure(parent, KeyError("p"))).start()
    with pytest.raises(KeyError, match="p"):
        result.get(timeout=30, interval=0.01)
    with pytest.raises(TimeoutError):
        result.get(timeout=0.03, interval=0.01, follow_parents=False)
