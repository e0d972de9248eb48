import contextlib
import pickle
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery.utils import time as t
from celery.utils.iso8601 import parse_iso8601

OSLO = ZoneInfo("Europe/Oslo")
NEW_YORK = ZoneInfo("America/New_York")
NOON = datetime(2026, 3, 4, 12, 6, 7, 8)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "now"),
        (0.9, "now"),
        (-5, "now"),
        (1, "1.00 second"),
        (1.5, "1.50 seconds"),
        (61, "1.02 minutes"),
        (3600, "1.00 hour"),
        (3601, "1.00 hours"),
        (90000, "1.04 days"),
    ],
)
def test_humanize_seconds(seconds, text):
    assert t.humanize_seconds(seconds) == text


def test_humanize_seconds_options():
    assert t.humanize_seconds(1, "in", " ") == "in 1.00 second"
    assert t.humanize_seconds(0, "in", " ", now="at once") == "at once"
    assert t.humanize_seconds(0.1, microseconds=True) == "0.10 seconds"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10/m", 1 / 6),
        ("5", 5.0),
        ("100/h", 100 / 3600),
        ("1/s", 1.0),
        (None, 0),
        (5, 5),
        ("", 0),
        ("0", 0),
        (1.5, 1.5),
    ],
)
def test_rate(text, value):
    assert t.rate(text) == pytest.approx(value)


def test_rate_refuses_nonsense():
    with pytest.raises(ValueError, match="x"):
        t.rate("x")
    with pytest.raises(KeyError):
        t.rate("10/d")


def test_names_of_days_and_months():
    assert [t.weekday(name) for name in ("sun", "Monday", "SATURDAY")] == [0, 1, 6]
    assert [t.yearmonth(name) for name in ("jan", "December")] == [1, 12]
    with pytest.raises(KeyError):
        t.weekday("mo")


@pytest.mark.parametrize(
    ("delta", "cut"),
    [
        (timedelta(days=1, hours=3), datetime(2026, 3, 4)),
        (timedelta(hours=1), datetime(2026, 3, 4, 12)),
        (timedelta(minutes=5), datetime(2026, 3, 4, 12, 6)),
        (timedelta(seconds=3), NOON),
        (timedelta(0), NOON),
    ],
)
def test_delta_resolution(delta, cut):
    assert t.delta_resolution(NOON, delta) == cut


def test_maybe_timedelta():
    assert t.maybe_timedelta(1.5) == timedelta(seconds=1.5)
    assert t.maybe_timedelta(None) is None
    assert t.maybe_timedelta(timedelta(1)) == timedelta(1)


def test_remaining():
    assert t.remaining(NOON, timedelta(seconds=10), NOON) == timedelta(seconds=10)
    assert t.remaining(NOON, timedelta(hours=2), NOON + timedelta(minutes=3), relative=True) == timedelta(
        hours=1, minutes=50, seconds=52, microseconds=999992
    )
    assert t.remaining(NOON.replace(tzinfo=UTC), timedelta(seconds=10)) < timedelta(0)


def test_remaining_minds_clock_changes():
    # The clocks go forward on the 29th at 2:00.
    start = datetime(2026, 3, 28, 12, tzinfo=OSLO)
    now = datetime(2026, 3, 29, 11, tzinfo=OSLO)
    assert t.remaining(start, timedelta(days=1), now) == timedelta(hours=2)
    assert t.remaining(start, timedelta(days=1), now.astimezone(UTC)) == timedelta(hours=2)
    assert t.remaining(start, t.ffwd(day=29, hour=12), now) == timedelta(hours=1)


def test_remaining_between_naive_and_aware():
    assert t.remaining(NOON, timedelta(1), NOON.replace(tzinfo=UTC)) == timedelta(1)
    assert t.remaining(NOON.replace(tzinfo=UTC), timedelta(1), NOON) == timedelta(1)


def test_ffwd_sets_and_adds():
    assert NOON + t.ffwd(hour=1, minute=2, second=0, microsecond=0) == datetime(2026, 3, 4, 1, 2)
    assert NOON + t.ffwd(month=2, day=31) == NOON.replace(month=2, day=28)
    assert NOON + t.ffwd(year=2028, month=2, day=31) == NOON.replace(year=2028, month=2, day=29)
    assert datetime.max + t.ffwd(month=12, day=31) == datetime.max
    assert [(datetime(2026, 1, 1) + t.ffwd(month=m, day=31)).day for m in range(1, 13)] == [
        monthrange(2026, m)[1] for m in range(1, 13)
    ]
    # A Wednesday; 0 is Monday.
    assert NOON + t.ffwd(weekday=2) == NOON
    assert NOON + t.ffwd(weekday=0) == NOON + timedelta(days=5)
    assert NOON + t.ffwd(weekday=2, weeks=1) == NOON + timedelta(days=7)
    assert NOON.date() + t.ffwd(day=1) == NOON.date().replace(day=1)
    assert repr(t.ffwd(hour=1, weeks=2)) == "ffwd(hour=1, weeks=2)"
    with pytest.raises(TypeError):
        3 + t.ffwd(hour=1)


def test_make_aware_at_clock_changes():
    assert t.make_aware(datetime(2026, 3, 29, 2, 30), OSLO) == datetime(2026, 3, 29, 3, 30, tzinfo=OSLO)
    assert t.make_aware(datetime(2026, 10, 25, 2, 30), OSLO).utcoffset() == timedelta(hours=2)
    assert t.make_aware(NOON, OSLO) == NOON.replace(tzinfo=OSLO)


def test_conversions():
    aware = NOON.replace(tzinfo=UTC)
    assert t.to_utc(NOON) == aware
    assert t.to_utc(aware.astimezone(OSLO)) == aware
    assert t.localize(aware, OSLO).hour == 13
    assert t.maybe_make_aware(NOON) == aware
    assert t.maybe_make_aware(NOON, OSLO).hour == 13
    assert t.maybe_make_aware(NOON, OSLO, naive_as_utc=False).hour == 12
    assert t.maybe_make_aware(aware) is aware
    assert t.is_naive(NOON)
    assert not t.is_naive(aware)
    assert t.subtract_datetimes(aware, aware.astimezone(OSLO) - timedelta(days=1)) == timedelta(days=1)
    assert t.add_seconds_to_datetime(NOON, 1.5) == NOON + timedelta(seconds=1.5)
    late = datetime(2026, 3, 29, 1, 59, tzinfo=OSLO)
    assert t.add_seconds_to_datetime(late, 120) == datetime(2026, 3, 29, 3, 1, tzinfo=OSLO)


def test_zones():
    zone = t.timezone
    assert zone.get_timezone("Europe/Oslo") is OSLO
    assert zone.get_timezone(UTC) is UTC
    assert zone.tz_or_local("UTC").key == "UTC"
    assert zone.tz_or_local() is zone.local
    assert zone.to_local(NOON, OSLO).hour == 13
    assert zone.to_local(NOON, OSLO, NEW_YORK) == NOON.replace(tzinfo=NEW_YORK)
    assert zone.to_local_fallback(NOON).tzinfo is zone.local
    assert zone.to_system(NOON.replace(tzinfo=NEW_YORK)) == NOON.replace(tzinfo=NEW_YORK)
    with pytest.raises(ZoneInfoNotFoundError):
        zone.get_timezone("Nope/Zone")


def test_local_timezone_follows_the_system():
    local = t.LocalTimezone()
    moment = datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert moment.astimezone(local).replace(tzinfo=None) == moment.astimezone().replace(tzinfo=None)
    assert local == t.LocalTimezone()
    assert pickle.loads(pickle.dumps(local)) == local
    assert repr(local).startswith("<LocalTimezone: UTC")


def test_offsets():
    assert t.adjust_timestamp(100.0, 1, here=lambda: 0.0) == -3500.0
    assert isinstance(t.utcoffset(), float)


@given(st.integers(1, 100), st.integers(0, 5000), st.integers(0, 10_000), st.booleans())
def test_backoff_stays_within_bounds(factor, retries, maximum, jitter):
    wait = t.get_exponential_backoff_interval(factor, retries, maximum, jitter)
    assert 0 <= wait <= maximum
    if not jitter:
        assert wait == min(maximum, factor * 2**retries)


def test_backoff_is_never_negative():
    assert t.get_exponential_backoff_interval(1, 1, -5) == 0
    assert t.get_exponential_backoff_interval(1, 1, -5, full_jitter=True) == 0
    assert t.get_exponential_backoff_interval(0.5, 1, 10) == 1.0


@given(
    st.datetimes(timezones=st.none() | st.timezones().filter(lambda zone: zone is not None) | st.just(UTC))
)
def test_whatever_isoformat_writes_is_read(moment):
    text = moment.isoformat()
    # Old zones have offsets with seconds.
    assert parse_iso8601(text) == datetime.fromisoformat(text)
    assert parse_iso8601(text.replace("T", " ")) == datetime.fromisoformat(text)
    assert t.maybe_iso8601(text) == datetime.fromisoformat(text)


@given(st.text(alphabet="0123456789-:.,TZ+ ", max_size=35))
def test_other_text_is_read_or_refused(text):
    with contextlib.suppress(ValueError, OverflowError):
        assert isinstance(parse_iso8601(text), datetime)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-01-02", datetime(2026, 1, 2)),
        ("2026-01-02T03:04", datetime(2026, 1, 2, 3, 4)),
        ("2026-01-02 03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.25", datetime(2026, 1, 2, 3, 4, 5, 250000)),
        ("2026-01-02T03:04:05.123456789", datetime(2026, 1, 2, 3, 4, 5, 123456)),
        ("2026-1-2", datetime(2026, 1, 2)),
        ("2026-01-02T03:04:05 +02:00", datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05-0530", datetime(2026, 1, 2, 8, 34, 5, tzinfo=UTC)),
    ],
)
def test_dates_are_read(text, value):
    assert parse_iso8601(text) == value


@pytest.mark.parametrize("text", ["", "garbage", "2026-13-02", "2026-01-02T25:00:00", "x2026-01-02"])
def test_what_is_not_a_date_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - the text says it
        parse_iso8601(text)


def test_maybe_iso8601():
    assert t.maybe_iso8601(None) is None
    assert t.maybe_iso8601(NOON) is NOON
