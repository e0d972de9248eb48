"""What a worker changes in its process, put back."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from celery import _state
from celery.app.log import Logging

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOGGERS = ("", "celery", "celery.task", "celery.redirected")
_VARIABLES = ("CELERY_LOG_LEVEL", "CELERY_LOG_FILE")


@dataclass(frozen=True, slots=True)
class _LoggerState:
    logger: logging.Logger
    handlers: tuple[logging.Handler, ...]
    level: int
    propagate: bool

    @classmethod
    def of(cls, name: str) -> _LoggerState:
        logger = logging.getLogger(name)
        return cls(logger, tuple(logger.handlers), logger.level, logger.propagate)

    def restore(self) -> None:
        for handler in set(self.logger.handlers) - set(self.handlers):
            self.logger.removeHandler(handler)
            handler.close()
        for handler in self.handlers:
            self.logger.addHandler(handler)
        self.logger.setLevel(self.level)
        self.logger.propagate = self.propagate


@contextmanager
def surroundings_kept() -> Iterator[None]:
    """Afterwards the current app, the default app and logging are as before."""
    current, default = _state._tls.current_app, _state.default_app
    loggers = [_LoggerState.of(name) for name in _LOGGERS]
    set_up = Logging.already_setup
    variables = {name: os.environ.get(name) for name in _VARIABLES}
    try:
        yield
    finally:
        _state._set_current_app(current)
        _state.default_app = default
        for logger in loggers:
            logger.restore()
        Logging.already_setup = set_up
        for name, value in variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
