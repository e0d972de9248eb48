"""Old form: `from celery.registry import tasks`. New code uses `app.tasks`."""

from __future__ import annotations

import warnings

from celery import _state
from celery.app.registry import TaskRegistry
from celery.exceptions import AlreadyRegistered, CDeprecationWarning, NotRegistered
from celery.local import Proxy

__all__ = ("AlreadyRegistered", "NotRegistered", "TaskRegistry", "tasks")

#: The tasks of the current app.
tasks = Proxy(lambda: _state.get_current_app().tasks)

warnings.warn("celery.registry is an old home: use app.tasks", CDeprecationWarning, stacklevel=2)
