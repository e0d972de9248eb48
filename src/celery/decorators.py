"""Old form: `from celery.decorators import task`. New code uses `@app.task` or `@shared_task`."""

from __future__ import annotations

import warnings

from celery.exceptions import CDeprecationWarning

warnings.warn(
    "celery.decorators is the old home of the decorators: use @app.task or @shared_task",
    CDeprecationWarning,
    stacklevel=2,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore", CDeprecationWarning)  # said above
    from celery.task import periodic_task, task

__all__ = ("periodic_task", "task")
