"""The worker: receive deliveries, decide about each, hand them to a pool, settle them.

No task body runs in this package; `celery.concurrency` is where they run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .worker import WorkController as WorkController

__all__ = ["WorkController"]


def __getattr__(name: str) -> Any:
    if name == "WorkController":
        from .worker import WorkController  # noqa: PLC0415 - the worker is loaded only where one runs

        return WorkController
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
