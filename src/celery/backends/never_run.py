"""Parts of a workflow that will never run, because something before them failed: nobody shall wait for them.

They are stored with the exception of what failed; those that are members of a chord are counted there.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery.canvas import graphs, maybe_signature
from celery.utils.functional import maybe_list

from . import resume_notes
from .stored_graphs import GraphLost

if TYPE_CHECKING:
    from .core import Backend


logger = logging.getLogger("celery.backends.base")


class _Request:
    """As much of a task's request as its end needs."""

    is_eager = False
    ignore_result = False
    delivery_info = None
    args = kwargs = hostname = retries = parent_id = stamps = stamped_headers = None
    children: tuple[Any, ...] = ()

    def __init__(self, sig: Any, eager: bool, because: str | None, claim: str) -> None:
        options = sig.options
        self.because = because
        self._claim = claim
        self.is_eager = eager
        self.id = options.get("task_id")
        self.task = sig.task
        self.root_id = options.get("root_id")
        self.group = options.get("group_id")
        self.group_index = options.get("group_index")
        self.chord = options.get("chord")
        self.chain = options.get("chain")
        self.errbacks = maybe_list(options.get("link_error"))
        self.ignore_result = bool(options.get("ignore_result"))


def cause_of(backend: Backend, request: Any) -> str | None:
    """The key of the note by which what failed can be resumed: that of what failed before, else one that is kept now."""
    return request.because if isinstance(request, _Request) else resume_notes.keep_step(backend, request)


def fail_following(
    backend: Backend, request: Any, exc: BaseException, state: str, because: str | None = None
) -> None:
    """Fail the steps that were to come after a task of a chain.

    Args:
        because: the key of the note by which they can be resumed.
    """
    # Who has lost the task may not say what becomes of these either.
    claim: str = getattr(request, "_claim", "")
    try:
        steps = list(graphs.steps(backend.app, request.chain))
        for step in steps[:-1]:
            fail(backend, step, exc, state, call_errbacks=False, claim=claim)
        for last in steps[-1:]:  # the result of a workflow is that of its last step
            fail(backend, last, exc, state, call_errbacks=False, because=because, claim=claim)
    except GraphLost as lost:
        logger.error("What comes after task %s cannot be marked as failed: %s", request.id, lost)


def fail(
    backend: Backend,
    sig: Any,
    exc: BaseException,
    state: str,
    *,
    traceback: str | None = None,
    call_errbacks: bool = True,
    eager: bool = False,
    because: str | None = None,
    claim: str = "",
) -> None:
    """Fail everything that `sig` (frozen) stands for.

    Args:
        call_errbacks: call those of what would have run first.
        eager: nothing is stored, only errbacks are called, in place.
        because: the key of the note by which it can be resumed.
        claim: by which that may be stored: see `claims`.
    """
    walk = _Walk(backend, exc, state, traceback, eager, because, claim)
    walk.fail(maybe_signature(sig, app=backend.app), call_errbacks)


class _Walk:
    def __init__(
        self,
        backend: Backend,
        exc: BaseException,
        state: str,
        traceback: str | None,
        eager: bool,
        because: str | None,
        claim: str,
    ) -> None:
        self._claim = claim
        self._backend = backend
        self._exc = exc
        self._state = state
        self._traceback = traceback
        self._eager = eager
        self._because = because

    def fail(self, sig: Any, call_errbacks: bool, counts: bool = True) -> None:
        """Go on with one signature.

        Args:
            counts: it may be a member of a chord whose header was sent.
        """
        kind = sig.subtask_type
        if kind == "chain":
            if call_errbacks:
                self._call_errbacks(sig)
            *before, last = sig.tasks
            for step in before:
                self.fail(step, call_errbacks, counts=False)
                call_errbacks = False
            self.fail(last, call_errbacks, counts)
            self._fail_rest(sig, counts)
        elif kind == "group":
            for task in sig.tasks:
                self.fail(maybe_signature(task, app=self._backend.app), call_errbacks, counts)
        elif kind == "chord":
            header = sig.tasks
            for task in getattr(header, "tasks", header):
                self.fail(maybe_signature(task, app=self._backend.app), False, counts=False)
            self.fail(sig.body, call_errbacks, counts)
            self._fail_rest(sig, counts)
        else:
            self._end(sig, call_errbacks, counts)

    def _call_errbacks(self, sig: Any) -> None:
        """Call those that a chain has itself: it was not sent yet, so its steps have not got them."""
        request = _Request(sig, self._eager, self._because, self._claim)
        if request.errbacks:
            self._backend._call_task_errbacks(request, self._exc, self._traceback)

    def _fail_rest(self, sig: Any, counts: bool) -> None:
        for step in graphs.steps(self._backend.app, sig.options.get("chain")):
            self.fail(step, False, counts)

    def _end(self, sig: Any, call_errbacks: bool, counts: bool) -> None:
        request = _Request(sig, self._eager, self._because, self._claim)
        if not counts:
            request.chord = None
        if request.id is None:
            return
        if self._eager:
            request.chord = request.chain = None
        elif self._because is not None and counts:
            resume_notes.point(self._backend, request.id, self._because)
        self._backend.mark_as_failure(
            request.id,
            self._exc,
            self._traceback,
            request=request,
            store_result=not (self._eager or request.ignore_result),
            call_errbacks=call_errbacks,
            state=self._state,
        )
