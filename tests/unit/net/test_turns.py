"""Threads that share one connection."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support import cut_short, wait_until

from celery.net.turns import Turn, Turns
from celery.utils.locks import TAKEN


class Line:
    """A connection that takes a call at a time, and may be held up."""

    def __init__(self) -> None:
        self.turns: Turns[Turn] = Turns(self._serve)
        self.batches: list[int] = []
        self.open = threading.Event()
        self.open.set()
        self._inside = 0

    def _serve(self) -> None:
        self._inside += 1
        assert self._inside == 1, "one at a time"
        batch: list[Turn] = []
        while self.turns.take(batch):
            pass
        self.open.wait(10)
        self.batches.append(len(batch))
        self._inside -= 1
        for turn in batch:
            turn.done()

    def call(self, timeout: float = 10.0) -> bool:
        return self.turns.wait(Turn(), time.monotonic() + timeout)


@pytest.fixture
def line():
    return Line()


def test_every_call_is_made_once_and_none_is_left_behind(line):
    with ThreadPoolExecutor(30) as pool:
        made = list(pool.map(lambda _: line.call(), range(3000)))
    assert all(made)
    assert sum(line.batches) == 3000
    assert not line.turns.waiting


def test_who_waits_meanwhile_is_served_in_one_go(line):
    line.open.clear()
    with ThreadPoolExecutor(21) as pool:
        first = pool.submit(line.call)
        wait_until(lambda: not line.turns.waiting and line.turns._busy.locked())
        others = [pool.submit(line.call) for _ in range(20)]
        wait_until(lambda: len(line.turns.waiting) == 20)
        line.open.set()
        assert all(future.result(10) for future in [first, *others])
    assert line.batches == [1, 20]


def test_a_call_that_nobody_began_in_time_is_never_made(line):
    line.open.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(line.call)
        wait_until(line.turns._busy.locked)
        assert line.call(timeout=0.05) is False
        line.open.set()
        assert first.result(10)
    assert line.batches == [1]


def test_a_call_that_somebody_makes_is_waited_for_beyond_its_deadline(line):
    line.open.clear()
    with ThreadPoolExecutor(2) as pool, line.turns.connection():
        second = pool.submit(line.call, 0.2)
        wait_until(lambda: line.turns.waiting)
        (turn,) = line.turns.waiting
        line.turns.waiting.clear()  # as `serve` does first of all
        time.sleep(0.4)
        assert not second.done()
        turn.done()
        assert second.result(10)


def test_an_error_ends_the_call_of_whoever_spoke_and_leaves_the_rest_to_others():
    calls = []

    def serve() -> None:
        turn = turns.take(calls)
        turn.done()
        if len(calls) == 1:
            raise KeyboardInterrupt

    turns: Turns[Turn] = Turns(serve)
    with pytest.raises(KeyboardInterrupt):
        turns.wait(Turn(), time.monotonic() + 5)
    assert turns.wait(Turn(), time.monotonic() + 5)
    assert not turns._busy.locked()


def test_whoever_has_the_connection_to_itself_lets_others_go_on(line):
    with ThreadPoolExecutor(5) as pool:
        with line.turns.connection():
            assert line.turns.alone(lambda: "called") is TAKEN
            futures = [pool.submit(line.call) for _ in range(5)]
            wait_until(lambda: len(line.turns.waiting) == 5)
        assert all(future.result(10) for future in futures)
    assert line.turns.alone(lambda: "called") == "called"


def test_an_exception_at_any_time_leaves_the_connection_to_others():
    def serve() -> None:
        batch: list[Turn] = []
        while turns.take(batch):
            pass
        for turn in batch:
            turn.done()

    turns: Turns[Turn] = Turns(serve)

    def call() -> None:
        assert not turns._busy.locked()
        for _ in range(10):
            turns.alone(str)
            turns.wait(Turn(), time.monotonic() + 5)

    assert cut_short(6000, call) > 1000
    assert turns.wait(Turn(), time.monotonic() + 5)
    assert not turns.waiting


def test_who_was_forgotten_by_a_thread_that_was_cut_short_goes_on():
    forgotten: list[Turn] = []

    def serve() -> None:
        turns.take(forgotten)
        began.set()
        cut.wait(10)
        raise KeyboardInterrupt

    turns: Turns[Turn] = Turns(serve)
    began, cut = threading.Event(), threading.Event()
    with ThreadPoolExecutor(2) as pool:
        speaker = pool.submit(turns.wait, Turn(), time.monotonic() + 10)
        began.wait(10)
        other = pool.submit(turns.wait, Turn(), time.monotonic() + 0.1)
        wait_until(lambda: len(turns.waiting) == 1)
        turns.take(forgotten)  # as if it had been taken before the cut
        cut.set()
        with pytest.raises(KeyboardInterrupt):
            speaker.result(10)
        turns._serve = lambda: None
        assert other.result(10) is False
