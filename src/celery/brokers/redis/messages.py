"""Messages as they are in Redis: the envelope, what stands around it in `unacked`, and what a redelivery changes in it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from celery.brokers.base import Delivery
from celery.message import envelope, json
from celery.message.errors import MalformedMessage
from celery.message.headers import LazyObject
from celery.utils.uuids import uuid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery.brokers.base import Outgoing

_value = msgspec.json.Decoder(tuple[msgspec.Raw, str | None, str | None])
_raws = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.encode

_TRUE = msgspec.Raw(b"true")


@lru_cache(maxsize=4096)
def suffix(queue: str) -> bytes:
    """What follows a message in its value in `unacked`: it goes back straight to its queue, whatever it came by."""
    return f',"",{json.text(queue)}]'.encode()


def value(raw: bytes, queue: str) -> bytes:
    """A message as it is in `unacked`."""
    return b"[" + raw + suffix(queue)


def split(held: bytes) -> tuple[bytes, str, str]:
    """A value in `unacked` as (message, exchange, routing key).

    Raises:
        ValueError: it is none.
    """
    try:
        raw, exchange, key = _value.decode(held)
    except ValueError:  # of ours then, around a message that is no JSON
        text, between, queue = held[1:].rpartition(b',"",')
        if not between:
            raise
        return text, "", str(json.loads(queue[:-1]))
    return bytes(raw), exchange or "", key or ""


def pack(outgoing: Outgoing, due: float | None = None) -> bytes:
    """A message to send, in its envelope."""
    return envelope.encode(
        outgoing.body,
        outgoing.headers,
        outgoing.properties,
        exchange=outgoing.exchange,
        routing_key=outgoing.routing_key,
        delivery_tag=uuid(),
        priority=outgoing.priority,
        due=due,
    )


def read(raw: bytes, queue: str, receipt: Any) -> Delivery:
    """A message as the port's value. What is no envelope is a body without headers: the worker sets it aside."""
    try:
        sent = envelope.decode(raw)
    except MalformedMessage:
        empty = LazyObject(raw=b"{}")
        return Delivery(raw, empty, LazyObject(raw=b"{}"), queue, receipt, "", queue)
    count = sent.deliveries
    if sent.redelivered and not count:
        count = 1
    return Delivery(
        sent.body,
        sent.headers,
        sent.properties,
        queue,
        receipt,
        sent.exchange,
        sent.routing_key,
        sent.priority,
        sent.redelivered,
        count + 1,
        sent.due,
        announced=sent.announced,
    )


def priority_of(raw: bytes) -> int:
    """The priority of a message; 0 if it says none."""
    try:
        return envelope.decode(raw).priority
    except MalformedMessage:
        return 0


def id_of(raw: bytes) -> str:
    """The id of a message's task; "?" if it has none."""
    try:
        return str(as_mapping(envelope.decode(raw).headers).get("id", "?"))
    except MalformedMessage:
        return "?"


def again(raw: bytes, deliveries: int | None = None, *, redelivered: bool = True) -> bytes:
    """The message as it is offered again, marked as kombu marks it, with the deliveries that count so far.

    Args:
        deliveries: None: one more than it says itself.
        redelivered: False leaves that mark as it is.
    """
    try:
        whole: dict[str, Any] = dict(_raws.decode(raw))
        properties = _object(whole.get("properties"))
        info = _object(properties.get("delivery_info"))
        if deliveries is None:
            sent = envelope.decode(raw)
            deliveries = max(sent.deliveries, int(sent.redelivered)) + 1
        if deliveries:
            properties["delivery_count"] = deliveries
        else:
            properties.pop("delivery_count", None)
        if redelivered:
            info["redelivered"] = _TRUE
            headers = _object(whole.get("headers"))
            headers["redelivered"] = _TRUE
            whole["headers"] = headers
        properties["delivery_info"] = info
        whole["properties"] = properties
        return _encode(whole)
    except (msgspec.DecodeError, MalformedMessage, UnicodeDecodeError, RecursionError):
        return raw  # it is no envelope: whoever gets it sets it aside


def announced(raw: bytes) -> bytes:
    """The message, marked as one that a worker has announced."""
    try:
        whole: dict[str, Any] = dict(_raws.decode(raw))
        properties = _object(whole.get("properties"))
        return _encode(whole | {"properties": properties | {"announced": _TRUE}})
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw


def fresh(raw: bytes) -> bytes:
    """The message as if nobody had ever had it: for dead letters that are sent again."""
    try:
        whole: dict[str, Any] = dict(_raws.decode(raw))
        properties = _object(whole.get("properties"))
        for mark in ("delivery_count", "announced"):
            properties.pop(mark, None)
        info = _object(properties.get("delivery_info"))
        info.pop("redelivered", None)
        headers = _object(whole.get("headers"))
        headers.pop("redelivered", None)
        whole |= {"properties": properties | {"delivery_info": info}, "headers": headers}
        return _encode(whole)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw


def _object(raw: msgspec.Raw | None) -> dict[str, Any]:
    return {} if raw is None or bytes(raw) == b"null" else dict(_raws.decode(raw))


def as_mapping(lazy: LazyObject) -> Mapping[str, Any]:
    """Its value, for people to look at; empty if it cannot be read."""
    try:
        return lazy.value
    except (ValueError, msgspec.DecodeError):
        return {}


def text(value: Any) -> str:
    """As JSON."""
    return json.text(value)


def mapping(data: bytes) -> dict[str, str]:
    """What `text` wrote; empty if it cannot be read."""
    try:
        return dict(json.loads(data))
    except (ValueError, TypeError):
        return {}
