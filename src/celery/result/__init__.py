"""Results of tasks: ask, wait, get. Every name's public home is here."""

from __future__ import annotations

from celery._public import publish

from .base import ResultBase, result_from_tuple
from .eager import EagerResult
from .groups import GroupResult
from .guards import allow_join_result, assert_will_not_block, denied_join_result, task_join_will_block
from .progress import Progress
from .sets import ResultSet
from .single import AsyncResult
from .workflows import Workflow, workflow_of

__all__ = (
    "AsyncResult",
    "EagerResult",
    "GroupResult",
    "Progress",
    "ResultBase",
    "ResultSet",
    "Workflow",
    "allow_join_result",
    "assert_will_not_block",
    "denied_join_result",
    "result_from_tuple",
    "task_join_will_block",
    "workflow_of",
)

publish(globals())
