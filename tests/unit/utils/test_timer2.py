import threading
from datetime import UTC, datetime, timedelta

import pytest

from celery.utils.timer2 import Entry, Schedule, Timer, to_timestamp


@pytest.fixture
def timer():
    timer = Timer()
    yield timer
    timer.stop()


def test_calls_are_made_in_order(timer):
    done = threading.Event()
    calls = []
    timer.call_after(0.02, calls.append, ("second",))
    timer.call_after(0.01, calls.append, ("first",))
    cancelled = timer.call_after(0.01, calls.append, ("never",))
    timer.cancel(cancelled)
    timer.call_at(datetime.now(UTC) + timedelta(milliseconds=60), done.set)
    assert done.wait(10)
    assert calls == ["first", "second"]
    assert cancelled.canceled
    assert cancelled.cancelled


def test_repeated_calls_go_on_until_cancelled(timer):
    rounds = threading.Semaphore(0)
    entry = timer.call_repeatedly(0.001, rounds.release)
    for _ in range(3):
        assert rounds.acquire(timeout=10)
    entry.cancel()
    assert repr(entry) == "<TimerEntry: release(*(), **{})"


def test_an_error_does_not_stop_the_others():
    errors = []
    done = threading.Event()
    timer = Timer(on_error=errors.append)
    timer.call_after(0, lambda: 1 / 0)
    timer.call_after(0.01, done.set)
    assert done.wait(10)
    timer.stop()
    assert [type(error) for error in errors] == [ZeroDivisionError]


def test_an_error_is_logged_by_default(caplog):
    Schedule().apply_entry(Entry(lambda: 1 / 0))
    assert "Error in timer: ZeroDivisionError" in caplog.text


def test_the_thread_starts_with_the_first_call():
    started = []
    timer = Timer(on_start=started.append)
    assert not timer.is_alive()
    assert (len(timer), bool(timer), timer.empty(), timer.daemon) == (0, True, True, True)
    timer.call_after(60, print)
    assert timer.is_alive()
    assert started == [timer]
    assert len(timer.queue) == 1
    timer.clear()
    assert timer.empty()
    timer.enter(Entry(print), 10**9)
    timer.enter_after(60, Entry(print))
    timer.stop()
    assert not timer.is_alive()
    assert not timer.running


def test_schedule_iterates_over_waits_and_entries():
    with Schedule(max_interval=1) as schedule:
        assert next(iter(schedule)) == (None, None)
        schedule.call_after(100, print)
        wait, entry = next(iter(schedule))
        assert (wait, entry) == (1.0, None)
        due = schedule.call_at(0, print)
        assert next(iter(schedule)) == (None, due)
        assert len(schedule) == 1
    assert len(schedule) == 0


def test_to_timestamp():
    assert to_timestamp(5.0) == 5.0
    now = datetime.now(UTC)
    assert to_timestamp(now - timedelta(1), time=lambda: 7.0) == 7.0
    assert to_timestamp(now + timedelta(days=1), time=lambda: 0.0) == pytest.approx(86400, abs=60)
    assert to_timestamp((now + timedelta(days=1)).replace(tzinfo=None), time=lambda: 0.0) == pytest.approx(
        86400, abs=60
    )
