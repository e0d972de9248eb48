"""Which system this is, exit codes, errors by name, process titles."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from celery.local import try_import

if TYPE_CHECKING:
    from collections.abc import Iterator

# Exit codes, by the names of sysexits.h.
EX_OK = 0
EX_FAILURE = 1
EX_USAGE = 64
EX_UNAVAILABLE = 69
EX_CANTCREAT = 73

SYSTEM = os.uname().sysname if hasattr(os, "uname") else "Windows"
IS_macOS = SYSTEM == "Darwin"  # noqa: N816, RUF100 - the public name
IS_WINDOWS = SYSTEM == "Windows"


def pyimplementation() -> str:
    """`CPython`, `PyPy` ..."""
    import platform  # noqa: PLC0415 - slow to import, seldom asked

    return platform.python_implementation()


def isatty(fh: Any) -> bool | None:
    """Whether a file is a terminal; None if it cannot say."""
    with suppress(AttributeError, ValueError):
        return bool(fh.isatty())
    return None


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
