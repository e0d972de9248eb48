"""Tasks that can be asked to end early: the caller marks the result, a long task looks at it now and then.

The mark is a state of the result, so a backend is needed that keeps states; `rpc://` and no backend do not.

    @app.task(bind=True, base=AbortableTask)
    def export(self, rows):
        for row in rows:
            if self.is_aborted():
                return "aborted"
            write(row)

    result = export.delay(rows)
    result.abort()
"""

from __future__ import annotations

from typing import Any

from celery.app.task import Task
from celery.result import AsyncResult

__all__ = ("ABORTED", "AbortableAsyncResult", "AbortableTask")

#: The state of the result of a task that was asked to end.
ABORTED = "ABORTED"


class AbortableAsyncResult(AsyncResult[Any]):
    """The result of an `AbortableTask`."""

    def is_aborted(self) -> bool:
        """Whether the task was asked to end, and has not ended yet."""
        return self.state == ABORTED

    def abort(self) -> Any:
        """Ask the task to end. It goes on until it looks at `is_aborted()`."""
        return self.backend.store_result(self.id, result=None, state=ABORTED, traceback=None)


class AbortableTask(Task[..., Any]):
    """Base of tasks that look at `is_aborted()` now and then."""

    abstract = True

    def AsyncResult(self, task_id: str, **kwargs: Any) -> Any:
        """The result of one of this task's calls, as an `AbortableAsyncResult`."""
        return AbortableAsyncResult(task_id, backend=self.backend, app=self.app, **kwargs)

    def is_aborted(self, **kwargs: Any) -> bool:
        """Whether somebody asked the running task to end.

        Args:
            task_id: that of another call of this task.

        Returns:
            False also for a result that has no such mark, as that of another class.
        """
        task_id: Any = kwargs.get("task_id", self.request.id)
        result = self.AsyncResult(task_id)
        return isinstance(result, AbortableAsyncResult) and result.is_aborted()
