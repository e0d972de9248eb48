"""One child as the core sees it: its socket, what it has been given, and what it said."""

from __future__ import annotations

import socket
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING

from celery.concurrency.pace import SLOT, is_brief
from celery.concurrency.prefork.frames import PIECE, RecordReader, encode_jobs
from celery.concurrency.prefork.link import keep_private

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from celery.app.jobs import Job
    from celery.concurrency.prefork.frames import Record


class State(Enum):
    """A child's life, from the request for it to its exit."""

    BOOTING = "booting"
    SPARE = "spare"  # ready, waits until a place is free
    ACTIVE = "active"
    LEAVING = "leaving"  # gets no more jobs, has some to end
    CLOSING = "closing"  # was told to exit
    DEAD = "dead"


class Seat:
    """One child.

    Args:
        quota: how many tasks it may run, None for any number.

    Attributes:
        window: jobs given and not yet accounted for, in the order in which the child runs them.
        load: how full it is, in shares of `SLOT`.
        long: tags of those that are not known to be brief.
        limited: tags of those that have a time limit.
        given: jobs run or to be run by it, ever.
    """

    def __init__(self, slot: int, number: int, index: int, quota: int | None) -> None:
        self.slot = slot
        self.number = number
        self.index = index
        self.quota = quota
        self.state = State.BOOTING
        self.pid = 0
        self.window: dict[int, Job] = {}
        self.load = 0
        self.long: set[int] = set()
        self.limited: set[int] = set()
        self.given = 0
        self.grown = False  # near its memory limit
        self.poked: tuple[int, float] = (0, 0.0)
        self.soft_signal: tuple[int, float] = (0, 0.0)
        self.softened = 0  # tag of the job in which the soft limit was raised
        self.overdue = 0  # tag of the job for which it is killed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sock: socket.socket | None = None
        self._reader = RecordReader()
        self._unsent: deque[memoryview] = deque()
        self._hear: Callable[[Seat, list[Record]], None] | None = None
        self._hung_up: Callable[[Seat], None] | None = None

    # -- what it may get

    @property
    def left(self) -> int:
        """How many more jobs it may be given in its life."""
        return 1 << 30 if self.quota is None else self.quota - self.given

    def capacity(self, share: int) -> int:
        """How many jobs of this share it may be given now; of all of the window, only if it is empty."""
        if self.long or self.state is not State.ACTIVE:
            return 0
        room = (SLOT - self.load) // share
        return room if self.quota is None else min(room, self.left)

    def give(self, job: Job) -> None:
        """Put a job into the window; `send` writes it."""
        self.window[job.tag] = job
        self.load += job.share
        self.given += 1
        if not is_brief(job):
            self.long.add(job.tag)
        if job.time_limit is not None or job.soft_time_limit is not None:
            self.limited.add(job.tag)

    def forget(self, tag: int) -> Job | None:
        """Take a job out of the window."""
        if self.long:
            self.long.discard(tag)
        if self.limited:
            self.limited.discard(tag)
        job = self.window.pop(tag, None)
        if job is not None:
            self.load -= job.share
        return job

    def split_at(self, last_begun: int) -> tuple[list[Job], list[Job]]:
        """The window's jobs: those that had begun when `last_begun` was the last to begin, and those that had not."""
        jobs = list(self.window.values())
        tags = list(self.window)
        cut = tags.index(last_begun) + 1 if last_begun in self.window else 0
        return jobs[:cut], jobs[cut:]

    # -- the stream

    def connect(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        hear: Callable[[Seat, list[Record]], None],
        hung_up: Callable[[Seat], None],
    ) -> None:
        """Begin to read what the child says.

        Args:
            hear: called with the records that arrived together.
            hung_up: called once when the child has closed its end.
        """
        self._loop, self._sock, self._hear, self._hung_up = loop, sock, hear, hung_up
        keep_private(sock)
        loop.add_reader(sock.fileno(), self._readable)

    def send(self, jobs: Sequence[Job]) -> None:
        """Write jobs that were given, as far as the socket takes them now; the rest follows."""
        waiting = bool(self._unsent)
        self._unsent.extend(map(memoryview, encode_jobs(jobs)))
        if not waiting:
            self._write()

    def _write(self) -> None:
        if self._sock is None or self._loop is None:
            self._unsent.clear()
            return
        try:
            while self._unsent:
                sent = self._sock.send(self._unsent[0])
                if sent == len(self._unsent[0]):
                    self._unsent.popleft()
                else:
                    self._unsent[0] = self._unsent[0][sent:]
        except (BlockingIOError, InterruptedError):
            self._loop.add_writer(self._sock.fileno(), self._writable)
        except OSError:
            self._unsent.clear()  # it has died; its exit will be reported

    def _writable(self) -> None:
        assert self._loop is not None
        if self._sock is not None:
            self._loop.remove_writer(self._sock.fileno())
            self._write()

    def _readable(self) -> None:
        if self._sock is None or self._hear is None or self._hung_up is None:
            return
        try:
            piece = self._sock.recv(PIECE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            piece = b""
        if piece:
            self._hear(self, self._reader.feed(piece))
        else:
            self.disconnect()
            self._hung_up(self)

    def last_words(self) -> list[Record]:
        """What a dead child had still written."""
        found: list[Record] = []
        while self._sock is not None:
            try:
                piece = self._sock.recv(PIECE)
            except OSError:
                break
            if not piece:
                break
            found += self._reader.feed(piece)
        return found

    def end_of_jobs(self) -> None:
        """Tell the child that it may exit."""
        self.state = State.CLOSING
        if self._sock is not None:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                return  # it has died already

    def disconnect(self) -> None:
        """Close the socket."""
        sock, self._sock = self._sock, None
        if sock is not None and self._loop is not None:
            self._loop.remove_reader(sock.fileno())
            self._loop.remove_writer(sock.fileno())
            sock.close()
