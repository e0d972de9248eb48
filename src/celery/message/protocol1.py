"""Which protocol a message is of, and protocol 1 turned into protocol 2."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

import msgspec

from . import serializers
from .body import checked_embed, payload_of, shape
from .errors import MalformedMessage, UnknownMessage, why
from .headers import LazyObject
from .task import TaskProperties, aware, decode_properties

if TYPE_CHECKING:
    from collections.abc import Collection

    from celery.brokers.base import Delivery

__all__ = ("normalize",)


class _Probe(msgspec.Struct, gc=False):
    task: Any = None


_probe = msgspec.json.Decoder(_Probe)
#: How our own and stock Celery's headers begin: these need no second look.
_V2_STARTS = (b'{"lang":"py","task":', b'{"lang": "py", "task": ')

#: Fields of a protocol 1 body that become headers.
_V1_HEADERS = ("task", "id", "group", "group_index", "retries", "eta", "expires", "timelimit")


def normalize(
    delivery: Delivery, accept: Collection[str] | None = None
) -> tuple[LazyObject, bytes, LazyObject]:
    """Give a message the form of protocol 2.

    Args:
        accept: content types that may be read, should the body have to be looked into.

    Returns:
        headers, body and properties; the delivery's own if it has a `task` header.

    Raises:
        MalformedMessage: it is neither of protocol 2 nor of protocol 1.
    """
    headers = delivery.headers
    try:
        raw = headers.raw
        if raw.startswith(_V2_STARTS) or _probe.decode(raw).task is not None:
            return headers, delivery.body, delivery.properties
        custom = headers.value
    except Exception as exc:
        raise MalformedMessage(f"headers cannot be read: {why(exc)}") from exc
    return _from_v1(custom, delivery.body, delivery.properties, accept)


def _from_v1(
    custom: dict[str, Any], body: bytes, properties: LazyObject, accept: Collection[str] | None
) -> tuple[LazyObject, bytes, LazyObject]:
    props = decode_properties(properties)
    compression = custom.get("compression")
    if compression is not None and not isinstance(compression, str):
        raise MalformedMessage("headers: compression is no text")
    payload = payload_of(body, props.content_type, props.content_encoding, compression, accept)
    if not isinstance(payload, dict) or "task" not in payload:
        raise UnknownMessage("unknown message: no task header, and its body is no task of protocol 1")
    if "id" not in payload:
        raise MalformedMessage("body: task without id")
    args, kwargs = payload.get("args", []), payload.get("kwargs", {})
    if not isinstance(args, (list, tuple)):
        raise MalformedMessage(f"body: task arguments must be a list or tuple, got {shape(args)}")
    if not isinstance(kwargs, dict):
        raise MalformedMessage(f"body: task keyword arguments must be a mapping, got {shape(kwargs)}")
    embed = checked_embed({key: payload.get(key) for key in ("callbacks", "errbacks", "chord")})
    try:
        return (
            LazyObject(value=_headers_of_v1(payload, custom)),
            *_encoded_like(props, (args, kwargs, embed), properties),
        )
    except Exception as exc:
        raise MalformedMessage(f"protocol 1 message cannot be converted: {why(exc)}") from exc


def _headers_of_v1(payload: dict[str, Any], custom: dict[str, Any]) -> dict[str, Any]:
    headers = {"lang": "py"} | {key: payload[key] for key in _V1_HEADERS if payload.get(key) is not None}
    if "group" not in headers and payload.get("taskset") is not None:
        headers["group"] = payload["taskset"]
    if payload.get("utc", True):
        for key in ("eta", "expires"):
            if isinstance(headers.get(key), str):
                headers[key] = aware(headers[key], UTC).isoformat()
    headers |= {"root_id": payload["id"], "parent_id": None, "shadow": None}
    return headers | {key: value for key, value in custom.items() if key != "compression"}


def _encoded_like(props: TaskProperties, body: Any, properties: LazyObject) -> tuple[bytes, LazyObject]:
    """`body` in the serializer the message came with, and the properties that say so."""
    name = serializers.name_of(props.content_type or "application/json")
    content_type, content_encoding, encoded = serializers.dumps(body, name)
    if (content_type, content_encoding) == (props.content_type, props.content_encoding):
        return encoded, properties
    named = {**properties.value, "content_type": content_type, "content_encoding": content_encoding}
    return encoded, LazyObject(value=named)
