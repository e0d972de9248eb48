"""The parts of a running worker that need one another."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from celery.concurrency.base import Pool

    from .aftermath import Recorder
    from .dispatch import Dispatcher
    from .events import EventSender
    from .extension import ExtensionThread
    from .options import WorkerOptions
    from .parked import Parked
    from .policy import TaskPolicy
    from .requests import Requests
    from .settle import Settler
    from .state import WorkerState
    from .sweeps import Sweeps

logger = logging.getLogger("celery.worker.crew")


class Errands:
    """Coroutines that belong to a delivery: storing its outcome, then settling it."""

    def __init__(self, done: Callable[[], None]) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._done = done

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run it; what it raises is logged."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.critical("Internal error while settling a task: %r", error, exc_info=error)
        self._done()

    async def drain(self, seconds: float) -> bool:
        """Wait until all have ended; False if `seconds` were not enough."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)
        return not self._tasks


class Crew(msgspec.Struct, eq=False):
    """Who is there.

    Attributes:
        policies: policy of a task by name, None if nobody knows it.
        sender: what parent-side signals name as their sender (the `Consumer`).
        stopping: no new work is taken.
        abandoning: running tasks are being killed; each that dies is given back or recorded.
    """

    app: Any
    options: WorkerOptions
    state: WorkerState
    pool: Pool
    dispatcher: Dispatcher
    settler: Settler
    recorder: Recorder
    sweeps: Sweeps
    extension: ExtensionThread
    errands: Errands
    requests: Requests
    events: EventSender
    parked: Parked
    policies: Callable[[str], TaskPolicy | None]
    sender: Any = None
    stopping: bool = False
    abandoning: bool = False
    warned: set[str] = msgspec.field(default_factory=set)
