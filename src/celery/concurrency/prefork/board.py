"""A page shared by the core and all children: which job each child is running.

A child writes when it begins and ends a job, without a system call. The core reads when it needs to know: to find
tasks over their limit, to see whom a long task keeps waiting, and, when a child has died, what had begun.
Each slot has one writer for each word.
"""

from __future__ import annotations

import mmap
import os

#: Words of 8 bytes: the tag last begun, when (monotonic seconds, 0.0 when it has ended), the tag to be terminated.
_BEGUN, _SINCE, _CONDEMNED, _WIDTH = 0, 1, 2, 4
#: More children than one machine runs.
SLOTS = 4096
#: After the slots comes one more word: since when the worker ends.
_ENDING = SLOTS * _WIDTH
_SIZE = (_ENDING + 1) * 8


class Board:
    """The shared page.

    Attributes:
        ending: since when the worker ends (monotonic seconds), 0.0 while it does not; the core writes it.

    Args:
        fd: of the page made by another process's `Board`; None to make a new one.
    """

    def __init__(self, fd: int | None = None) -> None:
        self.fd = unnamed_file(_SIZE) if fd is None else fd
        self._map = mmap.mmap(self.fd, _SIZE)
        self._words = memoryview(self._map).cast("Q")
        self._times = memoryview(self._map).cast("d")

    @property
    def ending(self) -> float:
        return self._times[_ENDING]

    @ending.setter
    def ending(self, since: float) -> None:
        self._times[_ENDING] = since

    def clear(self, slot: int) -> None:
        """Make a slot ready for a new child."""
        base = slot * _WIDTH
        for word in range(_WIDTH):
            self._words[base + word] = 0

    def begin(self, slot: int, tag: int, now: float) -> None:
        """Say that the slot's child begins job `tag`, which must not be 0."""
        base = slot * _WIDTH
        self._words[base + _BEGUN] = tag
        self._times[base + _SINCE] = now

    def end(self, slot: int) -> None:
        """Say that the job has ended."""
        self._times[slot * _WIDTH + _SINCE] = 0.0

    def last_begun(self, slot: int) -> int:
        """The tag of the job begun last, 0 if none."""
        return self._words[slot * _WIDTH + _BEGUN]

    def running(self, slot: int) -> tuple[int, float] | None:
        """The running job's tag and when it began, None between jobs."""
        base = slot * _WIDTH
        while True:
            since = self._times[base + _SINCE]
            if since == 0.0:
                return None
            tag = self._words[base + _BEGUN]
            # The child may have gone on to its next job between the two reads.
            if self._times[base + _SINCE] == since:
                return tag, since

    def condemn(self, slot: int, tag: int) -> None:
        """Announce that a signal about to come is meant to end this job."""
        self._words[slot * _WIDTH + _CONDEMNED] = tag

    def condemned(self, slot: int) -> int:
        """The tag of the job that is to be ended, 0 for none."""
        return self._words[slot * _WIDTH + _CONDEMNED]

    def close(self) -> None:
        """Give the page back to the system (the other processes keep theirs)."""
        self._words.release()
        self._times.release()
        self._map.close()
        os.close(self.fd)


def unnamed_file(size: int) -> int:
    """A descriptor of a file of `size` bytes that no one else can open."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("celery-pool")
    else:
        import tempfile  # noqa: PLC0415 - where there is no memfd

        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd
