"""Names of the program that sends tasks on a schedule, for the packages that import or wrap them.

There is no such program in this version: whoever makes one of these is told so.
"""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ("DEFAULT_MAX_INTERVAL", "ScheduleEntry", "Scheduler")

#: Seconds between two looks at the schedule, at most.
DEFAULT_MAX_INTERVAL = 300


def _missing(name: str) -> NoReturn:
    raise NotImplementedError(
        f"{name}: this version of Celeriac has no beat yet; run Celery's beat on the same broker meanwhile"
    )


class ScheduleEntry:
    """An entry of a schedule."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _missing(type(self).__name__)


class Scheduler:
    """Sends what is due."""

    Entry = ScheduleEntry

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _missing(type(self).__name__)

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Send an entry's task."""
        _missing("apply_entry")

    def apply_async(
        self, entry: ScheduleEntry, producer: Any = None, advance: bool = True, **kwargs: Any
    ) -> Any:
        """Send an entry's task, and let its next time begin."""
        _missing("apply_async")

    def tick(self) -> float:
        """Send what is due; return how many seconds to wait."""
        _missing("tick")
