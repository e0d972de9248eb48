"""The worker's own record of one delivery, from receipt to settlement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from celery.app.jobs import Job
from celery.concurrency.pace import SLOT

if TYPE_CHECKING:
    from celery.brokers.base import Delivery
    from celery.message.headers import LazyObject
    from celery.message.task import TaskHeaders

    from .policy import TaskPolicy
    from .request import Request


class Run(msgspec.Struct, eq=False):
    """One delivery that this worker means to run.

    Attributes:
        tag: names it towards the pool; unique in this worker.
        delivery: what the broker gave; its receipt settles it.
        raw_headers, properties, body: of the message in protocol 2 form.
        begun: acknowledged early; a dead worker's begun runs are never run again.
        active: the pool has it.
        counted: it fills the broker's window although it is not in the ready queue any more.
        fenced: somebody else has the message now; settling it would be refused.
        adrift: with `fenced`: the broker offers the message again, but what becomes of the run still counts.
        cancelled: it is being ended because the broker is away; then it is offered again.
        revoked: it must not run; whoever has it next discards it.
        terminated: the signal by which it is being ended, because it was revoked while it ran.
        share: what it takes of a slot's window (`celery.concurrency.pace`), as of when it was moved to the pool.
        taken_at: monotonic time of receipt.
        started_at, pid: of the body, if the pool announced it (unix time; process id).
        duplicates: redeliveries of the same message that wait for this run to end.
        request: the public view, if anybody asked for it.
    """

    tag: int
    delivery: Delivery
    headers: TaskHeaders
    policy: TaskPolicy
    raw_headers: LazyObject
    properties: LazyObject
    body: bytes
    taken_at: float
    begun: bool = False
    active: bool = False
    counted: bool = False
    fenced: bool = False
    cancelled: bool = False
    adrift: bool = False
    revoked: bool = False
    terminated: int | None = None
    share: int = SLOT
    started_at: float | None = None
    pid: int | None = None
    duplicates: list[Run] | None = None
    request: Request | None = None

    @property
    def id(self) -> str:
        return self.headers.id

    @property
    def name(self) -> str:
        """The name to show: the message's `shadow`, or the task's."""
        return self.headers.shadow or self.headers.task

    def __repr__(self) -> str:
        return f"<Run {self.tag}: {self.name}[{self.id}]>"


def delivery_info(delivery: Delivery) -> dict[str, Any]:
    """What a task sees as `request.delivery_info`."""
    return {
        "exchange": delivery.exchange,
        "routing_key": delivery.routing_key,
        "priority": delivery.priority,
        "redelivered": delivery.redelivered,
    }


def job_for(run: Run, announce: bool = False) -> Job:
    """What the pool needs to run it. `announce`: the core wants to know when it begins."""
    headers, delivery = run.headers, run.delivery
    hard, soft = run.policy.limits(headers.timelimit)
    return Job(
        run.tag,
        headers.id,
        headers.task,
        run.raw_headers.raw,
        run.properties.raw,
        run.body,
        delivery_info(delivery),
        hard,
        soft,
        announce=announce or run.policy.announce or "on_accepted" in run.policy.hooks,
        ignore_result=headers.ignore_result,
        group=headers.group,
        parent_id=headers.parent_id,
        compressed=bool(headers.compression),
        claim=delivery.claim,
        share=run.share,
        prompt=run.policy.acks_late,
    )
