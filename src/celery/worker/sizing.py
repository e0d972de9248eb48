"""How many tasks to run at once, if nobody says."""

from __future__ import annotations

import os
from typing import Any

from celery.exceptions import ImproperlyConfigured
from celery.utils.sysinfo import cpu_budget, is_auto_concurrency


def concurrency_of(value: Any, pool: str) -> int:
    """Read the setting `worker_concurrency` or the option `-c`.

    Args:
        value: a number, `"auto"`, or None (0 too) for one a processor.
        pool: name of the pool; `"auto"` looks at a container's quota for prefork only, and solo runs one task at a time
            whatever the value.

    Raises:
        ImproperlyConfigured: it is none of these.
    """
    number = _number(value, pool)
    return 1 if pool == "solo" else number


def _number(value: Any, pool: str) -> int:
    if value is None or value in (0, "0"):
        return os.cpu_count() or 1
    if is_auto_concurrency(value):
        return cpu_budget(use_cgroup_quota=pool in ("prefork", "processes")).count
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        raise ImproperlyConfigured(
            f"worker_concurrency must be a non-negative integer or 'auto', not {value!r}"
        )
    return number
