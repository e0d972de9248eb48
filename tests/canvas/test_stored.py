"""`fleet = 'celeriac'`: what comes later in a workflow is stored once, and thrown away when it was sent."""

from __future__ import annotations

import pytest

from celery import Celery, chain, chord, group
from celery.app import bulk
from celery.backends.stored_graphs import GraphLost
from celery.canvas import graphs
from celery.canvas.plans import Plan
from tests.canvas.running import worker_beside
from tests.support import wait_until


def app_on(url: str, fleet: str = "celeriac") -> Celery:
    app = Celery("stored", broker=url, backend=url, set_as_current=False, fleet=fleet)

    @app.task(name="stored.count", shared=False)
    def count(values=(), *_):
        return sum(values) + 1 if isinstance(values, list) else 1

    @app.task(name="stored.fail", shared=False)
    def fail(*_):
        raise ValueError("bad")

    return app


def chords(app, length, width):
    """Chords, one after another."""
    count = app.tasks["stored.count"]
    return chain(*[chord([count.s() for _ in range(width)], count.s()) for _ in range(length)])


def bytes_sent(server, workflow):
    def read():
        return int(server.cli("INFO", "stats").split("total_net_input_bytes:")[1].split()[0])

    before = read()
    workflow.apply_async()
    return read() - before


def test_bytes_grow_linearly(redis_server, redis_url):
    app, mixed = app_on(redis_url), app_on(redis_url, "mixed")
    app.tasks["stored.count"].delay()  # connects
    small, large = (bytes_sent(redis_server, chords(app, length, 20)) for length in (10, 40))
    assert large < 5 * small, "four times as many tasks"
    assert bytes_sent(redis_server, chords(mixed, 10, 20)) > 5 * small
    app.close()
    mixed.close()


@pytest.fixture(params=["redis", "sqlite", "memory", "database"])
def app(request, tmp_path):
    store = f"sqlite:///{tmp_path}/store.db"
    if request.param == "redis":
        made = app_on(request.getfixturevalue("redis_url"))
    else:
        made = app_on("memory://" if request.param == "memory" else store)
    if request.param == "memory":
        made.conf.result_backend = "cache+memory://"
    elif request.param == "database":
        made.conf.result_backend = f"db+sqlite:///{tmp_path}/results.db"
    yield made
    made.close()


def test_what_was_sent_is_thrown_away(app, monkeypatch):
    kept: list[str] = []
    keep = Plan.keep
    monkeypatch.setattr(Plan, "keep", lambda plan, name, parts: (kept.append(name), keep(plan, name, parts)))
    with worker_beside(app):
        shelf = app.backend.chords.shelf
        result = chords(app, 5, 10).apply_async()
        assert result.get(timeout=30) == 11
        assert len(kept) == 6, "five bodies, and four later chords"
        wait_until(lambda: all(shelf.fetch(name, 0) is None for name in kept))


def test_little_is_carried(app, monkeypatch):
    kept: list[str] = []
    monkeypatch.setattr(Plan, "keep", lambda plan, name, parts: kept.append(name))
    with worker_beside(app):
        result = chain(chords(app, 1, 2), app.tasks["stored.count"].s()).apply_async()
        assert result.get(timeout=30) == 1
    assert kept == []


def test_members_carry_a_reference(app):
    workflow = chords(app, 3, 10)
    seen = []

    @app.task(name="stored.look", bind=True, shared=False)
    def look(self, *_):
        seen.append(self.request.chord)
        return 1

    workflow.tasks[0].tasks.append(look.s())
    with worker_beside(app):
        workflow.apply_async().get(timeout=30)
    (carried,) = seen
    assert graphs.is_reference(carried)
    assert len(app.backend.encode(carried)) < 300


def test_what_never_runs_is_failed(app):
    count, fail = app.tasks["stored.count"], app.tasks["stored.fail"]
    with worker_beside(app):
        result = chain(fail.s(), *[count.s() for _ in range(12)]).apply_async()
        assert isinstance(result.get(timeout=30, propagate=False), ValueError)
        assert isinstance(result.parent.get(timeout=30, propagate=False), ValueError)


def test_a_graph_that_is_gone_is_a_clear_failure(app):
    count = app.tasks["stored.count"]
    workflow = chain(*[count.si() for _ in range(12)])
    shelf = app.backend.chords.shelf
    shelf.keep = lambda parts: None
    first = workflow.apply_async()
    while first.parent is not None:
        first = first.parent
    with worker_beside(app):
        lost = first.get(timeout=30, propagate=False)
    assert "gone from the result store" in str(lost)


def test_a_step_that_runs_again_sends_nothing_twice(app):
    shelf = app.backend.chords.shelf
    shelf.keep({"one": [b"application/json\nutf-8\n{}"]})
    chain_option = [{"task": "", graphs.KEY: ["one", 1]}]
    following = graphs.Next(app, chain_option)
    assert following.step is not None
    following.sent()
    assert graphs.Next(app, chain_option).step is None
    assert list(graphs.steps(app, chain_option)) == []
    with pytest.raises(GraphLost):
        shelf.fetch("another", 0)


def test_large_messages_are_sent_in_smaller_batches(redis_url, monkeypatch):
    """Not all of them are in memory at once, and all arrive."""
    monkeypatch.setattr(bulk, "BULK_BYTES", 5000)
    app = app_on(redis_url)
    batches = []
    publish = bulk.publish
    monkeypatch.setattr(
        bulk, "publish", lambda a, batch, o: (batches.append(len(batch)), publish(a, batch, o))
    )
    group([app.tasks["stored.count"].s("x" * size) for size in (10, 10, 6000, 6000, 10, 10)]).apply_async()
    assert batches == [3, 1, 2]
    assert app.broker_for_read().size("celery") == 6
    app.close()


def test_what_a_task_s_own_serializer_can_write(app):
    app.conf.accept_content = ["json", "pickle"]
    real = app.task(name="stored.real", shared=False, serializer="pickle")(lambda value: value.real)
    with worker_beside(app):
        result = chain(*[real.si(complex(n, 1)) for n in range(12)]).apply_async()
        assert result.get(timeout=30) == 11
