"""Events as data: what a worker says about its tasks, and about itself.

Each kind of task event is a value of its own, so that a group of them is encoded in one call. Fields and their order are
Celery's.
"""

from __future__ import annotations

from typing import Any

import msgspec

from . import serializers

__all__ = (
    "TASK_GROUP",
    "TaskCancelled",
    "TaskEvent",
    "TaskFailed",
    "TaskReceived",
    "TaskRejected",
    "TaskRetried",
    "TaskRevoked",
    "TaskStarted",
    "TaskSucceeded",
    "TaskUnreadable",
    "encode",
    "fields_of",
    "group_from",
    "routing_key_of",
)

#: Routing key of a message that is a list of task events.
TASK_GROUP = "task.multi"


class TaskEvent(msgspec.Struct, gc=False, eq=False):
    """What every task event says first.

    Attributes:
        hostname, pid: of the worker.
        utcoffset: hours by which its local time is behind UTC.
        clock: of the cluster, when this happened.
        uuid: of the task.
    """

    hostname: str
    utcoffset: float
    pid: int
    clock: int
    uuid: str


class TaskReceived(TaskEvent, gc=False, eq=False):
    """A worker has the task. `name` may be its shadow; arguments are texts, `eta` and `expires` ISO dates."""

    name: str
    args: str | None
    kwargs: str | None
    root_id: str | None
    parent_id: str | None
    retries: int
    eta: str | None
    expires: str | None
    timestamp: float
    type: str = "task-received"


class TaskStarted(TaskEvent, gc=False, eq=False):
    """Its body is about to run."""

    timestamp: float
    type: str = "task-started"


class TaskSucceeded(TaskEvent, gc=False, eq=False):
    """It returned. `result` is a text, `runtime` seconds."""

    result: str
    runtime: float
    timestamp: float
    type: str = "task-succeeded"


class TaskFailed(TaskEvent, gc=False, eq=False):
    """It raised, or was ended. Both are texts."""

    exception: str
    traceback: str | None
    timestamp: float
    type: str = "task-failed"


class TaskUnreadable(TaskEvent, gc=False, eq=False):
    """It failed without ever having run: nobody knows it."""

    exception: str
    timestamp: float
    type: str = "task-failed"


class TaskRetried(TaskEvent, gc=False, eq=False):
    """It asked to be run again."""

    exception: str
    traceback: str | None
    timestamp: float
    type: str = "task-retried"


class TaskRevoked(TaskEvent, gc=False, eq=False):
    """It was not to run. `terminated`: it had begun, and was ended by the signal `signum`."""

    terminated: bool
    signum: int | str | None
    expired: bool
    timestamp: float
    type: str = "task-revoked"


class TaskRejected(TaskEvent, gc=False, eq=False):
    """It refused its message. Both fields say whether that is offered again: the second is what older texts call it."""

    requeue: bool
    requeued: bool
    timestamp: float
    type: str = "task-rejected"


class TaskCancelled(TaskEvent, gc=False, eq=False):
    """It was ended with its worker's connection, or with its worker, and is offered again."""

    timestamp: float
    type: str = "task-cancelled"


def group_from(type: str) -> str:  # noqa: A002 - Celery's name
    """`task` of `task-sent`.

    >>> group_from("worker-heartbeat")
    'worker'
    """
    return type.partition("-")[0]


def routing_key_of(type: str) -> str:  # noqa: A002 - as above
    """`task.sent` of `task-sent`."""
    return type.replace("-", ".")


def fields_of(event: Any) -> Any:
    """An event as a dict."""
    return msgspec.structs.asdict(event) if isinstance(event, msgspec.Struct) else event


def encode(event: Any, serializer: str = "json") -> tuple[str, str, bytes]:
    """An event, or a list of events, as (content type, content encoding, body).

    Raises:
        EncodeError: a custom field cannot be serialized.
    """
    group = event if isinstance(event, list) else (event,)
    known = all(isinstance(one, TaskEvent) for one in group)
    if known and serializer == "json" and serializers.json_is_ours():
        try:
            return "application/json", "utf-8", msgspec.json.encode(event)
        except UnicodeEncodeError:  # half a character, that somebody's `repr` has made
            pass
    return serializers.dumps(
        [fields_of(one) for one in group] if group is event else fields_of(event), serializer
    )
