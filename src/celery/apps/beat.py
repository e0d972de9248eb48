"""`Beat`: the program that `celery beat` runs: a `Service` with banner, logging and OS signals."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import celery
from celery import beat, platforms
from celery._state import _app_or_default
from celery.app.addresses import shown
from celery.app.embedded import warn_embedded
from celery.exceptions import ImproperlyConfigured
from celery.utils.imports import qualname
from celery.utils.log import LOG_LEVELS, mlevel
from celery.utils.time import humanize_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ("Beat",)

logger = logging.getLogger("celery.beat")

STARTUP_INFO = """\
__    -    ... __   -        _
LocalTime -> {now}
Configuration ->
    . broker -> {broker}
    . loader -> {loader}
    . scheduler -> {scheduler}
{info}
    . logfile -> {logfile}@%{loglevel}
    . maxinterval -> {maxinterval} ({seconds}s)
"""


class Beat:
    """Beat as a program.

    Args:
        max_interval, schedule, scheduler, remote_control, hostname: see `Service`; `schedule` is the file's name.
        app: default: the current one.
        socket_timeout: seconds after which a socket of a client library that has no timeout of its own gives up.
        pidfile: path of a file with this process's id.
        loglevel, logfile: default level WARN, to stderr.
        no_color: never colour the log.
        redirect_stdouts, redirect_stdouts_level: what is printed goes to the log, at this level; default: the
            settings `worker_redirect_stdouts` and `worker_redirect_stdouts_level`.
        quiet: print no banner.
    """

    Service = beat.Service
    app: Any = None

    def __init__(
        self,
        max_interval: float | None = None,
        app: Any = None,
        socket_timeout: float | None = 30,
        pidfile: str | None = None,
        no_color: bool | None = None,
        loglevel: Any = "WARN",
        logfile: str | None = None,
        schedule: str | None = None,
        scheduler: Any = None,
        scheduler_cls: Any = None,
        redirect_stdouts: bool | None = None,
        redirect_stdouts_level: Any = None,
        quiet: bool = False,
        remote_control: bool | None = None,
        hostname: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.app = _app_or_default(app or self.app)
        conf = self.app.conf
        self.loglevel = mlevel(loglevel)
        self.logfile = logfile
        self.schedule = schedule or conf.beat_schedule_filename
        self.scheduler_cls = scheduler or scheduler_cls or conf.beat_scheduler
        self.max_interval = max_interval or conf.beat_max_loop_interval
        self.socket_timeout = socket_timeout
        self.no_color = no_color
        self.pidfile = pidfile
        self.quiet = quiet
        self.remote_control = remote_control
        self.hostname = hostname
        self.redirect_stdouts = conf.worker_redirect_stdouts if redirect_stdouts is None else redirect_stdouts
        self.redirect_stdouts_level = redirect_stdouts_level or conf.worker_redirect_stdouts_level
        self.service: beat.Service | None = None

    def run(self) -> None:
        """Send what is due until a signal ends it.

        Raises:
            ImproperlyConfigured: there is no such scheduler, or it cannot keep its state.
        """
        if not self.quiet:
            print(f"celery beat v{celery.VERSION_BANNER} is starting.", flush=True)  # noqa: T201
        self.app.loader.init_worker()
        self.app.finalize()
        platforms.set_process_title("celery beat", info=" ".join(sys.argv[1:]))
        self.service = self._make_service()
        if not self.quiet:
            with _told_in_one_line(self.service):
                print(self.startup_info(self.service), flush=True)  # noqa: T201
        self.setup_logging(colorize=None if self.no_color is None else not self.no_color)
        self.start_scheduler()

    def setup_logging(self, colorize: bool | None = None) -> None:
        """Configure the log."""
        redirect = self.redirect_stdouts
        self.app.log.setup(
            self.loglevel, self.logfile, redirect, self.redirect_stdouts_level, colorize=colorize
        )

    def _make_service(self) -> beat.Service:
        return self.Service(
            app=self.app,
            max_interval=self.max_interval,
            scheduler_cls=self.scheduler_cls,
            schedule_filename=self.schedule,
            remote_control=self.remote_control,
            hostname=self.hostname,
        )

    def start_scheduler(self) -> None:
        """Run the service until a signal ends it."""
        service = self.service = self.service or self._make_service()
        with _told_in_one_line(service):
            _ = service.scheduler
        warn_embedded(self.app)
        if self.socket_timeout:
            logger.debug("Setting default socket timeout to %r", self.socket_timeout)
            socket.setdefaulttimeout(self.socket_timeout)
        lock = platforms.create_pidlock(self.pidfile) if self.pidfile else None
        try:
            self.install_sync_handler(service)
            service.start()
        finally:
            if lock is not None:
                lock.release()

    def startup_info(self, service: beat.Service) -> str:
        """The configuration, as the banner has it."""
        scheduler = service.get_scheduler(lazy=True)
        interval = scheduler.max_interval
        return STARTUP_INFO.format(
            now=datetime.now().astimezone().replace(microsecond=0, tzinfo=None),
            broker=shown(self.app.conf.broker_write_url),
            loader=qualname(self.app.loader),
            scheduler=qualname(scheduler),
            info=scheduler.info,
            logfile=self.logfile or "[stderr]",
            loglevel=LOG_LEVELS.get(self.loglevel, self.loglevel),
            maxinterval=humanize_seconds(interval),
            seconds=f"{interval:g}",
        )

    def install_sync_handler(self, service: beat.Service) -> None:
        """Let TERM and INT end the service; its state is written."""

        def end(signum: int, frame: FrameType | None) -> None:
            # Not here: what was interrupted may hold the locks that this takes.
            threading.Thread(target=service.stop, name="celery-beat-stop").start()

        for name in ("SIGTERM", "SIGINT"):
            signal.signal(getattr(signal, name), end)


@contextmanager
def _told_in_one_line(service: beat.Service) -> Iterator[None]:
    """What is wrong with the name of the scheduler, or with `beat_schedule`."""
    try:
        yield
    except (ImportError, AttributeError, ValueError) as error:
        raise ImproperlyConfigured(f"There is no scheduler {service.scheduler_cls!r}: {error}") from error
    except TypeError as error:
        raise ImproperlyConfigured(str(error)) from error
