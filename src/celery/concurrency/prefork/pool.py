"""The prefork pool: a process for every slot."""

from __future__ import annotations

import importlib
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.concurrency.base import PoolOptions, Reports, RunnerFactory
from celery.concurrency.pace import SLOT
from celery.concurrency.prefork.board import Board
from celery.concurrency.prefork.foreman import Foreman
from celery.concurrency.prefork.life import Trade, live
from celery.concurrency.prefork.link import Link
from celery.concurrency.prefork.spawner import Spawner
from celery.concurrency.runners import default_runner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery.app.jobs import Job


#: What children need when they run a task, connect, and send what follows: loaded once before they are forked. In each of them
#: the first task, or the first chord, would wait for it.
_OF_CHILDREN = (
    "celery.app.trace",
    "celery.app.calling",
    "celery.app.launching",
    "encodings.idna",
)


class TaskPool:
    """Runs tasks in child processes, one at a time each.

    Args:
        limit: number of children that may run a task at a time.
        runner: makes what runs the jobs, in each child; the application's `JobRunner` by default.
    """

    soft_limits = True
    hard_limits = True
    can_terminate = True
    needs_main_thread = False
    is_green = False
    task_join_will_block = True
    signal_safe = True

    def __init__(
        self,
        app: Any,
        *,
        limit: int,
        hostname: str,
        options: PoolOptions | None = None,
        runner: RunnerFactory = default_runner,
    ) -> None:
        if limit < 0:
            msg = f"A pool needs a concurrency of 0 or more, not {limit}"
            raise ValueError(msg)
        self.app = app
        self.limit = limit
        self.hostname = hostname
        self.options = options or PoolOptions()
        self._runner = runner
        if runner is default_runner:
            for name in _OF_CHILDREN:
                importlib.import_module(name)
        self._board: Board | None = None
        self._link: Link | None = None
        self._foreman: Foreman | None = None
        self._taking = True

    def prefork(self) -> None:
        """Start the spawner: after the app is loaded, before any loop, thread or connection exists."""
        if self._link is None:
            self._board = Board()
            self._link = Link(self._spawner(self._board).run)

    def _spawner(self, board: Board) -> Spawner:
        spawning = self.options.start_method == "spawn"
        prefix = "SpawnPoolWorker" if spawning else "ForkPoolWorker"
        if spawning:
            from celery.concurrency.prefork.spawned import spawn_live as life  # noqa: PLC0415 - most workers fork
        else:
            life = live
        trade = Trade(self.app, self.hostname, self.options, self._runner, prefix)
        return Spawner(board, partial(life, trade, board), partial(_announce_birth, prefix))

    async def start(self, reports: Reports) -> None:
        """Return when all children are ready.

        Raises:
            PoolError: children die before they are ready, again and again.
        """
        self.prefork()
        assert self._link is not None
        assert self._board is not None
        self._foreman = Foreman(reports, self._link, self._board, self.limit, self.options)
        try:
            await self._foreman.start()
        except BaseException:
            await self.kill()
            raise

    def run_in_main(self) -> None:
        """Nothing to do: tasks run in children."""

    def room(self, share: int = SLOT) -> int:
        """See `Pool.room`."""
        return self._foreman.room(share) if self._foreman is not None and self._taking else 0

    def submit(self, jobs: Sequence[Job]) -> None:
        """Give jobs to children, brief ones many at a time; what finds no place waits here."""
        self._running().submit(jobs)

    def take_back(self) -> list[Job]:
        """Give up what waits here; recall what waits in children."""
        return self._running().take_back()

    def worker_ends(self, since: float) -> None:
        """See `Pool.worker_ends`."""
        if self._board is not None:
            self._board.ending = since

    def running(self) -> dict[int, tuple[int, float]]:
        """See `Pool.running`."""
        return {} if self._foreman is None else self._foreman.running()

    def terminate(self, tag: int, signum: int) -> bool:
        """End the run of a job by a signal to its child; the core hears `lost`.

        SIGINT, SIGQUIT and SIGHUP, of which children do not die, are sent as SIGTERM. SIGTERM raises
        `WorkerTerminate` in the task; if it does not end the child within two seconds, SIGKILL does.
        """
        return self._running().terminate(tag, signum)

    def resize(self, size: int) -> None:
        """Have so many children. One that runs a task ends it first."""
        self.limit = max(0, size)
        self._running().resize(self.limit)

    def restart(self) -> None:
        """Replace every child; one that runs a task ends it first."""
        self._running().restart()

    def _running(self) -> Foreman:
        if self._foreman is None:
            msg = "The pool is not running"
            raise RuntimeError(msg)
        return self._foreman

    def info(self) -> dict[str, Any]:
        """The `pool` part of `inspect stats`."""
        options, foreman = self.options, self._foreman
        return {
            "implementation": "celery.concurrency.prefork:TaskPool",
            "max-concurrency": self.limit,
            "processes": foreman.pids() if foreman is not None else [],
            "max-tasks-per-child": options.max_tasks_per_child or "N/A",
            "put-guarded-by-semaphore": False,
            "timeouts": [options.soft_time_limit or 0, options.time_limit or 0],
            "writes": foreman.write_figures() if foreman is not None else {},
        }

    async def stop(self) -> None:
        """Let everything submitted end, then let the children exit, then the spawner."""
        self._taking = False
        if self._foreman is not None:
            await self._foreman.drain()
        await self.kill()

    async def kill(self) -> None:
        """End all children and the spawner now."""
        self._taking = False
        link, self._link = self._link, None
        if self._foreman is not None and link is not None:
            await self._foreman.end()
        if link is not None:
            link.close()
        board, self._board = self._board, None
        if board is not None:
            board.close()


class _Unborn:
    """The `sender` of `worker_before_create_process`: the child that is about to be made."""

    def __init__(self, name: str) -> None:
        self.name = name


def _announce_birth(prefix: str, number: int) -> None:
    if signals.worker_before_create_process.receivers:
        signals.worker_before_create_process.send(sender=_Unborn(f"{prefix}-{number}"))
        sys.stdout.flush()  # or the child would print it once more
