"""The core of a worker: one event loop on which no code of the user's ever runs.

`Core.run` is the worker's whole life, on the thread that calls it: start the pool, connect, take
deliveries until told to stop, and end in an order that loses nothing:

1. the window closes, what has not begun to run goes back to the broker (at once);
2. running tasks end (warm: as long as they like, or until the grace time; soft: for a while; cold: killed);
3. outcomes that are still being stored are stored, and settled;
4. the consumer gives up its lease; the pool is gone.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from celery.backends.base import Backend
from celery.brokers.base import BrokerError
from celery.concurrency.base import PoolError
from celery.utils.patience import Patience

from . import state as worker_state
from .aftermath import Recorder
from .crew import Crew, Errands
from .discards import discard
from .dispatch import Dispatcher
from .eventer import WorkerDispatcher
from .events import EventSender
from .extension import ExtensionThread
from .intake import Reception
from .link import BrokerLink, StartFailed
from .parked import Parked
from .reports import PoolReports
from .requests import Requests
from .settle import Settler
from .storing import ResultStorer
from .sweeps import Sweeps
from .watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from celery.brokers.base import Broker, Consumer, Outgoing
    from celery.brokers.topology import Queue
    from celery.concurrency.base import Pool

    from .options import WorkerOptions
    from .pidbox import Pidbox
    from .policy import TaskPolicy
    from .runs import Run
    from .state import WorkerState
    from .statedb import Persistent
    from .steps import UserSteps

logger = logging.getLogger("celery.worker.consumer")
T = TypeVar("T")

#: How often the core looks after things nobody tells it: a silent link, `should_stop`.
TICK = 1.0
#: And at the end of its life.
LAST_TICK = 0.25
#: Seconds that prefetched messages may take to get back into their queues.
HAND_BACK = 1.0
#: Seconds a pool gets to return what waits inside its slots before it is killed.
TAKE_BACK = 0.1
#: Seconds that outcomes and farewells may take at the end of a shutdown, and of a cold one.
FAREWELL = 10.0
HURRY = 5.0
#: Seconds the loop may take to do what another thread asks for.
ANSWER = 10.0
#: Seconds the extension thread may take at the end.
EXTENSIONS_END = 5.0


class Stop(enum.IntEnum):
    """How a worker ends; it only ever gets more urgent."""

    NO = 0
    WARM = 1
    SOFT = 2
    COLD = 3
    NOW = 4


class StepFailed(StartFailed):
    """A step of the application's raised when it was started, or a callback of its consumers; see its cause."""


def load_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes a loop: uvloop where it exists, else the standard library."""
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        return asyncio.new_event_loop
    make: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return make


def new_loop() -> asyncio.AbstractEventLoop:
    """A uvloop where it exists, else a stock loop."""
    return load_loop()()


class Core:
    """Runs one worker.

    Args:
        publish: sends one message, blocking; used on a thread.
        on_ready: called on the extension thread once tasks are being taken.
    """

    def __init__(
        self,
        app: Any,
        pool: Pool,
        broker: Broker,
        queues: Sequence[Queue],
        options: WorkerOptions,
        policies: Callable[[str], TaskPolicy | None],
        state: WorkerState,
        *,
        publish: Callable[[Outgoing], None],
        sender: Any = None,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        self._options = options
        self._pool = pool
        self._pool_runs = False
        self._pool_broken = False
        # Results are tried to be stored until this is set: by whatever ends the wait for running tasks.
        self._ending = 0.0
        self._no_patience = Patience(lambda: self._ending)
        self._on_ready = on_ready
        self._loop: asyncio.AbstractEventLoop | None = None
        self._level = Stop.NO
        self._failure: str | None = None
        self._fatal: BaseException | None = None
        self._consumer: Consumer | None = None
        self._news: asyncio.Event | None = None
        #: The mailbox for remote control; None without.
        self.pidbox: Pidbox | None = None
        #: Keeps what is revoked in a file; None without.
        self.statedb: Persistent | None = None
        #: Whether neighbours are asked for revoked ids at the start.
        self.mingles = False
        #: The application's steps; None if it has none.
        self.steps: UserSteps | None = None
        extension = ExtensionThread(lambda: self.call_soon(self.crew.dispatcher.pump))
        settler = Settler(state, self._rested)
        requests = Requests(
            app,
            options.hostname,
            pool,
            extension,
            settler.settle,
            lambda run: self._chores.start(self.crew.dispatcher.acknowledge(run)),
        )
        state.request_of = requests.of
        dispatcher = Dispatcher(
            pool,
            state,
            settle=settler.settle,
            submit_by_request=requests.submit,
            discard=self._discard,
            slots=options.concurrency,
            bound=options.prefetch_bound,
            ahead=options.fetch_ahead,
            begins=broker.capabilities.begins,
            held_up=lambda: extension.behind or self._storer.behind,
            choked=lambda: self._storer.behind,
            broke=self._consumer_broke,
        )
        settler.uncount = dispatcher.uncount
        events = EventSender(app, options, state, extension, lambda: settler.consumer)
        events.switched = lambda on: setattr(dispatcher, "announce", on)
        requests.eventer = WorkerDispatcher(events)
        recorder = Recorder(app, extension, options.hostname, publish, events, options.accept)
        self.crew = Crew(
            app=app,
            options=options,
            state=state,
            pool=pool,
            dispatcher=dispatcher,
            settler=settler,
            recorder=recorder,
            sweeps=Sweeps(recorder.sweep_chords),
            extension=extension,
            errands=Errands(self._rested),
            requests=requests,
            events=events,
            parked=Parked(),
            policies=policies,
            sender=sender,
        )
        # What nobody waits for: others look after it, or it does not matter any more.
        self._chores = Errands(self._rested)
        self._watchdog = Watchdog(options.heartbeat, self._give_up)
        self._storer = ResultStorer(app, self.crew.errands, lambda ends: self.reports.finished(ends))
        self.reports = PoolReports(self.crew, self._pool_broke, self._storer.add)
        self._link = BrokerLink(self.crew, broker, list(queues), self._give_up)
        self.reception = Reception(self.crew, self._link_changed, self._consumer_broke)
        if options.task_events:
            events.enable()

    # -- from outside, any thread, signal handlers too --------------------------------------------
    @property
    def failed(self) -> bool:
        """True if the worker ended because something broke."""
        return self._fatal is not None or self._failure is not None

    @property
    def failure(self) -> str | None:
        """What broke, in one line."""
        return self._failure or (None if self._fatal is None else repr(self._fatal))

    @property
    def restart_count(self) -> int:
        """How often the worker has been connected again."""
        return self._link.restart_count

    def stop(self, how: Stop) -> None:
        """Begin to end, or end more urgently. Returns at once."""
        if how <= self._level:
            return
        self._level = how
        self.call_soon(self._rested)

    def call_soon(self, fun: Callable[..., Any], *args: Any) -> None:
        """Call `fun` on the core's loop; nothing happens before it runs and after it has ended."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            try:
                loop.call_soon_threadsafe(fun, *args)
            except RuntimeError:  # it was closed this instant
                logger.debug("the worker's loop has ended")

    def ask(self, fun: Callable[..., T], *args: Any) -> T:
        """Call `fun` on the core's loop, from another thread; return what it returns.

        Raises:
            RuntimeError: the worker has ended, or its loop does not get to it.
        """
        loop, answer = self._loop, Future[T]()

        def call() -> None:
            if not answer.set_running_or_notify_cancel():
                return  # nobody waits for it any more, and was told so
            try:
                answer.set_result(fun(*args))
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever asks
                answer.set_exception(error)

        if loop is None:
            raise RuntimeError("this worker is not running")
        self.call_soon(call)
        return _in_time(answer)

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await a coroutine on the core's loop, from another thread; return what it returns.

        Raises:
            RuntimeError: as `ask`.
        """
        if self._loop is None or self._loop.is_closed():
            coroutine.close()
            raise RuntimeError("this worker is not running")
        return _in_time(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    # -- the whole life ---------------------------------------------------------------------------
    def run(self) -> None:
        """Live. Returns when everything has been given back or ended; see `failed`."""
        loop = self._loop = new_loop()
        loop.set_exception_handler(_log_loop_error)
        asyncio.set_event_loop(loop)
        self.crew.requests.bind(loop)
        before, Backend.give_up = Backend.give_up, self._no_patience
        life = loop.create_task(self._live())
        try:
            loop.run_until_complete(life)
        except BaseException as error:
            self._fatal = error
            logger.critical("Unrecoverable error: %r", error, exc_info=error)
            self._last_resort(loop, life)
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
        finally:
            self.crew.extension.stop(EXTENSIONS_END)
            if self.pidbox is not None:
                self.pidbox.end()
            self._no_patience.set()
            if Backend.give_up is self._no_patience:
                Backend.give_up = None if before is not None and before.is_set() else before
            self.crew.recorder.close()
            self._storer.close()
            asyncio.set_event_loop(None)
            _end_loop(loop)

    def _last_resort(self, loop: asyncio.AbstractEventLoop, life: asyncio.Task[None]) -> None:
        """Something broke, perhaps half-way through the end: end in order if that can still be done."""
        self._level = Stop.NOW
        try:
            loop.run_until_complete(_cancel(life))
            loop.run_until_complete(self._end())
        except BaseException as error:
            logger.critical("Could not end in order: %r", error, exc_info=error)

    async def _live(self) -> None:
        self._news = asyncio.Event()
        try:
            await self._start()
            if self._level is Stop.NO:
                await self._until_told()
        except StepFailed as failure:
            self.step_failed(failure)
        except (StartFailed, PoolError) as error:
            self._failure = str(error)
            logger.critical("%s", error)
        await self._end()

    async def _start(self) -> None:
        """Start the pool and the consumer side by side; return early if told to stop."""
        pool = asyncio.ensure_future(self._pool.start(self.reports))
        parts = [pool, asyncio.ensure_future(self._open(pool))]
        told = asyncio.ensure_future(self._told())
        pending: set[asyncio.Future[None]] = {*parts, told}
        try:
            while told in pending and len(pending) > 1:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for part in done:
                    part.result()
            self._pool_runs = parts[0].done()
        finally:
            await _cancel(told, *parts)
        if self._level is not Stop.NO or self._consumer is None:
            return
        self.crew.events.start()
        self.crew.dispatcher.consumer = self._consumer
        self.crew.dispatcher.refresh()
        if self._on_ready is not None:
            self.crew.extension.call(self._on_ready)

    async def _open(self, pool: asyncio.Future[None]) -> None:
        """Connect. Steps of the application come between: those of the worker when the pool runs."""
        if self.steps is None:
            await self._connect()
            return
        await asyncio.wait([pool])  # if it failed, whoever waits for both says so
        await self.steps.start_worker()
        await self._connect()
        await self.steps.start_consumer()

    async def _connect(self) -> None:
        """Connect, and be there for commands. Nothing flows yet."""
        self._consumer = await self._link.connect(self.reception)
        if self.pidbox is None:
            return
        if self.mingles and self.pidbox.possible:
            from .mingle import mingle  # noqa: PLC0415 - not in every worker

            await mingle(self.crew.app, self._options.hostname, self._consumer, self.pidbox)
        else:
            await self.pidbox.open(self._consumer)

    def step_failed(self, failure: StepFailed) -> None:
        """The application's steps cannot go on; any thread."""
        cause = failure.__cause__
        logger.critical("Unrecoverable error: %r", cause, exc_info=cause)
        self._failure = repr(cause)
        self.stop(Stop.WARM)

    async def _told(self) -> None:
        """Return when the worker is to stop."""
        assert self._news is not None
        while self._level is Stop.NO:
            self._news.clear()
            await self._news.wait()

    async def _until_told(self) -> None:
        """Look after things until the worker is to stop."""
        assert self._news is not None
        loop = asyncio.get_running_loop()
        while self._level is Stop.NO:
            self._news.clear()
            # Not by `wait_for`: an idle worker does this more often than anything else.
            ring = loop.call_later(TICK, self._news.set)
            await self._news.wait()
            ring.cancel()
            if self._level is Stop.NO:
                self._tick()

    def _tick(self) -> None:
        if self._consumer is not None:
            self._watchdog.look(self._consumer)
        if self.crew.sweeps.is_due():
            self._chores.start(self.crew.sweeps.sweep())
        if self.statedb is not None and self.statedb.changed:
            self._chores.start(asyncio.to_thread(self.statedb.keep))
        if worker_state.told_to(worker_state.should_terminate):
            self.stop(Stop.COLD)
        elif worker_state.told_to(worker_state.should_stop):
            self.stop(Stop.WARM)

    def _discard(self, run: Run) -> None:
        if not run.begun:
            self.crew.dispatcher.count_waiting(run)
        self.crew.errands.start(discard(self.crew, run))

    # -- queues, on the loop ----------------------------------------------------------------------
    def subscribe(self, queue: Queue) -> None:
        """Take messages of one more queue."""
        if self._consumer is not None:
            self.crew.errands.start(self._consumer.subscribe(queue))

    async def consume(self, queue: Queue) -> None:
        """Take messages of one more queue; return when it is declared.

        Raises:
            BrokerError: it cannot be.
        """
        if self._consumer is not None:
            await self._consumer.subscribe(queue)

    async def unconsume(self, name: str) -> None:
        """Take messages of a queue no more; return when none come."""
        if self._consumer is not None:
            await self._consumer.unsubscribe(name)

    def unsubscribe(self, name: str) -> None:
        """Take messages of a queue no more."""
        if self._consumer is not None:
            self.crew.errands.start(self._consumer.unsubscribe(name))

    def _link_changed(self, error: BrokerError | None) -> None:
        self._link.changed(error)
        self.crew.events.linked(error is None)

    # -- what ends it -----------------------------------------------------------------------------
    def _give_up(self, why: str) -> None:
        logger.critical("%s", why)
        self._failure = why
        self.stop(Stop.WARM)

    def _pool_broke(self, error: BaseException) -> None:
        self._pool_broken = True
        self._failure = f"the pool cannot go on: {error}"
        logger.critical("Unrecoverable error: the pool cannot go on: %s", error)
        self.stop(Stop.NOW)

    def _consumer_broke(self, error: BaseException) -> None:
        """Nothing can be given back any more; the lease ends by itself, or with this process."""
        self._failure = f"the broker's driver cannot go on: {error!r}"
        logger.critical("Unrecoverable error: the broker's driver cannot go on: %r", error, exc_info=error)
        self._consumer = None
        self.stop(Stop.NOW)

    # -- the end ----------------------------------------------------------------------------------
    def _rested(self) -> None:
        """Something changed that a shutdown may be waiting for. Before that nobody waits for it."""
        if self._news is not None and self._level is not Stop.NO:
            self._news.set()

    async def _end(self) -> None:
        """Everything that has to be in order before this worker is gone."""
        crew = self.crew
        crew.stopping = True
        self._link.close()
        if self.pidbox is not None:
            await self.pidbox.close()
        crew.dispatcher.close()
        await self._flush(HAND_BACK)
        await crew.dispatcher.settled(HAND_BACK)
        if self.steps is not None:
            await self._stop_steps(self.steps)
        if not self.failed or self._level < Stop.COLD:
            await self._wait_for_running()
        if crew.errands or self._chores:
            self._no_patience.set()
        if crew.dispatcher.busy or self._pool_broken or not self._pool_runs:
            await self._abandon_running()
        else:
            await self._stop_pool()
        if not await crew.errands.drain(FAREWELL if self._level < Stop.COLD else HURRY):
            logger.critical("%d outcomes could not be stored in time", len(crew.errands))
        await self._chores.drain(HAND_BACK)
        for run in list(crew.state.runs.values()):
            if run.begun:  # its outcome could not be stored: whoever survives this worker records it
                crew.settler.leave(run)
            else:
                self.reports.abandon(run)
        await crew.errands.drain(HAND_BACK)
        await self._take_leave()
        if self.steps is not None:
            await asyncio.wait([asyncio.ensure_future(self.steps.shut_down())], timeout=EXTENSIONS_END)

    async def _take_leave(self) -> None:
        """Say that this worker is gone, and give up its lease."""
        await self._flush(HAND_BACK)
        if self.crew.sender is not None:
            await self.crew.sender.on_end()
        await self.crew.events.farewell(HAND_BACK)
        if self._consumer is not None:
            try:
                await asyncio.wait_for(self._consumer.stop(), FAREWELL)
            except (BrokerError, TimeoutError) as error:
                logger.warning("Could not take leave of the broker (%r); its lease will end by itself", error)

    async def _stop_steps(self, steps: UserSteps) -> None:
        """Stop the application's steps before its tasks end. Who wants the worker gone does not wait for them."""
        stopping = asyncio.ensure_future(steps.stop(terminate=self._level >= Stop.COLD))
        until = time.monotonic() + FAREWELL
        while not stopping.done() and self._level < Stop.COLD and time.monotonic() < until:
            await asyncio.wait([stopping], timeout=LAST_TICK)
        if not stopping.done():
            await asyncio.wait([stopping], timeout=HAND_BACK)
        if not stopping.done():
            logger.warning("Steps of the application have not stopped in time")

    async def _flush(self, seconds: float) -> None:
        if self._consumer is None:
            return
        try:
            await asyncio.wait_for(self._consumer.flush(), seconds)
        except (BrokerError, TimeoutError) as error:
            logger.warning(
                "The broker does not answer (%r); what this worker holds is offered again later", error
            )

    async def _wait_for_running(self) -> None:
        """Wait for running tasks as long as the way of stopping allows."""
        assert self._news is not None
        options, began = self._options, time.monotonic()
        if options.shutdown_grace is None:
            self._ending = began
            self._pool.worker_ends(began)
        while self._level < Stop.COLD:
            soft = self._level is Stop.SOFT
            limit = options.soft_shutdown_timeout if soft else options.shutdown_grace
            idle = not (self.crew.dispatcher.busy or self.crew.errands)
            if idle and not (soft and options.soft_shutdown_on_idle):
                return
            left = None if limit is None else began + limit - time.monotonic()
            if left is not None and left <= 0:
                logger.warning("Tasks still run after %s seconds: they are stopped", limit)
                return
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), LAST_TICK if left is None else min(left, LAST_TICK))
            except TimeoutError:
                if worker_state.told_to(worker_state.should_terminate):
                    self.stop(Stop.COLD)

    async def _stop_pool(self) -> None:
        try:
            await self._pool.stop()
        except PoolError as error:  # it broke on its way out
            logger.warning("The pool did not end in order: %s", error)
            await self._pool.kill()

    async def _abandon_running(self) -> None:
        """Kill what runs; late-acknowledged tasks go back, others are recorded as failed."""
        crew = self.crew
        self._no_patience.set()
        if crew.dispatcher.busy:
            # What waits inside a slot comes back by itself, and is then known not to have begun.
            await asyncio.sleep(TAKE_BACK)
        crew.abandoning = True
        await self._pool.kill()
        for run in [run for run in crew.state.runs.values() if run.active]:
            self.reports.abandon(run)


def _in_time(answer: Future[T]) -> T:
    try:
        return answer.result(ANSWER)
    except TimeoutError:
        if answer.done():
            raise
        if not answer.cancel() and answer.done():
            return answer.result()  # it has come this instant
        raise RuntimeError("the worker does not get to it") from None


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    """Cancel what has not ended, and wait until it has."""
    pending = [task for task in tasks if not task.done()]
    for task in pending:
        task.cancel()
    if pending:
        await asyncio.wait(pending)


def _end_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Close a loop, and before it what lives as long as it does: uvloop waits for every connection that is open, for as
    long as the server keeps it."""
    try:
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _log_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    logger.critical("Internal error on the worker's loop: %s", context.get("message"), exc_info=error)
