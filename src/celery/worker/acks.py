"""When a delivery is done with: the acknowledgement matrix, as tables.

**Early** acknowledgement: the message was acknowledged (`Consumer.begin`) before its body ran, so
whatever happens to the body, the record is only tidied away. **Late**: it is acknowledged when the
result is stored, and what the body did decides between done, again, and set aside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from celery.app.jobs import Verdict
from celery.brokers.base import Settlement

if TYPE_CHECKING:
    from .policy import TaskPolicy


class Ending(NamedTuple):
    """How a delivery ends.

    Attributes:
        reason: why it was set aside (for `BURY`).
        counted: this delivery counts against `task_max_deliveries` (for `REQUEUE`).
        ran: the task has had it, so the next time it is `redelivered` (for `REQUEUE`).
    """

    settlement: Settlement
    reason: str = ""
    counted: bool = True
    ran: bool = True


DONE = Ending(Settlement.ACK)
#: Offered again, as if this worker had never had it.
GIVEN_BACK = Ending(Settlement.REQUEUE, counted=False, ran=False)
#: Offered again, and counted: enough of these and it is set aside.
AGAIN = Ending(Settlement.REQUEUE, counted=True)
#: Ended by us before it could end: offered again, and its death is not its own.
CUT_SHORT = Ending(Settlement.REQUEUE, counted=False)

_LATE: dict[Verdict, Ending] = {
    Verdict.SUCCESS: DONE,
    Verdict.RETRY: DONE,
    Verdict.IGNORE: DONE,
    Verdict.REJECT: Ending(Settlement.BURY, "rejected by the task"),
    # As often as the task wants: `Reject(requeue=True)` is the task's own decision.
    Verdict.REQUEUE: Ending(Settlement.REQUEUE, counted=False),
    Verdict.UNSTORED: AGAIN,
}


def after_run(policy: TaskPolicy, verdict: Verdict, detail: str = "") -> Ending:
    """Say how a delivery ends whose body has ended."""
    if verdict is Verdict.INVALID:
        return Ending(Settlement.BURY, f"invalid body: {detail}")
    if not policy.acks_late:
        return DONE
    ending = _LATE.get(verdict)
    if ending is not None:
        return ending
    if policy.acks_on_failure:  # FAILURE, INTERNAL
        return DONE
    return Ending(Settlement.BURY, f"task failed and acks_on_failure is off: {detail}")


def after_hard_limit(policy: TaskPolicy) -> Ending:
    """Say how a delivery ends whose run was killed by its hard time limit."""
    if policy.acks_late and not policy.acks_on_timeout:
        return AGAIN
    return DONE


def after_loss(policy: TaskPolicy, deliveries: int, max_deliveries: int) -> Ending:
    """Say how a delivery ends whose process died while it ran.

    Anything but `AGAIN` means that a failure is to be recorded first.
    """
    if not (policy.acks_late and policy.reject_on_worker_lost):
        return DONE
    if 0 < max_deliveries <= deliveries:
        return Ending(Settlement.BURY, f"its process died on each of {deliveries} deliveries")
    return AGAIN
