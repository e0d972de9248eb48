"""Who gets which job, and what becomes of it: the middle of the prefork pool."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from celery.app.jobs import Job, Outcome
from celery.concurrency.base import PoolError, PoolOptions, Reports
from celery.concurrency.pace import SLOT, is_brief
from celery.concurrency.prefork.child import POKE
from celery.concurrency.prefork.crew import Crew
from celery.concurrency.prefork.frames import Note
from celery.concurrency.prefork.seat import Seat, State
from celery.concurrency.prefork.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery.concurrency.prefork.board import Board
    from celery.concurrency.prefork.frames import Record
    from celery.concurrency.prefork.link import Link

logger = logging.getLogger("celery.pool")

#: Signals that children do not die of, because terminals send them to the whole process group.
_SHIELDED = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
#: A task that is to be terminated and does not end is killed after this (seconds).
_TERMINATE_GRACE = 2.0
#: The signal is sent again after this, in case the child could not act on it, or had not begun the task.
_TERMINATE_AGAIN, _BEGIN_AGAIN = 0.1, 0.005


class Foreman:
    """Gives jobs to children and hears them; a running pool's state.

    Attributes:
        crew: the children.
        waiting: jobs that found no place yet.
    """

    def __init__(self, reports: Reports, link: Link, board: Board, size: int, options: PoolOptions) -> None:
        self._loop = asyncio.get_running_loop()
        self._reports = reports
        self._link = link
        self._board = board
        self._options = options
        self.waiting: deque[Job] = deque()
        self._recalled: set[int] = set()
        self._condemned: dict[int, tuple[int, asyncio.TimerHandle]] = {}
        self._writes: dict[int, int] = {}
        self._gone = asyncio.Event()
        self._changed = asyncio.Event()
        self._error: Exception | None = None
        self._started = False
        self._ending = False
        self.crew = Crew(self._loop, link, board, size, options, self)
        self._watch = Watch(self._loop, board, self.crew.seats.values, link.signal, link.execute)

    # -- life

    async def start(self) -> None:
        """Return when all children are ready. Raises `PoolError`."""
        self.crew.balance()
        await self._until(self.crew.staffed)
        self._started = True

    async def drain(self) -> None:
        """Wait until every job has ended, let the children exit, wait for that."""
        await self._until(self._is_drained)
        self.crew.dismiss_all()
        await self._until(lambda: not self.crew.seats)

    def _is_drained(self) -> bool:
        return not self.waiting and not any(seat.window for seat in self.crew.seats.values())

    async def end(self) -> None:
        """End all children that there still are, and the spawner."""
        self._ending = True
        self._watch.close()
        for _, timer in self._condemned.values():
            timer.cancel()
        self._link.hang_up()
        await self._gone.wait()
        self.crew.close()
        self._changed.set()

    async def _until(self, done: Callable[[], bool]) -> None:
        while not done():
            if self._ending:
                return
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()

    def _fail(self, error: Exception) -> None:
        self._error = error
        self._changed.set()
        if self._started:
            self._reports.broken(error)

    # -- jobs in

    def room(self, share: int = SLOT) -> int:
        """See `Pool.room`."""
        room = 0
        for seat in self.crew.seats.values():
            room += seat.capacity(share)
        if self.waiting:
            room -= -(-sum(job.share for job in self.waiting) // share)
        return max(0, room)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Give jobs to children, brief ones many at a time; what finds no place waits here."""
        self.waiting.extend(jobs)
        self._dispatch()

    def _dispatch(self) -> None:
        waiting = self.waiting
        given: dict[Seat, list[Job]] = {}
        while waiting:
            seat = self._seat_for(waiting[0])
            if seat is None:
                break
            batch = given.setdefault(seat, [])
            turn = self._turn(seat, waiting[0])
            while True:
                job = waiting.popleft()
                seat.give(job)
                batch.append(job)
                turn -= 1
                if (
                    turn <= 0
                    or not waiting
                    or not is_brief(waiting[0])
                    or seat.load + waiting[0].share > SLOT
                ):
                    break
        for seat, batch in given.items():
            seat.send(batch)
            self._writes[seat.number] = self._writes.get(seat.number, 0) + 1
            self._watch.look_after(seat, batch)
        if any(seat.left <= 0 or seat.quota is not None for seat in given):
            self.crew.balance()

    def _seat_for(self, job: Job) -> Seat | None:
        """The child that should have this job: an idle one; for a brief job also one with little to do."""
        best: Seat | None = None
        share = job.share if is_brief(job) else SLOT
        for seat in self.crew.seats.values():
            if seat.capacity(share) > 0 and (best is None or seat.load < best.load):
                best = seat
                if not seat.window:
                    break
        return best

    def _turn(self, seat: Seat, first: Job) -> int:
        """How many of the waiting jobs one child may take at once, so that the others get theirs."""
        if not is_brief(first):
            return 1
        open_seats = sum(other.capacity(first.share) > 0 for other in self.crew.seats.values())
        return min(seat.left, -(-len(self.waiting) // max(1, open_seats)))

    def take_back(self) -> list[Job]:
        """Give up what waits here; recall what waits in children."""
        jobs = list(self.waiting)
        self.waiting.clear()
        for seat in self.crew.seats.values():
            _, unbegun = seat.split_at(self._board.last_begun(seat.slot))
            if unbegun:
                self._recalled.update(job.tag for job in unbegun)
                self._signal(seat, POKE)
        return jobs

    def running(self) -> dict[int, tuple[int, float]]:
        """See `Pool.running`."""
        offset = time.time() - time.monotonic()
        found: dict[int, tuple[int, float]] = {}
        for seat in list(self.crew.seats.values()):
            now = self._board.running(seat.slot)
            if now is not None and now[0] in seat.window:
                found[now[0]] = seat.pid, offset + now[1]
        return found

    def terminate(self, tag: int, signum: int) -> bool:
        """End the run of a job by a signal to its child; the core hears `lost`.

        SIGINT, SIGQUIT and SIGHUP, of which children do not die, are sent as SIGTERM. SIGTERM raises
        `WorkerTerminate` in the task; if it does not end the child within two seconds, SIGKILL does.
        """
        for seat in self.crew.seats.values():
            if tag in seat.window:
                deadly = signal.SIGTERM if signum in _SHIELDED else signum
                self._pursue(seat, tag, deadly, time.monotonic() + _TERMINATE_GRACE)
                return True
        return False

    def _pursue(self, seat: Seat, tag: int, signum: int, deadline: float) -> None:
        """Signal the child until the job is over; if it has not begun, have it handed back."""
        self._condemned.pop(tag, None)
        if tag not in seat.window:
            return
        running = self._board.running(seat.slot)
        if running is not None and running[0] == tag:
            self._board.condemn(seat.slot, tag)
            if signum != signal.SIGKILL and time.monotonic() < deadline:
                self._signal(seat, signum)
            else:
                self._link.execute(seat.pid, seat.slot)
            again = _TERMINATE_AGAIN
        else:
            self._signal(seat, POKE)
            again = _BEGIN_AGAIN
        timer = self._loop.call_later(again, self._pursue, seat, tag, signum, deadline)
        self._condemned[tag] = signum, timer

    def _signal(self, seat: Seat, signum: int) -> None:
        self._link.signal(seat.pid, signum)

    # -- news of the children

    def ready(self, seat: Seat) -> None:
        """A child has taken a place."""
        self._changed.set()
        self._dispatch()
        if self._started and self.room(1):
            self._reports.roomy()

    def heard(self, seat: Seat, notes: list[Record]) -> None:
        """Take in what a child wrote."""
        finished: list[tuple[int, Outcome]] = []
        returned: list[Job] = []
        for note, tag, what in notes:
            if isinstance(what, Outcome):
                if self._ended(seat, tag):
                    finished.append((tag, what))
            elif note == Note.STARTED:
                self._reports.started(tag, seat.pid, what)
            elif note == Note.RETURNED:
                job = seat.forget(tag)
                if job is not None:
                    seat.given -= 1
                    returned.append(job)
            else:
                self._hear_of_itself(seat, note, tag, what)
        if finished:
            self._reports.finished(finished)
        self._settle_returned(returned)
        self._after(seat)

    def _hear_of_itself(self, seat: Seat, note: int, tag: int, number: float) -> None:
        if note == Note.SOFT:
            seat.softened = tag
            self._reports.soft_limit(tag)
        elif note == Note.READY:
            self.crew.is_ready(seat, number)
        elif note == Note.GROWN:
            seat.grown = True
            self.crew.balance()
        elif note == Note.RETIRE:
            if number:
                logger.warning(
                    "Pool child %d holds %d KiB, above max_memory_per_child=%s; replacing it",
                    seat.pid,
                    int(number),
                    self._options.max_memory_per_child,
                )
            self.crew.dismiss(seat)

    def _ended(self, seat: Seat, tag: int) -> bool:
        if self._condemned:
            self._pardon(tag)
        if self._recalled:
            self._recalled.discard(tag)
        return seat.forget(tag) is not None

    def _pardon(self, tag: int) -> int:
        """Pursue a job no more; return the signal that was meant for it, 0 for none."""
        signum, timer = self._condemned.pop(tag, (0, None))
        if timer is not None:
            timer.cancel()
        return signum

    def _settle_returned(self, jobs: list[Job]) -> None:
        for job in reversed(jobs):
            signum = self._pardon(job.tag)
            if signum or job.tag in self._recalled:
                self._recalled.discard(job.tag)
                self._reports.lost(job.tag, -signum, began=False)
            else:
                self.waiting.appendleft(job)

    def _after(self, seat: Seat) -> None:
        """A child's window has changed: let it go if it is done for, use the room."""
        if not seat.window:
            self._changed.set()
            if seat.state is State.LEAVING or (seat.state is State.ACTIVE and seat.left <= 0):
                self.crew.dismiss(seat)
                self.crew.balance()
        if self.waiting:
            self._dispatch()
        if self._started and self.room(1):
            self._reports.roomy()

    def died(self, seat: Seat, exitcode: int) -> None:
        """Tell what has become of the jobs of a child that has ended."""
        self._writes.pop(seat.number, None)
        begun, unbegun = seat.split_at(self._board.last_begun(seat.slot))
        for jobs, began in ((begun, True), (unbegun, False)):
            for job in jobs:
                self._ended(seat, job.tag)
                if job.tag == seat.overdue:
                    self._reports.hard_limit(job.tag)
                else:
                    self._reports.lost(job.tag, exitcode, began=began)
        self._changed.set()

    def hopeless(self, error: Exception) -> None:
        """Children cannot be made."""
        self._fail(error)

    def spawner_gone(self) -> None:
        """The spawner has ended: as asked, or it was killed and all children with it."""
        self._gone.set()
        if self._ending:
            self._return_unbegun()
            return
        for seat in list(self.crew.seats.values()):
            seat.state = State.DEAD
            self.died(seat, -signal.SIGKILL)
        self._fail(PoolError("the pool's spawner process has died, and with it all children"))

    def _return_unbegun(self) -> None:
        """All children were killed: take in what they still said, and hand back what they had not begun."""
        for seat in list(self.crew.seats.values()):
            seat.state = State.DEAD
            words = seat.last_words()
            if words:
                self.heard(seat, words)
            for job in seat.split_at(self._board.last_begun(seat.slot))[1]:
                seat.forget(job.tag)
                self._reports.lost(job.tag, -signal.SIGKILL, began=False)
        while self.waiting:
            self._reports.lost(self.waiting.popleft().tag, 0, began=False)

    # -- size and figures

    def resize(self, size: int) -> None:
        """Have so many children. One that runs a task ends it first."""
        self.crew.size = size
        self.crew.balance()

    def restart(self) -> None:
        """Replace every child; one that runs a task ends it first."""
        for seat in self.crew.of(State.ACTIVE, State.SPARE):
            self.crew.dismiss(seat)
        self.crew.balance()

    def pids(self) -> list[int]:
        """Of all children."""
        return [seat.pid for seat in self.crew.seats.values() if seat.pid]

    def write_figures(self) -> dict[str, Any]:
        """How evenly the children were written to."""
        seats = [seat for seat in self.crew.seats.values() if seat.pid]
        counts = [self._writes.get(seat.number, 0) for seat in seats]
        total = sum(counts)
        return {
            "total": total,
            "avg": _percent(total / len(counts), total) if counts else "0.00%",
            "all": ", ".join(_percent(count, total) for count in counts),
            "raw": ", ".join(map(str, counts)),
            "strategy": "fair",
            "inqueues": {"total": len(counts), "active": sum(bool(seat.window) for seat in seats)},
        }


def _percent(part: float, whole: float) -> str:
    return f"{part / whole * 100:.2f}%" if whole else "0.00%"
