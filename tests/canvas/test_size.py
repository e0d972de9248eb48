"""Large workflows: what sending them takes does not grow with more than their size."""

from __future__ import annotations

import tracemalloc

import pytest

from celery import Celery, chain, chord, group
from tests.canvas.running import worker_beside

MEMBERS = 5_000


@pytest.fixture
def app(tmp_path):
    """Messages and results are in a file, so that what is measured is the sender."""
    url = f"sqlite:///{tmp_path}/store.db"
    app = Celery("large", broker=url, backend=url)

    @app.task(name="add", shared=False)
    def add(*args):
        return 1

    @app.task(name="next", shared=False)
    def following(n):
        return n + 1

    @app.task(name="total", shared=False)
    def total(values):
        return sum(values)

    yield app
    app.close()


@pytest.mark.parametrize("fleet", ["mixed", "celeriac"])
@pytest.mark.parametrize("kind", ["group", "chord", "group of chains"])
def test_the_memory_that_sending_takes_grows_with_the_tasks(app, kind, fleet):
    app.conf.fleet = fleet
    add = app.tasks["add"]
    make = {
        "group": lambda n: group(add.s(i) for i in range(n)),
        "chord": lambda n: chord((add.s(i) for i in range(n)), add.s()),
        "group of chains": lambda n: group(chain(add.s(i), add.s(), add.s()) for i in range(n // 3)),
    }[kind]
    peak_of(make(10))  # what is loaded and made at the first call
    tenth, whole = peak_of(make(MEMBERS // 10)), peak_of(make(MEMBERS))
    assert whole < 12 * tenth
    assert whole < 5_000 * MEMBERS


@pytest.mark.timeout(180)
def test_a_chain_of_a_thousand_steps(app):
    step = app.tasks["next"]
    with worker_beside(app):
        assert chain(step.s(0), *[step.s()] * 999)().get(timeout=150) == 1000


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fleet", ["mixed", "celeriac"])
def test_ten_thousand_members(app, fleet):
    app.conf.fleet = fleet
    add, total = app.tasks["add"], app.tasks["total"]
    with worker_beside(app):
        assert chord((add.s(i) for i in range(10_000)), total.s())().get(timeout=250) == 10_000
        assert group(add.s(i) for i in range(10_000))().get(timeout=250) == [1] * 10_000


def peak_of(workflow):
    """Bytes that were in use at once while it was made and sent."""
    tracemalloc.start()
    try:
        workflow.apply_async()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
