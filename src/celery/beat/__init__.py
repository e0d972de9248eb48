"""Beat: sends tasks when they are due.

A `Scheduler` keeps entries (`ScheduleEntry`) in the order of their next times; a `Service` asks it to `tick()` again
and again. Only one beat may run on one schedule.
"""

from __future__ import annotations

from celery._public import publish

from .control import BeatPidbox, beat_nodename
from .entry import BeatLazyFunc, ScheduleEntry, SchedulingError, event_t
from .persistent import PersistentScheduler
from .scheduler import DEFAULT_MAX_INTERVAL, Scheduler
from .service import EmbeddedService, Service

__all__ = (
    "DEFAULT_MAX_INTERVAL",
    "BeatLazyFunc",
    "BeatPidbox",
    "EmbeddedService",
    "PersistentScheduler",
    "ScheduleEntry",
    "Scheduler",
    "SchedulingError",
    "Service",
    "beat_nodename",
    "event_t",
)

publish(globals())
