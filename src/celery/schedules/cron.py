"""By the calendar, as `cron` does; but a day has to match all of its three fields."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Self

from celery.utils.time import make_aware

from .base import BaseSchedule, schedstate
from .fields import expand

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Years in which every date has been every day of the week; once in 400 years a leap day is left out.
_YEARS = 41
_LEAP = 2000


class crontab(BaseSchedule):  # noqa: N801, RUF100 - the public name
    """By the calendar of the app's time zone.

    Args:
        minute, hour: when on such a day. Each field is a number, text like `*/15`, `0,30`, `22-2`, or a list or set of
            numbers.
        day_of_week: 0 to 6 (0 is Sunday), or names.
        day_of_month: 1 to 31.
        month_of_year: 1 to 12, or names.
        nowfun, app, timezone: see `BaseSchedule`.

    Raises:
        ParseException, ValueError, TypeError: a field that cannot be read, or a date that never comes.
    """

    def __init__(
        self,
        minute: Any = "*",
        hour: Any = "*",
        day_of_week: Any = "*",
        day_of_month: Any = "*",
        month_of_year: Any = "*",
        **kwargs: Any,
    ) -> None:
        self._orig_minute = minute
        self._orig_hour = hour
        self._orig_day_of_week = day_of_week
        self._orig_day_of_month = day_of_month
        self._orig_month_of_year = month_of_year
        self._orig_kwargs = kwargs
        self.minute = expand(minute, 60)
        self.hour = expand(hour, 24)
        self.day_of_week = expand(day_of_week, 7)
        self.day_of_month = expand(day_of_month, 31, 1)
        self.month_of_year = expand(month_of_year, 12, 1)
        self._check()
        super().__init__(**kwargs)

    def _check(self) -> None:
        longest = max((monthrange(_LEAP, month)[1] for month in self.month_of_year), default=0)
        if min(self.day_of_month, default=99) > longest or not all(
            (self.minute, self.hour, self.day_of_week)
        ):
            raise ValueError(
                f"Invalid crontab: day_of_month {self._orig_day_of_month!r} never occurs in month_of_year "
                f"{self._orig_month_of_year!r}."
            )

    @classmethod
    def from_string(cls, crontab: str) -> Self:
        """`minute hour day_of_month month_of_year day_of_week`, as in a file of cron's."""
        minute, hour, day_of_month, month_of_year, day_of_week = crontab.split()
        return cls(minute, hour, day_of_week, day_of_month, month_of_year)

    # -- when

    def remaining_estimate(self, last_run_at: datetime, **_: Any) -> timedelta:
        return self._after(last_run_at) - self._here(self.now()).astimezone(UTC)

    def is_due(self, last_run_at: datetime) -> schedstate:
        """See `BaseSchedule.is_due`. A run that was missed is left out if it should have been more than
        `beat_cron_starting_deadline` seconds ago."""
        left = self.remaining_estimate(last_run_at).total_seconds()
        if left > 0:
            return schedstate(False, left)
        now = self.now()
        next_one = max(self.remaining_estimate(now).total_seconds(), 0.0)
        return schedstate(not self._missed(now), next_one)

    def _missed(self, now: datetime) -> bool:
        deadline = self.app.conf.beat_cron_starting_deadline
        if deadline is None:
            return False
        here = self._here(now)
        return self._after(here - timedelta(seconds=deadline)) > here.astimezone(UTC)

    def _after(self, moment: datetime) -> datetime:
        """The first time of the schedule after the minute of `moment`, in UTC."""
        here = self._here(moment)
        found = make_aware(self._next(here.replace(tzinfo=None, fold=0)), self.tz).astimezone(UTC)
        if found > here.astimezone(UTC):
            return found
        # The clocks were set back in between: it is the second time that they show this.
        return make_aware(self._next(here.replace(tzinfo=None)), self.tz).replace(fold=1).astimezone(UTC)

    def _next(self, after: datetime) -> datetime:
        """The same on a clock that is never changed."""
        day = after.date()
        if self._is_on(day):
            for hour in sorted(self.hour):
                for minute in sorted(self.minute):
                    if (hour, minute) > (after.hour, after.minute):
                        return datetime.combine(day, time(hour, minute))
        return datetime.combine(self._next_day(day), time(min(self.hour), min(self.minute)))

    def _next_day(self, day: date) -> date:
        last = day.year + _YEARS
        while day.year <= last:
            day += timedelta(days=1)
            if day.month not in self.month_of_year:
                day = day.replace(day=monthrange(day.year, day.month)[1])
            elif self._is_on(day):
                return day
        raise ValueError(f"{self!r} never comes")

    def _is_on(self, day: date) -> bool:
        return (
            day.month in self.month_of_year
            and day.day in self.day_of_month
            and day.isoweekday() % 7 in self.day_of_week
        )

    # -- as a value

    def __repr__(self) -> str:
        fields = (
            self._orig_minute,
            self._orig_hour,
            self._orig_day_of_month,
            self._orig_month_of_year,
            self._orig_day_of_week,
        )
        return f"<crontab: {' '.join(map(str, fields))} (m/h/dM/MY/d)>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, crontab):
            return (
                other.month_of_year == self.month_of_year
                and other.day_of_month == self.day_of_month
                and other.day_of_week == self.day_of_week
                and other.hour == self.hour
                and other.minute == self.minute
                and super().__eq__(other)
            )
        return NotImplemented

    __hash__ = None

    def __reduce__(self) -> tuple[Any, ...]:
        fields = (
            self._orig_minute,
            self._orig_hour,
            self._orig_day_of_week,
            self._orig_day_of_month,
            self._orig_month_of_year,
        )
        return type(self), fields, self._orig_kwargs

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__init__(**state)
