"""`Worker`: the program that `celery worker` runs: a `WorkController` with banner, logging and OS signals."""

from __future__ import annotations

import logging
import os
import sys
import threading
import uuid
from typing import TYPE_CHECKING, Any

from celery import platforms, signals
from celery.app import trace
from celery.app.embedded import warn_embedded
from celery.brokers.base import BrokerError
from celery.utils.log import mlevel
from celery.utils.nodenames import node_format
from celery.worker import WorkController

from .banner import banner, erased, task_list
from .stop_signals import StopSignals

if TYPE_CHECKING:
    from celery.worker.loops import Stop

logger = logging.getLogger("celery.apps.worker")


def log_in_child(app: Any, hostname: str) -> None:
    """Give a pool process its own log: a file of its own (`-f %n%I.log`), or what a fresh interpreter lacks."""
    app.log.setup_in_child(hostname)


class Worker(WorkController):
    """A worker as a program.

    Args:
        quiet: print no banner.
        purge: empty its queues before it starts.
        dry_run: check broker and result store, print the banner, and end.
        no_color: never colour the log.
        redirect_stdouts, redirect_stdouts_level: what a task prints goes to the log, at this level.

    Attributes:
        restart_wanted: the process is to be replaced by a new one like it when it ends.
    """

    installs_signal_handlers = True
    restart_wanted = False

    def on_before_init(self, quiet: bool = False, **kwargs: Any) -> None:
        self.quiet = quiet
        trace.setup_worker_optimizations(self.app, self.hostname)
        signals.celeryd_init.send(sender=self.hostname, instance=self, conf=self.app.conf, options=kwargs)
        platforms.check_privileges(self.app.conf.accept_content)

    def on_after_init(
        self,
        purge: bool = False,
        dry_run: bool = False,
        no_color: bool | None = None,
        redirect_stdouts: bool | None = None,
        redirect_stdouts_level: Any = None,
        **kwargs: Any,
    ) -> None:
        self.loglevel = mlevel(self.loglevel)
        self.purge = purge
        self.dry_run = dry_run
        self.no_color = no_color
        self.redirect_stdouts = self._either("worker_redirect_stdouts", redirect_stdouts)
        self.redirect_stdouts_level = self._either("worker_redirect_stdouts_level", redirect_stdouts_level)

    def on_init_blueprint(self) -> None:
        self._custom_logging = self.setup_logging()
        signals.celeryd_after_setup.send(sender=self.hostname, instance=self, conf=self.app.conf)

    def setup_logging(self, colorize: bool | None = None) -> Any:
        """Configure the log; true if somebody else did (signal `setup_logging`)."""
        if colorize is None and self.no_color is not None:
            colorize = not self.no_color
        return self.app.log.setup(
            self.loglevel, self.logfile, redirect_stdouts=False, colorize=colorize, hostname=self.hostname
        )

    def child_initializer(self) -> Any:
        logfile = str(self.logfile or "")
        own_file = "%i" in logfile or "%I" in logfile
        if self._custom_logging or not (own_file or self.pool_start_method == "spawn"):
            return None
        return log_in_child

    # -- running ----------------------------------------------------------------------------------
    def start(self) -> None:
        """Work until told to stop; with `dry_run`, check and say what would be done."""
        if self.dry_run:
            self.exitcode = self._check_everything()
            return
        handlers = StopSignals(self)
        handlers.install()
        try:
            super().start()
        finally:
            handlers.restore()
        if self.restart_wanted:
            _replace_process()

    def on_start(self) -> None:
        if self.pidfile:
            self.pidlock = platforms.create_pidlock(node_format(self.pidfile, self.hostname))
        if not self.quiet:
            self.print_banner()
        warn_embedded(self.app)
        if self.purge:
            self.purge_messages()
        self.set_process_status("-active-")
        if self.redirect_stdouts and not self._custom_logging:
            self.app.log.redirect_stdouts(self.redirect_stdouts_level)

    def on_consumer_ready(self, consumer: Any) -> None:
        signals.worker_ready.send(sender=consumer)
        logger.info("%s ready.", self.hostname)

    @property
    def stopping(self) -> Stop:
        """How far this worker is on its way to the end."""
        return self._stop_wanted

    def soft_shutdown_applies(self) -> bool:
        """Whether a cold shutdown begins with a soft one."""
        conf = self.app.conf
        if not conf.worker_soft_shutdown_timeout:
            return False
        return bool(self._state.active or conf.worker_enable_soft_shutdown_on_idle)

    # -- saying -----------------------------------------------------------------------------------
    def startup_info(self) -> str:
        """The banner."""
        conf = self.app.conf
        embedded = conf.broker_url.removeprefix("sqlite:///") if conf.uses_embedded_store else None
        return banner(self, embedded=embedded)

    def tasklist(self, include_builtins: bool = True) -> str:
        """The list of registered tasks, as the banner shows it."""
        return task_list(self.app.tasks, builtins=include_builtins)

    def extra_info(self) -> str | None:
        """The list of tasks, if the log level is INFO or lower."""
        if self.loglevel and self.loglevel <= logging.INFO:
            return self.tasklist(include_builtins=self.loglevel <= logging.DEBUG)
        return None

    def print_banner(self) -> None:
        """Write the banner to the real standard output."""
        text = "\n".join(part for part in (self.startup_info(), self.extra_info()) if part)
        _say(text)

    def purge_messages(self) -> int:
        """Empty the queues it consumes; return how many messages that were."""
        broker = self.app.broker_for_write()
        broker.declare(self.consumed_queues())
        count: int = sum(broker.purge(queue.name) for queue in self.consumed_queues())
        if count:
            _say(erased(count))
        return count

    def set_process_status(self, info: str) -> Any:
        """Show what it does in the list of processes."""
        arguments = " ".join(sys.argv[1:])
        return platforms.set_mp_process_title("celeryd", info=f"{info} ({arguments})", hostname=self.hostname)

    # -- checking ---------------------------------------------------------------------------------
    def _check_everything(self) -> int:
        """Reach broker and result store; return the exit code."""
        if not self.quiet:
            self.print_banner()
        faults = [
            fault for fault in (self._check_broker(), self._check_results(), self._check_limits()) if fault
        ]
        for fault in faults:
            print(f"Error: {fault}", file=sys.stderr)  # noqa: T201 - an answer to --dry-run
        if not faults and not self.quiet:
            print("Dry run: broker, result store and options are in order.", flush=True)  # noqa: T201 - the same
        return 1 if faults else 0

    def _check_broker(self) -> str:
        try:
            broker = self.app.broker_for_read()
            broker.declare(self.consumed_queues())
            for queue in self.consumed_queues():
                broker.size(queue.name)
        except BrokerError as error:
            return f"broker: {error}"
        except Exception as error:  # noqa: BLE001 - whatever is wrong is the answer
            return f"broker: {error!r}"
        return ""

    def _check_results(self) -> str:
        try:
            self.app.backend.get_state(f"dry-run-{uuid.uuid4()}")
        except NotImplementedError:  # results are disabled
            return ""
        except Exception as error:  # noqa: BLE001 - whatever is wrong is the answer
            return f"result store: {error!r}"
        return ""

    def _check_limits(self) -> str:
        try:
            self._build()
        except Exception as error:  # noqa: BLE001 - whatever is wrong is the answer
            return str(error)
        return ""


def _say(text: str) -> None:
    """Write to the real standard output; that nobody can read it there is no reason not to work."""
    out = sys.__stdout__
    if out is None:
        return
    try:
        print(text, file=out, flush=True)
    except UnicodeEncodeError:
        print(text.encode(out.encoding, "backslashreplace").decode(out.encoding), file=out, flush=True)
    except OSError as error:
        logger.warning("Standard output cannot be written: %s", error)


def _replace_process() -> None:
    """Start over with the same command line, in the same process."""
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if threads:
        logger.debug("restarting; threads that end with the process: %s", threads)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606, RUF100 - our own command line
