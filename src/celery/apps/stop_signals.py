"""OS signals of a worker program: TERM, INT, QUIT, HUP, USR1.

Handlers do next to nothing: they write a line, and tell the worker, which is safe at any point of any code.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.utils.frames import frames_of_threads
from celery.worker.loops import Stop

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

logger = logging.getLogger("celery.apps.worker")

EX_OK = 0
EX_FAILURE = 1


def say(text: str) -> None:
    """Write a line to the real standard output; safe inside a signal handler."""
    stream = sys.__stdout__
    if stream is not None:
        try:
            os.write(stream.fileno(), f"{text}\n".encode())
        except (OSError, ValueError):  # closed, or no file at all
            return


class StopSignals:
    """Installs the handlers of one worker, and puts back what was there before.

    Args:
        worker: a `celery.apps.worker.Worker`.
    """

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._before: dict[int, Any] = {}
        self._interrupts = 0
        self._quits = 0

    def install(self) -> None:
        """Take over the signals; does nothing outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            return
        remapped = os.environ.get("REMAP_SIGTERM", "") == "SIGQUIT"
        self._set("SIGTERM", self._on_quit if remapped else self._on_term)
        self._set("SIGINT", self._on_int)
        self._set("SIGQUIT", self._on_quit)
        self._set("SIGUSR1", self._on_usr1)
        if not _attached():
            self._set("SIGHUP", self._on_hup)

    def restore(self) -> None:
        """Put back the handlers that were there before."""
        for signum, handler in self._before.items():
            signal.signal(signum, handler if handler is not None else signal.SIG_DFL)
        self._before.clear()

    def _set(self, name: str, handler: Callable[[int, FrameType | None], None]) -> None:
        signum = getattr(signal, name, None)
        if signum is not None:
            self._before[signum] = signal.signal(signum, handler)

    # -- the handlers -----------------------------------------------------------------------------
    def _on_term(self, signum: int, frame: FrameType | None) -> None:
        if self._worker.stopping >= Stop.WARM:
            say("worker: Already shutting down: waiting for running tasks. SIGQUIT stops them (MainProcess)")
            return
        self._stop(Stop.WARM, EX_OK, "SIGTERM")

    def _on_int(self, signum: int, frame: FrameType | None) -> None:
        self._interrupts += 1
        if self._interrupts == 1 and self._worker.stopping < Stop.WARM:
            say("\nworker: Hitting Ctrl+C again will initiate cold shutdown, terminating all running tasks!")
            self._stop(Stop.WARM, EX_FAILURE, "SIGINT")
        else:
            self._cold("SIGINT", EX_FAILURE)

    def _on_quit(self, signum: int, frame: FrameType | None) -> None:
        self._cold(signal.Signals(signum).name, EX_OK)

    def _cold(self, name: str, exitcode: int) -> None:
        """The first time softly, if that is configured; then cold; then at once."""
        worker = self._worker
        if worker.stopping >= Stop.COLD:
            self._stop(Stop.NOW, EX_FAILURE, name, quiet=True)
            return
        if worker.stopping < Stop.SOFT and worker.soft_shutdown_applies():
            say("worker: Hitting Ctrl+C again will terminate all running tasks!")
            seconds = worker.app.conf.worker_soft_shutdown_timeout
            say(f"worker: Initiating Soft Shutdown, terminating in {seconds:g} seconds (MainProcess)")
            self._stop(Stop.SOFT, exitcode, name, quiet=True)
            return
        if worker.stopping is Stop.SOFT:
            say("worker: Waiting gracefully for cold shutdown to complete... (MainProcess)")
        else:
            say("worker: Hitting Ctrl+C again will terminate all running tasks!")
        self._stop(Stop.COLD, exitcode, name)

    def _stop(self, how: Stop, exitcode: int, name: str, *, quiet: bool = False) -> None:
        worker = self._worker
        word = "Warm" if how is Stop.WARM else "Cold"
        if not quiet:
            say(f"\nworker: {word} shutdown (MainProcess)")
        if worker.exitcode is None or exitcode:
            worker.exitcode = exitcode
        if signals.worker_shutting_down:
            worker.consumer.call_soon(
                signals.worker_shutting_down.send,
                sender=worker.hostname,
                sig=name,
                how=word,
                exitcode=exitcode,
            )
        worker.shut_down(how)

    def _on_hup(self, signum: int, frame: FrameType | None) -> None:
        say("Restarting celery worker ({})".format(" ".join(sys.argv)))
        self._worker.restart_wanted = True
        self._stop(Stop.WARM, EX_OK, "SIGHUP", quiet=True)

    def _on_usr1(self, signum: int, frame: FrameType | None) -> None:
        logger.warning("\n%s", stacks())


def stacks() -> str:
    """The stack of every thread, as text."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = []
    for ident, frame in frames_of_threads().items():
        lines = "".join(traceback.format_stack(frame))
        parts.append(f"{names.get(ident, ident)}\n{'=' * 49}\n{lines}{'=' * 49}\n")
    return "\n".join(parts)


def _attached() -> bool:
    """True if a terminal is attached: then a hang-up means that its user has gone."""
    try:
        return bool(sys.stdin is not None and sys.stdin.isatty())
    except ValueError:  # closed
        return False
