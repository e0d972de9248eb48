"""What all schedules have in common, and the one that is an interval."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, NamedTuple

from celery import _state
from celery.utils.time import (
    humanize_seconds,
    localize,
    maybe_make_aware,
    maybe_timedelta,
    remaining,
)
from celery.utils.time import timezone as zones

if TYPE_CHECKING:
    from collections.abc import Callable


class schedstate(NamedTuple):  # noqa: N801, RUF100 - the public name
    """What `is_due` answers.

    Attributes:
        is_due: it is to happen now.
        next: seconds until it is worth to ask again.
    """

    is_due: bool
    next: float


class BaseSchedule:
    """Base of schedules.

    Args:
        nowfun: gives the present time, instead of the app's clock.
        app: its time zone is meant; default: the current one.
        timezone: another zone (ours; not in a fleet with Celery's beat), or its name.
    """

    _tz: tzinfo | None = None

    def __init__(
        self,
        nowfun: Callable[[], datetime] | None = None,
        app: Any = None,
        timezone: str | tzinfo | None = None,
    ) -> None:
        self.nowfun = nowfun
        self._app = app
        if timezone is not None:
            self._tz = zones.get_timezone(timezone)

    @property
    def app(self) -> Any:
        """The app whose time zone and settings are meant."""
        return self._app or _state.get_current_app()

    @app.setter
    def app(self, app: Any) -> None:
        self._app = app

    @property
    def tz(self) -> tzinfo:
        """The zone of the calendar: the app's, unless it was set."""
        return self._tz or self.app.timezone

    @tz.setter
    def tz(self, tz: tzinfo) -> None:
        self._tz = tz

    @property
    def utc_enabled(self) -> bool:
        """The app's `enable_utc`."""
        return bool(self.app.conf.enable_utc)

    def now(self) -> datetime:
        """The present time."""
        return (self.nowfun or self.app.now)()

    def to_local(self, dt: datetime) -> datetime:
        """`dt` in the system's zone."""
        return zones.to_local(dt) if self.utc_enabled else zones.to_local_fallback(dt)

    def maybe_make_aware(self, dt: datetime, naive_as_utc: bool = True) -> datetime:
        """`dt` with a zone: a naive one is UTC (or in `tz`, if not `naive_as_utc`) and comes in `tz`."""
        return maybe_make_aware(dt, self.tz, naive_as_utc)

    def _here(self, dt: datetime) -> datetime:
        """`dt` as clocks in `tz` show it."""
        return localize(self.maybe_make_aware(dt), self.tz)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Time until it is due; negative, or nothing, if it is."""
        raise NotImplementedError(f"{type(self).__name__} has no remaining_estimate()")

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Say whether it is due, and when to ask again."""
        raise NotImplementedError(f"{type(self).__name__} has no is_due()")

    def __eq__(self, other: object) -> bool:
        if isinstance(other, BaseSchedule):
            return other.nowfun == self.nowfun
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]


class schedule(BaseSchedule):  # noqa: N801, RUF100 - the public name
    """Every so often.

    Args:
        run_every: seconds, or a `timedelta`.
        relative: on full days, hours, minutes or seconds, whatever the interval's own unit is.
        nowfun, app: see `BaseSchedule`.
    """

    relative = False

    def __init__(
        self,
        run_every: float | timedelta | None = None,
        relative: bool = False,
        nowfun: Callable[[], datetime] | None = None,
        app: Any = None,
    ) -> None:
        if run_every is None:
            raise TypeError("schedule() needs run_every: seconds or a timedelta")
        self.run_every: timedelta = maybe_timedelta(run_every)
        self.relative = relative
        super().__init__(nowfun=nowfun, app=app)

    @property
    def seconds(self) -> float:
        """The interval; never negative."""
        return max(self.run_every.total_seconds(), 0)

    @property
    def human_seconds(self) -> str:
        """The interval in words."""
        return humanize_seconds(self.seconds)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        now = self.maybe_make_aware(self.now())
        return remaining(self.maybe_make_aware(last_run_at), self.run_every, now, self.relative)

    def is_due(self, last_run_at: datetime) -> schedstate:
        left = self.remaining_estimate(last_run_at).total_seconds()
        if left > 0:
            return schedstate(False, left)
        if not self.relative:
            return schedstate(True, self.seconds)
        return schedstate(True, max(self.remaining_estimate(self.now()).total_seconds(), 0.0))

    def __repr__(self) -> str:
        return f"<freq: {self.human_seconds}>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, schedule):
            return self.run_every == other.run_every
        return self.run_every == other

    __hash__ = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.run_every, self.relative, self.nowfun)


def maybe_schedule(s: Any, relative: bool = False, app: Any = None) -> Any:
    """A number of seconds or a `timedelta` as a `schedule`; any other schedule, with its app set; None as it is."""
    if s is None:
        return None
    if isinstance(s, (int, float, timedelta)):
        return schedule(s, relative, app=app)
    s.app = app
    return s
