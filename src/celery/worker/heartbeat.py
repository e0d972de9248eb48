"""The signs of life that a worker sends: `worker-online`, `worker-heartbeat`, `worker-offline`."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.utils.sysinfo import load_average
from celery.utils.time import utcoffset

from .state import SOFTWARE_INFO

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from celery.app.clock import LamportClock

    from .extension import ExtensionThread
    from .state import WorkerState

#: Seconds between two heartbeats, unless the worker was told otherwise.
INTERVAL = 2.0
#: Seconds between two that nobody hears: the broker has said that no one listens.
UNHEARD = 20.0
#: What the answer to a `heartbeat` command says about the pace.
ASKED_FREQ = 5


class Heart:
    """Beats while the worker is connected. All calls on the core's loop.

    As long as the broker says that nobody listens, and task events are off, most beats are not sent. Receivers of `heartbeat_sent` are told of
    every one: they tell a supervisor that this worker lives.

    Args:
        add: has an event sent.
        slots: tasks that run at once.
    """

    def __init__(
        self,
        hostname: str,
        clock: LamportClock,
        state: WorkerState,
        extension: ExtensionThread,
        add: Callable[[dict[str, Any]], None],
        *,
        interval: float | None,
        slots: int,
    ) -> None:
        self.interval = interval or INTERVAL
        #: Whether any are sent at all, except when asked for.
        self.beats = interval is not None
        #: Whether every beat is sent, heard or not.
        self.keen = False
        self._hostname = hostname
        self._clock = clock
        self._state = state
        self._extension = extension
        self._add = add
        self._slots = slots
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._heard = True
        self._sent_at = 0.0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say that this worker is here, and beat from now on."""
        self.stop()
        if self.beats:
            self._loop = loop
            self._say("worker-online")
            self._timer = loop.call_later(self.interval, self._beat)

    def stop(self) -> None:
        """Beat no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def farewell(self) -> None:
        """Say that this worker is gone."""
        self.stop()
        if self.beats:
            self._say("worker-offline")

    def heard(self, somebody: bool) -> None:
        """The broker has said whether anybody listens."""
        self._heard = somebody

    def answer(self) -> None:
        """Somebody asks who is there."""
        self._add(self._event("worker-heartbeat", ASKED_FREQ))

    def _beat(self) -> None:
        assert self._loop is not None
        self._timer = self._loop.call_later(self.interval, self._beat)
        if self._heard or self.keen or self._loop.time() - self._sent_at >= UNHEARD:
            self._say("worker-heartbeat")
        if signals.heartbeat_sent:
            self._extension.call(signals.heartbeat_sent.send, sender=self)

    def _say(self, kind: str) -> None:
        if self._loop is not None:
            self._sent_at = self._loop.time()
        active = min(self._state.active, self._slots)
        figures = {"active": active, "processed": self._state.totals.total(), "loadavg": list(load_average())}
        self._add(self._event(kind, self.interval, figures))

    def _event(self, kind: str, freq: float, figures: dict[str, Any] | None = None) -> dict[str, Any]:
        return {
            "hostname": self._hostname,
            "utcoffset": utcoffset(),
            "pid": os.getpid(),
            "clock": self._clock.forward(),
            "freq": freq,
            **(figures or {}),
            **SOFTWARE_INFO,
            "timestamp": time.time(),
            "type": kind,
        }
