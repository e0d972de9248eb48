"""Attributes of tasks that say where its calls go: they lose their effect with Celery 6.0."""

from __future__ import annotations

import warnings

from celery.exceptions import CDeprecationWarning
from celery.utils.frames import user_stacklevel

ROUTING_ATTRIBUTES = ("queue", "exchange", "exchange_type", "routing_key", "delivery_mode", "priority")


def warn_about(task_class: type) -> None:
    """Warn of each such attribute that a task's classes, below the base class of all, set."""
    for attribute in ROUTING_ATTRIBUTES:
        for base in task_class.__mro__:
            if base.__module__ == "celery.app.task" and base.__name__ in {"Task", "BaseTask"}:
                break
            if vars(base).get(attribute) is not None:
                _warn(attribute)
                break


def _warn(attribute: str) -> None:
    warnings.warn(
        f"The {attribute!r} task attribute is deprecated and scheduled for removal in version 6.0. "
        "Use the task_routes setting instead.",
        CDeprecationWarning,
        stacklevel=user_stacklevel(),
    )
