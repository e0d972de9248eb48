"""What depends on the operating system: pid files, daemons, users, signals, process titles, exit codes."""

from __future__ import annotations

import atexit
import errno
import math
import os
import signal as _signal
import sys
import warnings
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from celery.exceptions import SecurityError, SecurityWarning
from celery.local import try_import

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

resource = try_import("resource")
pwd = try_import("pwd")
grp = try_import("grp")

__all__ = (
    "EX_CANTCREAT",
    "EX_FAILURE",
    "EX_OK",
    "EX_UNAVAILABLE",
    "EX_USAGE",
    "IS_WINDOWS",
    "SIGMAP",
    "SYSTEM",
    "DaemonContext",
    "IS_macOS",
    "LockFailed",
    "Pidfile",
    "check_privileges",
    "close_open_fds",
    "create_pidlock",
    "detached",
    "fd_by_path",
    "get_errno_name",
    "get_fdmax",
    "ignore_errno",
    "initgroups",
    "isatty",
    "maybe_drop_privileges",
    "parse_gid",
    "parse_uid",
    "pyimplementation",
    "set_mp_process_title",
    "set_pdeathsig",
    "set_process_title",
    "setgid",
    "setgroups",
    "setuid",
    "signal_name",
    "signals",
)

# Exit codes, by the names of sysexits.h.
EX_OK = 0
EX_FAILURE = 1
EX_USAGE = 64
EX_UNAVAILABLE = 69
EX_CANTCREAT = 73

SYSTEM = os.uname().sysname if hasattr(os, "uname") else "Windows"
IS_macOS = SYSTEM == "Darwin"  # noqa: N816, RUF100 - the public name
IS_WINDOWS = SYSTEM == "Windows"

DAEMON_WORKDIR = "/"

#: A pid file is made new or not at all.
PIDFILE_FLAGS = os.O_CREAT | os.O_EXCL | os.O_WRONLY
PIDFILE_MODE = 0o644

PIDLOCKED = """ERROR: Pidfile ({0}) already exists.
Seems we're already running? (pid: {1})"""

ROOT_DISALLOWED = """\
Running a worker with superuser privileges when the
worker accepts messages serialized with pickle is a very bad idea!

If you really want to continue then you have to set the C_FORCE_ROOT
environment variable (but please think about this before you do).

User information: uid={uid} euid={euid} gid={gid} egid={egid}
"""

ROOT_DISCOURAGED = """\
You're running the worker with superuser privileges: this is
absolutely not recommended!

Please specify a different user using the --uid option.

User information: uid={uid} euid={euid} gid={gid} egid={egid}
"""

SIGNAMES = {name for name in dir(_signal) if name.startswith("SIG") and "_" not in name}
#: Names of signal numbers, with their SIG.
SIGMAP: dict[int, str] = {getattr(_signal, name): getattr(_signal, name).name for name in SIGNAMES}


def pyimplementation() -> str:
    """`CPython`, `PyPy` ..."""
    import platform  # noqa: PLC0415 - slow to import, seldom asked

    return platform.python_implementation()


def isatty(fh: Any) -> bool | None:
    """Whether a file is a terminal; None if it cannot say."""
    with suppress(AttributeError, ValueError):
        return bool(fh.isatty())
    return None


# -- errors by name


def get_errno_name(n: int | str) -> int:
    """The number of an error by its name (`ENOENT`); a number as it is."""
    return int(getattr(errno, n)) if isinstance(n, str) else n


@contextmanager
def ignore_errno(*errnos: int | str, **kwargs: Any) -> Iterator[None]:
    """A block in which some errors of the system do not matter.

    Args:
        errnos: numbers or names.
        types: the exception classes to look at (keyword only; default: all).
    """
    types = kwargs.get("types") or (Exception,)
    numbers = [get_errno_name(each) for each in errnos]
    try:
        yield
    except types as exc:
        if getattr(exc, "errno", None) not in numbers:
            raise


# -- pid files


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
            _say("Broken pidfile found - Removing it.")
            self.remove()
            return True
        if not pid or pid == os.getpid() or not _alive(pid):
            if pid and pid != os.getpid():
                _say("Stale pidfile exists - Removing it.")
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


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - before logging is set up


def create_pidlock(pidfile: str | os.PathLike[str]) -> Pidfile:
    """Make a pid file and have it removed when this process exits; a stale one is replaced.

    Raises:
        SystemExit: another process has it (code 73); stderr says which.
        LockFailed: it cannot be made.
    """
    lock = Pidfile(pidfile)
    if lock.is_locked() and not lock.remove_if_stale():
        _say(PIDLOCKED.format(pidfile, lock.read_pid()))
        raise SystemExit(EX_CANTCREAT)
    lock.acquire()
    owner = os.getpid()

    def remove_own() -> None:
        # A child that exits by atexit is not the one the file is about.
        if os.getpid() == owner:
            lock.release()

    atexit.register(remove_own)
    return lock


# -- file descriptors


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


# -- daemons


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
            close_open_fds(self.stdfds)
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
                _say(PIDLOCKED.format(pidfile, lock.read_pid()))
                raise SystemExit(EX_CANTCREAT)

    return DaemonContext(umask=umask, workdir=workdir, fake=fake, after_chdir=after_chdir)


# -- users


def parse_uid(uid: int | str) -> int:
    """A user's number, by number, digits or name.

    Raises:
        KeyError: there is no such user.
    """
    try:
        return int(uid)
    except ValueError:
        pass
    try:
        return int(pwd.getpwnam(uid).pw_uid)
    except (AttributeError, KeyError):
        raise KeyError(f"User does not exist: {uid}") from None


def parse_gid(gid: int | str) -> int:
    """A group's number, by number, digits or name.

    Raises:
        KeyError: there is no such group.
    """
    try:
        return int(gid)
    except ValueError:
        pass
    try:
        return int(grp.getgrnam(gid).gr_gid)
    except (AttributeError, KeyError):
        raise KeyError(f"Group does not exist: {gid}") from None


def setgroups(groups: Collection[int]) -> None:
    """Set the supplementary groups of this process; those it may not set are left alone if it has them."""
    allowed = None
    with suppress(ValueError, OSError, AttributeError):
        allowed = os.sysconf("SC_NGROUPS_MAX")
    try:
        os.setgroups(list(groups)[:allowed])
    except OSError as exc:
        if exc.errno != errno.EPERM or any(group not in os.getgroups() for group in groups):
            raise


def initgroups(uid: int, gid: int) -> None:
    """Set the supplementary groups to those of a user, `gid` among them."""
    os.initgroups(pwd.getpwuid(uid).pw_name, gid)


def setgid(gid: int | str) -> None:
    """Run as this group, by number or name."""
    os.setgid(parse_gid(gid))


def setuid(uid: int | str) -> None:
    """Run as this user, by number or name."""
    os.setuid(parse_uid(uid))


def maybe_drop_privileges(uid: int | str | None = None, gid: int | str | None = None) -> None:
    """Run as another user and group, for good.

    Args:
        uid: the group is that of the user unless `gid` says another.
        gid: alone: only the group changes.

    Raises:
        SecurityError: root could be had back.
        OSError: this user may not.
        KeyError: there is no such user or group.
    """
    if IS_WINDOWS:
        return
    if os.geteuid() and not os.getuid():
        # Effectively not root, but able to become it: nothing to build on.
        raise SecurityError("The effective user is not root but the real user is: refusing to go on.")
    uid = parse_uid(uid) if uid else None
    gid = parse_gid(gid) if gid else None
    if uid:
        _become_user(uid, gid)
    elif gid:
        setgid(gid)


def _become_user(uid: int, gid: int | None) -> None:
    if not gid and pwd:
        gid = pwd.getpwuid(uid).pw_gid
    if gid:
        # In this order: afterwards this process may not change its groups any more.
        setgid(gid)
        if os.geteuid() == 0:
            initgroups(uid, gid)
    setuid(uid)
    try:
        setuid(0)
    except PermissionError:
        return
    raise SecurityError("non-root user able to restore privileges after setuid.")


def check_privileges(accept_content: Iterable[str]) -> None:
    """Object to running as root.

    Args:
        accept_content: serializers accepted. With pickle, whoever can reach the broker can run anything.

    Raises:
        SecurityError: root, pickle, and the environment variable `C_FORCE_ROOT` is not set.
    """
    if not hasattr(os, "getuid"):
        return
    ids = {"uid": os.getuid(), "gid": os.getgid(), "euid": os.geteuid(), "egid": os.getegid()}
    if ids["uid"] and ids["euid"] and not _in_admin_group(ids["gid"], ids["egid"]):
        return
    pickles = {"pickle", "application/x-python-serialize"}
    if pickles.intersection(accept_content) and not os.environ.get("C_FORCE_ROOT"):
        raise SecurityError(ROOT_DISALLOWED.format(**ids))
    warnings.warn(ROOT_DISCOURAGED.format(**ids), SecurityWarning, stacklevel=2)


def _in_admin_group(*gids: int) -> bool:
    names = set()
    for gid in gids:
        with suppress(KeyError, AttributeError):  # a group without an entry has no privileges by its name
            names.add(grp.getgrgid(gid).gr_name)
    return bool(names & {"sudo", "wheel"})


# -- signals


class Signals:
    """Signals by name (`TERM` or `SIGTERM`), as the object `signals`.

    `signals['INT'] = handler`, `signals.ignore('HUP')`; names this system lacks are skipped.
    """

    ignored = _signal.SIG_IGN
    default = _signal.SIG_DFL

    def arm_alarm(self, seconds: float) -> None:
        """Have SIGALRM sent once, so many seconds from now."""
        if hasattr(_signal, "setitimer"):
            _signal.setitimer(_signal.ITIMER_REAL, seconds)
        else:
            _signal.alarm(math.ceil(seconds))

    def reset_alarm(self) -> int:
        """Call off the alarm; returns the whole seconds that were left."""
        return _signal.alarm(0)

    def supported(self, name: int | str) -> bool:
        """Whether this system has the signal."""
        try:
            self.signum(name)
        except AttributeError:
            return False
        return True

    def signum(self, name: int | str) -> int:
        """A signal's number by its name, with or without `SIG`; a number as it is.

        Raises:
            AttributeError: there is no such signal here.
            TypeError: not a name in capitals.
        """
        if isinstance(name, int):
            return name
        if not name.isupper():
            raise TypeError("signal name must be uppercase string.")
        found: _signal.Signals = getattr(_signal, name if name.startswith("SIG") else f"SIG{name}")
        return found

    def reset(self, *signal_names: str) -> None:
        """Have signals do what the system does by default."""
        self.update((name, self.default) for name in signal_names)

    def ignore(self, *names: str) -> None:
        """Ignore signals."""
        self.update((name, self.ignored) for name in names)

    def __getitem__(self, name: int | str) -> Any:
        return _signal.getsignal(self.signum(name))

    def __setitem__(self, name: int | str, handler: Any) -> None:
        # Not there on this system, or not from this thread: as good as not asked for.
        with suppress(AttributeError, ValueError):
            _signal.signal(self.signum(name), handler)

    def update(self, _d_: Any = None, **sigmap: Any) -> None:
        """Set several handlers, of a mapping, of pairs, or named."""
        for name, handler in dict(_d_ or {}, **sigmap).items():
            self[name] = handler


signals = Signals()
get_signal = signals.signum
install_signal_handler = signals.__setitem__
reset_signal = signals.reset
ignore_signal = signals.ignore


def signal_name(signum: int) -> str:
    """`TERM` for 15."""
    return SIGMAP[signum][3:]


def set_pdeathsig(name: int | str) -> None:
    """Have this process sent a signal when its parent ends (Linux; nothing elsewhere).

    The parent may have ended before this call: compare `os.getppid()` afterwards.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes  # noqa: PLC0415 - only pools' processes need it

    pr_set_pdeathsig = 1
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signals.signum(name), 0, 0, 0)


# -- process titles


def strargv(argv: list[str]) -> str:
    """A command's arguments without the program."""
    start = 2 if "-m" in argv[:2] else 1
    return " ".join(argv[start:])


def set_process_title(progname: str, info: str | None = None) -> str:
    """Set what `ps` shows, if the package setproctitle is there.

    Returns:
        The title: `[progname] info`.
    """
    title = f"[{progname}] {info}" if info else f"[{progname}]"
    if not os.environ.get("NOSETPS"):
        setproctitle = try_import("setproctitle")
        if setproctitle is not None:
            setproctitle.setproctitle(title)
    return title


def set_mp_process_title(progname: str, info: str | None = None, hostname: str | None = None) -> str:
    """Set what `ps` shows to `[progname: hostname:process] info`.

    Args:
        hostname: the node name.
    """
    multiprocessing = sys.modules.get("multiprocessing")
    name = multiprocessing.current_process().name if multiprocessing else "MainProcess"
    if hostname:
        return set_process_title(f"{progname}: {hostname}:{name}", info)
    return set_process_title(f"{progname}:{name}", info)
