"""Frames: which line of the user's a warning is about, and where threads are."""

from __future__ import annotations

import gc
import inspect
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType


def frames_of_threads() -> dict[int, FrameType]:
    """Ident of each thread -> the frame that it runs.

    `sys._current_frames` itself stops the process for ever if a garbage collection begins inside of it that runs a finalizer
    (https://github.com/python/cpython/issues/106883; seen with Python 3.11.7).
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames()
    finally:
        if collecting:
            gc.enable()


def user_stacklevel() -> int:
    """The `stacklevel` by which a warning that the caller gives names the innermost line outside of this package."""
    frame = inspect.currentframe()
    level = 0
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module != "celery" and not module.startswith("celery."):
            return level
        frame = frame.f_back
        level += 1
    return level
