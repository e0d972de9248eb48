"""Whether waiting for a result here would stop a worker's slot: a task that waits for another may wait for ever."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from celery import _state

if TYPE_CHECKING:
    from collections.abc import Iterator

E_WOULDBLOCK = """\
Never call result.get() within a task!
See https://docs.celeryq.dev/en/latest/userguide/tasks.html#avoid-launching-synchronous-subtasks
"""

# What a `with` block here says; None leaves it to the process (`_state`). Other threads are not concerned.
_here: ContextVar[bool | None] = ContextVar("task_join_will_block", default=None)


def task_join_will_block() -> bool:
    """Whether waiting here would stop a worker's slot."""
    said = _here.get()
    return _state.task_join_will_block() if said is None else said


def assert_will_not_block() -> None:
    """Check that waiting is allowed here.

    Raises:
        RuntimeError: it is not: this is a task.
    """
    if task_join_will_block():
        raise RuntimeError(E_WOULDBLOCK)


def assert_may_wait(result: Any, disable_sync_subtasks: bool = True) -> None:
    """Check that `result` may be waited for here: it is ready, this is no task, or the caller insists.

    Raises:
        RuntimeError: it may not.
    """
    if disable_sync_subtasks and task_join_will_block() and not result.ready():
        raise RuntimeError(E_WOULDBLOCK)


@contextlib.contextmanager
def allow_join_result() -> Iterator[None]:
    """Allow waiting for results in this block, although it is a task's."""
    with _saying(False):
        yield


@contextlib.contextmanager
def denied_join_result() -> Iterator[None]:
    """Forbid waiting for results in this block."""
    with _saying(True):
        yield


@contextlib.contextmanager
def _saying(blocks: bool) -> Iterator[None]:
    token = _here.set(blocks)
    try:
        yield
    finally:
        _here.reset(token)
