"""Telling every app of a process that it has been forked, and ending what a task has forked."""

from __future__ import annotations

import os
import sys
import traceback
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from celery.app.base import Celery

_apps: weakref.WeakSet[Celery] = weakref.WeakSet()

#: How many forks lie between this process and the one that loaded this module.
generation = 0


def track(app: Celery) -> None:
    """Have `app._after_fork()` called in children, as long as the app lives."""
    _apps.add(app)


def leave(exc: BaseException | None) -> NoReturn:
    """End a process that a task has forked and that came back out of the task's body.

    The task belongs to the process that forked it; here there is neither a worker to go back to nor an end to tell.

    Args:
        exc: what the body raised; None if it returned.
    """
    code = 0
    if isinstance(exc, SystemExit):
        code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    elif exc is not None:
        code = 1
        with suppress(Exception):
            traceback.print_exception(exc)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code & 0xFF)


def _after_fork_in_child() -> None:
    global generation
    generation += 1
    for app in list(_apps):
        app._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
