"""The default runner of every pool."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from celery.concurrency.base import Runner


def default_runner(app: Any, hostname: str) -> Runner:
    """What runs an application's tasks."""
    trace = importlib.import_module("celery.app.trace")  # late: pools are imported to list their names
    return cast("Runner", trace.JobRunner(app, hostname))
