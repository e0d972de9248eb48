"""Children that are fresh interpreters (`worker_pool_start_method = 'spawn'`).

The spawner forks such a child like any other; it then replaces itself by a new Python. What it is to do comes in a
file without a name: where the application is defined, or a pickle of it.
"""

from __future__ import annotations

import importlib
import multiprocessing.process
import multiprocessing.spawn
import multiprocessing.util
import os
import pickle
import signal
import socket
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from celery.concurrency.prefork.board import Board, unnamed_file
from celery.concurrency.prefork.life import Trade, live
from celery.concurrency.prefork.spawner import GROUP_SIGNALS, Birth

if TYPE_CHECKING:
    from types import ModuleType

_BOOT = "from celery.concurrency.prefork.spawned import main; main()"


def spawn_live(trade: Trade, board: Board, birth: Birth) -> NoReturn:
    """Be a child, as a new interpreter."""
    preparation = multiprocessing.spawn.get_preparation_data(f"{trade.prefix}-{birth.number}")
    preparation["authkey"] = bytes(multiprocessing.process.current_process().authkey)
    modules = sorted({type(task).__module__ for task in _tasks_of(trade.app)} & set(sys.modules))
    place = find_home(trade.app)
    payload = pickle.dumps((preparation, modules, place, replace(trade, app=None if place else trade.app)))
    blob = unnamed_file(len(payload))
    os.pwrite(blob, payload, 0)
    fds = blob, birth.sock.fileno(), board.fd
    for fd in fds:
        os.set_inheritable(fd, True)
    numbers = map(str, (*fds, birth.slot, birth.number, birth.index))
    flags = multiprocessing.util._args_from_interpreter_flags()  # type: ignore[attr-defined]
    os.environ["FORKED_BY_MULTIPROCESSING"] = "1"
    os.execv(sys.executable, [sys.executable, *flags, "-c", _BOOT, *numbers])


def main() -> NoReturn:
    """Entry of the new interpreter."""
    blob, sock_fd, board_fd, slot, number, index = map(int, sys.argv[1:7])
    for signum in GROUP_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    payload = os.pread(blob, os.fstat(blob).st_size, 0)
    preparation, modules, place, pickled = pickle.loads(payload)
    for fd in (sock_fd, board_fd):
        os.set_inheritable(fd, False)
    os.close(blob)
    multiprocessing.spawn.prepare(preparation)
    for module in modules:
        importlib.import_module(module)
    trade: Trade = pickled if place is None else replace(pickled, app=_at(*place))
    for signum in GROUP_SIGNALS:
        signal.signal(signum, signal.SIG_DFL)
    live(trade, Board(board_fd), Birth(socket.socket(fileno=sock_fd), slot, number, index))


def find_home(app: Any) -> tuple[str, str] | None:
    """The module and the name by which the application can be imported again, None if there is none."""
    for module_name, module in list(sys.modules.items()):
        if module_name.split(".")[0] in ("celery", "__main__", "__mp_main__"):
            continue
        for name, value in list(_names_of(module).items()):
            if value is app:
                return module_name, name
    return None


def _names_of(module: ModuleType) -> dict[str, Any]:
    return getattr(module, "__dict__", {})


def _at(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def _tasks_of(app: Any) -> list[Any]:
    return list(getattr(app, "tasks", {}).values())
