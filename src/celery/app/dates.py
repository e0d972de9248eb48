"""`countdown`, `eta` and `expires`: what a caller may say, as what a message says."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, NamedTuple

from celery.utils.iso8601 import parse_iso8601

if TYPE_CHECKING:
    from celery.app.base import Celery

#: Seconds before now that nobody can mean.
LONGEST_AGO = -(2**31)


class Clock(NamedTuple):
    """The present time, and what zone dates without one are in.

    Attributes:
        now: aware; its zone is that of computed dates.
        naive: zone of dates that name none: UTC if `enable_utc`, else the app's.
    """

    now: datetime
    naive: tzinfo

    @classmethod
    def of(cls, app: Celery, now: datetime | None = None, timezone: tzinfo | None = None) -> Clock:
        """The clock of an app.

        Args:
            now: instead of the present. timezone: instead of the app's.
        """
        zone: tzinfo = timezone or (UTC if app.conf.enable_utc else app.timezone)
        naive: tzinfo = UTC if app.conf.enable_utc else zone
        if now is None:
            return cls(datetime.now(zone), naive)
        return cls(now if now.tzinfo is not None else now.replace(tzinfo=zone), naive)

    def eta(self, countdown: Any, eta: Any) -> str | None:
        """When to run it, as an ISO-8601 string; None for at once.

        Raises:
            TypeError: `countdown` is no number, `eta` no date. ValueError: it is out of range or cannot be read.
        """
        if countdown:
            return self._later("countdown", countdown)
        return None if not eta else self._date("eta", eta)

    def expires(self, expires: Any) -> str | None:
        """When it is too late to run it, as an ISO-8601 string; see `eta`."""
        if expires is None:
            return None
        if isinstance(expires, (str, date)):
            return self._date("expires", expires)
        return self._later("expires", expires)

    def seconds_until(self, stamp: str) -> float:
        """From now to an ISO-8601 date; negative if it is past."""
        return (self._aware(stamp) - self.now).total_seconds()

    def unix(self, stamp: str) -> float:
        """An ISO-8601 date as unix time."""
        return self._aware(stamp).timestamp()

    def _aware(self, stamp: str) -> datetime:
        when = parse_iso8601(stamp)
        return when if when.tzinfo is not None else when.replace(tzinfo=self.naive)

    def _later(self, what: str, seconds: Any) -> str:
        if isinstance(seconds, (str, timedelta)) or not hasattr(seconds, "__float__"):
            raise TypeError(f"{what} must be a number of seconds, got {seconds!r}")
        if seconds < LONGEST_AGO:
            raise ValueError(f"{what} is out of range: {seconds!r}")
        try:
            return (self.now + timedelta(seconds=float(seconds))).isoformat()
        except (OverflowError, ValueError):
            raise ValueError(f"{what} is out of range: {seconds!r}") from None

    def _date(self, what: str, when: Any) -> str:
        if isinstance(when, date):
            return when.isoformat()
        if not isinstance(when, str):
            raise TypeError(f"{what} must be a datetime or an ISO-8601 string, got {when!r}")
        try:
            parse_iso8601(when)
        except ValueError:
            raise ValueError(f"{what} is no ISO-8601 date: {when!r}") from None
        return when
