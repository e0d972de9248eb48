"""Dates, time zones, and spans of time: parsing, arithmetic that minds daylight saving, and text for people."""

from __future__ import annotations

import math
import os
import random
import time as _time
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, overload

from celery.utils.iso8601 import parse_iso8601
from celery.utils.objects import cached_property
from celery.utils.text import pluralize

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

__all__ = (
    "LocalTimezone",
    "add_seconds_to_datetime",
    "adjust_timestamp",
    "delta_resolution",
    "ffwd",
    "get_exponential_backoff_interval",
    "humanize_seconds",
    "is_naive",
    "localize",
    "make_aware",
    "maybe_iso8601",
    "maybe_make_aware",
    "maybe_timedelta",
    "rate",
    "remaining",
    "subtract_datetimes",
    "timezone",
    "to_utc",
    "utcoffset",
    "weekday",
)

DAYNAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
WEEKDAYS = {name: number for number, name in enumerate(DAYNAMES)}

MONTHNAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
YEARMONTHS = {name: number for number, name in enumerate(MONTHNAMES, start=1)}

RATE_MODIFIER_MAP: dict[str, Callable[[float], float]] = {
    "s": lambda n: n,
    "m": lambda n: n / 60.0,
    "h": lambda n: n / 60.0 / 60.0,
}

TIME_UNITS: tuple[tuple[str, float], ...] = (
    ("day", 60 * 60 * 24.0),
    ("hour", 60 * 60.0),
    ("minute", 60.0),
    ("second", 1.0),
)

ZERO = timedelta(0)


class LocalTimezone(tzinfo):
    """The system's local time by the C library, for systems whose zone has no name that can be found."""

    def utcoffset(self, dt: datetime | None) -> timedelta:
        return timedelta(seconds=_local(dt).tm_gmtoff)

    def dst(self, dt: datetime | None) -> timedelta:
        return timedelta(seconds=_time.timezone - _time.altzone) if _local(dt).tm_isdst > 0 else ZERO

    def tzname(self, dt: datetime | None) -> str:
        return _local(dt).tm_zone

    def fromutc(self, dt: datetime) -> datetime:
        seconds = (dt.replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds()
        offset = timedelta(seconds=_time.localtime(seconds).tm_gmtoff)
        return dt + offset

    def __repr__(self) -> str:
        return f"<LocalTimezone: UTC{int(self.dst(None).total_seconds() / 3600):+03d}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LocalTimezone)

    def __hash__(self) -> int:
        return hash(LocalTimezone)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()


def _local(dt: datetime | None) -> _time.struct_time:
    if dt is None:
        return _time.localtime()
    fields = (dt.year, dt.month, dt.day, dt.hour, dt.minute, dt.second, dt.weekday(), 0, -1)
    return _time.localtime(_time.mktime(fields))


class _Zone:
    """Time zones by name, and conversions between them (the object `timezone`)."""

    def tz_or_local(self, tzinfo: tzinfo | str | None = None) -> tzinfo:
        """The zone given (or named), else the local one."""
        return self.local if tzinfo is None else self.get_timezone(tzinfo)

    def to_local(self, dt: datetime, local: tzinfo | None = None, orig: tzinfo | None = None) -> datetime:
        """`dt` in zone `local` (default: the system's); a naive one is taken to be in `orig` (default: UTC)."""
        if is_naive(dt):
            dt = make_aware(dt, orig or self.utc)
        return localize(dt, self.tz_or_local(local))

    def to_system(self, dt: datetime) -> datetime:
        """`dt` at the system's present offset."""
        return dt.astimezone()

    def to_local_fallback(self, dt: datetime) -> datetime:
        """`dt` in the system's zone; a naive one is taken to be in it already."""
        if is_naive(dt):
            return make_aware(dt, self.local)
        return localize(dt, self.local)

    def get_timezone(self, zone: str | tzinfo) -> tzinfo:
        """The zone of that name.

        Raises:
            zoneinfo.ZoneInfoNotFoundError: there is none.
        """
        if isinstance(zone, str):
            from zoneinfo import ZoneInfo  # noqa: PLC0415 - not needed by most programs

            return ZoneInfo(zone)
        return zone

    @cached_property
    def local(self) -> tzinfo:
        """The system's zone."""
        name = _local_zone_name()
        if name:
            try:
                return self.get_timezone(name)
            except (KeyError, ValueError, OSError):
                pass
        return LocalTimezone()

    @cached_property
    def utc(self) -> tzinfo:
        """Coordinated universal time."""
        try:
            return self.get_timezone("UTC")
        except KeyError:  # a system without zone data
            return UTC


def _local_zone_name() -> str | None:
    """What the environment or /etc/localtime call the local zone; None if they do not."""
    named = os.environ.get("TZ")
    if named:
        return named.removeprefix(":")
    _, found, name = os.path.realpath("/etc/localtime").partition("/zoneinfo/")
    return name if found else None


timezone = _Zone()


@overload
def maybe_timedelta(delta: int | float | timedelta) -> timedelta: ...
@overload
def maybe_timedelta(delta: None) -> None: ...
def maybe_timedelta(delta: Any) -> Any:
    """A number of seconds as a `timedelta`; anything else as it is."""
    if isinstance(delta, (int, float)):
        return timedelta(seconds=delta)
    return delta


def delta_resolution(dt: datetime, delta: timedelta) -> datetime:
    """`dt` cut to the largest unit (day, hour, minute) of `delta`.

    >>> delta_resolution(datetime(2026, 3, 4, 5, 6, 7), timedelta(hours=2))
    datetime.datetime(2026, 3, 4, 5, 0)
    """
    seconds = max(delta.total_seconds(), 0)
    if seconds >= 86400:
        return datetime(dt.year, dt.month, dt.day, tzinfo=dt.tzinfo)
    if seconds >= 3600:
        return datetime(dt.year, dt.month, dt.day, dt.hour, tzinfo=dt.tzinfo)
    if seconds >= 60:
        return datetime(dt.year, dt.month, dt.day, dt.hour, dt.minute, tzinfo=dt.tzinfo)
    return dt


def remaining(
    start: datetime,
    ends_in: timedelta | ffwd,
    now: datetime | None = None,
    relative: bool = False,
) -> timedelta:
    """Time left until `start + ends_in`; negative once that has passed.

    A `timedelta` is so much real time; an `ffwd` names a time on the clock of `start`'s zone. A naive time
    beside an aware one is taken to be in that one's zone.

    Args:
        now: default: the present.
        relative: the end is cut to the resolution of `ends_in` (see `delta_resolution`), to full seconds at least.
    """
    if now is None:
        now = datetime.now(UTC)
    if is_naive(start) != is_naive(now):
        start = start if start.tzinfo else start.replace(tzinfo=now.tzinfo)
        now = now if now.tzinfo else now.replace(tzinfo=start.tzinfo)
    if isinstance(ends_in, ffwd) or is_naive(start):
        end = start + ends_in
    else:
        end = (start.astimezone(UTC) + ends_in).astimezone(start.tzinfo)
    if relative and isinstance(ends_in, timedelta):
        end = delta_resolution(end, ends_in).replace(microsecond=0)
    return subtract_datetimes(end, now)


def rate(r: str | float | None) -> float:
    """`'100/m'` (also `/s`, `/h`) as a number per second; no rate is 0.

    Raises:
        ValueError: not a number, or not one of runs.
        KeyError: another unit.
        TypeError: neither text nor a number.
    """
    if not r:
        return 0
    found: float = r  # type: ignore[assignment]
    if isinstance(r, str):
        number, _, modifier = r.partition("/")
        found = RATE_MODIFIER_MAP[modifier or "s"](float(number)) or 0
    if not 0 <= found < math.inf:
        raise ValueError(f"not a rate: {r!r}")
    return found


def weekday(name: str) -> int:
    """Number of a day by its name or the first three letters of it: `sun` is 0.

    Raises:
        KeyError: not a day.
    """
    return WEEKDAYS[name[0:3].lower()]


def yearmonth(name: str) -> int:
    """Number of a month by its name or the first three letters of it: `jan` is 1.

    Raises:
        KeyError: not a month.
    """
    return YEARMONTHS[name[0:3].lower()]


def humanize_seconds(
    secs: float,
    prefix: str = "",
    sep: str = "",
    now: str = "now",
    microseconds: bool = False,
) -> str:
    """`61` as `'1.02 minutes'`.

    Args:
        prefix, sep: put before, unless the answer is `now`.
        now: what to say for less than a second.
        microseconds: say fractions of a second instead (down to a hundredth).
    """
    secs = float(f"{float(secs):.2f}")
    for unit, divider in TIME_UNITS:
        if secs >= divider:
            amount = secs / divider
            return f"{prefix}{sep}{amount:.2f} {pluralize(amount, unit)}"
    if microseconds and secs > 0.0:
        return f"{prefix}{sep}{secs:.2f} seconds"
    return now


def maybe_iso8601(dt: datetime | str | None) -> datetime | None:
    """Text as a datetime; a datetime or None as it is.

    Raises:
        ValueError: text that is not a date.
    """
    if not dt:
        return None
    if isinstance(dt, datetime):
        return dt
    return parse_iso8601(dt)


def is_naive(dt: datetime) -> bool:
    """Whether `dt` has no time zone."""
    return dt.tzinfo is None or dt.tzinfo.utcoffset(dt) is None


def add_seconds_to_datetime(dt: datetime, seconds: float) -> datetime:
    """`dt`, so many seconds of real time later."""
    if is_naive(dt):
        return dt + timedelta(seconds=seconds)
    return (dt.astimezone(UTC) + timedelta(seconds=seconds)).astimezone(dt.tzinfo)


def subtract_datetimes(end: datetime, start: datetime) -> timedelta:
    """Real time from `start` to `end`; clock changes of their zone in between are minded."""
    if is_naive(end) or is_naive(start):
        return end - start
    return end.astimezone(UTC) - start.astimezone(UTC)


def make_aware(dt: datetime, tz: tzinfo) -> datetime:
    """`dt`'s clock in zone `tz`. A time that the clocks skip there becomes the one they show instead."""
    aware = dt.replace(tzinfo=tz)
    round_trip = aware.astimezone(UTC).astimezone(tz)
    # Compared without zones: equal unless the clocks skip that time.
    return aware if round_trip.replace(tzinfo=None) == dt.replace(tzinfo=None) else round_trip


def localize(dt: datetime, tz: tzinfo) -> datetime:
    """`dt` as the clocks of zone `tz` show it; a naive one is taken to be in it already."""
    return dt.replace(tzinfo=tz) if is_naive(dt) else dt.astimezone(tz)


def to_utc(dt: datetime) -> datetime:
    """`dt` in UTC; a naive one is taken to be."""
    return make_aware(dt, timezone.utc) if is_naive(dt) else dt.astimezone(timezone.utc)


def maybe_make_aware(dt: datetime, tz: tzinfo | None = None, naive_as_utc: bool = True) -> datetime:
    """An aware `dt` as it is; a naive one made aware.

    Args:
        tz: the zone it shall be in; default UTC.
        naive_as_utc: the naive time is UTC and is converted; otherwise it is a time in `tz`.
    """
    if not is_naive(dt):
        return dt
    zone = timezone.utc if tz is None else timezone.tz_or_local(tz)
    return localize(to_utc(dt), zone) if naive_as_utc else make_aware(dt, zone)


def _days_in(year: int, month: int) -> int:
    if month == 12:
        return 31
    return (date(year, month + 1, 1) - timedelta(days=1)).day


class ffwd:  # noqa: N801, RUF100 - the public name
    """What to set and add to arrive at a time: `dt + ffwd(hour=3, minute=0, weeks=1)`.

    Args:
        year, month, day, hour, minute, second, microsecond: values to set; a day that the month lacks becomes
            its last.
        weeks: how many to add.
        weekday: then go on to the next such day (0 is Monday), unless already there.
    """

    def __init__(
        self,
        year: int | None = None,
        month: int | None = None,
        weeks: int = 0,
        weekday: int | None = None,
        day: int | None = None,
        hour: int | None = None,
        minute: int | None = None,
        second: int | None = None,
        microsecond: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.year = year
        self.month = month
        self.weeks = weeks
        self.weekday = weekday
        self.day = day
        self.hour = hour
        self.minute = minute
        self.second = second
        self.microsecond = microsecond
        self.days = weeks * 7
        self._has_time = hour is not None or minute is not None

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self._fields(weeks=self.weeks).items())
        return f"ffwd({shown})"

    def __radd__(self, other: Any) -> Any:
        if not isinstance(other, date):
            return NotImplemented
        year = self.year or other.year
        month = self.month or other.month
        day = min(_days_in(year, month), self.day or other.day)
        fields = {key: value for key, value in self._fields().items() if key not in ("weekday", "year")}
        at = other.replace(**{**fields, "year": year, "month": month, "day": day})
        if self.weekday is not None:
            at += timedelta(days=(7 - at.weekday() + self.weekday) % 7)
        return at + timedelta(days=self.days)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ffwd):
            return NotImplemented
        return vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def _fields(self, **extra: Any) -> dict[str, Any]:
        names = ("year", "month", "day", "weekday", "hour", "minute", "second", "microsecond")
        given = {name: getattr(self, name) for name in names}
        return {name: value for name, value in given.items() if value is not None} | extra


def utcoffset(
    time: ModuleType = _time,
    localtime: Callable[..., _time.struct_time] = _time.localtime,
) -> float:
    """Hours by which the present local time is *behind* UTC."""
    if localtime().tm_isdst:
        return time.altzone / 3600.0  # type: ignore[no-any-return]  # the module is an argument
    return time.timezone / 3600.0  # type: ignore[no-any-return]


def adjust_timestamp(ts: float, offset: float, here: Callable[..., float] = utcoffset) -> float:
    """A timestamp from a machine with UTC offset `offset` (hours) as this machine would have made it."""
    return ts - (offset - here()) * 3600


def get_exponential_backoff_interval(
    factor: float,
    retries: int,
    maximum: float,
    full_jitter: bool = False,
) -> float:
    """Seconds to wait before try number `retries + 1`: `factor`, doubled each time.

    Args:
        maximum: never longer than this.
        full_jitter: anything between 0 and that, at random.
    """
    # 2 ** 1000 is beyond every maximum, and still a number that a float can hold.
    interval = min(maximum, factor * (2 ** min(retries, 1000)))
    if full_jitter:
        interval = random.randrange(int(interval) + 1) if interval >= 0 else 0  # noqa: S311, RUF100 - not a secret
    return max(0.0, interval) if isinstance(interval, float) else max(0, interval)
