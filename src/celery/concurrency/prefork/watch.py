"""The core's clock over running tasks: time limits, and whom a long task keeps waiting.

One timer serves all children: it is set to the earliest moment at which anything can be due, and then looks at
the board. So a task that is over before its limit costs nothing.
"""

from __future__ import annotations

import logging
import signal
import time
from typing import TYPE_CHECKING

from celery.concurrency.prefork.child import POKE, SOFT_LIMIT

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from celery.app.jobs import Job
    from celery.concurrency.prefork.board import Board
    from celery.concurrency.prefork.seat import Seat

logger = logging.getLogger("celery.pool")

#: Others wait at most about this long (seconds) behind a task that was thought to be brief.
PATIENCE = 0.005
#: A signal that was not answered is sent again after this.
AGAIN = 0.05
#: From a hard limit's SIGTERM, which lets the task's `finally` blocks and `task_postrun` run, to its SIGKILL.
GRACE = 0.5


class Watch:
    """Finds what is due.

    Args:
        seats: all children now.
        send: sends a signal to a child.
        execute: kills a child, by pid and slot, if it still runs the job that the board condemns.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        board: Board,
        seats: Callable[[], Iterable[Seat]],
        send: Callable[[int, int], None],
        execute: Callable[[int, int], None],
    ) -> None:
        self._loop = loop
        self._board = board
        self._seats = seats
        self._send = send
        self._execute = execute
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def look_after(self, seat: Seat, jobs: Iterable[Job]) -> None:
        """Jobs were given to a child: wake up in time for them."""
        wait = PATIENCE if len(seat.window) > 1 else None
        if seat.limited:
            for job in jobs:
                for limit in (job.soft_time_limit, job.time_limit):
                    if limit is not None and (wait is None or limit < wait):
                        wait = limit
        if wait is not None:
            self._wake_in(wait)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake_in(self, wait: float) -> None:
        due = time.monotonic() + wait
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._due = due
        self._timer = self._loop.call_later(max(0.001, wait), self._look)

    def _look(self) -> None:
        self._timer = None
        now = time.monotonic()
        waits = [wait for seat in self._seats() if seat.window for wait in self._look_at(seat, now)]
        if waits:
            self._wake_in(min(waits))

    def _look_at(self, seat: Seat, now: float) -> Iterable[float]:
        """Do what is due at one child; yield in how many seconds to look again."""
        running = self._board.running(seat.slot)
        job = seat.window.get(running[0]) if running is not None else None
        if running is None or job is None:
            yield from _when_begun(seat)
            return
        tag, since = running
        if len(seat.window) > 1:
            yield self._relieve(seat, tag, now - since, now)
        if job.time_limit is not None or job.soft_time_limit is not None:
            yield self._limit(seat, job, now - since, now)
        elif seat.limited:
            yield from _when_begun(seat)

    def _relieve(self, seat: Seat, tag: int, elapsed: float, now: float) -> float:
        """Poke the child if its running job is not as brief as those around it believe."""
        if elapsed >= PATIENCE:
            last_tag, last_at = seat.poked
            if last_tag != tag or now - last_at >= AGAIN:
                seat.poked = (tag, now)
                self._send(seat.pid, POKE)
            return AGAIN
        return PATIENCE - elapsed

    def _limit(self, seat: Seat, job: Job, elapsed: float, now: float) -> float:
        if job.time_limit is not None and elapsed >= job.time_limit:
            seat.overdue = job.tag
            self._board.condemn(seat.slot, job.tag)
            if elapsed < job.time_limit + GRACE:
                self._send(seat.pid, signal.SIGTERM)
            else:
                self._execute(seat.pid, seat.slot)
            return AGAIN
        wait = float("inf") if job.time_limit is None else job.time_limit - elapsed
        if job.soft_time_limit is None or seat.softened == job.tag:
            return wait
        if elapsed < job.soft_time_limit:
            return min(wait, job.soft_time_limit - elapsed)
        last_tag, last_at = seat.soft_signal
        if last_tag != job.tag or now - last_at >= AGAIN:
            seat.soft_signal = (job.tag, now)
            self._send(seat.pid, SOFT_LIMIT)
        return min(wait, AGAIN)


def _when_begun(seat: Seat) -> Iterable[float]:
    """Nothing runs that has a limit: the waiting jobs' limits count from when they begin."""
    if len(seat.window) > 1:
        yield PATIENCE
    if seat.limited:
        limits = [
            limit
            for job in seat.window.values()
            for limit in (job.soft_time_limit, job.time_limit)
            if limit is not None
        ]
        yield min(limits)
