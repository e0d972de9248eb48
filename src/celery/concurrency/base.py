"""The Pool port: where task code runs; and `BasePool`, the public base class of pools that others write.

A pool gets `Job`s (headers and body still bytes) and tells a `Reports` what became of them.
The worker's core lives on an event loop on which no task code ever runs; every method of a
pool is called there and returns at once, and every report is made there.

**Windows.** A pool may hold more jobs than it has slots, so that a slot never waits for the core
between two short tasks. `room(share)` says how many more of a kind it wants now; how deep it queues
behind a slot follows measured run times (1 for long tasks, up to 64 for very short ones). A job that
waits behind a long one is taken back and given to an idle slot.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from celery.app.jobs import Job, Outcome, Verdict
from celery.concurrency.pace import SLOT
from celery.exceptions import WorkerShutdown, WorkerTerminate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "BasePool",
    "Job",
    "Outcome",
    "Pool",
    "PoolError",
    "PoolOptions",
    "Reports",
    "Runner",
    "RunnerFactory",
    "Verdict",
    "apply_target",
]


class Runner(Protocol):
    """What a slot runs jobs with; `celery.app.trace.JobRunner` outside of tests."""

    def run(self, job: Job, *, defer: bool = False, leave: int = 0) -> Outcome:
        """Run a job to its end.

        Args:
            defer: its result may be kept in memory until `flush`.
            leave: its result may be left to the worker's core, if it has no more bytes: `Outcome.row`.
        """

    async def arun(self, job: Job) -> Outcome:
        """The same on the running event loop; its result may be left to the core."""

    def flush(self) -> None:
        """Store the results that `run(defer=True)` left in memory."""


if TYPE_CHECKING:
    RunnerFactory = Callable[[Any, str], Runner]  # (app, hostname); called once in every slot
else:
    RunnerFactory = Any


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """How a pool is to treat its slots; built once when the worker starts.

    Attributes:
        max_tasks_per_child: replace a child after so many tasks (prefork).
        max_memory_per_child: replace a child whose resident memory is above so many KiB after a task (prefork).
        start_method: `fork`, or `spawn` for children that are fresh interpreters (prefork).
        soft_time_limit, time_limit: the worker's defaults in seconds, for `info()` only: jobs carry their own.
        alive_timeout: warn when a child needs more seconds than this to become ready; it is not killed.
        initializer: called as `(app, hostname)` in every child before it is ready, after signals are reset (log
            files, for instance).
    """

    max_tasks_per_child: int | None = None
    max_memory_per_child: int | None = None
    start_method: Literal["fork", "spawn"] = "fork"
    soft_time_limit: float | None = None
    time_limit: float | None = None
    alive_timeout: float = 4.0
    initializer: Callable[[Any, str], None] | None = None


class Reports(Protocol):
    """What a pool tells the worker, always on the worker's loop."""

    def started(self, tag: int, pid: int, at: float) -> None:
        """The body is about to run (only for jobs with `announce`). `at` is unix time."""

    def finished(self, batch: Sequence[tuple[int, Outcome]]) -> None: ...

    def soft_limit(self, tag: int) -> None:
        """The soft time limit passed and the exception was raised in the task."""

    def hard_limit(self, tag: int) -> None:
        """The hard limit passed; the slot was killed. No `finished` will follow."""

    def lost(self, tag: int, exitcode: int, *, began: bool) -> None:
        """The slot died under this job (`exitcode` as of waitpid, negative for a signal). `began` False:
        it had not begun to run and can be run elsewhere at once. No `finished` will follow."""

    def broken(self, error: BaseException) -> None:
        """The pool cannot go on (children die at start, spawner gone): the worker must end."""

    def roomy(self) -> None:
        """`room()` grew: the core may submit more."""


class Pool(Protocol):
    """Runs jobs."""

    #: What this pool can enforce; the worker refuses or warns about what it cannot.
    soft_limits: bool
    hard_limits: bool
    can_terminate: bool
    #: True: tasks run in the main thread by `run_in_main`; the core gets a thread of its own.
    needs_main_thread: bool

    def prefork(self) -> None:
        """Do what must come before any loop, thread or connection exists, and after the app is loaded.
        Not calling it is allowed: `start` then does it."""

    async def start(self, reports: Reports) -> None:
        """Return when every slot is ready to run a task. Raises `PoolError` if they cannot be made."""

    def run_in_main(self) -> None:
        """Only if `needs_main_thread`: run tasks in this thread; return after `stop` or `kill`."""

    def room(self, share: int = SLOT) -> int:
        """How many more jobs it wants now, if each takes this share of a slot's window (`pace.share_of`); by default:
        jobs of which nothing is known."""

    def submit(self, jobs: Sequence[Job]) -> None:
        """Run these; tags are positive. More than `room()` are accepted and wait."""

    def take_back(self) -> list[Job]:
        """Give up everything not yet handed to a slot (warm shutdown). Jobs that wait inside a slot
        come back through `Reports.lost(..., began=False)`."""

    def worker_ends(self, since: float) -> None:
        """The worker ends since then (monotonic seconds): slots of other processes try to store results for
        `celery.utils.patience.LAST_TRIES` seconds more."""

    def running(self) -> dict[int, tuple[int, float]]:
        """What has begun and not ended: tag -> (process id, unix time of its beginning)."""

    def terminate(self, tag: int, signum: int) -> bool:
        """Kill the run of one job; False if it is not running here or the pool cannot."""

    def resize(self, size: int) -> None: ...

    def info(self) -> dict[str, Any]:
        """The `pool` part of `inspect stats`."""

    async def stop(self) -> None:
        """Let running jobs end, then stop the slots."""

    async def kill(self) -> None:
        """End every slot now. What had not begun may be reported as `lost(..., began=False)` until this returns, and
        what had just ended as `finished`; of what was cut short nothing is reported."""


class PoolError(RuntimeError):
    """A pool could not be started or cannot go on."""


def apply_target(
    target: Callable[..., Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    callback: Callable[[Any], Any] | None = None,
    accept_callback: Callable[[int, float], Any] | None = None,
    pid: int | None = None,
    getpid: Callable[[], int] = os.getpid,
    propagate: tuple[type[BaseException], ...] = (),
    monotonic: Callable[[], float] = time.monotonic,
    **_: Any,
) -> None:
    """Run `target` as a pool's slot does: tell `accept_callback`, call it, hand the result to `callback`.

    Exceptions of `target` pass; one that is no `Exception`, and not in `propagate`, asks the worker to end.
    """
    if accept_callback:
        accept_callback(pid or getpid(), monotonic())
    try:
        result = target(*args, **(kwargs or {}))
    except BaseException as exc:
        if isinstance(exc, (*propagate, Exception, WorkerShutdown, WorkerTerminate)):
            raise
        raise WorkerTerminate(repr(exc)) from exc
    if callback is not None:
        callback(result)


class BasePool:
    """The public base class of pools: subclass it and override the `on_...` methods.

    A worker runs such a pool through `celery.concurrency.adapter.PortedPool`, which calls `start`, then
    `apply_async(target, (job,), callback=..., accept_callback=...)` for every task, and `stop` or `terminate`.
    `on_apply` must see to it that, in whichever thread, greenlet or process the pool runs things,
    `apply_target(target, args, kwargs, callback, accept_callback)` is called; callbacks may be called in any thread.

    Args:
        limit: number of tasks that may run at a time.
        putlocks: passed on to `on_apply` as `waitforslot`.
        forking_enable, callbacks_propagate, options: kept as attributes for the subclass.
    """

    RUN = 0x1
    CLOSE = 0x2
    TERMINATE = 0x3

    Timer: Any = None
    #: Set by a pool whose tasks are run in the calling process, so that an OS signal may interrupt them.
    signal_safe = True
    #: The pool runs greenlets.
    is_green = False
    #: Waiting for another task's result inside a task blocks a slot.
    task_join_will_block = True
    #: The message body may be kept as a buffer.
    body_can_be_buffer = False
    uses_semaphore = False

    _state: int | None = None
    _pool: Any = None

    def __init__(
        self,
        limit: int | None = None,
        putlocks: bool = True,
        forking_enable: bool = True,
        callbacks_propagate: tuple[type[BaseException], ...] = (),
        app: Any = None,
        **options: Any,
    ) -> None:
        self.limit = limit
        self.putlocks = putlocks
        self.options = options
        self.forking_enable = forking_enable
        self.callbacks_propagate = callbacks_propagate
        self.app = app

    def on_start(self) -> None:
        """Start the slots."""

    def did_start_ok(self) -> bool:
        """Whether the slots came up."""
        return True

    def flush(self) -> None:
        """Write out what is buffered."""

    def on_stop(self) -> None:
        """Let running tasks end, then stop the slots."""

    def register_with_event_loop(self, loop: Any) -> None:
        """Kept for subclasses that define it; the worker's loop is asyncio's and needs no registration."""

    def on_apply(self, *args: Any, **kwargs: Any) -> Any:
        """Run `apply_target(*args, **kwargs)` in a slot."""

    def on_terminate(self) -> None:
        """End the slots now."""

    def on_soft_timeout(self, job: Any) -> None:
        """A soft time limit has passed."""

    def on_hard_timeout(self, job: Any) -> None:
        """A hard time limit has passed."""

    def maintain_pool(self, *args: Any, **kwargs: Any) -> None:
        """Replace what has died."""

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """End the task that runs in process `pid`."""
        msg = f"{type(self).__name__} does not implement kill_job"
        raise NotImplementedError(msg)

    def restart(self) -> None:
        """Replace all slots."""
        msg = f"{type(self).__name__} does not implement restart"
        raise NotImplementedError(msg)

    def stop(self) -> None:
        """Let running tasks end, then stop."""
        self.on_stop()
        self._state = self.TERMINATE

    def terminate(self) -> None:
        """Stop now."""
        self._state = self.TERMINATE
        self.on_terminate()

    def start(self) -> None:
        """Start; `active` from now on."""
        self.on_start()
        self._state = self.RUN

    def close(self) -> None:
        """Take no more tasks."""
        self._state = self.CLOSE
        self.on_close()

    def on_close(self) -> None:
        """No more tasks will come."""

    def apply_async(
        self,
        target: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Run `target(*args, **kwargs)` in a slot as `on_apply` does it."""
        return self.on_apply(
            target,
            args or [],
            kwargs or {},
            waitforslot=self.putlocks,
            callbacks_propagate=self.callbacks_propagate,
            **options,
        )

    def _get_info(self) -> dict[str, Any]:
        cls = type(self)
        return {
            "implementation": f"{cls.__module__}:{cls.__name__}",
            "max-concurrency": self.limit,
        }

    @property
    def info(self) -> dict[str, Any]:
        """The `pool` part of `inspect stats`."""
        return self._get_info()

    @property
    def active(self) -> bool:
        """Whether it has been started and not been closed."""
        return self._state == self.RUN

    @property
    def num_processes(self) -> int | None:
        """How many slots there are."""
        return self.limit
