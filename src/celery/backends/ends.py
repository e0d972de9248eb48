"""How tasks end, as a result backend stores it: with what that means for their chords, chains and errbacks."""

from __future__ import annotations

import sys
import traceback as tracebacks
from typing import TYPE_CHECKING, Any

from celery import states
from celery.exceptions import TaskRevokedError

from . import never_run, resuming
from .errbacks import call_errbacks

if TYPE_CHECKING:
    from collections.abc import Iterable


class TaskEnds:
    """What a backend does when a task has ended, or changes its state."""

    def mark_as_started(self: Any, task_id: str, **meta: Any) -> Any:
        """Store that the task has begun; `meta` says where (`pid`, `hostname`)."""
        return self.store_result(task_id, meta, states.STARTED)

    def mark_as_done(
        self: Any,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,
        state: str = states.SUCCESS,
    ) -> None:
        """Store that the task succeeded."""
        store = store_result and not getattr(request, "ignore_result", False)
        self._end(task_id, result, state, None, request, store)

    def mark_as_failure(
        self: Any,
        task_id: str,
        exc: BaseException,
        traceback: str | None = None,
        request: Any = None,
        store_result: bool = True,
        call_errbacks: bool = True,
        state: str = states.FAILURE,
    ) -> None:
        """Store that the task failed, and with it the steps of its chain that were to come; call its errbacks."""
        because = None if request is None else never_run.cause_of(self, request)
        self._end(task_id, exc, state, traceback, request, store_result)
        if request is None:
            return
        if getattr(request, "chain", None):
            never_run.fail_following(self, request, exc, state, because)
        if call_errbacks and getattr(request, "errbacks", None):
            self._call_task_errbacks(request, exc, traceback)

    def _call_task_errbacks(self: Any, request: Any, exc: BaseException, traceback: str | None) -> None:
        call_errbacks(self.app, request, exc, traceback)

    def mark_as_revoked(
        self: Any,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = states.REVOKED,
    ) -> None:
        """Store that the task was revoked; `reason` is `revoked`, `expired` or `terminated`."""
        exc = TaskRevokedError(reason)
        self._end(task_id, exc, state, None, request, store_result)
        if getattr(request, "chain", None):
            never_run.fail_following(self, request, exc, state)

    def mark_as_unfinished(self: Any, request: Any, exc: BaseException, store_result: bool = False) -> None:
        """A task is over without an outcome (rejected, ignored): its chord and its chain are told that it failed.

        Args:
            store_result: store the failure, too.
        """
        self._end(request.id, exc, states.FAILURE, None, request, store_result)
        if getattr(request, "chain", None):
            never_run.fail_following(self, request, exc, states.FAILURE)

    def _end(
        self: Any, task_id: str, result: Any, state: str, traceback: Any, request: Any, store: bool
    ) -> None:
        if getattr(request, "chord", None):
            self.chords.end(task_id, result, state, traceback, request, store)
        elif store:
            self.store_result(task_id, result, state, traceback=traceback, request=request)

    def fail_signature(
        self: Any,
        sig: Any,
        exc: BaseException,
        *,
        traceback: str | None = None,
        eager: bool = False,
        because: str | None = None,
    ) -> None:
        """Fail everything that a frozen signature stands for, and call its errbacks.

        Args:
            eager: nothing is stored; errbacks are called in place.
            because: the key of the note by which it can be resumed.
        """
        never_run.fail(self, sig, exc, states.FAILURE, traceback=traceback, eager=eager, because=because)

    def resume(self: Any, task_ids: Iterable[str], force: bool = False) -> list[str]:
        """Run again what failed of the workflows that these tasks are of, and what depends on it.

        Args:
            force: although somebody else has begun to.

        Returns:
            The ids of the tasks that were sent.

        Raises:
            ResumeError: there is nothing to resume, or something that is needed is missing; nothing was changed.
        """
        return resuming.resume(self, task_ids, force=force)

    def mark_as_retry(
        self: Any,
        task_id: str,
        exc: BaseException,
        traceback: str | None = None,
        request: Any = None,
        store_result: bool = True,
        state: str = states.RETRY,
    ) -> Any:
        """Store that the task will run again; `exc` is why."""
        return self.store_result(task_id, exc, state, traceback=traceback, request=request)

    def fail_from_current_stack(self: Any, task_id: str, exc: BaseException | None = None) -> str:
        """Store the exception that is being handled as the task's failure; return its traceback."""
        kind, value, tb = sys.exc_info()
        failure = value if exc is None else exc
        if failure is None:
            raise RuntimeError("fail_from_current_stack: no exception is being handled")
        text = "".join(tracebacks.format_exception(kind or type(failure), value or failure, tb))
        self.mark_as_failure(task_id, failure, text)
        return text
