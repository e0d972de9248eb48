"""Noticing that somebody has set the clock."""

from __future__ import annotations

import time

__all__ = ("ClockWatch",)

#: Seconds; a clock that is kept right by small steps is not one that was set.
_STEP = 1.0


class ClockWatch:
    """Compares the clock on the wall with the one that only ever goes on."""

    def __init__(self) -> None:
        self._offset = self._now()

    @staticmethod
    def _now() -> float:
        return time.time() - time.monotonic()

    def moved(self) -> float:
        """Seconds by which the clock was set since the last call, negative: back; 0.0 if it was not."""
        before, self._offset = self._offset, self._now()
        step = self._offset - before
        return step if abs(step) > _STEP else 0.0
