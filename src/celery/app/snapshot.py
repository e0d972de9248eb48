"""What sending reads of the settings, as plain values, and the caches that are good as long as they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from celery.brokers.publishing import RetryPolicy
from celery.brokers.topology import delivery_mode_number
from celery.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery.app.base import Celery
    from celery.app.settings import Settings
    from celery.message.template import Template

    from .destinations import Destination
    from .options import SendOptions


@dataclass
class Snapshot:
    """The settings of one moment; `AMQP.snapshot` makes a new one after a change.

    Attributes:
        conf, version: of the settings it was made from.
        retry_policy: `task_publish_retry_policy`; `policy` is the same, read.
        sent_events: whoever sends a task says so in an event.
        replies: results come as messages: calls say where to.
        publish_timeout: seconds for one publish, retries included; None: for ever.
        routes: task name to where `task_routes` (or the default) sends it.
        plans: options of plain calls, by what decides them.
        calls: of tasks whose calls said nothing, by name: the options, the version of the queues, and the plan.
        destinations, templates: made as they are needed.
        delays: by version of the queues, exchange and routing key: see `AMQP.delays_natively`.
    """

    app: Celery
    conf: Settings
    version: int
    always_eager: bool
    protocol: int
    serializer: str
    compression: str | None
    retry: bool
    retry_policy: Mapping[str, Any]
    publish_timeout: float | None
    delivery_mode: int
    inherit_priority: bool
    repr_levels: int
    replies: bool
    sent_events: bool
    routes: dict[str, dict[str, Any]] = field(default_factory=dict)
    plans: dict[tuple[Any, ...], SendOptions] = field(default_factory=dict)
    calls: dict[str, tuple[Mapping[str, Any], int, SendOptions]] = field(default_factory=dict)
    destinations: dict[tuple[Any, ...], Destination] = field(default_factory=dict)
    templates: dict[tuple[Any, ...], Template] = field(default_factory=dict)
    delays: dict[tuple[int, str, str], bool] = field(default_factory=dict)
    _results_checked: bool = False

    @classmethod
    def of(cls, app: Celery) -> Snapshot:
        """Read the settings of `app`.

        Raises:
            ImproperlyConfigured: `task_protocol` is a protocol that does not exist.
        """
        conf = app.conf.finalize()
        if conf.task_protocol not in (1, 2):
            raise ImproperlyConfigured(
                f"task_protocol is {conf.task_protocol!r}: message protocols are 1 and 2"
            )
        return cls(
            app=app,
            conf=conf,
            version=conf.version,
            always_eager=conf.task_always_eager,
            protocol=conf.task_protocol,
            serializer=conf.task_serializer,
            compression=conf.task_compression,
            retry=conf.task_publish_retry,
            retry_policy=dict(conf.task_publish_retry_policy or {}),
            publish_timeout=conf.task_publish_timeout,
            delivery_mode=delivery_mode_number(conf.task_default_delivery_mode),
            inherit_priority=conf.task_inherit_parent_priority,
            repr_levels=conf.task_repr_maxlevels,
            sent_events=bool(conf.task_send_sent_event),
            replies=str(conf.result_backend or "").partition(":")[0] == "rpc",
        )

    def check_results(self) -> None:
        """Raise now what a `result_backend` that cannot be used raises: not when something has been sent."""
        if not self._results_checked:
            self.app.backend  # noqa: B018 - made here
            self._results_checked = True

    # What follows is read when first needed: a program that only runs tasks in place needs no broker or routes.

    @cached_property
    def policy(self) -> RetryPolicy:
        """`retry_policy` as a value."""
        return RetryPolicy.read(self.retry_policy)

    @cached_property
    def broker_url(self) -> Any:
        """The broker to publish to: a URL, or several."""
        return self.conf.broker_write_url

    @cached_property
    def static_routes(self) -> bool:
        """True if routes depend on task names alone."""
        return self.app.amqp.router.static
