"""A thread that calls functions at their time."""

from __future__ import annotations

import heapq
import threading
import time
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from celery.utils.log import get_logger
from celery.utils.time import is_naive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import tzinfo

__all__ = ("Entry", "Schedule", "Timer", "to_timestamp")

logger = get_logger(__name__)


def to_timestamp(
    d: datetime | float,
    default_timezone: tzinfo = UTC,
    time: Callable[[], float] = time.monotonic,
) -> float:
    """When `d` is, by the monotonic clock; a number as it is.

    Args:
        default_timezone: of a naive `d`.
    """
    if not isinstance(d, datetime):
        return d
    aware = d.replace(tzinfo=default_timezone) if is_naive(d) else d
    return time() + max((aware - datetime.now(UTC)).total_seconds(), 0)


class Entry:
    """A call to make at some time."""

    __slots__ = ("__weakref__", "_last_run", "args", "canceled", "fun", "kwargs", "tref")

    def __init__(
        self,
        fun: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        self.fun = fun
        self.args = args or ()
        self.kwargs = kwargs or {}
        self.tref = self
        self.canceled = False
        self._last_run: float | None = None

    def __call__(self) -> Any:
        return self.fun(*self.args, **self.kwargs)

    def cancel(self) -> None:
        """Never make the call."""
        self.canceled = True

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self.canceled

    @cancelled.setter
    def cancelled(self, value: bool) -> None:
        self.canceled = value

    def __repr__(self) -> str:
        name = getattr(self.fun, "__name__", repr(self.fun))
        return f"<TimerEntry: {name}(*{self.args!r}, **{self.kwargs!r})"

    def __lt__(self, other: Entry) -> bool:
        return id(self) < id(other)


#: Another name, for where `Entry` is an attribute.
TimerEntry: TypeAlias = Entry


class scheduled(NamedTuple):  # noqa: N801, RUF100 - what its repr says
    eta: float
    priority: int
    order: int
    entry: TimerEntry


class Schedule:
    """Calls in the order of their times. Iterating gives `(seconds to wait, None)` or `(None, entry)`.

    Args:
        max_interval: the longest wait to give.
        on_error: called with an exception that a call raised; default: it is logged.
    """

    Entry: type[TimerEntry] = TimerEntry

    def __init__(
        self,
        max_interval: float | None = None,
        on_error: Callable[[BaseException], Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.max_interval = float(max_interval or 2)
        self.on_error = on_error
        self._queue: list[scheduled] = []
        self._order = count()

    def __enter__(self) -> Schedule:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def call_at(
        self,
        eta: datetime | float,
        fun: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        priority: int = 0,
    ) -> TimerEntry:
        """Call at a time (a datetime, or by the monotonic clock)."""
        return self.enter_at(self.Entry(fun, args, kwargs), eta, priority)

    def call_after(
        self,
        secs: float,
        fun: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        priority: int = 0,
    ) -> TimerEntry:
        """Call in so many seconds."""
        return self.enter_after(secs, self.Entry(fun, args, kwargs), priority)

    def call_repeatedly(
        self,
        secs: float,
        fun: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        priority: int = 0,
    ) -> TimerEntry:
        """Call every so many seconds, counted from the end of the last call, until the entry is cancelled."""
        return _repeat(self, secs, self.Entry, fun, args, kwargs, priority)

    def enter_at(
        self,
        entry: TimerEntry,
        eta: datetime | float | None = None,
        priority: int = 0,
        time: Callable[[], float] = time.monotonic,
    ) -> TimerEntry:
        """Add an entry for a time; default: now."""
        when = time() if eta is None else to_timestamp(eta)
        heapq.heappush(self._queue, scheduled(when, priority, next(self._order), entry))
        return entry

    def enter_after(
        self,
        secs: float,
        entry: TimerEntry,
        priority: int = 0,
        time: Callable[[], float] = time.monotonic,
    ) -> TimerEntry:
        """Add an entry for so many seconds from now."""
        return self.enter_at(entry, time() + float(secs), priority)

    def apply_entry(self, entry: TimerEntry) -> None:
        """Make the call; what it raises is handed to `on_error`."""
        try:
            entry()
        except Exception as exc:
            if self.on_error is not None:
                self.on_error(exc)
            else:
                logger.exception("Error in timer: %r", exc)

    def stop(self) -> None:
        """Forget all entries."""
        self.clear()

    def clear(self) -> None:
        """Forget all entries."""
        self._queue.clear()

    def cancel(self, tref: TimerEntry) -> None:
        """Never make this call."""
        tref.cancel()

    def __iter__(self) -> Iterator[tuple[float | None, TimerEntry | None]]:
        while True:
            if not self._queue:
                yield None, None
                continue
            first = self._queue[0]
            wait = first.eta - time.monotonic()
            if wait > 0 and not first.entry.canceled:
                yield min(wait, self.max_interval), None
                continue
            heapq.heappop(self._queue)
            if not first.entry.canceled:
                yield None, first.entry

    def __len__(self) -> int:
        return len(self._queue)

    def __bool__(self) -> bool:
        return True

    @property
    def queue(self) -> list[scheduled]:
        """What waits, in order (a copy)."""
        return sorted(self._queue)

    @property
    def schedule(self) -> Schedule:
        """Itself."""
        return self


def _repeat(
    timer: Schedule | Timer,
    secs: float,
    make: type[TimerEntry],
    fun: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None,
    priority: int,
) -> TimerEntry:
    def again() -> Any:
        try:
            return fun(*args, **(kwargs or {}))
        finally:
            if not entry.canceled:
                timer.enter_after(secs, entry, priority)

    again.__name__ = getattr(fun, "__name__", "again")
    entry = make(again)
    return timer.enter_after(secs, entry, priority)


#: As above.
TimerSchedule: TypeAlias = Schedule


class Timer(threading.Thread):
    """A daemon thread that makes calls at their time; it starts with the first.

    Args:
        schedule: what it works on; default: a new one.
        on_error: called with an exception that a call raised.
        on_tick: called with the seconds it will wait, each time it does.
        on_start: called with the timer when the thread is started.
        max_interval: the longest wait, in seconds.
    """

    Entry: type[TimerEntry] = TimerEntry
    Schedule: type[TimerSchedule] = TimerSchedule
    running = False
    on_tick: Callable[[float], Any] | None = None
    _timer_count = count(1)

    def __init__(
        self,
        schedule: TimerSchedule | None = None,
        on_error: Callable[[BaseException], Any] | None = None,
        on_tick: Callable[[float], Any] | None = None,
        on_start: Callable[[Timer], Any] | None = None,
        max_interval: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=f"Timer-{next(self._timer_count)}", daemon=True)
        self.schedule = schedule or self.Schedule(on_error=on_error, max_interval=max_interval)
        self.on_start = on_start
        self.on_tick = on_tick or self.on_tick
        self.mutex = threading.Lock()
        self._changed = threading.Condition(self.mutex)
        self._ending = False

    def run(self) -> None:
        self.running = True
        for wait, entry in self.schedule:
            if entry is not None:
                self.schedule.apply_entry(entry)
            elif not self._wait(wait):
                break
            if self._ending:
                break
        self.running = False

    def _wait(self, seconds: float | None) -> bool:
        if seconds is not None and self.on_tick is not None:
            self.on_tick(seconds)
        with self._changed:
            if not self._ending:
                self._changed.wait(seconds)
            return not self._ending

    def stop(self) -> None:
        """End the thread, after the call it is making, if any."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        if self.is_alive() and threading.current_thread() is not self:
            self.join()
        self.running = False

    def ensure_started(self) -> None:
        """Start the thread, unless it was."""
        if not self.running and not self.is_alive() and not self._ending:
            if self.on_start is not None:
                self.on_start(self)
            self.start()

    def _do_enter(self, meth: str, *args: Any, **kwargs: Any) -> TimerEntry:
        self.ensure_started()
        with self._changed:
            entry: TimerEntry = getattr(self.schedule, meth)(*args, **kwargs)
            self._changed.notify()
        return entry

    def enter(self, entry: TimerEntry, eta: datetime | float, priority: int = 0) -> TimerEntry:
        """Add an entry for a time."""
        return self._do_enter("enter_at", entry, eta, priority)

    def call_at(self, *args: Any, **kwargs: Any) -> TimerEntry:
        """See `Schedule.call_at`."""
        return self._do_enter("call_at", *args, **kwargs)

    def enter_after(self, *args: Any, **kwargs: Any) -> TimerEntry:
        """See `Schedule.enter_after`."""
        return self._do_enter("enter_after", *args, **kwargs)

    def call_after(self, *args: Any, **kwargs: Any) -> TimerEntry:
        """See `Schedule.call_after`."""
        return self._do_enter("call_after", *args, **kwargs)

    def call_repeatedly(
        self,
        secs: float,
        fun: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        priority: int = 0,
    ) -> TimerEntry:
        """See `Schedule.call_repeatedly`. The call may be made in another thread than this one."""
        return _repeat(self, secs, self.Entry, fun, args, kwargs, priority)

    def exit_after(self, secs: float, priority: int = 10) -> None:
        """End the program in so many seconds."""
        import _thread  # noqa: PLC0415 - nobody else needs it

        self.call_after(secs, _thread.interrupt_main, priority=priority)

    def cancel(self, tref: TimerEntry) -> None:
        """Never make this call."""
        tref.cancel()

    def clear(self) -> None:
        """Forget all entries."""
        with self._changed:
            self.schedule.clear()

    def empty(self) -> bool:
        """Whether nothing waits."""
        return not len(self)

    def __len__(self) -> int:
        return len(self.schedule)

    def __bool__(self) -> bool:
        return True

    @property
    def queue(self) -> list[scheduled]:
        """What waits, in order (a copy)."""
        return self.schedule.queue
