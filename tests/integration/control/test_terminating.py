"""Ending tasks that run: in every pool that can, and what the others say."""

from __future__ import annotations

import asyncio
import time
import uuid

import pytest
from tests.support import wait_until

from celery import chord
from celery.exceptions import ChordError, TaskRevokedError
from celery.signals import task_revoked

from .conftest import Started

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def broker_url():
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def app(broker_url, make_app):
    return make_app(broker_url)


@pytest.fixture
def endless(app):
    @app.task(name="endless")
    def endless():
        time.sleep(60)

    @app.task(name="aendless")
    async def aendless():
        await asyncio.sleep(60)

    return {"prefork": endless, "asyncio": aendless}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("signal", ["SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("pool", ["prefork", "asyncio"])
def test_a_running_task_is_ended(app, endless, pool, signal, late):
    told = []

    def on_revoked(sender, request, terminated, signum, expired, **kwargs):
        told.append((sender.name, terminated, int(signum), expired))

    task = endless[pool]
    task.acks_late = late
    task_revoked.connect(on_revoked)
    try:
        with Started(app, pool=pool, concurrency=1):
            result = task.delay()
            ask = app.control.inspect(["w@here"], timeout=10)
            wait_until(lambda: ask.active()["w@here"])
            said = app.control.terminate(result.id, signal=signal, reply=True, limit=1, timeout=10)
            assert said == [{"w@here": {"ok": f"terminate: {result.id}"}}]
            with pytest.raises(TaskRevokedError, match="terminated"):
                result.get(timeout=20)
            wait_until(lambda: not ask.active()["w@here"])
            wait_until(lambda: told)
            assert app.broker_for_write().size("celery") == 0
    finally:
        task_revoked.disconnect(on_revoked)
    assert told == [(task.name, True, {"SIGTERM": 15, "SIGKILL": 9}[signal], False)]


def test_threads_say_that_they_cannot(app, holding, gate):
    with Started(app, pool="threads", concurrency=1):
        result = holding.delay("x")
        ask = app.control.inspect(["w@here"], timeout=10)
        wait_until(lambda: ask.active()["w@here"])
        said = app.control.revoke(result.id, terminate=True, reply=True, limit=1, timeout=10)
        assert f"cannot terminate a task that runs: {result.id}" in said[0]["w@here"]["error"]
        gate.set()
        wait_until(lambda: result.state == "SUCCESS")


def test_what_waits_behind_others_in_a_child_does_not_run(app, tmp_path):
    @app.task(name="mark")
    def mark(label, seconds=0.0):
        (tmp_path / f"ran-{label}").touch()
        time.sleep(seconds)

    with Started(app, pool="prefork", concurrency=1):
        for n in range(200):  # they are known to be short: more than one is given to the child at once
            mark.delay(f"warm{n}")
        wait_until(lambda: len(list(tmp_path.glob("ran-warm*"))) == 200)
        first = mark.delay("first", 3.0)
        behind = [mark.delay(f"behind{n}") for n in range(5)]
        wait_until(lambda: (tmp_path / "ran-first").exists())
        app.control.revoke([result.id for result in behind], reply=True, limit=1, timeout=10)
        for result in behind:
            with pytest.raises(TaskRevokedError):
                result.get(timeout=20)
        first.get(timeout=20)
    assert not list(tmp_path.glob("ran-behind*"))


def test_a_revoked_member_counts_in_its_chord(app, holding, gate):
    @app.task(name="total")
    def total(values):
        return values

    with Started(app, pool="threads", concurrency=1):
        blocking = holding.delay("blocks")
        ask = app.control.inspect(["w@here"], timeout=10)
        wait_until(lambda: ask.active()["w@here"])
        body = chord([holding.s(1), holding.s(2)], total.s()).delay()
        app.control.revoke(body.parent[0].id, reply=True, limit=1, timeout=10)
        gate.set()
        blocking.get(timeout=20)
        with pytest.raises((ChordError, TaskRevokedError)):
            body.get(timeout=20)
