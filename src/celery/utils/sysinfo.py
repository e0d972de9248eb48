"""Load, disks, and how many processors there are to use."""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from celery.utils.objects import cached_property

__all__ = (
    "AUTO_CONCURRENCY",
    "CpuBudget",
    "available_cpu_count",
    "cgroup_cpu_quota",
    "cpu_budget",
    "df",
    "is_auto_concurrency",
    "load_average",
)

#: The value of a concurrency that asks for as many as there are processors to use.
AUTO_CONCURRENCY = "auto"

CGROUP_ROOT = "/sys/fs/cgroup"
PROC_SELF_CGROUP = "/proc/self/cgroup"


def load_average() -> tuple[float, ...]:
    """Load of the last 1, 5 and 15 minutes, to two decimals; zeros where the system does not say."""
    try:
        return tuple(ceil(load * 1e2) / 1e2 for load in os.getloadavg())
    except (OSError, AttributeError):
        return 0.0, 0.0, 0.0


class df:  # noqa: N801, RUF100 - the public name
    """The disk that holds `path`."""

    def __init__(self, path: str | bytes | os.PathLike[Any]) -> None:
        self.path = path

    @property
    def total_blocks(self) -> float:
        """Size in units of 1024 bytes."""
        return self.stat.f_blocks * self.stat.f_frsize / 1024

    @property
    def available(self) -> float:
        """Free for this user, in units of 1024 bytes."""
        return self.stat.f_bavail * self.stat.f_frsize / 1024

    @property
    def capacity(self) -> int:
        """Per cent in use."""
        avail = self.stat.f_bavail
        used = self.stat.f_blocks - self.stat.f_bfree
        return ceil(used * 100.0 / (used + avail) + 0.5) if used + avail else 0

    @cached_property
    def stat(self) -> os.statvfs_result:
        """What the system says (asked once)."""
        return os.statvfs(os.path.abspath(self.path))


def is_auto_concurrency(value: Any) -> bool:
    """Whether a concurrency is `auto` (any case)."""
    return isinstance(value, str) and value.strip().lower() == AUTO_CONCURRENCY


def available_cpu_count() -> int:
    """Processors this process may run on, at least 1."""
    try:
        return len(os.sched_getaffinity(0)) or 1
    except (AttributeError, OSError):
        return os.cpu_count() or 1


class CpuBudget(NamedTuple):
    """How many processors there are to use.

    Attributes:
        count: the answer: a whole number, at least 1.
        available: by affinity.
        quota: by the control group, in processors; None for no limit.
    """

    count: int  # type: ignore[assignment]  # hides tuple.count, as Celery does
    available: int
    quota: float | None


def cpu_budget(use_cgroup_quota: bool = True) -> CpuBudget:
    """How many processors there are to use, a container's limit included unless told otherwise."""
    available = available_cpu_count()
    quota = cgroup_cpu_quota() if use_cgroup_quota else None
    count = available if quota is None else min(available, max(1, ceil(quota)))
    return CpuBudget(count, available, quota)


def cgroup_cpu_quota() -> float | None:
    """The tightest limit of this process's control groups, in processors; None for no limit."""
    limits = []
    for line in _read_text(PROC_SELF_CGROUP).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            limits += [_v2_limit(folder) for folder in _folders(CGROUP_ROOT, path)]
        elif "cpu" in controllers.split(","):
            for name in {controllers, "cpu", "cpu,cpuacct"}:
                limits += [_v1_limit(folder) for folder in _folders(f"{CGROUP_ROOT}/{name}", path)]
    return min((limit for limit in limits if limit is not None), default=None)


def _folders(base: str, path: str) -> list[Path]:
    """The group's folder and those above it. In a container it may be mounted as the root itself."""
    root = Path(base)
    own = root / path.strip("/")
    return [own, *(parent for parent in own.parents if parent.is_relative_to(root))]


def _v2_limit(folder: Path) -> float | None:
    fields = _read_text(folder / "cpu.max").split()
    return _parse_quota(*fields) if len(fields) == 2 else None


def _v1_limit(folder: Path) -> float | None:
    quota, period = (_read_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
    return _parse_quota(quota, period)


def _parse_quota(quota_us: str, period_us: str) -> float | None:
    """Microseconds per period as processors; `max` and -1 are no limit."""
    try:
        quota, period = int(quota_us), int(period_us)
    except ValueError:
        return None
    return quota / period if quota > 0 and period > 0 else None


def _read_text(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except (OSError, ValueError):
        return ""
