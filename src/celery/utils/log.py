"""Loggers, levels, colours, and a file that writes to a logger."""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar

from celery.utils import process
from celery.utils.term import colored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = (
    "LOG_LEVELS",
    "ColorFormatter",
    "LoggingProxy",
    "base_logger",
    "get_logger",
    "get_multiprocessing_logger",
    "get_task_logger",
    "in_sighandler",
    "mlevel",
    "reset_multiprocessing_logger",
    "set_in_sighandler",
)

#: Numbers of level names, and names of numbers.
LOG_LEVELS: dict[Any, Any] = {
    "CRITICAL": logging.CRITICAL,
    "FATAL": logging.FATAL,
    "ERROR": logging.ERROR,
    "WARN": logging.WARNING,
    "WARNING": logging.WARNING,
    "INFO": logging.INFO,
    "DEBUG": logging.DEBUG,
    "NOTSET": logging.NOTSET,
    logging.CRITICAL: "CRITICAL",
    logging.ERROR: "ERROR",
    logging.WARNING: "WARNING",
    logging.INFO: "INFO",
    logging.DEBUG: "DEBUG",
    logging.NOTSET: "NOTSET",
}

RESERVED_LOGGER_NAMES = {"celery", "celery.task"}

#: Environment `MP_LOG`: let multiprocessing's own log messages through.
MP_LOG = bool(os.environ.get("MP_LOG", False))

_in_sighandler = False


def set_in_sighandler(value: bool) -> None:
    """Say whether a signal handler is running: what is printed then must not take locks."""
    global _in_sighandler
    _in_sighandler = value


@contextmanager
def in_sighandler() -> Iterator[None]:
    """A block that runs in a signal handler."""
    set_in_sighandler(True)
    try:
        yield
    finally:
        set_in_sighandler(False)


def _with_null_handler(name: str) -> logging.Logger:
    found = logging.getLogger(name)
    if not found.handlers:
        # So that Python does not print to stderr for a program that has not set logging up.
        found.addHandler(logging.NullHandler())
    return found


logger = base_logger = _with_null_handler("celery")
task_logger = _with_null_handler("celery.task")
worker_logger = _with_null_handler("celery.worker")


def logger_isa(l: logging.Logger, p: logging.Logger, max: int = 1000) -> bool:  # noqa: A002, E741 - public names
    """Whether logger `l` is `p` or below it.

    Raises:
        RuntimeError: the parents make a circle, or more than `max` levels.
    """
    seen: set[int] = set()
    at: logging.Logger | None = l
    for _ in range(max):
        if at is p:
            return True
        if at is None:
            return False
        if id(at) in seen:
            raise RuntimeError(f"Logger {l.name!r} parents recursive")
        seen.add(id(at))
        at = at.parent
    raise RuntimeError(f"Logger hierarchy exceeds {max}")


def _using_logger_parent(parent_logger: logging.Logger, logger_: logging.Logger) -> logging.Logger:
    if not logger_isa(logger_, parent_logger):
        logger_.parent = parent_logger
    return logger_


def get_logger(name: str) -> logging.Logger:
    """The logger of that name, silent until logging is set up.

    One that is below neither the root directly nor `celery` is put below `celery`.
    """
    found = _with_null_handler(name)
    if logging.root not in (found, found.parent) and found is not base_logger:
        found = _using_logger_parent(base_logger, found)
    return found


def get_task_logger(name: str) -> logging.Logger:
    """A logger for tasks, below `celery.task`: its records name the task that wrote them.

    Raises:
        RuntimeError: `celery` and `celery.task` are taken.
    """
    if name in RESERVED_LOGGER_NAMES:
        raise RuntimeError(f"Logger name {name!r} is reserved!")
    return _using_logger_parent(task_logger, get_logger(name))


def mlevel(level: int | str | None) -> int | None:
    """A level's number by its name (any case), number or None.

    Raises:
        KeyError: not a level.
    """
    if level and not isinstance(level, int):
        return LOG_LEVELS[level.upper()]  # type: ignore[no-any-return]  # names give numbers
    return level  # type: ignore[return-value]  # "" is as good as None


class ColorFormatter(logging.Formatter):
    """A formatter that colours a whole record by its level.

    Args:
        fmt, datefmt: as for `logging.Formatter`.
        use_color: off for files that are not terminals.
    """

    COLORS = colored().names
    #: How to paint each level.
    colors: ClassVar[dict[str, Callable[..., Any]]] = {
        "DEBUG": COLORS["blue"],
        "WARNING": COLORS["yellow"],
        "ERROR": COLORS["red"],
        "CRITICAL": COLORS["magenta"],
    }

    def __init__(self, fmt: str | None = None, use_color: bool = True, datefmt: str | None = None) -> None:
        super().__init__(fmt, datefmt)
        self.use_color = use_color

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        paint = self.colors.get(record.levelname)
        return str(paint(text)) if paint and self.use_color else text


class LoggingProxy:
    """A text file whose lines are written to a logger (what stdout and stderr become in a worker).

    Args:
        logger: where to.
        loglevel: name or number; default: that of the logger.
    """

    mode = "w"
    name: str | None = None
    closed = False
    loglevel: int = logging.ERROR
    encoding = "utf-8"
    errors = "replace"
    #: Shared by all: a handler of one may print to another.
    _thread = threading.local()

    def __init__(self, logger: logging.Logger, loglevel: int | str | None = None) -> None:
        self.logger = logger
        self.loglevel = mlevel(loglevel or self.logger.level or self.loglevel) or logging.ERROR
        # Each thread's line that has no end yet.
        self._unfinished = threading.local()
        self._safewrap_handlers()

    def _safewrap_handlers(self) -> None:
        # A handler that fails prints to stderr, which is this object: without this it would never end.
        for handler in self.logger.handlers:
            handler.handleError = self._handle_error  # type: ignore[method-assign]  # on purpose

    @staticmethod
    def _handle_error(record: logging.LogRecord) -> None:
        if sys.exc_info()[0] is None or sys.__stderr__ is None:
            return
        with suppress(OSError):  # nowhere left to say it
            traceback.print_exc(None, sys.__stderr__)

    def write(self, data: str | bytes) -> int:
        """Log whole lines; what has no line end yet waits for it (a `print` of two values is several writes).

        Returns:
            The length of `data`.
        """
        if _in_sighandler:
            # Logging takes locks, which the interrupted code may hold.
            text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
            if sys.__stderr__ is not None:
                print(text, file=sys.__stderr__)
            return len(data)
        if getattr(self._thread, "recurse_protection", False):
            # The logger itself printed something.
            return 0
        if data and not self.closed:
            text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
            whole, line_end, rest = (getattr(self._unfinished, "text", "") + text).rpartition("\n")
            self._unfinished.text = rest
            if line_end:
                self._log(whole)
            return len(data)
        return 0

    def _log(self, text: str) -> None:
        self._thread.recurse_protection = True
        try:
            if stripped := text.rstrip("\n"):
                self.logger.log(self.loglevel, "%s", stripped)
        finally:
            self._thread.recurse_protection = False

    def writelines(self, sequence: Iterable[str | bytes]) -> None:
        """Write each part."""
        for part in sequence:
            self.write(part)

    def flush(self) -> None:
        """Log what this thread wrote without a line end."""
        rest = getattr(self._unfinished, "text", "")
        self._unfinished.text = ""
        if rest and not self.closed:
            self._log(rest)

    def close(self) -> None:
        """Ignore what is written from now on."""
        self.closed = True

    def isatty(self) -> bool:
        """Never a terminal."""
        return False

    def writable(self) -> bool:
        """True."""
        return True

    def readable(self) -> bool:
        """False."""
        return False


def end_lines() -> None:
    """Log what this thread printed without a line end: the next line may be another task's."""
    for stream in (sys.stdout, sys.stderr):
        if type(stream) is LoggingProxy:
            stream.flush()


def get_multiprocessing_logger() -> logging.Logger | None:
    """The logger of `multiprocessing`."""
    from multiprocessing import util  # noqa: PLC0415 - only when logging is set up

    return util.get_logger()


def reset_multiprocessing_logger() -> None:
    """Take the handlers of multiprocessing's logger off, so that it logs like any other."""
    found = logging.getLogger("multiprocessing")
    for handler in list(found.handlers):
        found.removeHandler(handler)


def current_process() -> process.ProcessIdentity:
    """This process, by name and index."""
    return process.current()


def current_process_index(base: int = 1) -> int | None:
    """Number of this process in its pool, counted from `base`; None in any other process."""
    index = process.current().index
    return None if index is None else index - 1 + base


def iter_open_logger_fds() -> Iterator[Any]:
    """The open files of all loggers' handlers (which a daemon must not close)."""
    seen: set[int] = set()
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for found in loggers:
        for handler in getattr(found, "handlers", ()):
            stream = getattr(handler, "stream", None)
            if stream is not None and id(stream) not in seen:
                seen.add(id(stream))
                yield stream
