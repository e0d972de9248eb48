"""How many tasks to run at once, if nobody says."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from celery.exceptions import ImproperlyConfigured

_V2 = Path("/sys/fs/cgroup/cpu.max")
_V1 = Path("/sys/fs/cgroup/cpu")


def cpu_count() -> int:
    """Processors of this machine, at least 1."""
    return os.cpu_count() or 1


def _read(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def cgroup_quota() -> float | None:
    """Processors this process's container may use (cgroup v2 or v1); None if that is not limited."""
    words = _read(_V2) or _read(_V1 / "cpu.cfs_quota_us") + _read(_V1 / "cpu.cfs_period_us")
    if len(words) != 2 or words[0] in ("max", "-1"):
        return None
    try:
        quota, period = int(words[0]), int(words[1])
    except ValueError:
        return None
    return quota / period if quota > 0 and period > 0 else None


def usable_cpus() -> int:
    """Processors this process may really use: its affinity, and its container's quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cpu_count()
    quota = cgroup_quota()
    return affinity if quota is None else max(1, min(affinity, math.ceil(quota)))


def concurrency_of(value: Any, pool: str) -> int:
    """Read the setting `worker_concurrency` or the option `-c`.

    Args:
        value: a number, `"auto"`, or None (0 too) for one a processor.
        pool: name of the pool, for which `"auto"` may mean the same.

    Raises:
        ImproperlyConfigured: it is none of these.
    """
    if value is None or value in (0, "0"):
        return cpu_count()
    if value == "auto":
        return usable_cpus() if pool in ("prefork", "processes") else cpu_count()
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        raise ImproperlyConfigured(
            f"worker_concurrency must be a non-negative integer or 'auto', not {value!r}"
        )
    return number
