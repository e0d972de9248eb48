"""Chords in Redis: counted where results are stored, by Celery's keys, and never forgotten."""

from __future__ import annotations

import json

import pytest
from tests.support import wait_until

from celery import Celery, chord, group
from celery.backends.redis import chords as redis_chords
from celery.contrib.testing.worker import start_worker
from celery.exceptions import ChordError


@pytest.fixture(params=["json", "pickle"])
def app(request, redis_url):
    app = Celery("t", broker="memory://", backend=redis_url, set_as_current=False)
    app.conf.update(
        result_serializer=request.param,
        accept_content=["json", "pickle"],
        result_backend_transport_options={"result_chord_ordered": True},
    )

    @app.task
    def add(x, y):
        return x + y

    @app.task
    def listed(values):
        return values

    @app.task
    def boom():
        raise ValueError("boom")

    @app.task(bind=True)
    def growing(self):
        self.add_to_chord(add.si(10, 10))
        return 5

    return app


@pytest.fixture
def worker(app):
    with start_worker(app, pool="threads", concurrency=4, perform_ping_check=False):
        yield


def task(app, name):
    return (
        app.tasks[f"{__name__}.{name}"]
        if f"{__name__}.{name}" in app.tasks
        else next(found for key, found in app.tasks.items() if key.endswith(f".{name}"))
    )


def test_the_body_gets_the_values_in_order(app, worker, redis_server):
    add, listed = task(app, "add"), task(app, "listed")
    result = chord([add.s(n, 1) for n in range(50)], listed.s()).apply_async()
    assert result.get(timeout=30) == list(range(1, 51))
    group_id = result.parent.id
    wait_until(lambda: redis_server.cli("GET", f"celery-taskset-meta-{group_id}.c") == "done")
    assert redis_server.cli("KEYS", f"celery-taskset-meta-{group_id}.[jtsd]") == ""
    assert redis_server.cli("HLEN", "chord-unlock-due") == "0"


def test_many_chords_are_opened_in_few_round_trips(app, worker, monkeypatch):
    add, listed = task(app, "add"), task(app, "listed")
    written, carry_out = [], app.backend.carry_out
    monkeypatch.setattr(
        app.backend, "carry_out", lambda *some: (written.append(len(some)), carry_out(*some))[1]
    )
    chords = [chord([add.si(n, 1), add.si(n, 2)], listed.s()) for n in range(300)]
    result = group(chords).apply_async()
    opened = list(written)
    assert result.get(timeout=30) == [[n + 1, n + 2] for n in range(300)]
    assert len(opened) <= 2


def test_a_failing_member_fails_the_body(app, worker):
    add, listed, boom = (task(app, name) for name in ("add", "listed", "boom"))
    result = chord([add.s(1, 1), boom.s()], listed.s()).apply_async()
    with pytest.raises((ChordError, ValueError), match="boom"):
        result.get(timeout=30)
    assert result.state == "FAILURE"


def test_a_member_adds_another(app, worker):
    growing, listed = task(app, "growing"), task(app, "listed")
    result = chord([growing.s()], listed.s()).apply_async()
    assert sorted(result.get(timeout=30)) == [5, 20]


def test_books_while_it_runs(app, redis_server):
    """As Celery keeps them: size, members by index, who is counted."""
    add, listed = task(app, "add"), task(app, "listed")
    result = chord([add.s(1, 1), add.s(2, 2)], listed.s()).apply_async()
    key = f"celery-taskset-meta-{result.parent.id}"
    assert redis_server.cli("GET", f"{key}.s") == "2"
    assert 86390 < int(redis_server.cli("TTL", f"{key}.s")) <= 86400
    _end(app, result, 0, 7)
    member = result.parent.results[0].id
    assert redis_server.cli("SMEMBERS", f"{key}.d") == f"{member}:0"
    assert redis_server.cli("ZCOUNT", f"{key}.j", 0, 0) == "1"
    if app.conf.result_serializer == "json":
        assert json.loads(redis_server.cli("ZRANGE", f"{key}.j", 0, 0)) == [1, member, "SUCCESS", 7]


def _end(app, result, index, value, state="SUCCESS"):
    """Say that a member is over, as a worker does."""
    from celery.app.context import Context

    member = result.parent.results[index].id
    body = {**dict(task(app, "listed").s()), "options": {"task_id": result.id}}
    request = Context({"id": member, "chord": body, "group": result.parent.id, "group_index": index})
    app.backend.mark_as_done(member, value, request, state=state)


def test_members_that_end_together_are_counted_together(app, redis_server, monkeypatch):
    """One step for those of one chord; the last of them owes the body, with all values."""
    add, listed = task(app, "add"), task(app, "listed")
    results = [chord([add.s(n, n) for n in range(5)], listed.s()).apply_async() for _ in range(2)]
    calls, pipeline = [], app.backend._client.pipeline
    monkeypatch.setattr(
        app.backend._client,
        "pipeline",
        lambda some, **how: (calls.append(len(some)), pipeline(some, **how))[1],
    )
    for some in (range(3), (0, 3, 4)):  # the first of them ends twice
        app.backend.defer()
        for index in some:
            for result in results:
                _end(app, result, index, index * 10)
        calls.clear()
        app.backend.flush()
        assert calls[0] == 2
    assert redis_server.cli("HLEN", "chord-unlock-due") == "0"
    with start_worker(app, pool="solo", perform_ping_check=False):
        assert [result.get(timeout=30) for result in results] == [[0, 10, 20, 30, 40]] * 2


def test_members_count_once(app, redis_server):
    add, listed = task(app, "add"), task(app, "listed")
    result = chord([add.s(1, 1), add.s(2, 2)], listed.s()).apply_async()
    for _ in range(3):
        _end(app, result, 0, 7)
    assert redis_server.cli("ZCARD", f"celery-taskset-meta-{result.parent.id}.j") == "1"
    assert redis_server.cli("EXISTS", f"celery-taskset-meta-{result.parent.id}.c") == "0"


def test_a_body_whose_sender_died_is_sent_by_another(app, redis_server, monkeypatch):
    """The note is in the step that counts: whoever sweeps later sends it, once."""
    add, listed = task(app, "add"), task(app, "listed")
    result = chord([add.s(1, 1), add.s(2, 2)], listed.s()).apply_async()
    monkeypatch.setattr(redis_chords.RedisChords, "relay", lambda *_: None)  # it dies before it sends
    _end(app, result, 0, 7)
    _end(app, result, 1, 8)
    monkeypatch.undo()
    assert redis_server.cli("HLEN", "chord-unlock-due") == "1"
    assert app.backend.chords.sweep() == 0  # it is still the dead one's
    till, note = redis_server.cli("HGET", "chord-unlock-due", result.parent.id).split(" ", 1)
    redis_server.cli("HSET", "chord-unlock-due", result.parent.id, f"{int(till) - 60} {note}")
    assert [app.backend.chords.sweep() for _ in range(2)] == [1, 0]
    with start_worker(app, pool="solo", perform_ping_check=False):
        assert result.get(timeout=30) == [7, 8]


def test_a_mark_runs_once(app):
    chords = app.backend.chords
    assert [chords.admit("t1", mark) for mark in ("g/a", "g/a", "g/b")] == [True, True, False]


def test_a_chord_in_a_group_in_a_chord(app, worker):
    add, listed = task(app, "add"), task(app, "listed")
    inner = chord([add.s(1, 1), add.s(2, 2)], listed.s())
    result = chord(group(inner, add.s(5, 5)), listed.s()).apply_async()
    assert result.get(timeout=30) == [[2, 4], 10]


@pytest.mark.parametrize("app", ["json"], indirect=True)
def test_unordered(app, worker, redis_server):
    app.conf.result_backend_transport_options = {"result_chord_ordered": False}
    app.backend._chords = None
    add, listed = task(app, "add"), task(app, "listed")
    result = chord([add.s(n, 1) for n in range(20)], listed.s()).apply_async()
    assert sorted(result.get(timeout=30)) == list(range(1, 21))
