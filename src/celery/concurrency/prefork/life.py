"""From the fork of a child to its exit."""

from __future__ import annotations

import asyncio.events
import atexit
import logging
import multiprocessing.process
import multiprocessing.util
import os
import random
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from celery import _foreign, _state, signals
from celery.backends.base import Backend
from celery.concurrency.prefork.child import Child
from celery.utils.patience import Patience

if TYPE_CHECKING:
    import socket

    from celery.concurrency.base import PoolOptions, RunnerFactory
    from celery.concurrency.prefork.board import Board
    from celery.concurrency.prefork.spawner import Birth

logger = logging.getLogger("celery.pool")


@dataclass(frozen=True, slots=True)
class Trade:
    """What every child of a pool does.

    Attributes:
        runner: makes what runs the tasks; called in the child.
        prefix: of the children's names.
    """

    app: Any
    hostname: str
    options: PoolOptions
    runner: RunnerFactory
    prefix: str = "ForkPoolWorker"


class _ChildProcess(multiprocessing.process.BaseProcess):
    """So that `multiprocessing.current_process()` names the child, as log formats expect."""

    def __init__(self, name: str, number: int, index: int) -> None:
        super().__init__(name=name)
        self._identity = (number,)
        self.index = index


def process_initializer(app: Any, hostname: str) -> None:
    """Make this process a pool child of `app`: current app, loader, blocking joins refused.

    It tries to store a result as long as it lives: the core ends it when there is no more time for that.
    """
    app.set_current()
    Backend.give_up = threading.Event()
    app.loader.init_worker()  # does nothing if the fork brought the modules along
    _state._set_task_join_will_block(True)
    app.loader.init_worker_process()
    signals.worker_process_init.send(sender=hostname)


def process_destructor(hostname: str, pid: int, exitcode: int) -> None:
    """Tell receivers of `worker_process_shutdown` that this child ends."""
    signals.worker_process_shutdown.send(sender=hostname, pid=pid, exitcode=exitcode)


def live(trade: Trade, board: Board, birth: Birth) -> NoReturn:
    """Be a child; the process ends with this function."""
    code = 1
    try:
        _settle_in(trade, birth)
        code = _work(trade, board, birth.sock, birth.slot)
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    except BaseException:
        logger.critical("Pool child %d failed", os.getpid(), exc_info=True)
    _leave(trade, code)


def _settle_in(trade: Trade, birth: Birth) -> None:
    name = f"{trade.prefix}-{birth.number}"
    random.seed()
    # A start of the pool from within a running loop leaves the loop behind in this thread.
    asyncio.events._set_running_loop(None)
    multiprocessing.process._current_process = _ChildProcess(name, birth.number, birth.index)  # type: ignore[attr-defined]
    multiprocessing.process._children = set()  # type: ignore[attr-defined]
    multiprocessing.util._finalizer_registry.clear()  # type: ignore[attr-defined]
    multiprocessing.util._run_after_forkers()  # type: ignore[attr-defined]
    # Handlers registered before the fork are the worker's: they would remove its files.
    atexit._clear()
    atexit.register(multiprocessing.util._exit_function)  # type: ignore[attr-defined]
    multiprocessing.util._close_stdin()  # type: ignore[attr-defined]
    set_title(f"celeryd: {trade.hostname}:{name}")


def _work(trade: Trade, board: Board, sock: socket.socket, slot: int) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    initialize(trade)
    Backend.give_up = Patience(lambda: board.ending)
    runner = trade.runner(trade.app, trade.hostname)
    child = Child(sock, board, slot, runner, trade.options.max_memory_per_child)
    return child.serve()


def initialize(trade: Trade) -> None:
    """Run the pool's own initializer, then the public one."""
    if trade.options.initializer is not None:
        trade.options.initializer(trade.app, trade.hostname)
    process_initializer(trade.app, trade.hostname)


def _leave(trade: Trade, code: int) -> NoReturn:
    """End this process with exit code `code`; a negative one is a signal's number."""
    signal.signal(signal.SIGURG, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    with suppress(Exception):
        process_destructor(trade.hostname, os.getpid(), code)
    _foreign.call_wrappers("billiard.pool", "Worker", "workloop")
    _foreign.call_wrappers("billiard.pool", "Worker", "_do_exit", os.getpid(), code)
    with suppress(BaseException):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code & 0xFF)


def set_title(title: str) -> None:
    """Show `title` in process lists, if `setproctitle` is installed."""
    with suppress(ImportError):
        from setproctitle import setproctitle  # noqa: PLC0415 - optional, and heavy

        setproctitle(f"[{title}]")
