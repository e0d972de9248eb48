"""Remote control on every broker that has a fanout: who answers, to whom, and what is revoked."""

from __future__ import annotations

import asyncio
import warnings

import pytest
from tests.support import wait_until

from celery.exceptions import DuplicateNodenameWarning, TaskRevokedError
from celery.worker.control import Panel, control_command, inspect_command

from .conftest import Started

pytestmark = pytest.mark.timeout(60)

PONG = {"ok": "pong"}


def test_who_is_asked_answers(app):
    with Started(app, "w1@here", pool="threads"), Started(app, "w2@here", pool="threads"):
        control = app.control
        assert sorted(map(str, control.ping(timeout=10, limit=2))) == [
            str({"w1@here": PONG}),
            str({"w2@here": PONG}),
        ]
        assert control.ping(["w2@here"], timeout=10) == [{"w2@here": PONG}]
        assert control.inspect("w1@here", timeout=10).ping() == PONG
        assert control.inspect(["w1@here"], timeout=10).ping() == {"w1@here": PONG}
        seen = []
        by_pattern = control.inspect(pattern="w[2]@*", timeout=10, limit=1, callback=seen.append)
        assert by_pattern.ping() == {"w2@here": PONG} == seen[0]
        assert control.broadcast("ping") is None
        assert control.ping(["nobody@here"], timeout=0.1) == []
        assert control.inspect(["nobody@here"], timeout=0.1).ping() is None


def test_nobody_is_there(app):
    assert app.control.ping(timeout=0.1) == []
    assert app.control.broadcast("ping") is None


def test_awaited(app):
    async def ask():
        pong = await app.control.aping(timeout=10, limit=1)
        said = await app.control.inspect(["w@here"], timeout=10).acall("clock")
        revoked = await app.control.arevoke("x", reply=True, limit=1, timeout=10)
        return pong, said, revoked

    with Started(app, pool="threads"):
        pong, said, revoked = asyncio.run(ask())
    assert pong == [{"w@here": PONG}]
    assert said["w@here"]["clock"] > 0
    assert revoked == [{"w@here": {"ok": "tasks {'x'} flagged as revoked"}}]


def test_what_waits_is_revoked_and_what_runs_goes_on(app, holding, gate):
    with Started(app, pool="threads", concurrency=1):
        running = holding.delay("runs")
        ask = app.control.inspect(["w@here"], timeout=10)
        wait_until(lambda: ask.active()["w@here"])
        waiting = holding.delay("waits")
        later = holding.apply_async(("later",), countdown=300)
        app.control.revoke([running.id, waiting.id, later.id], reply=True, limit=1, timeout=10)
        for result in (waiting, later):
            with pytest.raises(TaskRevokedError, match="revoked"):
                result.get(timeout=20)
        gate.set()
        wait_until(lambda: running.state == "SUCCESS")
        assert sorted(ask.revoked()["w@here"]) == sorted([running.id, waiting.id, later.id])


def test_a_result_revokes_its_task_and_those_of_a_set(app, holding, gate):
    with Started(app, pool="threads", concurrency=1):
        results = [holding.delay(n) for n in range(4)]
        assert results[1].revoke(wait=True, timeout=1) == [
            {"w@here": {"ok": f"tasks {{'{results[1].id}'}} flagged as revoked"}}
        ]
        app.ResultSet(results[2:]).revoke(wait=True, timeout=1)
        gate.set()
        assert results[0].get(timeout=20) == 0
        for result in results[1:]:
            with pytest.raises(TaskRevokedError):
                result.get(timeout=20)


def test_stamps_are_revoked(app, holding, gate):
    gate.set()
    with Started(app, pool="threads"):
        said = app.control.revoke_by_stamped_headers({"batch": ["b1"]}, reply=True, limit=1, timeout=10)
        assert said[0]["w@here"]["ok"].endswith("flagged as revoked, but not terminated")
        stamped = holding.s(1)
        stamped.stamp(batch="b1")
        other = holding.s(2)
        other.stamp(batch="b2")
        refused, run = stamped.delay(), other.delay()
        assert run.get(timeout=20) == 2
        with pytest.raises(TaskRevokedError):
            refused.get(timeout=20)


def test_queues_are_added_and_cancelled(app, holding, gate):
    gate.set()
    with Started(app, pool="threads"):
        tell = {"reply": True, "limit": 1, "timeout": 10}
        assert app.control.add_consumer("more", **tell) == [{"w@here": {"ok": "add consumer more"}}]
        assert app.control.add_consumer("more", **tell) == [{"w@here": {"ok": "add consumer more"}}]
        assert holding.apply_async(("x",), queue="more").get(timeout=20) == "x"
        ask = app.control.inspect(["w@here"], timeout=10)
        assert [queue["name"] for queue in ask.active_queues()["w@here"]] == ["celery", "more"]
        app.control.cancel_consumer("more", **tell)
        assert [queue["name"] for queue in ask.active_queues()["w@here"]] == ["celery"]
        holding.apply_async(("y",), queue="more")
        assert holding.delay("z").get(timeout=20) == "z"
        assert app.broker_for_write().size("more") == 1


@pytest.fixture
def own_commands():
    @control_command(args=[("n", int)], signature="[N=1]")
    def widen(state, n=1):
        state.consumer.qos.increment_eventually(n)
        return {"ok": "widened"}

    @inspect_command(alias="dump_window")
    def current_window(state):
        return {"window": state.consumer.qos.value, "node": state.hostname, "odd": {1}}

    @inspect_command
    def broken(state):
        raise ValueError("not like this")

    yield
    for name in ("widen", "current_window", "dump_window", "broken"):
        Panel.data.pop(name, None)
        Panel.meta.pop(name, None)


def test_own_commands(app, own_commands):
    with Started(app, pool="threads", concurrency=2):
        ask = app.control.inspect(["w@here"], timeout=10)
        before = ask.call("current_window")["w@here"]
        assert before["node"] == "w@here"
        assert before["odd"] == "{1}"  # JSON has no sets
        assert app.control.broadcast("widen", {"n": 3}, reply=True, limit=1, timeout=10) == [
            {"w@here": {"ok": "widened"}}
        ]
        assert ask.call("dump_window")["w@here"]["window"] == before["window"] + 3
        assert ask.call("broken") == {"w@here": {"error": "ValueError('not like this')"}}


def test_a_shutdown_is_obeyed_by_whom_it_is_for(app):
    first = Started(app, "w1@here", pool="threads")
    with Started(app, "w2@here", pool="threads"):
        with first:
            app.control.broadcast("shutdown", destination="w1@here")
            first.thread.join(20)
            assert first.worker.exitcode == 0
        assert app.control.ping(timeout=10, limit=1) == [{"w2@here": PONG}]


def test_two_of_one_name_are_warned_about(app):
    with Started(app, pool="threads"), Started(app, pool="threads"):
        replies = app.control.ping(timeout=2, limit=2)
        if len(replies) == 2:  # where a mailbox is a queue by its name, the two share it
            with pytest.warns(DuplicateNodenameWarning, match="w@here"):
                app.control.inspect(timeout=2, limit=2).ping()
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                app.control.inspect(timeout=0.5).ping()
