"""What sending reads of the settings, as plain values, and the caches that are good as long as they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celery.brokers.publishing import RetryPolicy
from celery.brokers.topology import delivery_mode_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery.app.base import Celery
    from celery.message.template import Template

    from .options import Destination


@dataclass(slots=True)
class Snapshot:
    """The settings of one moment; `AMQP.snapshot` makes a new one after a change.

    Attributes:
        version: of the settings.
        retry_policy: `task_publish_retry_policy`; `policy` is the same, read.
        publish_timeout: seconds for one publish, retries included; None: for ever.
        static_routes: True if routes depend on task names alone.
        routes: task name to where `task_routes` (or the default) sends it.
        destinations, templates: made as they are needed.
    """

    version: int
    protocol: int
    serializer: str
    compression: str | None
    retry: bool
    retry_policy: Mapping[str, Any]
    policy: RetryPolicy
    publish_timeout: float | None
    delivery_mode: int
    inherit_priority: bool
    repr_levels: int
    static_routes: bool
    routes: dict[str, dict[str, Any]] = field(default_factory=dict)
    destinations: dict[tuple[Any, ...], Destination] = field(default_factory=dict)
    templates: dict[tuple[Any, ...], Template] = field(default_factory=dict)

    @classmethod
    def of(cls, app: Celery) -> Snapshot:
        """Read the settings of `app`."""
        conf = app.conf
        version = conf.version
        return cls(
            version=version,
            protocol=conf.task_protocol,
            serializer=conf.task_serializer,
            compression=conf.task_compression,
            retry=conf.task_publish_retry,
            retry_policy=dict(conf.task_publish_retry_policy or {}),
            policy=RetryPolicy.read(conf.task_publish_retry_policy),
            publish_timeout=conf.task_publish_timeout,
            delivery_mode=delivery_mode_number(conf.task_default_delivery_mode),
            inherit_priority=conf.task_inherit_parent_priority,
            repr_levels=conf.task_repr_maxlevels,
            static_routes=app.amqp.router.static,
        )
