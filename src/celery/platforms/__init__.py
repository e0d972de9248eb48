"""What depends on the operating system. Every name's public home is here."""

from __future__ import annotations

from celery._public import publish
from celery.local import try_import

from .daemons import DAEMON_WORKDIR, DaemonContext, close_open_fds, detached, fd_by_path, get_fdmax
from .pidfiles import PIDFILE_FLAGS, PIDFILE_MODE, PIDLOCKED, LockFailed, PIDFile, Pidfile, create_pidlock
from .signalling import (
    SIGMAP,
    SIGNAMES,
    Signals,
    get_signal,
    ignore_signal,
    install_signal_handler,
    reset_signal,
    set_pdeathsig,
    signal_name,
    signals,
)
from .system import (
    EX_CANTCREAT,
    EX_FAILURE,
    EX_OK,
    EX_UNAVAILABLE,
    EX_USAGE,
    IS_WINDOWS,
    SYSTEM,
    IS_macOS,
    get_errno_name,
    ignore_errno,
    isatty,
    pyimplementation,
    set_mp_process_title,
    set_process_title,
    strargv,
)
from .users import (
    ROOT_DISALLOWED,
    ROOT_DISCOURAGED,
    check_privileges,
    grp,
    initgroups,
    maybe_drop_privileges,
    parse_gid,
    parse_uid,
    pwd,
    setgid,
    setgroups,
    setuid,
)

resource = try_import("resource")

__all__ = (
    "DAEMON_WORKDIR",
    "EX_CANTCREAT",
    "EX_FAILURE",
    "EX_OK",
    "EX_UNAVAILABLE",
    "EX_USAGE",
    "IS_WINDOWS",
    "PIDFILE_FLAGS",
    "PIDFILE_MODE",
    "PIDLOCKED",
    "ROOT_DISALLOWED",
    "ROOT_DISCOURAGED",
    "SIGMAP",
    "SIGNAMES",
    "SYSTEM",
    "DaemonContext",
    "IS_macOS",
    "LockFailed",
    "PIDFile",
    "Pidfile",
    "Signals",
    "check_privileges",
    "close_open_fds",
    "create_pidlock",
    "detached",
    "fd_by_path",
    "get_errno_name",
    "get_fdmax",
    "get_signal",
    "grp",
    "ignore_errno",
    "ignore_signal",
    "initgroups",
    "install_signal_handler",
    "isatty",
    "maybe_drop_privileges",
    "parse_gid",
    "parse_uid",
    "pwd",
    "pyimplementation",
    "reset_signal",
    "resource",
    "set_mp_process_title",
    "set_pdeathsig",
    "set_process_title",
    "setgid",
    "setgroups",
    "setuid",
    "signal_name",
    "signals",
    "strargv",
)

publish(globals(), "DaemonContext", "LockFailed", "Pidfile", "Signals")
