"""How much memory a child holds, and when that is too much."""

from __future__ import annotations

import os
import resource
import sys

from celery.concurrency.prefork.frames import Note

#: A replacement is started when this much of the limit is used.
_EARLY = 0.8


class MemoryWatch:
    """Compares this process's resident memory with a limit.

    A limit below what the process uses before its first task could never be kept, and every task would cost
    a process: then twice what it uses is the limit.

    Args:
        limit: KiB, None for no limit.

    Attributes:
        limit: KiB, as it is enforced.
        last: KiB at the last check.
    """

    def __init__(self, limit: int | None) -> None:
        self._page = os.sysconf("SC_PAGE_SIZE") // 1024
        self._statm = os.open("/proc/self/statm", os.O_RDONLY) if os.path.exists("/proc/self/statm") else -1
        baseline = self.resident()
        self.limit = 2 * baseline if limit is not None and limit <= baseline else limit
        self.last = baseline
        self._warned = False

    def resident(self) -> int:
        """KiB now (where /proc is missing: the most there ever was)."""
        if self._statm >= 0:
            return int(os.pread(self._statm, 128, 0).split()[1]) * self._page
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak

    def check(self) -> Note | None:
        """`Note.RETIRE` above the limit; `Note.GROWN` once when near it; else None."""
        if self.limit is None:
            return None
        self.last = self.resident()
        if self.last > self.limit:
            return Note.RETIRE
        if not self._warned and self.last > self.limit * _EARLY:
            self._warned = True
            return Note.GROWN
        return None
