"""`ScheduleEntry` as a value: what is compared, copied, pickled, shown."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta

import pytest

from celery import Celery
from celery.beat import BeatLazyFunc, ScheduleEntry
from celery.schedules import crontab, schedule

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def app():
    return Celery("beats", broker="memory://", backend="cache+memory://", set_as_current=False)


def test_a_new_one_was_last_sent_now(app):
    entry = ScheduleEntry(name="e", task="t", schedule=30, app=app)
    assert abs(entry.last_run_at - app.now()) < timedelta(minutes=1)
    assert (entry.total_run_count, entry.args, entry.kwargs, entry.options) == (0, (), {}, {})
    assert entry.schedule == schedule(30)


def test_the_next_one_was_sent_once_more(app):
    entry = ScheduleEntry("e", "t", LONG_AGO, 3, 30, (1,), {"a": 2}, {"queue": "q"}, app=app)
    following = next(entry)
    assert following.total_run_count == 4
    assert following.last_run_at > LONG_AGO
    assert following == entry
    assert entry.next(last_run_at=LONG_AGO).last_run_at == LONG_AGO


def test_what_is_edited_is_taken_over_and_when_it_was_sent_stays(app):
    entry = ScheduleEntry("e", "t", LONG_AGO, 3, 30, app=app)
    other = ScheduleEntry("e", "u", None, 0, crontab(hour=3), (1,), {"a": 1}, {"queue": "q"}, app=app)
    assert entry != other
    entry.update(other)
    assert entry == other
    assert (entry.last_run_at, entry.total_run_count) == (LONG_AGO, 3)


def test_pickles_have_what_matters(app):
    entry = ScheduleEntry("e", "t", LONG_AGO, 3, crontab("*/5"), (1,), {"a": 2}, {"queue": "q"}, app=app)
    copy = pickle.loads(pickle.dumps(entry))
    assert copy == entry
    assert (copy.name, copy.last_run_at, copy.total_run_count) == ("e", LONG_AGO, 3)
    assert b"celery.beat" in pickle.dumps(entry)  # where Celery looks for it


def test_shown_as_celery_shows_it(app):
    entry = ScheduleEntry("e1", "x.y", None, 0, 1.0, (1,), app=app)
    assert repr(entry) == "<ScheduleEntry: e1 x.y(1) <freq: 1.00 second>"


def test_two_of_one_time_have_some_order(app):
    one, two = (ScheduleEntry(name, "t", schedule=1, app=app) for name in ("one", "two"))
    assert (one < two) is not (two < one)


def test_lazy_arguments():
    values = iter([1, 2])
    lazy = BeatLazyFunc(lambda plus, times=1: (next(values) + plus) * times, 10, times=2)
    assert [lazy(), lazy.delay()] == [22, 24]
