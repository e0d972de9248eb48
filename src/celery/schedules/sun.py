"""By the sun, at some place on Earth. Needs ephem (the extra `solar`)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from celery.exceptions import ImproperlyConfigured

from .base import BaseSchedule, schedstate

#: Event -> (which passage of the sun, degrees of the horizon, whether its centre counts and not its edge).
_EVENTS: dict[str, tuple[str, str, bool]] = {
    "dawn_astronomical": ("next_rising", "-18", True),
    "dawn_nautical": ("next_rising", "-12", True),
    "dawn_civil": ("next_rising", "-6", True),
    "sunrise": ("next_rising", "-0:34", False),
    "solar_noon": ("next_transit", "0", False),
    "sunset": ("next_setting", "-0:34", False),
    "dusk_civil": ("next_setting", "-6", True),
    "dusk_nautical": ("next_setting", "-12", True),
    "dusk_astronomical": ("next_setting", "-18", True),
}


class solar(BaseSchedule):  # noqa: N801, RUF100 - the public name
    """At an event of the sun.

    Args:
        event: `sunrise`, `sunset`, `solar_noon`, or `dawn_` or `dusk_` with `civil`, `nautical`, `astronomical`.
        lat, lon: degrees north and east.
        nowfun, app: see `BaseSchedule`.

    Raises:
        ImproperlyConfigured: ephem is not installed.
        ValueError: no such event, latitude or longitude.
    """

    #: Days to look ahead for an event that does not happen every day there.
    max_search_days = 366

    def __init__(self, event: str, lat: float, lon: float, **kwargs: Any) -> None:
        try:
            self.ephem = __import__("ephem")
        except ImportError:
            raise ImproperlyConfigured("A solar schedule needs ephem: pip install celery[solar]") from None
        super().__init__(**kwargs)
        if event not in _EVENTS:
            raise ValueError(
                f'Argument event "{event}" is invalid, must be one of {", ".join(sorted(_EVENTS))}.'
            )
        for what, value, limit in (("latitude", lat, 90), ("longitude", lon, 180)):
            if not -limit <= value <= limit:
                raise ValueError(f"Argument {what} {value} is invalid, must be between -{limit} and {limit}.")
        self.event = event
        self.lat = lat
        self.lon = lon

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        return self._next(self._here(last_run_at)) - self._here(self.now()).astimezone(UTC)

    def is_due(self, last_run_at: datetime) -> schedstate:
        left = self.remaining_estimate(last_run_at).total_seconds()
        if left > 0:
            return schedstate(False, left)
        return schedstate(True, max(self.remaining_estimate(self.now()).total_seconds(), 0.0))

    def _next(self, after: datetime) -> datetime:
        """The first event after `after`, in UTC.

        Raises:
            RuntimeError: it does not happen there within `max_search_days`.
        """
        method, horizon, by_center = _EVENTS[self.event]
        place = self.ephem.Observer()
        place.lat, place.lon = str(self.lat), str(self.lon)
        place.elevation = place.pressure = 0
        place.horizon = horizon
        options = {} if method == "next_transit" else {"use_center": by_center}
        start = after.astimezone(UTC).replace(tzinfo=None)
        for days in range(self.max_search_days):
            try:
                found = getattr(place, method)(
                    self.ephem.Sun(), start=start + timedelta(days=days), **options
                )
            except self.ephem.CircumpolarError:  # no night, or no day, just now
                continue
            when: datetime = found.datetime()
            return when.replace(tzinfo=UTC)
        raise RuntimeError(f"{self!r} does not happen within {self.max_search_days} days")

    def __repr__(self) -> str:
        return f"<solar: {self.event} at latitude {self.lat}, longitude: {self.lon}>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, solar):
            return (other.event, other.lat, other.lon) == (self.event, self.lat, self.lon)
        return NotImplemented

    __hash__ = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.event, self.lat, self.lon)
