"""May the worker that ran a task still say what became of it?

A worker that was cut off or stopped for longer than its lease is dead to the others: they have run its tasks again, or
recorded them as lost. What it stores later must not replace that. So a delivery carries a *claim*
(`Delivery.claim`), which names the worker's hold on the message; it travels with the job into `request._claim`. A
store that lives in the same place as the broker (the embedded store; Redis beside Redis) looks at the hold in the very
transaction that stores a result, and raises `ClaimLost` if it is gone. Claims begin with the place they are about: a
store says which it can check by `Backend.claims`, and takes what carries any other claim, or none, as it comes.
"""

from __future__ import annotations

from typing import Any

from celery.exceptions import BackendStoreError


class ClaimLost(BackendStoreError):
    """The result was refused: this worker's lease had ended, and its message belongs to another."""


def claim_lost(task_id: str, state: str) -> ClaimLost:
    """The error that says so of one result."""
    return ClaimLost(
        f"{state} of task {task_id} is not stored: this worker was cut off for longer than its lease, and another "
        "one has its message",
        state=state,
        task_id=task_id,
    )


def claim_on(task_id: str, request: Any, prefix: str) -> str:
    """The part after `prefix` of the claim by which `request` may store the result of `task_id`.

    Returns:
        `""` if there is nothing to check: no claim, one on another place, or the result of another task.
    """
    claim: str = getattr(request, "_claim", "")
    if not claim or not prefix or not claim.startswith(prefix) or request.id != task_id:
        return ""
    return claim[len(prefix) :]
