"""Snapshots: look at what events tell of a cluster, every so often.

    class DumpCam(Polaroid):
        clear_after = True

        def on_shutter(self, state):
            print(f"{state.event_count} events, {state.task_count} tasks")

Run one by `celery events --camera=proj.DumpCam`, or by hand:

    state = app.events.State()
    with app.connection() as connection, DumpCam(state, freq=5.0):
        app.events.Receiver(connection, handlers={"*": state.event}).capture()
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from celery._state import get_current_app
from celery.platforms import create_pidlock
from celery.utils.dispatch import Signal
from celery.utils.imports import instantiate
from celery.utils.time import rate
from celery.utils.timer2 import Timer

if TYPE_CHECKING:
    from types import TracebackType

    from .state import State

__all__ = ("Polaroid", "evcam")


class Polaroid:
    """A camera: derive from it and define `on_shutter`.

    Args:
        state: what to look at.
        freq: seconds between two looks.
        maxrate: at most so many, as `10/m`; default: no limit.
        cleanup_freq: seconds between two calls of `on_cleanup`.
        timer: makes the calls; default: a thread of its own.

    Attributes:
        clear_after: forget tasks that have ended, and workers, after each look.
        shutter_signal, cleanup_signal: sent before `on_shutter` and `on_cleanup`; their sender is the state.
    """

    timer: Any = None
    clear_after = False
    shutter_signal = Signal(name="shutter_signal", providing_args={"state"})
    cleanup_signal = Signal(name="cleanup_signal")

    def __init__(
        self,
        state: State,
        freq: float = 1.0,
        maxrate: str | float | None = None,
        cleanup_freq: float = 3600.0,
        timer: Any = None,
        app: Any = None,
    ) -> None:
        self.app = app or get_current_app()
        self.state = state
        self.freq = freq
        self.cleanup_freq = cleanup_freq
        self.timer = timer or self.timer or Timer()
        self.maxrate = rate(maxrate) or None
        self._next = 0.0
        self._entries: list[Any] = []

    def install(self) -> None:
        """Begin to look."""
        self._entries = [
            self.timer.call_repeatedly(self.freq, self.capture),
            self.timer.call_repeatedly(self.cleanup_freq, self.cleanup),
        ]

    def on_shutter(self, state: State) -> None:
        """Called for each look; no event is taken note of meanwhile."""

    def on_cleanup(self) -> None:
        """Called now and then, to throw away what is old."""

    def cleanup(self) -> None:
        """Throw away what is old."""
        self.cleanup_signal.send(sender=self.state)
        self.on_cleanup()

    def shutter(self) -> None:
        """Look, unless there were too many looks lately."""
        if self.maxrate is not None:
            now = time.monotonic()
            if now < self._next:
                return
            self._next = max(self._next, now - 1 / self.maxrate) + 1 / self.maxrate
        self.shutter_signal.send(sender=self.state, state=self.state)
        self.on_shutter(self.state)

    def capture(self) -> None:
        """Look while nothing changes."""
        self.state.freeze_while(self.shutter, clear_after=self.clear_after)

    def cancel(self) -> None:
        """Look no more."""
        for entry in self._entries:
            entry.cancel()
        self._entries = []

    def __enter__(self) -> Polaroid:
        self.install()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cancel()


def evcam(
    camera: Any,
    freq: float = 1.0,
    maxrate: str | float | None = None,
    loglevel: int | str = 0,
    logfile: str | None = None,
    pidfile: str | None = None,
    timer: Any = None,
    app: Any = None,
    **kwargs: Any,
) -> None:
    """Run a camera until interrupted: what `celery events --camera` does.

    Args:
        camera: the class, or its path.
        freq, maxrate, timer: see `Polaroid`.
        loglevel, logfile, pidfile: of the program.
    """
    app = app or get_current_app()
    if pidfile:
        create_pidlock(pidfile)
    app.log.setup_logging_subsystem(loglevel, logfile)
    sys.stdout.write(f"-> evcam: Taking snapshots with {camera} (every {freq} secs.)\n")
    sys.stdout.flush()
    state = app.events.State()
    taker = instantiate(camera, state, app=app, freq=freq, maxrate=maxrate, timer=timer)
    with app.connection_for_read() as connection, taker:
        try:
            app.events.Receiver(connection, handlers={"*": state.event}).capture(limit=None)
        except KeyboardInterrupt:
            sys.exit(0)
