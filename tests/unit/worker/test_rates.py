from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from celery.worker.rates import RateLimits


def test_first_runs_now_and_the_next_wait_their_turn() -> None:
    rates = RateLimits()
    assert [rates.turn("t", 2.0, str(n), 100.0) for n in range(4)] == [None, 100.5, 101.0, 101.5]


def test_reserved_turn_is_kept() -> None:
    rates = RateLimits()
    rates.turn("t", 1.0, "a", 100.0)
    assert rates.turn("t", 1.0, "b", 100.0) == 101.0
    assert rates.turn("t", 1.0, "b", 100.5) == 101.0  # came back too early
    assert rates.turn("t", 1.0, "b", 101.0) is None
    assert rates.turn("t", 1.0, "c", 101.0) == 102.0


def test_task_types_do_not_share() -> None:
    rates = RateLimits()
    rates.turn("t", 1.0, "a", 100.0)
    assert rates.turn("other", 1.0, "b", 100.0) is None


def test_unused_time_is_not_saved_up() -> None:
    rates = RateLimits()
    rates.turn("t", 1.0, "a", 100.0)
    assert rates.turn("t", 1.0, "b", 200.0) is None
    assert rates.turn("t", 1.0, "c", 200.0) == 201.0


@given(st.lists(st.floats(0, 3), min_size=1, max_size=50), st.floats(0.1, 50))
def test_never_faster_than_the_rate(gaps: list[float], rate: float) -> None:
    rates = RateLimits()
    now, turns = 1000.0, []
    for number, gap in enumerate(gaps):
        now += gap
        turn = rates.turn("t", rate, str(number), now)
        turns.append(now if turn is None else turn)
    assert all(later - earlier >= 1 / rate - 0.002 for earlier, later in pairwise(turns))
