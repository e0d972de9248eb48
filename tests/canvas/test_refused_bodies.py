"""A chord's body that cannot be sent, now or later, fails after some tries instead of being tried for ever."""

from __future__ import annotations

import pytest

from celery import Celery, chord
from celery.backends import chords, relaying
from celery.backends.redis import chords as redis_chords
from celery.backends.simple_chords import PollingChords
from celery.contrib.testing.worker import start_worker
from celery.exceptions import ChordError
from tests.support import wait_until


@pytest.fixture(params=["redis", "sqlite", "memory", "memcached", "file"])
def app(request, tmp_path, monkeypatch):
    """Values are pickled, but JSON is to carry them to the body."""
    monkeypatch.setattr(relaying, "TRIES", 2)
    monkeypatch.setattr(chords, "RELAY_LEASE", 0.1)
    monkeypatch.setattr(redis_chords, "LEASE", 1)
    urls = {
        "sqlite": lambda: f"sqlite:///{tmp_path}/store.db",
        "redis": lambda: request.getfixturevalue("redis_url"),
        "memory": lambda: "cache+memory://",
        "file": lambda: f"file://{tmp_path}",
        "memcached": lambda: f"cache+memcached://{request.getfixturevalue('memcached_server').address}/",
    }
    app = Celery("refused", broker=f"sqlite:///{tmp_path}/broker.db", backend=urls[request.param]())
    app.conf.update(result_serializer="pickle", accept_content=["json", "pickle"], task_serializer="json")
    app.conf.result_chord_retry_interval = 0.1
    yield app
    app.close()


def test_it_fails_once_and_its_errbacks_are_called(app):
    told = []

    @app.task(shared=False)
    def odd():
        return {object}

    @app.task(shared=False)
    def body(values): ...

    @app.task(shared=False)
    def on_error(request, exc, traceback):
        told.append(exc)

    with start_worker(app, pool="threads", concurrency=2, perform_ping_check=False, loglevel="CRITICAL"):
        result = chord([odd.s(), odd.s()], body.s().on_error(on_error.s()))()
        wait_until(lambda: app.backend.chords.sweep() or result.ready(), 20)
        error = result.get(timeout=5, propagate=False)
        assert isinstance(error, ChordError)
        assert "could not be sent" in str(error)
        wait_until(lambda: told)
        wait_until(lambda: not app.backend.chords.sweep())
    assert len(told) == 1


def test_it_can_be_resumed_when_the_reason_is_gone(app):
    if isinstance(app.backend.chords, PollingChords):
        pytest.skip("who looks is sent where the body is sent: the call is refused")
    app.conf.task_create_missing_queues = False

    @app.task(shared=False)
    def member(value):
        return value

    options = {"pool": "threads", "concurrency": 2, "perform_ping_check": False, "loglevel": "CRITICAL"}
    with start_worker(app, **options):
        result = chord([member.s(1), member.s(2)], member.s().set(queue="not there yet"))()
        wait_until(lambda: app.backend.chords.sweep() or result.ready(), 20)
        assert "could not be sent" in str(result.get(timeout=5, propagate=False))
    app.amqp.queues.add("not there yet")
    with start_worker(app, queues=["celery", "not there yet"], **options):
        assert result.resume().get(timeout=20) == [1, 2]


def test_an_errback_that_is_refused_keeps_nothing_up(app):
    """The body has failed, its other errbacks are called, once, and nobody tries again."""
    app.conf.task_create_missing_queues = False
    told = []

    @app.task(shared=False)
    def fails():
        raise ValueError("no")

    @app.task(shared=False)
    def body(values): ...

    @app.task(shared=False)
    def on_error(request, exc, traceback):
        told.append("called")

    @app.task(shared=False)
    def sent(task_id):
        told.append("sent")

    nowhere = app.signature("elsewhere", queue="no such queue")
    with start_worker(app, pool="threads", concurrency=2, perform_ping_check=False, loglevel="CRITICAL"):
        last = body.s().on_error(on_error.s()).on_error(nowhere).on_error(sent.s())
        result = chord([fails.s(), fails.s()], last)()
        wait_until(lambda: len(told) > 1, 20)
        assert isinstance(result.get(timeout=5, propagate=False), ChordError)
        wait_until(lambda: not app.backend.chords.sweep())
    assert sorted(told) == ["called", "sent"]


def test_a_body_that_cannot_be_read_fails(app):
    """It was stored in a form that this worker does not accept."""
    shelf = app.backend.chords.shelf
    if shelf is None:
        pytest.skip("messages carry the body")
    app.conf.update(fleet="celeriac", accept_content=["json"], result_serializer="json")

    @app.task(shared=False)
    def member():
        return 1

    @app.task(shared=False, serializer="pickle")
    def body(values): ...

    result = chord([member.s() for _ in range(10)], body.s())()
    with start_worker(app, pool="threads", concurrency=2, perform_ping_check=False, loglevel="CRITICAL"):
        wait_until(lambda: app.backend.chords.sweep() or result.ready(), 20)
        assert "could not be sent" in str(result.get(timeout=5, propagate=False))
        wait_until(lambda: not app.backend.chords.sweep())
