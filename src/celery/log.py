"""Old form: functions of `app.log`, for the current app."""

from __future__ import annotations

import warnings
from typing import Any

from celery import _state
from celery.exceptions import CDeprecationWarning

__all__ = ("get_default_logger", "redirect_stdouts_to_logger", "setup_logging_subsystem")


def get_default_logger(*args: Any, **kwargs: Any) -> Any:
    """`app.log.get_default_logger`."""
    return _state.get_current_app().log.get_default_logger(*args, **kwargs)


def redirect_stdouts_to_logger(*args: Any, **kwargs: Any) -> Any:
    """`app.log.redirect_stdouts_to_logger`."""
    return _state.get_current_app().log.redirect_stdouts_to_logger(*args, **kwargs)


def setup_logging_subsystem(*args: Any, **kwargs: Any) -> Any:
    """`app.log.setup_logging_subsystem`."""
    return _state.get_current_app().log.setup_logging_subsystem(*args, **kwargs)


warnings.warn("celery.log is an old home: use app.log", CDeprecationWarning, stacklevel=2)
