"""Becoming a daemon, and the open files that it leaves behind."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .pidfiles import PIDLOCKED, Pidfile, say
from .signalling import signals
from .system import EX_CANTCREAT
from .users import maybe_drop_privileges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DAEMON_WORKDIR = "/"


def get_fdmax(default: int | None = None) -> int:
    """How many files a process may have open.

    Args:
        default: the answer where the system knows no limit.
    """
    with suppress(ValueError, OSError, AttributeError):
        limit = os.sysconf("SC_OPEN_MAX")
        if limit > 0:
            return limit
    return 2048 if default is None else default


def _open_fds() -> list[int]:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return [int(name) for name in os.listdir(folder)]
    return list(range(get_fdmax()))


def close_open_fds(keep: Iterable[Any] | None = None) -> None:
    """Close every open file but those in `keep` (numbers, or objects with `fileno()`)."""
    wanted = set()
    for each in keep or ():
        with suppress(OSError, ValueError):  # closed already, or not a real file
            wanted.add(each if isinstance(each, int) else each.fileno())
    for fd in sorted(set(_open_fds()) - wanted):
        with suppress(OSError):
            os.close(fd)


def fd_by_path(paths: Iterable[str]) -> list[int]:
    """Numbers of the open files that are any of `paths`."""
    wanted = set()
    for path in paths:
        with suppress(OSError):
            status = os.stat(path)
            wanted.add((status.st_dev, status.st_ino))
    found = []
    for fd in sorted(_open_fds()):
        with suppress(OSError):
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) in wanted:
                found.append(fd)
    return found


class DaemonContext:
    """A block that runs as a daemon: two forks, a session of its own, no terminal.

    Args:
        pidfile: kept for compatibility; the program makes its own.
        workdir: default `/`.
        umask: a number, or its octal digits as text.
        fake: do everything but fork and close files (environment `C_FAKEFORK`).
        after_chdir: called when the folder and umask are set, while stderr still is the caller's.
        after_forkers: kept for compatibility: run what `multiprocessing` wants run after a fork.
    """

    _is_open = False

    def __init__(
        self,
        pidfile: str | None = None,
        workdir: str | None = None,
        umask: int | str | None = None,
        fake: bool = False,
        after_chdir: Callable[[], Any] | None = None,
        after_forkers: bool = True,
        **kwargs: Any,
    ) -> None:
        self.pidfile = pidfile
        self.umask = int(umask, 8) if isinstance(umask, str) else umask
        self.workdir = workdir or DAEMON_WORKDIR
        self.fake = fake
        self.after_chdir = after_chdir
        self.after_forkers = after_forkers
        self.stdfds = (sys.stdin, sys.stdout, sys.stderr)

    def redirect_to_null(self, fd: int | None) -> None:
        """Have `fd` be /dev/null."""
        if fd is None:
            return
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, fd)
        if null != fd:
            os.close(null)

    def open(self) -> None:
        """Become a daemon; only the daemon returns."""
        if self._is_open:
            return
        if not self.fake:
            self._detach()
        os.chdir(self.workdir)
        if self.umask is not None:
            os.umask(self.umask)
        if self.after_chdir:
            self.after_chdir()
        if not self.fake:
            from celery import platforms  # noqa: PLC0415 - tools replace it there

            platforms.close_open_fds(self.stdfds)
            for file in self.stdfds:
                self.redirect_to_null(_fileno(file))
            if self.after_forkers and "multiprocessing.util" in sys.modules:
                sys.modules["multiprocessing.util"]._run_after_forkers()
        self._is_open = True

    def close(self, *args: object) -> None:
        """Mark it as closed; a daemon stays one."""
        self._is_open = False

    def __enter__(self) -> DaemonContext:
        self.open()
        return self

    __exit__ = close

    def _detach(self) -> None:
        # The first fork gives the shell its prompt back and makes `setsid` possible; the second makes
        # sure that the daemon can never get a terminal again.
        if os.fork() != 0:
            os._exit(0)
        os.setsid()
        if os.fork() != 0:
            os._exit(0)


def _fileno(file: Any) -> int | None:
    with suppress(AttributeError, OSError, ValueError):
        return int(file.fileno())
    return None


def detached(
    logfile: str | None = None,
    pidfile: str | None = None,
    uid: int | str | None = None,
    gid: int | str | None = None,
    umask: int | str = 0,
    workdir: str | None = None,
    fake: bool = False,
    **opts: Any,
) -> DaemonContext:
    """Prepare to become a daemon: privileges are dropped now, files are checked before stderr is gone.

    Args:
        logfile: must be writable.
        pidfile: must not belong to a living process.
        uid, gid: who to run as.
        workdir: default: the present folder.

    Raises:
        RuntimeError: this system has no daemons.
        SystemExit: a process of that pid file lives.
        OSError: the log file cannot be written.
    """
    if not hasattr(os, "fork"):
        raise RuntimeError("This platform does not support detach.")
    workdir = os.getcwd() if workdir is None else workdir
    signals.reset("SIGCLD")  # a parent may have chosen to ignore it, and children would be lost
    maybe_drop_privileges(uid=uid, gid=gid)

    def after_chdir() -> None:
        if logfile:
            with open(logfile, "a"):
                pass
        if pidfile:
            lock = Pidfile(pidfile)
            if lock.is_locked() and not lock.remove_if_stale():
                say(PIDLOCKED.format(pidfile, lock.read_pid()))
                raise SystemExit(EX_CANTCREAT)

    return DaemonContext(umask=umask, workdir=workdir, fake=fake, after_chdir=after_chdir)
