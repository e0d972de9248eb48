"""One delivery, one decision: from its headers alone, before anything is decoded or run.

`decide` is pure: what it needs comes in as arguments, time included.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from celery.message.task import TaskHeaders

    from .policy import TaskPolicy

#: A message due within this many seconds runs at once: clocks and floats are not finer.
DUE_SLACK = 0.005


@dataclass(frozen=True, slots=True)
class Accept:
    """Run it."""

    policy: TaskPolicy


@dataclass(frozen=True, slots=True)
class Park:
    """Not yet: the broker holds it until unix time `due`."""

    policy: TaskPolicy
    due: float


@dataclass(frozen=True, slots=True)
class Discard:
    """Never: it was revoked, or it expired while it waited."""

    policy: TaskPolicy
    expired: bool


@dataclass(frozen=True, slots=True)
class Unknown:
    """No task of that name is registered here."""

    name: str


@dataclass(frozen=True, slots=True)
class Poison:
    """Handed out more often than `task_max_deliveries` without ever coming to an end."""

    policy: TaskPolicy
    deliveries: int


Decision = Accept | Park | Discard | Unknown | Poison


def decide(
    headers: TaskHeaders,
    *,
    now: float,
    deliveries: int,
    max_deliveries: int,
    policy_of: Callable[[str], TaskPolicy | None],
    revoked: Container[str],
    local: tzinfo = UTC,
) -> Decision:
    """Say what to do with a message.

    Args:
        now: unix time.
        deliveries: how often it was handed to a worker, this time included.
        max_deliveries: 0 for no limit.
        policy_of: the policy of a task by its name, None if no such task is registered.
        revoked: ids that must not run.
        local: zone of dates that name none.
    """
    policy = policy_of(headers.task)
    if policy is None:
        return Unknown(headers.task)
    expires = None if headers.expires is None else headers.expires_at(local)
    if expires is not None and expires.timestamp() <= now:
        return Discard(policy, expired=True)
    if revoked and headers.id in revoked:
        return Discard(policy, expired=False)
    if 0 < max_deliveries < deliveries:
        return Poison(policy, deliveries)
    eta = None if headers.eta is None else headers.eta_at(local)
    if eta is not None and eta.timestamp() > now + DUE_SLACK:
        return Park(policy, eta.timestamp())
    return Accept(policy)
