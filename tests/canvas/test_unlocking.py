"""Chords in stores that can only be asked: whoever looks goes on when the store was away."""

from __future__ import annotations

import pytest

from celery import Celery, chord
from celery.app.unlocking import LONGEST, wait_after
from celery.backends.base import KeyValueStoreBackend
from celery.backends.relaying import is_refusal
from celery.backends.simple_chords import PollingChords
from celery.brokers.base import BrokerUnavailable
from celery.contrib.testing.worker import start_worker
from celery.exceptions import BackendGetMetaError, BackendStoreError, EncodeError


class Store(KeyValueStoreBackend):
    """Of somebody else's. It does not answer the first looks at the members of a chord."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.data = {}
        self.refused = 0

    def exception_safe_to_retry(self, exc):
        return isinstance(exc, ConnectionError)

    def get(self, key):
        task = self.app.current_worker_task
        if task is not None and task.name == "celery.chord_unlock" and self.refused < 2:
            self.refused += 1
            raise ConnectionError("away")
        return self.data.get(key)

    def mget(self, keys):
        return [self.get(key) for key in keys]

    def set(self, key, value):
        self.data[key] = value

    def delete(self, key):
        self.data.pop(key, None)


@pytest.fixture
def app():
    app = Celery("looks", broker="memory://", set_as_current=False)
    app.conf.result_chord_retry_interval = 0.05
    app.backend = Store(app=app)
    yield app
    app.close()


def test_a_store_that_was_away(app):
    add = app.task(name="looks.add", shared=False)(lambda x, y: x + y)
    total = app.task(name="looks.total", shared=False)(sum)
    assert isinstance(app.backend.chords, PollingChords)
    with start_worker(app, pool="threads", concurrency=2, perform_ping_check=False, loglevel="CRITICAL"):
        result = chord([add.s(1, 1), add.s(2, 2)], total.s())()
        assert result.get(timeout=30, interval=0.05) == 6
    assert app.backend.refused == 2


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (BackendGetMetaError("away"), False),
        (BackendStoreError("away"), False),
        (BrokerUnavailable("away"), False),
        (ConnectionError("away"), False),
        (EncodeError("no"), True),
    ],
)
def test_what_is_tried_again(app, error, refusal):
    assert is_refusal(app.backend, error) is refusal


def test_looks_become_rare_but_go_on():
    waits = [wait_after(looks, 1.0) for looks in (0, 1, 10, 20, 100_000)]
    assert waits == [1.0, 1.2, pytest.approx(6.19, abs=0.01), LONGEST, LONGEST]
    assert wait_after(100_000, 60.0) == 60.0
