"""Who this process is among those of its worker."""

from __future__ import annotations

import sys
from dataclasses import dataclass

#: Name of a process that nobody has named.
MAIN = "MainProcess"


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process as logs and file names call it.

    Attributes:
        name: `MainProcess`, `ForkPoolWorker-1`.
        index: number of a pool's process, from 1; None for any other process.
    """

    name: str = MAIN
    index: int | None = None


_current = ProcessIdentity()


def become(name: str, index: int | None = None) -> None:
    """Name this process: for the log's `%(processName)s`, and `%i` and `%I` in log file names.

    Args:
        index: its number in the pool, from 1.
    """
    global _current
    _current = ProcessIdentity(name, index)
    import multiprocessing  # noqa: PLC0415 - where `logging` looks for the name; only pools' processes need it

    multiprocessing.current_process().name = name


def current() -> ProcessIdentity:
    """This process. One that `multiprocessing` started goes by the name it has there
    (and a pool's child by its index)."""
    if _current.name == MAIN and "multiprocessing" in sys.modules:
        found = sys.modules["multiprocessing"].current_process()
        if found.name != MAIN:
            return ProcessIdentity(found.name, getattr(found, "index", _current.index))
    return _current
