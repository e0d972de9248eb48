"""The one clock by which leases are judged, and whether a process is still there.

Leases are times on the machine's monotonic clock, which every process shares, which does not run
while the machine sleeps, and which nobody can set. It starts anew at boot, so a lease of
another boot is over.
"""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path

now = time.monotonic


@cache
def boot() -> str:
    """Names this run of the machine; empty where the system has no name for it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@cache
def _namespace() -> str:
    """Process ids mean the same only inside one of these."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def this_process() -> str:
    """How this process signs its leases: namespace of process ids, when it began, its id."""
    return f"{_namespace()} {_born(os.getpid())} {os.getpid()}"


def is_gone(process: str, *, doubtful: bool) -> bool:
    """Whether the process that signed so has certainly ended.

    Args:
        doubtful: it missed a renewal: look closer (a zombie has ended as well, and ids are used again).

    Returns:
        False also when it cannot be known from here, as in another container.
    """
    namespace, _, rest = process.rpartition(" ")
    namespace, _, born = namespace.rpartition(" ")
    if namespace != _namespace() or os.name != "posix" or not rest.isdigit():
        return False
    pid = int(rest)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return doubtful and _is_another(pid, born)
    return doubtful and (state_of(pid) in ("Z", "X") or _is_another(pid, born))


def _is_another(pid: int, born: str) -> bool:
    """Whether the process of this id is not the one that was born then."""
    now = _born(pid)
    return bool(now and born and now != born)


def _born(pid: int) -> str:
    """When a process began, in the system's own unit; empty if not known."""
    return "".join(_fields(pid)[19:20])


def state_of(pid: int) -> str:
    """A process's state as one letter (`T` stopped, `Z` zombie, ...); empty if not known."""
    fields = _fields(pid)
    return fields[0] if fields else ""


def _fields(pid: int) -> list[str]:
    """What the system says of a process, from its state on."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    # The name in parentheses may itself hold parentheses and blanks.
    return text.rpartition(")")[2].split()
