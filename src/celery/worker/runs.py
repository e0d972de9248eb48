"""The worker's own record of one delivery, from receipt to settlement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.app.jobs import Job

if TYPE_CHECKING:
    from celery.brokers.base import Delivery
    from celery.message.headers import LazyObject
    from celery.message.task import TaskHeaders

    from .policy import TaskPolicy
    from .request import Request


class Run:
    """One delivery that this worker means to run.

    Attributes:
        tag: names it towards the pool; unique in this worker.
        delivery: what the broker gave; its receipt settles it.
        raw_headers, properties, body: of the message in protocol 2 form.
        begun: acknowledged early; a dead worker's begun runs are never run again.
        active: the pool has it.
        counted: it fills the broker's window although it is not in the ready queue any more.
        fenced: somebody else has the message now; settling it would be refused.
        taken_at: monotonic time of receipt.
        started_at, pid: of the body, if the pool announced it (unix time; process id).
        duplicates: redeliveries of the same message that wait for this run to end.
        request: the public view, if anybody asked for it.
    """

    __slots__ = (
        "active",
        "begun",
        "body",
        "counted",
        "delivery",
        "duplicates",
        "fenced",
        "headers",
        "pid",
        "policy",
        "properties",
        "raw_headers",
        "request",
        "started_at",
        "tag",
        "taken_at",
    )

    def __init__(
        self,
        tag: int,
        delivery: Delivery,
        headers: TaskHeaders,
        policy: TaskPolicy,
        *,
        raw_headers: LazyObject,
        properties: LazyObject,
        body: bytes,
        taken_at: float,
    ) -> None:
        self.tag = tag
        self.delivery = delivery
        self.headers = headers
        self.policy = policy
        self.raw_headers = raw_headers
        self.properties = properties
        self.body = body
        self.taken_at = taken_at
        self.begun = False
        self.active = False
        self.fenced = False
        self.counted = False
        self.started_at: float | None = None
        self.pid: int | None = None
        self.duplicates: list[Run] | None = None
        self.request: Request | None = None

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


def job_for(run: Run, mean: float | None) -> Job:
    """What the pool needs to run it.

    Args:
        mean: mean run time of the task so far, in seconds.
    """
    policy = run.policy
    hard, soft = policy.limits(run.headers.timelimit)
    return Job(
        tag=run.tag,
        id=run.headers.id,
        name=run.headers.task,
        headers=run.raw_headers.raw,
        properties=run.properties.raw,
        body=run.body,
        delivery_info=delivery_info(run.delivery),
        time_limit=hard,
        soft_time_limit=soft,
        announce="on_accepted" in policy.hooks,
        claim=run.delivery.claim,
        brief=mean,
    )
