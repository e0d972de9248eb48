"""Old form: functions of `app.amqp` and `app.connection`, for the current app."""

from __future__ import annotations

import warnings
from typing import Any

from celery import _state
from celery.exceptions import CDeprecationWarning

__all__ = ("TaskConsumer", "establish_connection", "get_consumer_set")


def TaskConsumer(*args: Any, **kwargs: Any) -> Any:  # noqa: N802, RUF100 - the public name
    """`app.amqp.TaskConsumer`."""
    return _state.get_current_app().amqp.TaskConsumer(*args, **kwargs)


def establish_connection(*args: Any, **kwargs: Any) -> Any:
    """`app.connection`."""
    return _state.get_current_app().connection(*args, **kwargs)


def get_consumer_set(connection: Any, queues: Any = None, **options: Any) -> Any:
    """A consumer of all of the app's queues."""
    return TaskConsumer(connection, queues=queues, **options)


warnings.warn("celery.messaging is an old home: use app.amqp", CDeprecationWarning, stacklevel=2)
