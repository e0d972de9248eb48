"""When something is to happen: every so often (`schedule`), by the calendar (`crontab`), by the sun (`solar`).

A schedule knows no last run; it is told: `is_due(last_run_at)`. Times without a zone are UTC, the calendar is that of
the app's time zone. Schedules can be pickled, and read by Celery's.
"""

from __future__ import annotations

from celery._public import publish

from .base import BaseSchedule, maybe_schedule, schedstate, schedule
from .cron import crontab
from .fields import ParseException, crontab_parser
from .sun import solar

__all__ = (
    "BaseSchedule",
    "ParseException",
    "crontab",
    "crontab_parser",
    "maybe_schedule",
    "schedstate",
    "schedule",
    "solar",
)

publish(globals())
