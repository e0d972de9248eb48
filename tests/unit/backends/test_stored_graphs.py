"""How long what comes later in a workflow is kept."""

from __future__ import annotations

import contextlib

import pytest

from celery.backends.stored_graphs import GraphLost, LedgerShelf


class Ledger:
    """Keys and values that are gone when their time is over, by a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.writes = 0
        self._values: dict[str, tuple[object, float]] = {}

    def get(self, key):
        value, until = self._values.get(key, (None, 0.0))
        return value if self.now < until else None

    def put(self, key, value, seconds):
        self.writes += 1
        self._values[key] = (value, self.now + seconds)

    def scan(self, prefix):
        return [
            (key, self.get(key)) for key in sorted(self._values) if key.startswith(prefix) and self.get(key)
        ]

    def delete(self, prefix):
        for key, _ in self.scan(prefix):
            del self._values[key]


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture
def shelf(ledger):
    return LedgerShelf(
        lambda: contextlib.nullcontext(ledger), "{}{}".format, lambda: 100.0, clock=lambda: ledger.now
    )


def test_it_lives_as_long_as_no_step_takes_too_long(ledger, shelf):
    items = [b"%d" % n for n in range(10)]
    shelf.keep({"flow": items})
    for index in reversed(range(10)):
        ledger.now += 80
        assert shelf.fetch("flow", index) == items[index]
    shelf.drop("flow")
    assert shelf.fetch("flow", 0) is None


def test_a_step_that_takes_too_long_loses_it(ledger, shelf):
    shelf.keep({"flow": [b"0", b"1"]})
    ledger.now += 101
    with pytest.raises(GraphLost):
        shelf.fetch("flow", 1)


def test_short_steps_write_nothing(ledger, shelf):
    shelf.keep({"flow": [b"0"] * 50})
    kept = ledger.writes
    for index in reversed(range(50)):
        shelf.fetch("flow", index)
    assert ledger.writes == kept
