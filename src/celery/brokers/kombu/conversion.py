"""Between our messages and kombu's."""

# kombu is typed in parts only.
# mypy: disable-error-code="no-untyped-call,attr-defined,assignment,union-attr,misc,arg-type,no-any-return"

from __future__ import annotations

import base64
import json
import uuid
from typing import TYPE_CHECKING, Any

from kombu.transport import virtual

from celery.brokers.base import Delivery, Outgoing
from celery.message.headers import LazyObject

if TYPE_CHECKING:
    from .links import Link

#: How often a message was handed to a worker before: a property of those that came back, nobody else reads it.
DELIVERIES = "x-deliveries"
#: What virtual transports keep among the properties, and AMQP does not.
_NOT_PROPERTIES = ("delivery_info", "delivery_tag", "body_encoding", "priority", DELIVERIES)


def publish_arguments(outgoing: Outgoing) -> dict[str, Any]:
    """What `kombu.Producer.publish` takes for a message that is encoded already."""
    properties = dict(outgoing.properties.value)
    expiration = properties.pop("expiration", None)
    return {
        "content_type": properties.pop("content_type", None) or "application/data",
        "content_encoding": properties.pop("content_encoding", None) or "binary",
        **properties,
        "body": outgoing.body,
        "headers": dict(outgoing.headers.value),
        "exchange": outgoing.exchange,
        "routing_key": outgoing.routing_key,
        "priority": outgoing.priority,
        # kombu wants seconds, and writes milliseconds.
        "expiration": None if expiration is None else int(expiration) / 1000,
        "retry": False,
    }


def delivery_of(message: Any, queue: str, receipt: Any, due: float | None = None) -> Delivery:
    """A message received, as the port's value."""
    given = dict(message.properties or {})
    where = message.delivery_info or {}
    seen = given.get(DELIVERIES)
    properties = {key: value for key, value in given.items() if key not in _NOT_PROPERTIES}
    if message.content_type is not None:
        properties["content_type"] = message.content_type
    if message.content_encoding is not None:
        properties["content_encoding"] = message.content_encoding
    headers = dict(message.headers or {})
    if not isinstance(message, virtual.Message):
        headers.pop("compression", None)  # it is not, any more
    redelivered = bool(where.get("redelivered"))
    before = seen if isinstance(seen, int) else int(redelivered)
    return Delivery(
        body_of(message),
        LazyObject(value=headers),
        LazyObject(value=properties),
        queue,
        receipt,
        str(where.get("exchange") or ""),
        str(where.get("routing_key") or ""),
        _number(given.get("priority")),
        redelivered,
        before + 1,
        due,
    )


def _number(value: Any) -> int:
    try:
        return int(value or 0)
    except (TypeError, ValueError):
        return 0


def body_of(message: Any) -> bytes:
    """The body as bytes, whatever a transport made of it."""
    body = message.body
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else json.dumps(body, default=str).encode()


def payload_of(delivery: Delivery, *, deliveries: int, redelivered: bool) -> dict[str, Any]:
    """A message as kombu's virtual transports keep it.

    Args:
        deliveries: how often it has been handed to a worker; 0 leaves no trace.
        redelivered: whether one may have begun to run it.
    """
    properties = dict(delivery.properties.value)
    content_type = properties.pop("content_type", None)
    content_encoding = properties.pop("content_encoding", None)
    where: dict[str, Any] = {"exchange": delivery.exchange, "routing_key": delivery.routing_key}
    if redelivered:
        where["redelivered"] = True
    if deliveries:
        properties[DELIVERIES] = deliveries
    properties |= {
        "delivery_info": where,
        "priority": delivery.priority,
        "body_encoding": "base64",
        "delivery_tag": str(uuid.uuid4()),
    }
    return {
        "body": base64.b64encode(delivery.body).decode(),
        "content-encoding": content_encoding,
        "content-type": content_type,
        "headers": dict(delivery.headers.value),
        "properties": properties,
    }


def put(
    link: Link, queue: str, delivery: Delivery, *, deliveries: int = 0, redelivered: bool = False
) -> None:
    """Send a message that was received into a queue (again), whatever is bound where."""
    if isinstance(link.channel, virtual.Channel):
        payload = payload_of(delivery, deliveries=deliveries, redelivered=redelivered)
        link.channel._put(queue, payload)  # noqa: SLF001, RUF100 - what every virtual transport implements
        return
    again = Outgoing(delivery.body, delivery.headers, delivery.properties, "", queue, delivery.priority)
    link.producer.publish(**publish_arguments(again))


def tolerant(message_class: type) -> type:
    """A class of a channel's messages for which nothing is malformed: what makes no sense becomes a body that the
    worker then sets aside, instead of an error that stops whoever drains the channel."""

    class Tolerant(message_class):
        def __init__(self, payload: Any, channel: Any = None, **kwargs: Any) -> None:
            try:
                # kombu would decompress the body at once.
                headers = dict(payload.get("headers") or {})
                packed = headers.pop("compression", None)
                super().__init__({**payload, "headers": headers}, channel=channel, **kwargs)
                if packed is not None:
                    self.headers["compression"] = packed
                self.properties.get, self.delivery_info.get  # noqa: B018 - both must be mappings
            except Exception:  # noqa: BLE001 - whatever is wrong with it
                super().__init__(_wrapped(payload), channel=channel, **kwargs)

    return Tolerant


def _wrapped(payload: Any) -> dict[str, Any]:
    text = json.dumps(payload, default=repr)
    properties = payload.get("properties") if isinstance(payload, dict) else None
    tag = properties.get("delivery_tag") if isinstance(properties, dict) else None
    return {
        "body": base64.b64encode(text.encode()).decode(),
        "content-type": None,
        "content-encoding": None,
        "headers": {},
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": tag if isinstance(tag, str) else str(uuid.uuid4()),
            "delivery_info": {},
        },
    }
