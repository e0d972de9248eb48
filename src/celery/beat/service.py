"""The loop around a scheduler: tick, sleep, and end when told to."""

from __future__ import annotations

import logging
import time
from functools import cached_property
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from celery import platforms, signals
from celery.utils.imports import load_extension_class_names, symbol_by_name
from celery.utils.time import humanize_seconds

from .clock import ClockWatch
from .control import BeatPidbox, beat_nodename

if TYPE_CHECKING:
    from celery.app.base import Celery

__all__ = ("EmbeddedService", "Service")

logger = logging.getLogger("celery.beat")

#: Seconds between looks whether somebody has set the clock.
_GLANCE = 5.0
#: Seconds that a worker waits for its own beat to end.
_ENDS_WITHIN = 15.0


class Service:
    """Runs a scheduler.

    Args:
        app: whose tasks are sent.
        max_interval: seconds between two looks at the schedule, at most; default: `beat_max_loop_interval`, or what
            the scheduler says.
        schedule_filename: default: `beat_schedule_filename`.
        scheduler_cls: a class, its path (`module:Class`), or a name among the entry points
            `celery.beat_schedulers`; default: `beat_scheduler`.
        remote_control: answer `ping`; default: `beat_enable_remote_control`.
        hostname: the name to answer by; default: `celerybeat@` and the host's.
    """

    def __init__(
        self,
        app: Celery,
        max_interval: float | None = None,
        schedule_filename: str | None = None,
        scheduler_cls: Any = None,
        remote_control: bool | None = None,
        hostname: str | None = None,
    ) -> None:
        self.app = app
        self.max_interval = max_interval or app.conf.beat_max_loop_interval
        self.scheduler_cls = scheduler_cls or app.conf.beat_scheduler
        self.schedule_filename = schedule_filename or app.conf.beat_schedule_filename
        wanted = app.conf.beat_enable_remote_control if remote_control is None else remote_control
        self.remote_control = bool(wanted)
        self.hostname = beat_nodename(hostname)
        self._is_shutdown = Event()
        self._is_stopped = Event()
        #: When the scheduler last ticked (`time.monotonic()`).
        self.last_tick = time.monotonic()

    def __reduce__(self) -> Any:
        return type(self), (
            self.app,
            self.max_interval,
            self.schedule_filename,
            self.scheduler_cls,
            self.remote_control,
            self.hostname,
        )

    def get_scheduler(self, lazy: bool = False, extension_namespace: str = "celery.beat_schedulers") -> Any:
        """Make the scheduler.

        Args:
            lazy: do not let it read its schedule.
            extension_namespace: of entry points that give schedulers short names.
        """
        aliases = dict(load_extension_class_names(extension_namespace))
        return symbol_by_name(self.scheduler_cls, aliases=aliases)(
            app=self.app,
            schedule_filename=self.schedule_filename,
            max_interval=self.max_interval,
            lazy=lazy,
        )

    @cached_property
    def scheduler(self) -> Any:
        """The scheduler, made when it is first asked for."""
        return self.get_scheduler()

    def start(self, embedded_process: bool = False) -> None:
        """Send what is due until `stop()`.

        Args:
            embedded_process: it is a worker's own beat, in a process of its own.
        """
        logger.info("beat: Starting...")
        logger.debug("beat: Ticking with max interval->%s", humanize_seconds(self.scheduler.max_interval))
        signals.beat_init.send(sender=self)
        if embedded_process:
            signals.beat_embedded_init.send(sender=self)
            platforms.set_process_title("celery beat")
        pidbox = BeatPidbox(self) if self.remote_control else None
        if pidbox is not None:
            pidbox.start()
        try:
            while not self._is_shutdown.is_set():
                self._tick()
        except (KeyboardInterrupt, SystemExit):
            self._is_shutdown.set()
        finally:
            if pidbox is not None:
                pidbox.stop()
            self.sync()

    def _tick(self) -> None:
        interval = self.scheduler.tick()
        self.last_tick = time.monotonic()
        if interval and interval > 0:
            logger.debug("beat: Waking up %s.", humanize_seconds(interval, prefix="in "))
            self._sleep(interval)
            if self.scheduler.should_sync():
                self.scheduler._do_sync()

    def _sleep(self, seconds: float) -> None:
        """Sleep until `stop()`, or until somebody sets the clock: what is due is another then."""
        clock = ClockWatch()
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self._is_shutdown.wait(min(left, _GLANCE)) or clock.moved():
                return

    def sync(self) -> None:
        """Write the scheduler's state, and close it."""
        self.scheduler.close()
        self._is_stopped.set()

    def stop(self, wait: bool = False) -> None:
        """End the loop.

        Args:
            wait: until it has ended.
        """
        logger.info("beat: Shutting down...")
        self._is_shutdown.set()
        scheduler = vars(self).get("scheduler")  # none is made to be stopped
        stopping = getattr(scheduler, "stopping", None)  # not of those that derive from nothing of ours
        if stopping is not None:
            stopping.set()
        if wait:
            self._is_stopped.wait()


class _Threaded(Thread):
    """A worker's own beat, in a thread."""

    def __init__(self, app: Celery, **kwargs: Any) -> None:
        super().__init__(name="Beat", daemon=True)
        self.app = app
        self.service = Service(app, **kwargs)

    def run(self) -> None:
        self.app.set_current()
        try:
            self.service.start()
        except Exception as error:
            logger.critical("beat: %s", error, exc_info=logger.isEnabledFor(logging.DEBUG))

    def stop(self) -> None:
        """End it, and wait for that, but not for ever: a scheduler may hang in a database."""
        if not self.is_alive():
            return
        self.service.stop()
        self.join(_ENDS_WITHIN)
        if self.is_alive():
            logger.error("beat: not ended within %g seconds: left behind", _ENDS_WITHIN)


def EmbeddedService(app: Celery, max_interval: float | None = None, **kwargs: Any) -> Any:
    """A worker's own beat: a thread with `start()` and `stop()`.

    Args:
        max_interval: see `Service`; so are the other arguments.
        thread: accepted for Celery's sake; it always is one, since a core that runs no task has time for it.
    """
    kwargs.pop("thread", None)
    return _Threaded(app, max_interval=max_interval, **kwargs)
