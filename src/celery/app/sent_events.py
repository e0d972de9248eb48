"""`task-sent`: the events of those who send tasks (`task_send_sent_event`)."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any

from celery.brokers.base import Outgoing
from celery.message import events, serializers
from celery.message.headers import LazyObject
from celery.utils.nodenames import anon_nodename
from celery.utils.saferepr import saferepr
from celery.utils.time import utcoffset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery.app.base import Celery

logger = logging.getLogger("celery.events")

SENT = "task-sent"
#: Seconds that sending them may take: the tasks have been sent.
WITHIN = 5.0


def tell(app: Celery, batch: Sequence[Outgoing]) -> None:
    """Say that these messages were sent. What goes wrong is logged: the tasks are on their way in any case."""
    try:
        publisher = app.broker_for_write().publisher()
        publisher.publish(_events(app, batch), deadline=time.monotonic() + WITHIN)
    except Exception as error:  # noqa: BLE001 - whatever it is, whoever called must not send the task again
        _log(error)


async def atell(app: Celery, batch: Sequence[Outgoing]) -> None:
    """`tell`, awaited."""
    try:
        publisher = app.broker_for_write().publisher()
        await publisher.apublish(_events(app, batch), deadline=time.monotonic() + WITHIN)
    except Exception as error:  # noqa: BLE001 - as above
        _log(error)


def _log(error: Exception) -> None:
    logger.warning("The tasks were sent, but their task-sent events were not: %s", error)


def outgoing(
    app: Celery, event: Any, routing_key: str, hostname: str, serializer: str | None = None
) -> Outgoing:
    """An event, or a list of them, as a message.

    Args:
        hostname: node name of its sender.
        serializer: default: `event_serializer`.
    """
    name = serializer or app.conf.event_serializer or "json"
    content_type, encoding, body = events.encode(event, name)
    return Outgoing(
        body,
        LazyObject(value={"hostname": hostname}),
        LazyObject(value={"content_type": content_type, "content_encoding": encoding, "delivery_mode": 1}),
        app.conf.event_exchange,
        routing_key,
        mandatory=False,
    )


def _events(app: Celery, batch: Sequence[Outgoing]) -> list[Outgoing]:
    hostname, offset, pid = anon_nodename(), utcoffset(), os.getpid()
    return [
        outgoing(
            app,
            {
                "hostname": hostname,
                "utcoffset": offset,
                "pid": pid,
                "clock": app.clock.forward(),
                **_about(message),
                "queue": message.declare[0].name if message.declare else (message.routing_key or None),
                "exchange": message.exchange,
                "routing_key": message.routing_key,
                "timestamp": time.time(),
                "type": SENT,
            },
            events.routing_key_of(SENT),
            hostname,
        )
        for message in batch
    ]


def _about(message: Outgoing) -> dict[str, Any]:
    """What is said of the task."""
    told = message.headers.value
    if "task" not in told:  # protocol 1
        properties = message.properties.value
        content_type = properties["content_type"]
        told = serializers.loads(
            message.body, content_type, properties.get("content_encoding"), {content_type}
        )
        told = {**told, "argsrepr": saferepr(told["args"]), "kwargsrepr": saferepr(told["kwargs"])}
    return {
        "uuid": told["id"],
        "root_id": told.get("root_id"),
        "parent_id": told.get("parent_id"),
        "name": told["task"],
        "args": told["argsrepr"],
        "kwargs": told["kwargsrepr"],
        "retries": told["retries"],
        "eta": told["eta"],
        "expires": told["expires"],
    }
