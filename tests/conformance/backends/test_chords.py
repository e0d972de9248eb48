"""A chord on every store: the body runs once, with the values in order; a failure reaches it."""

from __future__ import annotations

import pytest

from celery import chord
from celery.contrib.testing.worker import start_worker
from celery.exceptions import ChordError


@pytest.fixture(params=["mixed", "celeriac"])
def fleet(request, table):
    if request.param == "celeriac" and not table:
        pytest.skip("the same")
    return request.param


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_chords(make_app, fleet, new_id, kind):
    app = make_app(fleet=fleet, result_chord_retry_interval=0.05, task_default_queue=new_id())
    runs = []

    @app.task(shared=False)
    def double(n):
        if n < 0:
            raise ValueError(n)
        return 2 * n

    @app.task(shared=False)
    def collect(values):
        runs.append(values)
        return values

    threads = 1 if kind == "dynamodb" else 3  # moto loses counts that come at the same moment
    with start_worker(app, pool="threads", concurrency=threads, perform_ping_check=False):
        good = chord([double.s(n) for n in range(8)])(collect.s())
        bad = chord([double.s(1), double.s(-1)])(collect.s())
        assert good.get(timeout=40, interval=0.05) == [2 * n for n in range(8)]
        with pytest.raises(ChordError, match=r"ValueError\(-1\)"):
            bad.get(timeout=40, interval=0.05)
    assert runs == [[2 * n for n in range(8)]]
