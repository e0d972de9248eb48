"""Locks that are let go whatever comes between.

An exception may come at any bytecode: that of a soft time limit in the task that sends, Ctrl-C in a program. `with` of a
lock of the standard library stands that (taking it, and letting it go, is one step for the interpreter); a class of ours
around it does not, nor does `acquire` before a `try`: the lock would stay held, and the process could send no more.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

#: What `holding` gives if somebody else has the lock.
TAKEN: Final = object()
#: Arguments of `acquire`: one call's, each in a sequence.
_NOT_AT_ALL = ((False,),)


def holding(lock: threading.Lock, seconds: float, call: Callable[..., Any], *args: Any) -> Any:
    """Call this while holding a lock.

    Args:
        seconds: to wait for it; 0: not at all.

    Returns:
        What the call gives; `TAKEN` if the lock was not to be had: then nothing was called.
    """
    held: list[bool] = []
    try:
        # By `map`, so that it is one step to have the lock and to know it.
        held.extend(map(lock.acquire, *(_NOT_AT_ALL if seconds <= 0 else ((True,), (seconds,)))))
        return call(*args) if held[0] else TAKEN
    finally:
        if held and held[0]:
            lock.release()


class Bell:
    """Wakes one thread; rung while nobody waits, it wakes who waits next, once. (`threading.Event` is a class in Python.)"""

    __slots__ = ("_gate",)

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()

    def ring(self) -> None:
        """Wake the thread that waits."""
        with contextlib.suppress(RuntimeError):  # it is being woken already
            self._gate.release()

    def wait(self, until: float) -> None:
        """Wait until it rings, or until then (monotonic time)."""
        self._gate.acquire(timeout=max(0.0, until - time.monotonic()))
