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
    """How this process signs its leases: namespace of process ids, then the id."""
    return f"{_namespace()} {os.getpid()}"


def is_gone(process: str, *, doubtful: bool) -> bool:
    """Whether the process that signed so has certainly ended.

    Args:
        doubtful: it missed a renewal: look closer (a zombie has ended as well).

    Returns:
        False also when it cannot be known from here, as in another container.
    """
    namespace, _, pid = process.rpartition(" ")
    if namespace != _namespace() or os.name != "posix" or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return doubtful and state_of(int(pid)) in ("Z", "X")


def state_of(pid: int) -> str:
    """A process's state as one letter (`T` stopped, `Z` zombie, ...); empty if not known."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return ""
    # The name in parentheses may itself hold parentheses and blanks.
    return text.rpartition(")")[2].split()[0]
