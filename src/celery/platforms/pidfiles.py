"""Pid files: who runs, and that nobody else does."""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress

from .system import EX_CANTCREAT

#: A pid file is made new or not at all.
PIDFILE_FLAGS = os.O_CREAT | os.O_EXCL | os.O_WRONLY
PIDFILE_MODE = 0o644

PIDLOCKED = """ERROR: Pidfile ({0}) already exists.
Seems we're already running? (pid: {1})"""


class LockFailed(Exception):  # noqa: N818, RUF100 - the public name
    """The pid file could not be made."""


class Pidfile:
    """A file that holds the number of the process that has made it, and tells others that it runs.

    Args:
        path: of the file.
    """

    path: str

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(path)

    def acquire(self) -> Pidfile:
        """Make the file.

        Raises:
            LockFailed: it exists, or cannot be made.
        """
        try:
            self.write_pid()
        except OSError as exc:
            raise LockFailed(str(exc)).with_traceback(exc.__traceback__) from exc
        return self

    __enter__ = acquire

    def is_locked(self) -> bool:
        """Whether the file exists."""
        return os.path.exists(self.path)

    def release(self, *args: object) -> None:
        """Remove the file."""
        self.remove()

    __exit__ = release

    def read_pid(self) -> int | None:
        """The number in the file; None if there is no file.

        Raises:
            ValueError: the file holds something else, or was not written to the end.
        """
        try:
            with open(self.path) as file:
                line = file.readline()
        except FileNotFoundError:
            return None
        if line.strip() == line:  # the line end is written last
            raise ValueError(f"Partial or invalid pidfile {self.path}")
        try:
            return int(line.strip())
        except ValueError:
            raise ValueError(f"pidfile {self.path} contents invalid.") from None

    def remove(self) -> None:
        """Remove the file, if it is there and may be removed."""
        with suppress(FileNotFoundError, PermissionError):
            os.unlink(self.path)

    def remove_if_stale(self) -> bool:
        """Remove the file if no process of that number lives.

        Returns:
            Whether the file is out of the way now.
        """
        try:
            pid = self.read_pid()
        except ValueError:
            say("Broken pidfile found - Removing it.")
            self.remove()
            return True
        if not pid or pid == os.getpid() or not _alive(pid):
            if pid and pid != os.getpid():
                say("Stale pidfile exists - Removing it.")
            self.remove()
            return True
        return False

    def write_pid(self) -> None:
        """Make the file, for good: it is on the disk, and reads back, when this returns.

        Raises:
            OSError: it exists, or cannot be made.
            LockFailed: it does not read back.
        """
        content = f"{os.getpid()}\n"
        fd = os.open(self.path, PIDFILE_FLAGS, PIDFILE_MODE)
        with os.fdopen(fd, "w") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)
        with open(self.path) as again:
            if again.read() != content:
                raise LockFailed("Inconsistency: Pidfile content doesn't match at re-read")


PIDFile = Pidfile


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # it is somebody else's
    return True


def say(text: str) -> None:
    """Tell whoever started this program, before logging is set up."""
    print(text, file=sys.stderr)  # noqa: T201


def create_pidlock(pidfile: str | os.PathLike[str]) -> Pidfile:
    """Make a pid file and have it removed when this process exits; a stale one is replaced.

    Raises:
        SystemExit: another process has it (code 73); stderr says which.
        LockFailed: it cannot be made.
    """
    lock = Pidfile(pidfile)
    if lock.is_locked() and not lock.remove_if_stale():
        say(PIDLOCKED.format(pidfile, lock.read_pid()))
        raise SystemExit(EX_CANTCREAT)
    lock.acquire()
    owner = os.getpid()

    def remove_own() -> None:
        # A child that exits by atexit is not the one the file is about.
        if os.getpid() == owner:
            lock.release()

    atexit.register(remove_own)
    return lock
