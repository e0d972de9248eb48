"""What the worker needs to know about a task type, read once and kept.

Hot paths never look at settings or at task attributes: they look at one `TaskPolicy`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from celery.exceptions import ImproperlyConfigured
from celery.utils.imports import symbol_by_name
from celery.utils.time import rate

from .request import HOOKS, Request

if TYPE_CHECKING:
    from collections.abc import Mapping


class TaskPolicy(msgspec.Struct, frozen=True):
    """How deliveries of one task type are treated by this worker.

    Attributes:
        task: the registered task.
        acks_on_failure, acks_on_timeout: with late acknowledgement: a failed (timed out) message is done with.
        time_limit, soft_time_limit: seconds; the defaults of a message that names none.
        request_class: the task's own `Request` class; None if it has none.
        hooks: names of the `Request` methods that class overrides.
        announce: the pool says when a body begins, hooks or no hooks.
        send_events: it wants events.
        rate: runs a second at most; 0 for no limit.
    """

    name: str
    task: Any
    acks_late: bool = False
    acks_on_failure: bool = True
    acks_on_timeout: bool = True
    reject_on_worker_lost: bool = False
    retry_on_worker_lost: bool = False
    time_limit: float | None = None
    soft_time_limit: float | None = None
    request_class: type[Request] | None = None
    hooks: frozenset[str] = frozenset()
    announce: bool = False
    rate: float = 0.0
    deduplicate: bool = False
    send_events: bool = True

    def limits(self, timelimit: Any) -> tuple[float | None, float | None]:
        """Merge the `[hard, soft]` of a message with the task's own; return (hard, soft)."""
        if not timelimit:
            return self.time_limit, self.soft_time_limit
        hard, soft = timelimit
        return (
            self.time_limit if hard is None else (float(hard) or None),
            self.soft_time_limit if soft is None else (float(soft) or None),
        )


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _seconds(value: Any) -> float | None:
    return float(value) if value else None


def _rate_of(task: Any) -> float:
    try:
        return rate(task.rate_limit)
    except (ValueError, KeyError, TypeError) as exc:
        raise ImproperlyConfigured(
            f"Task {task.name}: rate_limit is {task.rate_limit!r}: expected a number of runs a second, "
            "or one with its unit, such as '100/m' (s, m, h)."
        ) from exc


def overridden_hooks(request_class: type[Request]) -> frozenset[str]:
    """Names of the documented `Request` methods that `request_class` replaces."""
    return frozenset(name for name in HOOKS if getattr(request_class, name) is not getattr(Request, name))


def policy_for(task: Any, defaults: Mapping[str, Any]) -> TaskPolicy:
    """Read one task.

    Args:
        defaults: `time_limit` and `soft_time_limit` of this worker (setting or command line),
            `deduplicate`, `announce`, `rate_limits` (False: ignore them).

    Raises:
        ImproperlyConfigured: its rate limit is none.
    """
    umbrella = _first(getattr(task, "acks_on_failure_or_timeout", None), True)
    request_class = symbol_by_name(getattr(task, "Request", None) or Request)
    hooks = overridden_hooks(request_class)
    late = bool(task.acks_late)
    return TaskPolicy(
        name=task.name,
        task=task,
        acks_late=late,
        acks_on_failure=bool(_first(getattr(task, "acks_on_failure", None), umbrella)),
        acks_on_timeout=bool(_first(getattr(task, "acks_on_timeout", None), umbrella)),
        reject_on_worker_lost=bool(task.reject_on_worker_lost),
        retry_on_worker_lost=bool(getattr(task, "retry_on_worker_lost", False)),
        time_limit=_seconds(_first(task.time_limit, defaults.get("time_limit"))),
        soft_time_limit=_seconds(_first(task.soft_time_limit, defaults.get("soft_time_limit"))),
        request_class=request_class if request_class is not Request else None,
        hooks=hooks,
        announce=bool(defaults.get("announce")),
        rate=_rate_of(task) if defaults.get("rate_limits", True) else 0.0,
        deduplicate=late and bool(defaults.get("deduplicate")),
        send_events=bool(getattr(task, "send_events", True)),
    )
