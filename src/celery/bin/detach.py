"""Going into the background: the same command line again, in a daemon."""

from __future__ import annotations

import errno
import logging
import os
import sys
from typing import Any

from celery.platforms import EX_FAILURE, EX_OK, detached
from celery.utils.nodenames import node_format

logger = logging.getLogger("celery.bin.detach")

#: Would make the daemon detach again, without end.
_ENVIRONMENT = ("CELERY_WORKER_DETACH", "CELERY_EVENTS_DETACH")


def go_into_background(
    app: Any,
    hostname: str,
    *,
    logfile: str | None = None,
    pidfile: str | None = None,
    uid: str | None = None,
    gid: str | None = None,
    umask: str | None = None,
    workdir: str | None = None,
    executable: str | None = None,
) -> int:
    """Become a daemon and start the command line anew in it, without its `-D`.

    Args:
        hostname: node name, for expansions in `logfile` and `pidfile`.
        executable: the interpreter; default: this one.

    Returns:
        Only in the daemon, and only if the program could not be started: 1. The caller's process exits with 0.

    Raises:
        OSError: log or pid file cannot be written.
    """
    logfile = node_format(logfile, hostname) if logfile else None
    pidfile = node_format(pidfile, hostname) if pidfile else None
    program = executable or sys.executable
    arguments = without_detach(sys.orig_argv[1:])
    for name in _ENVIRONMENT:
        os.environ.pop(name, None)
    options: dict[str, Any] = {} if umask is None else {"umask": umask}
    daemon = detached(
        logfile, pidfile, uid, gid, workdir=workdir, fake=bool(os.environ.get("C_FAKEFORK")), **options
    )
    # While the caller can still be told.
    for path in filter(None, (logfile, pidfile)):
        check_folder(os.path.join(daemon.workdir, path))
    with daemon:
        try:
            os.execv(program, [program, *arguments])  # noqa: S606, RUF100 - our own command line
        except OSError as error:
            app.log.setup_logging_subsystem("ERROR", logfile)
            logger.critical("Can't exec %r: %s", " ".join([program, *arguments]), error)
            return EX_FAILURE
    return EX_OK


def check_folder(path: str) -> None:
    """Make sure that `path` can be written.

    Raises:
        OSError: its folder is missing, or may not be written to.
    """
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "its folder does not exist", path)
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise PermissionError(errno.EACCES, "may not be written to", path)


def without_detach(arguments: list[str]) -> list[str]:
    """The arguments less `-D` and `--detach`; `-Dn w1` becomes `-n w1`."""
    kept = []
    for word in arguments:
        if word in ("-D", "--detach"):
            continue
        kept.append(f"-{word[2:]}" if word.startswith("-D") else word)
    return kept
