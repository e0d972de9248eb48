"""Schedules where Celery is no measure: clocks that are changed, the sun, what cannot be."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta

import pytest

from celery import Celery
from celery.exceptions import ImproperlyConfigured
from celery.schedules import ParseException, crontab, crontab_parser, maybe_schedule, schedule, solar


def berlin(now: datetime, **fields: object) -> crontab:
    app = Celery(set_as_current=False)
    app.conf.timezone = "Europe/Berlin"
    return crontab(**fields, nowfun=lambda: now, app=app)


def after(last: datetime, **fields: object) -> datetime:
    """When it is due for the first time after `last`."""
    return last + berlin(last, **fields).remaining_estimate(last)


def test_clocks_that_are_set_forward():
    night = datetime(2026, 3, 29, 0, 0, tzinfo=UTC)  # 1:00 in Berlin; an hour later it is 3:00
    assert after(night, hour=4, minute=0) == datetime(2026, 3, 29, 2, 0, tzinfo=UTC)
    assert after(night, hour=2, minute=30) == datetime(
        2026, 3, 29, 1, 30, tzinfo=UTC
    )  # 3:30, as 2:30 does not come


def test_clocks_that_are_set_back():
    night = datetime(2026, 10, 24, 23, 0, tzinfo=UTC)  # 1:00 in Berlin; 2:00 to 3:00 comes twice
    first = after(night, hour=2, minute=30)
    assert first == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert after(first, hour=2, minute=30) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)
    assert after(first, minute=30) == datetime(
        2026, 10, 25, 2, 30, tzinfo=UTC
    )  # 3:30: what comes twice counts once
    second = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # 2:10, for the second time
    assert after(second, minute=30) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)


def test_leap_days_and_impossible_ones():
    start = datetime(2026, 3, 1, tzinfo=UTC)
    found = after(start, day_of_month=29, month_of_year=2, day_of_week="mon", hour=12)
    assert found.date().isoformat() == "2044-02-29"
    with pytest.raises(ValueError, match="'31' never occurs in month_of_year 'feb,apr'"):
        crontab(day_of_month="31", month_of_year="feb,apr")
    with pytest.raises(ParseException):
        crontab_parser(60).parse("1,,2")


def test_a_run_that_was_missed_for_too_long():
    now = datetime(2026, 5, 1, 12, 0, 30, tzinfo=UTC)
    found = berlin(now, hour=3, minute=0)
    last = now - timedelta(days=2)
    assert found.is_due(last).is_due
    found.app.conf.beat_cron_starting_deadline = 600
    assert not found.is_due(last).is_due
    assert found.is_due(last).next == 46_770.0


def test_the_sun_needs_ephem():
    if not _has_ephem():
        with pytest.raises(ImproperlyConfigured, match=r"celery\[solar\]"):
            solar("sunset", 52, 13)
        return
    sunset = solar("sunset", 52.5, 13.4, nowfun=lambda: datetime(2026, 6, 21, tzinfo=UTC))
    assert sunset.remaining_estimate(datetime(2026, 6, 21, tzinfo=UTC)) == pytest.approx(
        timedelta(hours=19, minutes=33), abs=timedelta(minutes=2)
    )


def _has_ephem() -> bool:
    try:
        import ephem  # noqa: F401
    except ImportError:
        return False
    return True


def test_as_values():
    every = maybe_schedule(30)
    assert every == timedelta(seconds=30)
    assert every == schedule(30)
    assert every != schedule(31)
    assert pickle.loads(pickle.dumps(crontab("*/5", app=None))) == crontab("*/5")
    assert type(every).__module__ == "celery.schedules"
    with pytest.raises(TypeError, match="run_every"):
        schedule()
