"""The children: as many as there should be, each replaced when it dies or retires.

A replacement is asked for before its predecessor retires and waits as a *spare*; it takes the place when the
predecessor has ended its last task. So there are never more running tasks than the pool's size, and recycling costs
no time.
"""

from __future__ import annotations

import logging
import os
import signal
from typing import TYPE_CHECKING, Protocol

from celery.concurrency.base import PoolError
from celery.concurrency.prefork.board import SLOTS
from celery.concurrency.prefork.seat import Seat, State

if TYPE_CHECKING:
    import asyncio
    import socket

    from celery.concurrency.base import PoolOptions
    from celery.concurrency.prefork.board import Board
    from celery.concurrency.prefork.frames import Record
    from celery.concurrency.prefork.link import Link

logger = logging.getLogger("celery.pool")

#: So many children in a row that die before they are ready end the pool.
HOPELESS = 6
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 5.0
#: A spare is started when a child has so few tasks left to run, at most.
_AHEAD = 64
#: A child that has closed its socket has this long (seconds) to exit.
_EXIT_GRACE = 1.0
#: A child that was told to exit has this long for its exit handlers.
_LEAVE_GRACE = 10.0


class Manager(Protocol):
    """Who uses the children."""

    def heard(self, seat: Seat, notes: list[Record]) -> None: ...

    def ready(self, seat: Seat) -> None:
        """The child may be given jobs."""

    def died(self, seat: Seat, exitcode: int) -> None: ...

    def hopeless(self, error: Exception) -> None:
        """Children cannot be made."""

    def spawner_gone(self) -> None: ...


class Crew:
    """All children of a pool.

    Args:
        size: how many may run tasks at a time.

    Attributes:
        seats: by slot, from the request for a child to its exit.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        link: Link,
        board: Board,
        size: int,
        options: PoolOptions,
        manager: Manager,
    ) -> None:
        self._loop = loop
        self._link = link
        self._board = board
        self.size = size
        self._options = options
        self._manager = manager
        self.seats: dict[int, Seat] = {}
        self._by_pid: dict[int, Seat] = {}
        self._unused_slots = iter(range(SLOTS))
        self._free_slots: list[int] = []
        self._made = 0
        self._failures = 0
        self._retry: asyncio.TimerHandle | None = None
        self._closing = False
        self._told_baseline = False
        self._timers: set[asyncio.TimerHandle] = set()
        link.attach(loop, self)

    # -- how many

    def of(self, *states: State) -> list[Seat]:
        """The children in these states."""
        return [seat for seat in self.seats.values() if seat.state in states]

    def staffed(self) -> bool:
        """Whether every place is taken by a child that is ready."""
        return len(self.of(State.ACTIVE)) >= self.size

    def balance(self) -> None:
        """Bring the number of children to what it should be."""
        if self._closing:
            return
        self._promote()
        self._dismiss_surplus()
        if self._retry is not None:
            return
        active = self.of(State.ACTIVE)
        spares = sum(self._wants_spare(seat) for seat in active)
        here = len(active) + len(self.of(State.BOOTING, State.SPARE))
        for _ in range(self.size + spares - here):
            self._request()

    def _wants_spare(self, seat: Seat) -> bool:
        if seat.quota is None:
            return seat.grown
        return seat.grown or seat.left <= min(seat.quota // 4, _AHEAD)

    def _promote(self) -> None:
        places = self.size - len(self.of(State.ACTIVE)) - len(self.of(State.LEAVING))
        for seat in self.of(State.SPARE)[: max(0, places)]:
            seat.state = State.ACTIVE
            self._manager.ready(seat)

    def _dismiss_surplus(self) -> None:
        surplus = len(self.of(State.ACTIVE)) - self.size
        if surplus > 0:
            for seat in sorted(self.of(State.ACTIVE), key=lambda seat: len(seat.window))[:surplus]:
                self.dismiss(seat)
        # Spares that no one is going to need, after a resize.
        if self.size == 0:
            for seat in self.of(State.SPARE):
                self.dismiss(seat)

    def dismiss(self, seat: Seat) -> None:
        """Give the child no more jobs; let it exit when it has ended those it has."""
        if seat.state in (State.ACTIVE, State.SPARE, State.LEAVING):
            seat.state = State.LEAVING
            if not seat.window:
                seat.end_of_jobs()
                self._later(_LEAVE_GRACE, self._insist, seat)

    def _insist(self, seat: Seat) -> None:
        if seat.state is not State.DEAD:
            logger.warning("Pool child %d does not exit; killing it", seat.pid)
            self._link.signal(seat.pid, 9)

    def _later(self, delay: float, call: object, seat: Seat) -> None:
        def fire() -> None:
            self._timers.discard(handle)
            call(seat)  # type: ignore[operator]

        handle = self._loop.call_later(delay, fire)
        self._timers.add(handle)

    def _request(self) -> None:
        slot = self._free_slots.pop() if self._free_slots else next(self._unused_slots, None)
        if slot is None:
            return
        self._board.clear(slot)
        self._made += 1
        seat = Seat(slot, self._made, self._free_index(), self._options.max_tasks_per_child or None)
        self.seats[slot] = seat
        self._link.fork(slot, seat.number, seat.index)
        self._later(self._options.alive_timeout, self._warn_slow, seat)

    def _free_index(self) -> int:
        taken = {seat.index for seat in self.seats.values() if seat.state is not State.CLOSING}
        return next(index for index in range(1, len(taken) + 2) if index not in taken)

    def _warn_slow(self, seat: Seat) -> None:
        if seat.state is State.BOOTING:
            logger.warning(
                "Pool child %d is not ready after worker_proc_alive_timeout=%s s; still waiting "
                "(a receiver of worker_process_init may be slow)",
                seat.pid,
                self._options.alive_timeout,
            )

    # -- news of the spawner

    def born(self, slot: int, pid: int, sock: socket.socket) -> None:
        """A child was forked; it is not ready yet."""
        seat = self.seats[slot]
        seat.pid = pid
        self._by_pid[pid] = seat
        seat.connect(self._loop, sock, self._manager.heard, self._hung_up)
        if self._closing:
            seat.end_of_jobs()

    def is_ready(self, seat: Seat, resident: float) -> None:
        """The child said so; it holds `resident` KiB."""
        self._failures = 0
        limit = self._options.max_memory_per_child
        if limit is not None and resident >= limit and not self._told_baseline:
            self._told_baseline = True
            logger.warning(
                "max_memory_per_child=%d KiB is below the %d KiB that a child uses before its first task; "
                "twice that is the limit in force. Raise the setting",
                limit,
                int(resident),
            )
        if seat.state is State.BOOTING:
            seat.state = State.SPARE
            self.balance()

    def exited(self, pid: int, exitcode: int) -> None:
        """A child has ended; its successor is asked for."""
        seat = self._by_pid.pop(pid, None)
        if seat is None:
            return
        booting, expected = seat.state is State.BOOTING, seat.state is State.CLOSING
        seat.state = State.CLOSING  # nothing is given to it while its last words are heard
        words = seat.last_words()
        if words:
            self._manager.heard(seat, words)
            booting = False
        seat.disconnect()
        seat.state = State.DEAD
        del self.seats[seat.slot]
        self._free_slots.append(seat.slot)
        if booting and not self._closing:
            self._failed(f"pool child {pid} ended with {describe(exitcode)} before it was ready")
        elif not expected and not self._closing:
            logger.error(
                "Process 'ForkPoolWorker-%d' pid:%d exited with '%s'", seat.number, pid, describe(exitcode)
            )
        self._manager.died(seat, exitcode)
        self.balance()

    def unborn(self, slot: int, errno: int) -> None:
        """The spawner could not fork."""
        del self.seats[slot]
        self._free_slots.append(slot)
        self._failed(f"no pool child could be forked: {os.strerror(errno)}")

    def gone(self) -> None:
        """The spawner has ended."""
        self._manager.spawner_gone()

    def _failed(self, why: str) -> None:
        self._failures += 1
        if self._failures >= HOPELESS:
            self._closing = True
            msg = f"{why}; {self._failures} in a row: giving up. The child's own error is in the log above"
            self._manager.hopeless(PoolError(msg))
            return
        delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** (self._failures - 1))
        logger.error("%s; trying again in %.1f s", why[0].upper() + why[1:], delay)
        if self._retry is None:
            self._retry = self._loop.call_later(delay, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self.balance()

    def _hung_up(self, seat: Seat) -> None:
        # As a rule the news of its exit is on its way. A task that closed all descriptors leaves a child that is of no use.
        self._later(_EXIT_GRACE, self._insist, seat)

    # -- the end

    def dismiss_all(self) -> None:
        """Let every child exit when it has ended what it has, and make no more."""
        self._closing = True
        for seat in list(self.seats.values()):
            if seat.state is State.BOOTING:
                seat.end_of_jobs()
            else:
                self.dismiss(seat)

    def close(self) -> None:
        """Forget all children and timers."""
        self._closing = True
        for handle in (*self._timers, *([self._retry] if self._retry else [])):
            handle.cancel()
        for seat in self.seats.values():
            seat.disconnect()
            seat.state = State.DEAD
        self.seats.clear()


def describe(exitcode: int) -> str:
    """An exit code in words.

    >>> describe(-9)
    'signal 9 (SIGKILL)'
    """
    if exitcode >= 0:
        return f"exitcode {exitcode}"
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = "?"
    return f"signal {-exitcode} ({name})"
