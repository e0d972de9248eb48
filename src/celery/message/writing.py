"""A task message as values, not yet serialized: of protocol 2, and of protocol 1."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ("TaskMessage", "build_v1", "build_v2")


class TaskMessage(NamedTuple):
    """A message as values, not yet serialized.

    Attributes:
        body: for protocol 2 `(args, kwargs, embed)`, for protocol 1 a dict.
        sent_event: fields of a task-sent event, if asked for.
    """

    headers: dict[str, Any]
    properties: dict[str, Any]
    body: Any
    sent_event: dict[str, Any] | None = None


def build_v2(
    task_id: str,
    name: str,
    args: Any,
    kwargs: Any,
    *,
    eta: str | None = None,
    expires: str | None = None,
    group_id: str | None = None,
    group_index: int | None = None,
    retries: int = 0,
    chord: Any = None,
    callbacks: Any = None,
    errbacks: Any = None,
    chain: Any = None,
    reply_to: str | None = None,
    time_limit: float | None = None,
    soft_time_limit: float | None = None,
    root_id: str | None = None,
    parent_id: str | None = None,
    shadow: str | None = None,
    origin: str | None = None,
    ignore_result: bool | None = False,
    argsrepr: str = "",
    kwargsrepr: str = "",
    stamped_headers: list[str] | None = None,
    stamps: dict[str, Any] | None = None,
    replaced_task_nesting: int = 0,
    sent_event: bool = False,
) -> TaskMessage:
    """Make a message of protocol 2.

    Args:
        eta, expires: absolute, as ISO-8601 strings.
        root_id: None: the task's own id.
        sent_event: also give the fields of a task-sent event.
    """
    headers = {
        "lang": "py",
        "task": name,
        "id": task_id,
        "shadow": shadow,
        "eta": eta,
        "expires": expires,
        "group": group_id,
        "group_index": group_index,
        "retries": retries,
        "timelimit": [time_limit, soft_time_limit],
        "root_id": root_id or task_id,
        "parent_id": parent_id,
        "argsrepr": argsrepr,
        "kwargsrepr": kwargsrepr,
        "origin": origin,
        "ignore_result": ignore_result,
        "replaced_task_nesting": replaced_task_nesting,
        "stamped_headers": stamped_headers,
        "stamps": {} if stamps is None else stamps,
    }
    embed = {"callbacks": callbacks, "errbacks": errbacks, "chain": chain, "chord": chord}
    event = None
    if sent_event:
        event = {
            "uuid": task_id,
            "root_id": root_id or task_id,
            "parent_id": parent_id,
            "name": name,
            "args": argsrepr,
            "kwargs": kwargsrepr,
            "retries": retries,
            "eta": eta,
            "expires": expires,
        }
    properties = {"correlation_id": task_id, "reply_to": reply_to or ""}
    return TaskMessage(headers, properties, (args, kwargs, embed), event)


def build_v1(
    task_id: str,
    name: str,
    args: Any,
    kwargs: Any,
    *,
    eta: str | None = None,
    expires: str | None = None,
    group_id: str | None = None,
    group_index: int | None = None,
    retries: int = 0,
    chord: Any = None,
    callbacks: Any = None,
    errbacks: Any = None,
    reply_to: str | None = None,
    time_limit: float | None = None,
    soft_time_limit: float | None = None,
    utc: bool = True,
    argsrepr: str = "",
    kwargsrepr: str = "",
    sent_event: bool = False,
) -> TaskMessage:
    """Make a message of protocol 1: all is in the body, the headers are free.

    Args:
        utc: whether dates without an offset are UTC.
    """
    body = {
        "task": name,
        "id": task_id,
        "args": args,
        "kwargs": kwargs,
        "group": group_id,
        "group_index": group_index,
        "retries": retries,
        "eta": eta,
        "expires": expires,
        "utc": utc,
        "callbacks": callbacks,
        "errbacks": errbacks,
        "timelimit": (time_limit, soft_time_limit),
        "taskset": group_id,
        "chord": chord,
    }
    event = None
    if sent_event:
        event = {
            "uuid": task_id,
            "name": name,
            "args": argsrepr,
            "kwargs": kwargsrepr,
            "retries": retries,
            "eta": eta,
            "expires": expires,
        }
    properties = {"correlation_id": task_id, "reply_to": reply_to or ""}
    return TaskMessage({}, properties, body, event)
