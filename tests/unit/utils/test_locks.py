"""Locks that are let go whatever comes between."""

from __future__ import annotations

import threading
import time

from tests.support import cut_short

from celery.utils.locks import TAKEN, holding


def test_holding():
    lock = threading.Lock()
    assert holding(lock, 0, lambda what: (what, lock.locked()), "called") == ("called", True)
    assert not lock.locked()
    with lock:
        assert holding(lock, 0, list) is TAKEN
        assert holding(lock, 0.01, list) is TAKEN
        threading.Timer(0.05, lock.release).start()
        assert holding(lock, 10, str) == ""
        lock.acquire()


def test_an_exception_at_any_time():
    lock = threading.Lock()

    def call() -> None:
        assert not lock.locked()
        for _ in range(30):
            holding(lock, 0, time.monotonic)

    assert cut_short(5000, call) > 1000
    assert not lock.locked()
