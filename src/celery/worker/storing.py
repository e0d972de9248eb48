"""Storing the results that tasks have left to the core.

A process or thread that has more to do does not wait for the result store: it hands the encoded result over together
with the report that the task has ended (`Outcome.row`). From then on its death changes nothing. The core writes what it
has been handed, all of it at once, and only then counts these tasks as ended: an acknowledgement follows the result.
What comes while a write is under way goes into the next one, so that writes grow with the load and nothing ever waits
for a task or for time to pass.

No user code runs here: what is written was encoded where the task ran, and members of chords, whose end may send
something, are stored there, too.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from celery.app.jobs import Outcome, Verdict
from celery.backends.rows import weight

from .lanes import Lane

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .crew import Errands
    from .runs import Run

logger = logging.getLogger("celery.worker.storing")

#: A task that has ended, and whose result is to be stored: its tag, its run if that is known, how it ended.
Ended = tuple[int, "Run | None", Outcome]

#: Written together, and about how many bytes.
ROWS_AT_ONCE = 500
BYTES_AT_ONCE = 4 * 1024 * 1024
#: So many may wait, or so many bytes; or for a write that takes so many seconds: then no more tasks are begun.
ROWS_WAITING = 500
BYTES_WAITING = 16 * 1024 * 1024
SLOW = 0.25


class ResultStorer:
    """Has results stored, by a thread for each result store: one that is away delays no other's.

    Args:
        errands: what a shutdown waits for.
        stored: called on the loop when results are stored, or could not be: then their verdict is `UNSTORED`.
    """

    def __init__(
        self, app: Any, errands: Errands, stored: Callable[[list[tuple[int, Outcome]]], None]
    ) -> None:
        self._app = app
        self._errands = errands
        self._stored = stored
        self._writers: dict[int, _Writer] = {}

    @property
    def behind(self) -> bool:
        """Whether a store takes results more slowly than they come, or not at all."""
        return any(writer.behind for writer in self._writers.values())

    @property
    def waiting(self) -> int:
        """How many results are not being written yet."""
        return sum(len(writer.waiting) for writer in self._writers.values())

    def add(self, ended: Sequence[Ended]) -> None:
        """Have their results stored."""
        by_backend: dict[int, tuple[Any, list[Ended]]] = {}
        for one in ended:
            run = one[1]
            backend = self._app.backend if run is None else run.policy.task.backend
            by_backend.setdefault(id(backend), (backend, []))[1].append(one)
        for key, (backend, some) in by_backend.items():
            writer = self._writers.get(key)
            if writer is None:
                writer = self._writers[key] = _Writer(backend, self._errands, self._stored)
            writer.add(some)

    def close(self) -> None:
        """End the threads; what they have not begun is dropped, and what they have is not waited for."""
        for writer in self._writers.values():
            writer.close()


class _Writer:
    """Writes to one store, in the order in which results came."""

    def __init__(
        self, backend: Any, errands: Errands, stored: Callable[[list[tuple[int, Outcome]]], None]
    ) -> None:
        self.waiting: list[Ended] = []
        self._backend = backend
        self._errands = errands
        self._stored = stored
        self._lane = Lane("celery-storing")
        self._bytes = 0
        self._writing = False
        self._began = 0.0

    @property
    def behind(self) -> bool:
        """See `ResultStorer`."""
        if not self._writing:
            return False
        if len(self.waiting) >= ROWS_WAITING or self._bytes >= BYTES_WAITING:
            return True
        return asyncio.get_running_loop().time() - self._began > SLOW

    def add(self, ended: Sequence[Ended]) -> None:
        """Have them written."""
        self.waiting += ended
        self._bytes += sum(weight(outcome.row) for _, _, outcome in ended)
        if not self._writing:
            self._writing = True
            self._began = asyncio.get_running_loop().time()
            self._errands.start(self._store_all())

    async def _store_all(self) -> None:
        loop = asyncio.get_running_loop()
        more = True
        while more:
            batch = self._next()
            self._began = loop.time()
            ended = await loop.run_in_executor(self._lane, _store_in, self._backend, batch)
            self._began = loop.time()
            more = self._writing = bool(self.waiting)
            try:
                self._stored(ended)
            except Exception as exc:
                logger.critical("Internal error while settling tasks: %r", exc, exc_info=exc)

    def _next(self) -> list[Ended]:
        count = size = 0
        for _, _, outcome in self.waiting[:ROWS_AT_ONCE]:
            count += 1
            size += weight(outcome.row)
            if size >= BYTES_AT_ONCE:
                break
        batch, self.waiting = self.waiting[:count], self.waiting[count:]
        self._bytes -= size
        return batch

    def close(self) -> None:
        """See `ResultStorer`."""
        self._lane.shutdown(wait=not self._writing, cancel_futures=True)


# -- on the thread


def _store_in(backend: Any, batch: list[Ended]) -> list[tuple[int, Outcome]]:
    try:
        errors = backend._rows.store([outcome.row for _, _, outcome in batch])
    except Exception as exc:
        logger.critical("Storing %d results failed: %r", len(batch), exc, exc_info=exc)
        errors = [exc] * len(batch)
    return [(tag, _told(outcome, error)) for (tag, _, outcome), error in zip(batch, errors, strict=True)]


def _told(outcome: Outcome, error: Exception | None) -> Outcome:
    if error is not None:
        return Outcome(Verdict.UNSTORED, outcome.runtime, repr(error)[:1000])
    outcome.row = None
    return outcome
