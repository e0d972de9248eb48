"""One delivery, one decision: from its headers alone, before anything is decoded or run.

`decide` is pure: what it needs comes in as arguments, time included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Any, NoReturn

from celery.exceptions import InvalidTaskError
from celery.utils.saferepr import saferepr

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from celery.message.task import TaskHeaders

_HEADERS = (
    *("lang", "task", "id", "root_id", "parent_id", "group", "meth", "shadow", "eta", "expires", "retries"),
    *("timelimit", "argsrepr", "kwargsrepr", "origin"),
)
_DEFAULTS: dict[str, Any] = {"retries": 0, "timelimit": (None, None)}
_EMBED = ("callbacks", "errbacks", "chord", "chain")

#: What the next two return: (args, kwargs, embed), headers, whether it is decoded, whether dates are UTC.
Translated = tuple[tuple[Any, Any, dict[str, Any]], dict[str, Any], bool, bool]

#: A message due within this many seconds runs at once: clocks and floats are not finer.
DUE_SLACK = 0.005


@dataclass(frozen=True, slots=True)
class Park:
    """Not yet: the broker holds it until unix time `due`."""

    due: float


@dataclass(frozen=True, slots=True)
class Discard:
    """Never: it was revoked, or it expired while it waited.

    Attributes:
        stamps: by which it was revoked, if not by its id.
    """

    expired: bool
    stamps: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Poison:
    """Handed out more often than `task_max_deliveries` without ever coming to an end."""

    deliveries: int


#: None: run it.
Decision = Park | Discard | Poison | None


def hybrid_to_proto2(message: Any, body: Any) -> Translated:
    """Read a message of protocol 1 that has protocol 2 headers too; for strategies of third parties.

    Args:
        message: anything with `headers`.
        body: its decoded body.

    Raises:
        InvalidTaskError: there are no arguments in it.
    """
    arguments = _arguments(body)
    told = {key: body.get(key, _DEFAULTS.get(key)) for key in _HEADERS}
    headers = {**told, **(message.headers or {})}
    return arguments, headers, True, body.get("utc", True)


def proto1_to_proto2(message: Any, body: Any) -> Translated:
    """Read a message of protocol 1; for strategies of third parties.

    Args:
        message: anything with `headers`.
        body: its decoded body.

    Raises:
        InvalidTaskError: there are no arguments in it.
    """
    arguments = _arguments(body)
    args, kwargs, _ = arguments
    headers = {**body, "argsrepr": saferepr(args), "kwargsrepr": saferepr(kwargs), "headers": message.headers}
    if "taskset" in body:
        headers["group"] = body["taskset"]
    return arguments, headers, True, body.get("utc", True)


def _arguments(body: Any) -> tuple[Any, Any, dict[str, Any]]:
    if not isinstance(body, Mapping) or not isinstance(body.get("kwargs", {}), Mapping):
        raise InvalidTaskError("Task keyword arguments must be a mapping")
    return body.get("args", ()), body.get("kwargs", {}), {key: body.get(key) for key in _EMBED}


def default(task: Any, app: Any, consumer: Any, **kwargs: Any) -> NoReturn:
    """What `Task.Strategy` names. There is nothing to make: no message is handed to a function of its task.

    Raises:
        NotImplementedError: always.
    """
    raise NotImplementedError(
        f"Task {task.name} has no strategy that could be called: the worker decides about its messages by itself"
    )


def decide(
    headers: TaskHeaders,
    *,
    now: float,
    deliveries: int,
    max_deliveries: int,
    revoked: Container[str],
    local: tzinfo = UTC,
    revoked_by: Callable[[Mapping[str, Any] | None], Mapping[str, Any]] | None = None,
) -> Decision:
    """Say what to do with a message of a task that is known here.

    Args:
        now: unix time.
        deliveries: how often it was handed to a worker, this time included.
        max_deliveries: 0 for no limit.
        revoked: ids that must not run.
        local: zone of dates that name none.
        revoked_by: which of a message's stamps are revoked; None: no stamp is.
    """
    expires = None if headers.expires is None else headers.expires_at(local)
    if expires is not None and expires.timestamp() <= now:
        return Discard(expired=True)
    if revoked and headers.id in revoked:
        return Discard(expired=False)
    if revoked_by is not None and (stamps := revoked_by(headers.stamps)):
        return Discard(expired=False, stamps=stamps)
    if 0 < max_deliveries < deliveries:
        return Poison(deliveries)
    eta = None if headers.eta is None else headers.eta_at(local)
    if eta is not None and eta.timestamp() > now + DUE_SLACK:
        return Park(eta.timestamp())
    return None
