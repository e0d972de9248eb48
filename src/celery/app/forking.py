"""Telling every app of a process that it has been forked."""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery.app.base import Celery

_apps: weakref.WeakSet[Celery] = weakref.WeakSet()


def track(app: Celery) -> None:
    """Have `app._after_fork()` called in children, as long as the app lives."""
    _apps.add(app)


def _after_fork_in_child() -> None:
    for app in list(_apps):
        app._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
