"""An entry of a schedule: what to send, and when it was last sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

from celery import _state
from celery.schedules import maybe_schedule
from celery.utils.functional import reprcall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from celery.schedules import schedstate

__all__ = ("BeatLazyFunc", "ScheduleEntry", "SchedulingError", "evaluated", "event_t")


class SchedulingError(Exception):
    """A due task could not be sent."""


class event_t(NamedTuple):  # noqa: N801, RUF100 - the public name
    """A place in the order of what comes next.

    Attributes:
        time: seconds since the epoch.
        priority: who is first of those of one time, the lowest.
        entry: what is due then.
    """

    time: float
    priority: int
    entry: Any


class BeatLazyFunc:
    """An argument that is worked out when its task is sent.

    Args:
        func: called with the other arguments.
    """

    def __init__(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._func = func
        self._func_params: dict[str, Any] = {"args": args, "kwargs": kwargs}

    def __call__(self) -> Any:
        return self.delay()

    def delay(self) -> Any:
        """Work it out."""
        return self._func(*self._func_params["args"], **self._func_params["kwargs"])


def evaluated(value: Any) -> Any:
    """`value`, or what it is now if it is lazy."""
    return value() if isinstance(value, BeatLazyFunc) else value


class ScheduleEntry:
    """A task and its schedule.

    Args:
        name: of the entry.
        task: name of the task.
        last_run_at: when it was last sent; default: now.
        total_run_count: how often it was sent.
        schedule: seconds, a timedelta or a schedule.
        args, kwargs: of the task.
        options: of `apply_async`.
        relative: see `celery.schedules.schedule`.
        app: default: the current one.
    """

    name: str | None = None
    schedule: Any = None
    args: Any = None
    kwargs: Any = None
    options: Any = None
    last_run_at: datetime = None  # type: ignore[assignment]
    total_run_count = 0

    def __init__(
        self,
        name: str | None = None,
        task: str | None = None,
        last_run_at: datetime | None = None,
        total_run_count: int | None = None,
        schedule: Any = None,
        args: Any = (),
        kwargs: Any = None,
        options: Any = None,
        relative: bool = False,
        app: Any = None,
    ) -> None:
        self.app = app
        self.name = name
        self.task = task
        self.args = args
        self.kwargs = kwargs or {}
        self.options = options or {}
        self.schedule = maybe_schedule(schedule, relative, app=app)
        self.last_run_at = last_run_at or self.default_now()
        self.total_run_count = total_run_count or 0

    def default_now(self) -> datetime:
        """The present time, by the clock of the schedule."""
        now: datetime = self.schedule.now() if self.schedule else (self.app or _state.get_current_app()).now()
        return now

    _default_now = default_now

    def _next_instance(self, last_run_at: datetime | None = None) -> Self:
        fields: dict[str, Any] = dict(self)
        fields["last_run_at"] = last_run_at or self.default_now()
        fields["total_run_count"] = self.total_run_count + 1
        return type(self)(**fields)

    def next(self, last_run_at: datetime | None = None) -> Self:
        """The same entry, sent once more, now."""
        return self._next_instance(last_run_at)

    def __next__(self) -> Self:
        return self.next()

    def update(self, other: Any) -> None:
        """Take over what may be edited (task, schedule, args, kwargs, options); when it was sent stays."""
        self.__dict__.update(
            task=other.task,
            schedule=other.schedule,
            args=other.args,
            kwargs=other.kwargs,
            options=other.options,
        )

    def is_due(self) -> schedstate:
        """Say whether it is due, and when to ask again: see `BaseSchedule.is_due`."""
        state: schedstate = self.schedule.is_due(self.last_run_at)
        return state

    def editable_fields_equal(self, other: Any) -> bool:
        """Whether the other one sends the same at the same times."""
        return all(
            getattr(self, name) == getattr(other, name)
            for name in ("task", "args", "kwargs", "options", "schedule")
        )

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(vars(self).items())

    def __reduce__(self) -> Any:
        return type(self), (
            self.name,
            self.task,
            self.last_run_at,
            self.total_run_count,
            self.schedule,
            self.args,
            self.kwargs,
            self.options,
        )

    def __repr__(self) -> str:
        call = reprcall(self.task or "", self.args or (), self.kwargs or {})
        return f"<{type(self).__name__}: {self.name} {call} {self.schedule}"  # as Celery's, without its end

    def __lt__(self, other: object) -> bool:
        if isinstance(other, ScheduleEntry):
            # Entries of one time have no order of their own.
            return id(self) < id(other)
        return NotImplemented

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScheduleEntry) and self.editable_fields_equal(other)

    __hash__ = None  # type: ignore[assignment]
