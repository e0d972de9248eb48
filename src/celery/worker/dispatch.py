"""From received to running: the ready queue, early acknowledgement, the pool's room, the window.

Everything here happens on the worker's loop. Nothing waits for one message: what is ready goes to
the pool in batches, and one `Consumer.begin` acknowledges a batch.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from celery.brokers.base import BrokerError
from celery.concurrency.pace import BRIEF, SLOT, share_of

from .acks import GIVEN_BACK
from .limits import RunTimes, window
from .runs import job_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.app.jobs import Job
    from celery.brokers.base import Consumer, Delivery
    from celery.concurrency.base import Pool

    from .acks import Ending
    from .runs import Run
    from .state import WorkerState

logger = logging.getLogger("celery.worker.dispatch")

#: Messages that waited this many seconds without one of them starting go back to the broker: an
#: idle worker may have room for them.
STALL = 0.5
#: Seconds until a batch is tried again that could not be acknowledged.
BEGIN_AGAIN = 0.2
#: Beside a batch that is being acknowledged another one must be worth it: it costs the broker as much as a large one.
WORTH_IT = 16
#: All of a pool's room, with a little for what is lost in adding parts up.
_ALL = 1 + 1e-9


class _Begin:
    """A batch that is being acknowledged.

    Attributes:
        part: of the pool's room that it is promised.
        runs: none any more when the answer is there.
    """

    __slots__ = ("part", "runs", "task")

    def __init__(self, runs: list[Run], part: float) -> None:
        self.runs = runs
        self.part = part
        self.task: asyncio.Task[None] | None = None


class Dispatcher:
    """Moves runs from the ready queue into the pool.

    Args:
        settle: called to end a delivery (`Settler.settle`).
        discard: called for runs that were revoked on their way to the pool.
        submit_by_request: called for runs whose `Request` class overrides `execute_using_pool`.
        slots: how many tasks the pool runs at once.
        bound: upper bound of the window that the user set; None for none.
        ahead: False: fetch only what the pool has room for.
        begins: how many batches may be being acknowledged at a time.
        held_up: whether nothing more is to be taken for now.
        choked: whether nothing more is to be begun for now; `pump` is called when that changes.
        broke: called when a batch could neither be acknowledged nor tried again.
    """

    def __init__(
        self,
        pool: Pool,
        state: WorkerState,
        *,
        settle: Callable[[Run, Ending], None],
        submit_by_request: Callable[[Run, Job], None],
        discard: Callable[[Run], None],
        slots: int,
        bound: int | None,
        ahead: bool = True,
        begins: int = 1,
        held_up: Callable[[], bool] = lambda: False,
        choked: Callable[[], bool] = lambda: False,
        broke: Callable[[BaseException], None],
    ) -> None:
        self.pool = pool
        self.state = state
        self.times = RunTimes()
        self.slots = slots
        self.bound = bound
        self.consumer: Consumer | None = None
        self.window = -1
        #: The pool says of every job when it begins.
        self.announce = False
        #: What somebody has added to the window by hand.
        self.extra = 0
        self._ahead = ahead
        self._most_begins = begins
        self._held_up = held_up
        self._choked = choked
        self._broke = broke
        self._settle = settle
        self._submit_by_request = submit_by_request
        self._discard = discard
        self._ready: deque[Run] = deque()
        self._begins: list[_Begin] = []
        self._promised = 0.0  # to those: what part of the pool's room
        self._counted = 0
        self._closed = False
        self._stalled = False
        self._moved_at = 0.0
        self._stall: asyncio.TimerHandle | None = None

    # -- coming in --------------------------------------------------------------------------------
    def add(self, run: Run, *, front: bool = False) -> None:
        """Put a run into the ready queue; `pump` moves it on."""
        if not self._ready:
            self._moved_at = monotonic()
        if front:
            self._ready.appendleft(run)
        else:
            self._ready.append(run)

    @property
    def waiting(self) -> int:
        """How many runs wait for room in the pool."""
        return len(self._ready)

    @property
    def busy(self) -> bool:
        """True while anything is in the pool or on its way there."""
        return bool(self.state.active or self._beginning)

    @property
    def _beginning(self) -> list[Run]:
        return [run for begin in self._begins for run in begin.runs]

    # -- going out --------------------------------------------------------------------------------
    def pump(self) -> None:
        """Hand over what there is room for, and tell the broker how much more may come."""
        if self._closed:
            return
        if self._ready and not self._choked():
            self._move()
            if self._ready and self._stall is None:
                self._look_later(STALL)
        self.refresh()

    def _move(self) -> None:
        """Move on what the pool has room for, in order. Each run takes its part of the room: where 128 of its kind would
        fit, a 128th."""
        ready, straight = self._ready, []
        asking: list[Run] = []
        parts: dict[str, tuple[int, float]] = {}
        left = _ALL - self._promised
        promised, may_ask = 0.0, len(self._begins) < self._most_begins
        busy = self.state.active + len(self._beginning)
        while ready:
            run = ready[0]
            name = run.headers.task
            known = parts.get(name)
            if known is None:
                share = self.times.share(name)
                room = self.pool.room(share)
                known = parts[name] = share, 1 / room if room > 0 else 2.0
            run.share, part = known
            fits = part <= left
            if run.begun or (run.policy.acks_late and run.delivery.held is None):
                if not fits:
                    break
                straight.append(run)
            elif may_ask and (fits or self._begins_ahead(run.share, part, busy + len(asking))):
                asking.append(run)
                promised += part if fits else 0.0
            else:  # those before are being acknowledged: the next goes when one of them is done
                break
            ready.popleft()
            left -= part if fits else 0.0
        if straight:
            self._submit(straight)
        if asking and self._begins and len(asking) < WORTH_IT:
            ready.extendleft(reversed(asking))
            asking = []
        if asking:
            for run in asking:
                self._count(run)
            begin = _Begin(asking, promised)
            self._begins.append(begin)
            self._promised += promised
            begin.task = asyncio.get_running_loop().create_task(self._begin_or_break(begin))
        if straight or asking:
            self._moved_at = monotonic()
            self._stalled = False

    def _begins_ahead(self, share: int, part: float, busy: int) -> bool:
        """Whether one more run may be acknowledged for which there will be room only when the answer is there: where that
        takes its time, the pool would have nothing to do meanwhile. Not behind tasks of which it is not known that they are
        brief: they leave no room; and not more than the pool holds at a time."""
        return (
            self._most_begins > 1 and share <= BRIEF and part <= 1 and busy < 2 * self.slots * SLOT // share
        )

    async def _begin_or_break(self, begin: _Begin) -> None:
        try:
            await self._begin(begin)
        except Exception as error:  # noqa: BLE001 - better a dead worker than one that begins nothing any more
            self._broke(error)

    async def _begin(self, begin: _Begin) -> None:
        """Acknowledge a batch, or be told that it is held, then run what is still ours."""
        batch, failed = begin.runs, False
        try:
            kept = await self._ask(batch)
        except BrokerError as error:
            logger.warning("Could not acknowledge %d messages, trying again: %s", len(batch), error)
            kept, failed = set(), True
        finally:
            begin.runs = []
            self._promised -= begin.part
        mine: list[Run] = []
        again: list[Run] = []
        for run in batch:
            self.uncount(run)
            if run.fenced or run.tag not in self.state.runs:
                self.state.remove(run)
            elif failed:
                again.append(run)
            elif run.delivery in kept:
                run.begun = not run.policy.acks_late
                mine.append(run)
            else:
                logger.warning(
                    "Task %s[%s] was taken over by another worker before it began", run.name, run.id
                )
                self.state.remove(run)
        if again:  # in the order in which they came, whatever failed beside them
            self._ready = deque(sorted((*again, *self._ready), key=lambda run: run.tag))
        if failed:
            await asyncio.sleep(BEGIN_AGAIN)
        self._begins.remove(begin)
        if not self._begins:
            self._promised = 0.0  # whatever was lost in adding up
        if self._closed:
            for run in mine:
                self._settle(run, GIVEN_BACK)
            return
        if mine:
            self._submit(mine)
        self.pump()

    async def _ask(self, batch: list[Run]) -> set[Delivery]:
        """Which of these may run: those that could be acknowledged, and late ones that are held."""
        assert self.consumer is not None
        early = [run.delivery for run in batch if not run.policy.acks_late]
        kept = set(await self.consumer.begin(early)) if early else set()
        for run in batch:
            held = run.delivery.held
            if run.policy.acks_late and (held is None or await held):
                kept.add(run.delivery)
        return kept

    def _submit(self, batch: list[Run]) -> None:
        jobs: list[Job] = []
        for run in batch:
            if run.revoked:
                self._discard(run)
                continue
            self.state.activate(run)
            if not run.begun:
                self._count(run)
            job = job_for(run, self.announce)
            if run.policy.hooks and "execute_using_pool" in run.policy.hooks:
                self._submit_by_request(run, job)
            else:
                jobs.append(job)
        if jobs:
            self.pool.submit(jobs)

    async def acknowledge(self, run: Run) -> None:
        """Go on as if it had been acknowledged before it ran: its result is still to be stored, and its loss to be recorded."""
        if run.begun or self.consumer is None or run.tag not in self.state.runs:
            return
        run.policy = msgspec.structs.replace(run.policy, acks_late=False)
        try:
            kept = await self.consumer.begin([run.delivery])
        except BrokerError as error:
            logger.warning("Could not acknowledge task %s[%s] while it runs: %s", run.name, run.id, error)
            return
        if kept and run.tag in self.state.runs:
            run.begun = True
            self.uncount(run)
            self.pump()

    # -- the window -------------------------------------------------------------------------------
    def _count(self, run: Run) -> None:
        if not run.counted:
            run.counted = True
            self._counted += 1

    def count_waiting(self, run: Run) -> None:
        """A delivery is held that is neither ready nor in the pool: the window grows by it."""
        self._count(run)

    def uncount(self, run: Run) -> None:
        """The broker no longer counts it, or it is ready again."""
        if run.counted:
            run.counted = False
            self._counted -= 1

    def refresh(self) -> None:
        """Tell the broker the window in force, if it changed."""
        if self.consumer is None:
            return
        wanted = 0
        if not self._closed and not self._held_up():
            ahead = self.times.ahead(self.slots) if self._ahead and not self._stalled else 0
            room = int(self.pool.room(share_of(self.times.mix)) * (_ALL - self._promised))
            wanted = window(held=self._counted, room=room, ahead=ahead, bound=self.bound) + self.extra
        if wanted != self.window:
            self.window = wanted
            self.consumer.allow(wanted)

    def _look_later(self, seconds: float) -> None:
        self._stall = asyncio.get_running_loop().call_later(seconds, self._look_for_stalled)

    def _look_for_stalled(self) -> None:
        self._stall = None
        now = monotonic()
        self.give_back_stalled(now)
        if self._ready and not self._closed:
            left = self._moved_at + STALL - now
            self._look_later(left if left > 0 else STALL / 2)

    def give_back_stalled(self, now: float) -> None:
        """Return what has waited long behind running tasks."""
        if not self._ready or self._closed or now - self._moved_at < STALL:
            return
        if self.pool.room(self.times.share(self._ready[0].headers.task)) > 0:
            return
        self._stalled = True
        self.refresh()
        kept = [run for run in self._ready if run.begun]
        back = [run for run in self._ready if not run.begun]
        self._ready = deque(kept)
        for run in reversed(back):  # each goes to the front, so the oldest goes last
            self._settle(run, GIVEN_BACK)

    # -- ending -----------------------------------------------------------------------------------
    def close(self) -> None:
        """Take nothing more, and give back everything that has not begun to run."""
        if self._closed:
            return
        self._closed = True
        self.refresh()
        waiting, self._ready = list(self._ready), deque()
        for job in self.pool.take_back():
            run = self.state.runs.get(job.tag)
            if run is not None:
                waiting.insert(0, run)
        for run in reversed(waiting):
            self._settle(run, GIVEN_BACK)

    def drop(self, run: Run) -> bool:
        """Take a run out of the ready queue; False if it is not there."""
        try:
            self._ready.remove(run)
        except ValueError:
            return False
        self.count_waiting(run)
        return True

    def recall(self) -> None:
        """Take back what waits in the pool; what was revoked does not return there."""
        for job in reversed(self.pool.take_back()):
            run = self.state.runs.get(job.tag)
            if run is not None:
                self.returned(run)
        self.pump()

    def returned(self, run: Run) -> None:
        """The pool has given a run back that has not begun."""
        self.state.deactivate(run)
        if run.revoked:
            self._discard(run)
            return
        self.uncount(run)
        self.add(run, front=True)

    def forget(self, *, begun: bool = True) -> None:
        """Drop everything that has not begun to run: the broker has given it to somebody else.

        Args:
            begun: False: keep what was acknowledged early.
        """
        kept = [run for run in self._ready if run.begun and not begun]
        for run in [*self._ready, *self._beginning]:
            if begun or not run.begun:
                self.state.remove(run)
        self._ready = deque(kept)
        for job in self.pool.take_back():
            taken = self.state.runs.get(job.tag)
            if taken is None:
                continue
            if taken.begun and not begun:
                self.add(taken, front=True)
            else:
                self.state.remove(taken)
        for run in self.state.runs.values():
            self.uncount(run)
        for run in self._beginning:
            self.uncount(run)

    async def settled(self, seconds: float) -> None:
        """Return when no batch is being acknowledged any more; wait no longer than `seconds` for a store that is
        away: what was to be acknowledged then counts as not begun."""
        while asked := {begin.task: begin for begin in self._begins if begin.task and not begin.task.done()}:
            await asyncio.wait(asked, timeout=seconds)
            late = [(task, begin) for task, begin in asked.items() if not task.done()]
            if not late:
                return
            for task, begin in late:
                batch = begin.runs
                task.cancel()
                await asyncio.wait([task])
                for run in batch:
                    self._settle(run, GIVEN_BACK)
