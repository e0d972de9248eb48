"""The scheduler: which entry is next, and sending it when it is due."""

from __future__ import annotations

import copy
import heapq
import logging
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from celery.exceptions import EncodeError, OperationalError
from celery.schedules import crontab, maybe_schedule
from celery.utils.lazies import maybe_evaluate
from celery.utils.time import humanize_seconds, maybe_make_aware, timezone

from .clock import ClockWatch
from .entry import ScheduleEntry, SchedulingError, evaluated, event_t

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from celery.app.base import Celery
    from celery.schedules import schedstate

__all__ = ("DEFAULT_MAX_INTERVAL", "Scheduler")

logger = logging.getLogger("celery.beat")

#: Seconds between two looks at the schedule, at most.
DEFAULT_MAX_INTERVAL = 300
#: Of all entries; the first of two that are due at the same time is any of them.
_PRIORITY = 5
#: Seconds between attempts to send while the broker is away: the first, and the longest.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
#: Seconds that clocks are set back in autumn, and a bit more: what was sent in that time is not sent again.
_SUMMER_TIME = timedelta(hours=3)


class Scheduler:
    """Keeps a schedule in memory, and sends what is due.

    Args:
        app: sends the tasks; its `beat_schedule` is the schedule, together with the default entries.
        schedule: name -> entry, to begin with; or a callable that makes it.
        max_interval: seconds; default: `beat_max_loop_interval`, or 300.
        Producer: class of kombu's; default: the app's own way to send.
        lazy: do not read the schedule yet.
        sync_every_tasks: write the state after so many tasks; default: `beat_sync_every`; 0: only by time.
    """

    Entry = ScheduleEntry
    max_interval: float = DEFAULT_MAX_INTERVAL
    #: Seconds between two times that the state is written.
    sync_every: float = 3 * 60
    #: The same in tasks.
    sync_every_tasks: int | None = None
    logger = logger

    _last_sync: float | None = None
    _tasks_since_sync = 0

    def __init__(
        self,
        app: Celery,
        schedule: Any = None,
        max_interval: float | None = None,
        Producer: Any = None,
        lazy: bool = False,
        sync_every_tasks: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.app = app
        self.data: Any = maybe_evaluate({} if schedule is None else schedule)
        self.max_interval = max_interval or app.conf.beat_max_loop_interval or self.max_interval
        self.Producer = Producer
        self._heap: list[event_t] | None = None
        self.old_schedulers: Any = None
        self.sync_every_tasks = app.conf.beat_sync_every if sync_every_tasks is None else sync_every_tasks
        #: Set when beat is to end: no more waiting for a broker that is away.
        self.stopping = threading.Event()
        self._clock = ClockWatch()
        if not lazy:
            self.setup_schedule()

    # -- the schedule

    def setup_schedule(self) -> None:
        """Read the configuration."""
        self.merge_inplace(self.app.conf.beat_schedule)
        self.install_default_entries(self.schedule)

    def install_default_entries(self, data: Mapping[str, Any]) -> None:
        """Add `celery.backend_cleanup` where results expire and the store does not see to it by itself."""
        wanted = self.app.conf.result_expires and not self.app.backend.supports_autoexpire
        if wanted and "celery.backend_cleanup" not in data:
            self.update_from_dict(
                {
                    "celery.backend_cleanup": {
                        "task": "celery.backend_cleanup",
                        "schedule": crontab("0", "4", "*"),
                        "options": {"expires": 12 * 3600},
                    }
                }
            )

    def get_schedule(self) -> Any:
        """Name -> entry."""
        return self.data

    def set_schedule(self, schedule: Any) -> None:
        """Replace all entries."""
        self.data = schedule

    schedule = property(get_schedule, set_schedule)

    def add(self, **kwargs: Any) -> Any:
        """Add an entry, by the arguments of its class; return it."""
        entry = self.Entry(app=self.app, **kwargs)
        self.schedule[entry.name] = entry
        return entry

    def _maybe_entry(self, name: str, entry: Any) -> Any:
        """An entry as it is, or the one that a mapping describes."""
        if isinstance(entry, self.Entry):
            entry.app = self.app
            return entry
        fields: dict[str, Any] = {**dict(entry), "name": name, "app": self.app}
        if not isinstance(entry, ScheduleEntry):
            _settle_extras(fields)
        try:
            return self.Entry(**fields)
        except TypeError as error:
            raise TypeError(f"beat_schedule[{name!r}]: {error}") from error

    def update_from_dict(self, dict_: Mapping[str, Any]) -> None:
        """Add entries, as `beat_schedule` describes them."""
        self.schedule.update({name: self._maybe_entry(name, entry) for name, entry in dict_.items()})

    def merge_inplace(self, b: Mapping[str, Any]) -> None:
        """Make the schedule that of `b`; entries that stay keep when they were last sent."""
        schedule = self.schedule
        for name in set(schedule) - set(b):
            schedule.pop(name, None)
        for name, described in b.items():
            entry = self._maybe_entry(name, described)
            if schedule.get(name):
                schedule[name].update(entry)
            else:
                schedule[name] = entry

    def schedules_equal(self, old_schedules: Any, new_schedules: Any) -> bool:
        """Whether both have the same entries, that send the same at the same times."""
        if old_schedules is None or new_schedules is None:
            return old_schedules is new_schedules
        return bool(old_schedules == new_schedules)

    # -- what is next

    def is_due(self, entry: Any) -> schedstate:
        """Say whether an entry is due, and in how many seconds to ask again."""
        state: schedstate = entry.is_due()
        return state

    def _look(self, entry: Any) -> tuple[bool, float]:
        """The same, whatever the entry answers."""
        try:
            answer: tuple[bool, Any] = self.is_due(entry)
            due, seconds = answer
        except Exception as error:
            logger.error("beat: cannot tell when %r is due: %r", entry.name, error, exc_info=error)
            due, seconds = False, self.max_interval
        return due, seconds if isinstance(seconds, (int, float)) else self.max_interval

    def adjust(self, n: float | None, drift: float = -0.010) -> float | None:
        """A bit less than `n` seconds, as beat needs some time for itself."""
        return n + drift if n and n > 0 else n

    def _when(self, entry: Any, next_time_to_run: float) -> float:
        """A time by the system's clock: an entry's own may tell the time of elsewhere, or be another altogether."""
        return time.time() + (self.adjust(next_time_to_run) or 0)

    def populate_heap(
        self, event_t: type[event_t] = event_t, heapify: Callable[[list[Any]], None] = heapq.heapify
    ) -> None:
        """Put all entries in order anew."""
        heap = []
        for entry in self.schedule.values():
            due, seconds = self._look(entry)
            heap.append(event_t(self._when(entry, 0 if due else seconds), _PRIORITY, entry))
        heapify(heap)
        self._heap = heap

    def tick(
        self,
        event_t: type[event_t] = event_t,
        min: Callable[..., float] = min,  # noqa: A002 - Celery's name
        heappop: Callable[[list[Any]], Any] = heapq.heappop,
        heappush: Callable[[list[Any], Any], None] = heapq.heappush,
    ) -> float:
        """Send one task if one is due.

        Returns:
            Seconds until it is worth to ask again; 0: at once.
        """
        self._mind_the_clock()
        if self._heap is None or not self.schedules_equal(self.old_schedulers, self.schedule):
            self.old_schedulers = copy.copy(self.schedule)
            self.populate_heap()
        heap = self._heap
        if not heap:
            return self.max_interval
        ahead = heap[0].time - time.time()
        if ahead > 0:
            return min(ahead, self.max_interval)
        event = heappop(heap)
        entry = event.entry
        due, seconds = self._look(entry)
        if due:
            following = self.reserve(entry)
            self.old_schedulers[entry.name] = following  # it sends the same as before
            self.apply_entry(entry, producer=self._producer_to_use())
            heappush(heap, event_t(self._when(following, seconds), event.priority, following))
            return 0
        heappush(heap, event_t(self._when(entry, seconds), event.priority, entry))
        if heap[0].entry is not entry:
            return 0
        return min(max(self.adjust(seconds) or 0, 0), self.max_interval)

    def _mind_the_clock(self) -> None:
        """After the clock was set, times that lie in the future now would keep their entries silent until then."""
        moved = self._clock.moved()
        if not moved:
            return
        way = "forward" if moved > 0 else "back"
        logger.warning("beat: the clock was set %s by %s", way, humanize_seconds(abs(moved)))
        self._heap = None
        for entry in self.schedule.values():
            now = entry.default_now()
            ahead = maybe_make_aware(entry.last_run_at) - maybe_make_aware(now)
            if ahead > timedelta(0) and not _was_sent(entry, ahead):
                entry.last_run_at = now

    # -- sending

    def reserve(self, entry: Any) -> Any:
        """Let an entry's next time begin; return what it is then."""
        new_entry = self.schedule[entry.name] = next(entry)
        return new_entry

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send an entry's task. While the broker is away, wait for it: nothing else could be sent either."""
        logger.info("Scheduler: Sending due task %s (%s)", entry.name, entry.task)
        pause = _FIRST_PAUSE
        while True:
            try:
                result = self.apply_async(entry, producer=producer, advance=False)
            except Exception as error:
                away = isinstance(error.__cause__, OperationalError)
                clear = away or isinstance(error.__cause__, EncodeError)
                again = away and self.app.conf.broker_connection_retry and not self.stopping.is_set()
                logger.error(
                    "Message Error: %s%s",
                    error,
                    f". Trying again in {humanize_seconds(pause)}" if again else "",
                    exc_info=None if clear else error,
                )
                if not again or self.stopping.wait(pause):
                    return
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                logger.debug("%s sent. id->%s", entry.task, getattr(result, "id", result))
                return

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        """Send an entry's task.

        Args:
            producer: one of kombu's, to send by.
            advance: let its next time begin.

        Returns:
            The result of the call.

        Raises:
            SchedulingError: it could not be sent; the cause says why.
        """
        if advance:
            entry = self.reserve(entry)
        task = self.app.tasks.get(entry.task)
        try:
            args = [evaluated(value) for value in entry.args or ()]
            kwargs = {name: evaluated(value) for name, value in (entry.kwargs or {}).items()}
            options = dict(entry.options or {})
            options["headers"] = {**(options.get("headers") or {}), "celery_beat_task": True}
            if task is not None:
                return task.apply_async(args, kwargs, producer=producer, **options)
            return self.send_task(entry.task, args, kwargs, producer=producer, **options)
        except Exception as error:
            raise SchedulingError(f"Couldn't apply scheduled task {entry.name}: {error}") from error
        finally:
            self._tasks_since_sync += 1
            if self.should_sync():
                self._do_sync()

    def send_task(self, *args: Any, **kwargs: Any) -> Any:
        """Send a task that is not known here."""
        return self.app.send_task(*args, **kwargs)

    @property
    def connection(self) -> Any:
        """A connection of kombu's, for schedulers of one's own."""
        return self.app.connection_for_write()

    @property
    def producer(self) -> Any:
        """A producer of kombu's, for schedulers of one's own; this one sends without."""
        connection = self.connection
        if self.Producer is not None:
            return self.Producer(connection, auto_declare=False)
        return connection.Producer(auto_declare=False)

    def _producer_to_use(self) -> Any:
        return self.producer if self.Producer is not None else None

    # -- keeping the state

    def should_sync(self) -> bool:
        """Whether it is time to write the state."""
        if self._last_sync is None or time.monotonic() - self._last_sync > self.sync_every:
            return True
        return bool(self.sync_every_tasks and self._tasks_since_sync >= self.sync_every_tasks)

    def _do_sync(self) -> None:
        try:
            logger.debug("beat: Synchronizing schedule...")
            self.sync()
        finally:
            self._last_sync = time.monotonic()
            self._tasks_since_sync = 0

    def sync(self) -> None:
        """Write the state; this scheduler has none to write."""

    def close(self) -> None:
        """Write the state, and end."""
        self.sync()

    @property
    def info(self) -> str:
        """A line for the banner: where the state is."""
        return ""


def _settle_extras(fields: dict[str, Any]) -> None:
    """Keys of an entry in `beat_schedule` that are no fields: `expires` is an option, `timezone` the schedule's."""
    expires, zone = fields.pop("expires", None), fields.pop("timezone", None)
    if expires is not None:
        fields["options"] = {"expires": expires, **(fields.get("options") or {})}
    if zone is not None:
        schedule = copy.copy(maybe_schedule(fields.get("schedule"), app=fields["app"]))
        schedule.tz = timezone.get_timezone(zone)
        fields["schedule"] = schedule


def _was_sent(entry: Any, ago: timedelta) -> bool:
    """Whether the time to which the clock was set back has been, for an entry with fixed hours."""
    schedule = entry.schedule
    return isinstance(schedule, crontab) and len(schedule.hour) < 24 and ago < _SUMMER_TIME  # noqa: PLR2004, RUF100
