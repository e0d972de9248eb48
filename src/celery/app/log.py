"""Setting logging up: once in a process, unless the user's program does it."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from celery import signals
from celery._state import get_current_task
from celery.utils.log import (
    ColorFormatter,
    LoggingProxy,
    get_logger,
    mlevel,
    reset_multiprocessing_logger,
)
from celery.utils.nodenames import node_format
from celery.utils.term import colored

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Logging", "TaskFormatter")

_UNKNOWN = "???"


class TaskFormatter(ColorFormatter):
    """Adds `%(task_id)s` and `%(task_name)s`: the running task's, or `???`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        task = get_current_task()
        if task and task.request:
            record.__dict__.update(task_id=task.request.id, task_name=task.name)
        else:
            record.__dict__.setdefault("task_name", _UNKNOWN)
            record.__dict__.setdefault("task_id", _UNKNOWN)
        return super().format(record)


class Logging:
    """An application's logging set-up: formats, levels and files by its settings.

    Attributes:
        already_setup: logging is process-wide: the first application that sets it up does so for all.
    """

    already_setup: ClassVar[bool] = False

    def __init__(self, app: Any) -> None:
        self.app = app

    @property
    def loglevel(self) -> int | None:
        """Level used when none is given: WARNING."""
        return logging.WARNING

    @property
    def format(self) -> str:
        """Format of the main log: `worker_log_format`."""
        return self.app.conf.worker_log_format  # type: ignore[no-any-return]

    @property
    def task_format(self) -> str:
        """Format of the tasks' log: `worker_task_log_format`."""
        return self.app.conf.worker_task_log_format  # type: ignore[no-any-return]

    @property
    def datefmt(self) -> str | None:
        """Dates in the main log: `worker_log_datefmt`."""
        return self.app.conf.worker_log_datefmt  # type: ignore[no-any-return]

    @property
    def task_datefmt(self) -> str | None:
        """Dates in the tasks' log: `worker_task_log_datefmt`."""
        return self.app.conf.worker_task_log_datefmt  # type: ignore[no-any-return]

    @property
    def colorize(self) -> bool | None:
        """`worker_log_color`."""
        return self.app.conf.worker_log_color  # type: ignore[no-any-return]

    def setup(
        self,
        loglevel: int | str | None = None,
        logfile: Any = None,
        redirect_stdouts: bool = False,
        redirect_level: int | str = "WARNING",
        colorize: bool | None = None,
        hostname: str | None = None,
    ) -> Any:
        """Set up all of logging, and tell child processes by the environment (`CELERY_LOG_*`).

        Args:
            logfile: path (with node expansions if `hostname` is given), open file, or None: stderr.
            redirect_stdouts: send what is printed to the log, at `redirect_level`.

        Returns:
            The answers of receivers of `setup_logging`: if there are any, nothing else was done. None if
            logging was set up before.
        """
        level = mlevel(loglevel)
        handled = self.setup_logging_subsystem(level, logfile, colorize=colorize, hostname=hostname)
        if not handled and redirect_stdouts:
            self.redirect_stdouts(redirect_level)
        os.environ.update(
            CELERY_LOG_LEVEL=str(level) if level else "",
            CELERY_LOG_FILE=str(logfile) if logfile else "",
        )
        return handled

    def setup_in_child(self, hostname: str | None = None) -> None:
        """Set logging up anew in a process that a worker has started, as its parent was told to.

        Files whose name has `%i` or `%I` are this process's own.
        """
        type(self).already_setup = False
        _close_handlers()
        level = os.environ.get("CELERY_LOG_LEVEL") or ""
        redirect = os.environ.get("CELERY_LOG_REDIRECT") or ""
        self.setup(
            int(level) if level.isdigit() else level or None,
            os.environ.get("CELERY_LOG_FILE") or None,
            redirect_stdouts=bool(redirect),
            redirect_level=os.environ.get("CELERY_LOG_REDIRECT_LEVEL") or "WARNING",
            hostname=hostname,
        )

    def redirect_stdouts(self, loglevel: int | str | None = None, name: str = "celery.redirected") -> None:
        """Send what is printed to logger `name`."""
        self.redirect_stdouts_to_logger(get_logger(name), loglevel=loglevel)
        os.environ.update(CELERY_LOG_REDIRECT="1", CELERY_LOG_REDIRECT_LEVEL=str(loglevel or ""))

    def setup_logging_subsystem(
        self,
        loglevel: int | str | None = None,
        logfile: Any = None,
        format: str | None = None,  # noqa: A002 - the public name
        colorize: bool | None = None,
        hostname: str | None = None,
        datefmt: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Set up the root logger and the tasks' logger, unless a receiver of `setup_logging` does it.

        With `worker_hijack_root_logger` handlers that are there are removed first.
        """
        if self.already_setup:
            return None
        if logfile and hostname and isinstance(logfile, str):
            logfile = node_format(logfile, hostname)
        type(self).already_setup = True
        level = mlevel(loglevel or self.loglevel)
        format = format or self.format  # noqa: A001 - the public name
        datefmt = datefmt or self.datefmt
        colorize = self.supports_color(colorize, logfile)
        reset_multiprocessing_logger()
        told: dict[str, Any] = {
            "loglevel": level,
            "logfile": logfile,
            "format": format,
            "colorize": colorize,
        }
        answers = signals.setup_logging.send(sender=None, **told)
        if answers:
            return answers
        root = logging.getLogger()
        if self.app.conf.worker_hijack_root_logger:
            root.handlers = []
            get_logger("celery").handlers = []
            get_logger("celery.task").handlers = []
            get_logger("celery.redirected").handlers = []
        self._configure(root, told, datefmt, ColorFormatter)
        signals.after_setup_logger.send(sender=None, logger=root, **told)
        self.setup_task_loggers(level, logfile, colorize=colorize)
        return answers

    def setup_task_loggers(
        self,
        loglevel: int | str | None = None,
        logfile: Any = None,
        format: str | None = None,  # noqa: A002 - the public name
        colorize: bool | None = None,
        propagate: bool = False,
        datefmt: str | None = None,
        **kwargs: Any,
    ) -> logging.Logger:
        """Set up the loggers of tasks: `celery.task`. Returns that logger."""
        told = {
            "loglevel": mlevel(loglevel or self.loglevel),
            "logfile": logfile,
            "format": format or self.task_format,
            "colorize": self.supports_color(colorize, logfile),
        }
        logger = get_logger("celery.task")
        self._configure(logger, told, datefmt or self.task_datefmt, TaskFormatter)
        logger.propagate = bool(propagate)
        signals.after_setup_task_logger.send(sender=None, logger=logger, **told)
        return logger

    def _configure(
        self,
        logger: logging.Logger,
        told: dict[str, Any],
        datefmt: str | None,
        formatter: type[ColorFormatter],
    ) -> None:
        self.setup_handlers(
            logger, told["logfile"], told["format"], told["colorize"], formatter=formatter, datefmt=datefmt
        )
        if told["loglevel"]:
            logger.setLevel(told["loglevel"])

    def setup_handlers(
        self,
        logger: logging.Logger,
        logfile: Any,
        format: str,  # noqa: A002 - the public name
        colorize: bool | None,
        formatter: Callable[..., logging.Formatter] = ColorFormatter,
        datefmt: str | None = None,
        **kwargs: Any,
    ) -> logging.Logger:
        """Give `logger` a handler that writes to `logfile`, if it has none. Returns it."""
        if not _has_handler(logger):
            handler = _handler_for(logfile)
            handler.setFormatter(formatter(format, use_color=bool(colorize), datefmt=datefmt))
            _made.append((logger, handler))
            logger.addHandler(handler)
        return logger

    def redirect_stdouts_to_logger(
        self,
        logger: logging.Logger,
        loglevel: int | str | None = None,
        stdout: bool = True,
        stderr: bool = True,
    ) -> LoggingProxy:
        """Make `sys.stdout` and `sys.stderr` write to `logger`. Returns what they became."""
        proxy = LoggingProxy(logger, loglevel)
        if stdout:
            sys.stdout = proxy  # as much of a file as print needs
        if stderr:
            sys.stderr = proxy
        return proxy

    def supports_color(self, colorize: bool | None = None, logfile: Any = None) -> bool:
        """True if log lines are to be coloured: allowed, no log file, and stderr is a terminal."""
        wanted = self.colorize if colorize is None else colorize
        if self.app.IS_WINDOWS or wanted is False or logfile:
            return False
        try:
            return bool(sys.__stderr__ and sys.__stderr__.isatty())
        except ValueError:  # closed, as in daemons
            return False

    def colored(self, logfile: Any = None, enabled: bool | None = None) -> colored:
        """A painter of text that paints only where `supports_color`."""
        return colored(enabled=self.supports_color(None, logfile) if enabled is None else enabled)

    def get_default_logger(self, name: str = "celery", **kwargs: Any) -> logging.Logger:
        """The package's logger."""
        return get_logger(name)


#: Handlers made here, and whose: a child process replaces them by its own.
_made: list[tuple[logging.Logger, logging.Handler]] = []


def _close_handlers() -> None:
    while _made:
        logger, handler = _made.pop()
        logger.removeHandler(handler)
        handler.close()


def _has_handler(logger: logging.Logger) -> bool:
    return any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers)


def _handler_for(logfile: Any) -> logging.Handler:
    if logfile is None or logfile == "":
        return logging.StreamHandler(sys.__stderr__)
    if hasattr(logfile, "write"):
        return logging.StreamHandler(logfile)
    # Reopens the file when logrotate has moved it.
    from logging.handlers import WatchedFileHandler  # noqa: PLC0415 - most workers write to the terminal

    return WatchedFileHandler(logfile, encoding="utf-8")
