"""Which line of the user's a warning is about."""

from __future__ import annotations

import inspect


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
