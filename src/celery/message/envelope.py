"""One message as one JSON text, as kombu's virtual transports (Redis, filesystem) keep it.

    {"body": "<base64>", "content-encoding": ..., "content-type": ..., "headers": {...},
     "properties": {..., "delivery_info": {"exchange": ..., "routing_key": ...}, "priority": 0,
                    "body_encoding": "base64", "delivery_tag": "..."}}

Inside, content type and encoding are properties like the others, as on AMQP; here they are moved out and in.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import b2a_base64
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from . import json
from .errors import MalformedMessage
from .headers import LazyObject

__all__ = ("Envelope", "decode", "encode")


class Envelope(NamedTuple):
    """A message taken out of its envelope.

    Attributes:
        properties: the AMQP ones, `content_type` and `content_encoding` among them.
        redelivered: it was handed out before and came back.
        deliveries: how often it was handed out before, as far as that counts; kombu does not say.
        due: when it was to be delivered, if its sender said so.
        announced: a worker logged that it came in, and parked it.
    """

    body: bytes
    headers: LazyObject
    properties: LazyObject
    exchange: str
    routing_key: str
    priority: int
    redelivered: bool
    delivery_tag: str
    deliveries: int = 0
    due: float | None = None
    announced: bool = False


class _DeliveryInfo(msgspec.Struct, gc=False):
    exchange: str | None = ""
    routing_key: str | None = ""
    redelivered: bool = False


class _Properties(msgspec.Struct, gc=False):
    delivery_info: _DeliveryInfo | None = None
    priority: int | None = 0
    body_encoding: str | None = None
    delivery_tag: str | int | None = None
    delivery_count: int | None = 0
    due: float | None = None
    announced: bool = False


class _Wire(
    msgspec.Struct, gc=False, rename={"content_type": "content-type", "content_encoding": "content-encoding"}
):
    body: Any
    content_type: str | None = None
    content_encoding: str | None = None
    headers: msgspec.Raw = msgspec.Raw(b"{}")
    properties: msgspec.Raw = msgspec.Raw(b"{}")


class _Usual(
    msgspec.Struct, gc=False, rename={"content_type": "content-type", "content_encoding": "content-encoding"}
):
    body: bytes  # base64
    content_type: str
    content_encoding: str
    headers: msgspec.Raw = msgspec.Raw(b"{}")
    properties: msgspec.Raw = msgspec.Raw(b"{}")


_NOWHERE = _DeliveryInfo()
_wire = msgspec.json.Decoder(_Wire)
_usual = msgspec.json.Decoder(_Usual)
_properties = msgspec.json.Decoder(_Properties)


#: How the properties of nearly all messages begin, and what that becomes.
_COMMON = b'{"content_type":"application/json","content_encoding":"utf-8",'
_COMMON_OUTSIDE = b'","content-encoding":"utf-8","content-type":"application/json","headers":'


@lru_cache(maxsize=1024)
def _where(exchange: str, routing_key: str, priority: int) -> bytes:
    return (
        f',"delivery_info":{{"exchange":{json.text(exchange)},"routing_key":{json.text(routing_key)}}},'
        f'"priority":{priority},"body_encoding":"base64","delivery_tag":"'
    ).encode()


def encode(
    body: bytes,
    headers: LazyObject,
    properties: LazyObject,
    *,
    exchange: str,
    routing_key: str,
    delivery_tag: str,
    priority: int = 0,
    due: float | None = None,
) -> bytes:
    """Put a message into its envelope."""
    plain = properties.raw
    if plain.startswith(_COMMON) and b'"priority":' not in plain:
        # By far the most: nothing of it need be looked at.
        return b"".join(
            (
                b'{"body":"',
                b2a_base64(body, newline=False),
                _COMMON_OUTSIDE,
                headers.raw,
                b',"properties":{',
                plain[len(_COMMON) : -1],
                b"" if due is None else f',"due":{due!r}'.encode(),
                _where(exchange, routing_key, priority),
                delivery_tag.encode(),
                b'"}}',
            )
        )
    own = dict(properties.value)
    content_type = json.text(own.pop("content_type", None))
    content_encoding = json.text(own.pop("content_encoding", None))
    own["delivery_info"] = {"exchange": exchange, "routing_key": routing_key}
    own["priority"] = priority
    own["body_encoding"] = "base64"
    own["delivery_tag"] = delivery_tag
    if due is not None:
        own["due"] = due
    return b"".join(
        (
            b'{"body":"',
            b2a_base64(body, newline=False),
            f'","content-encoding":{content_encoding},"content-type":{content_type},"headers":'.encode(),
            headers.raw,
            b',"properties":',
            json.dumps(own),
            b"}",
        )
    )


def decode(data: bytes) -> Envelope:
    """Take a message out of its envelope.

    Raises:
        MalformedMessage: it is none.
    """
    try:
        try:
            usual = _usual.decode(data)
            props = _properties.decode(usual.properties)
            if props.body_encoding == "base64":
                return _opened(usual.body, usual, props)
        except msgspec.ValidationError:
            pass
        wire = _wire.decode(data)
        props = _properties.decode(wire.properties)
        return _opened(_body(wire.body, props.body_encoding), wire, props)
    except Exception as exc:
        raise MalformedMessage(f"no message envelope: {str(exc)[:300] or type(exc).__name__}") from exc


def _opened(body: bytes, wire: _Wire | _Usual, props: _Properties) -> Envelope:
    where = props.delivery_info or _NOWHERE
    raw = bytes(wire.properties)
    if wire.content_type is None or wire.content_encoding is None or raw[1:2] != b'"':
        properties = _merged(wire)
    else:
        properties = LazyObject(raw=_outside(wire.content_type, wire.content_encoding) + raw[1:])
    return Envelope(
        body,
        LazyObject(raw=_object_or_empty(wire.headers)),
        properties,
        where.exchange or "",
        where.routing_key or "",
        props.priority or 0,
        where.redelivered,
        str(props.delivery_tag or ""),
        max(props.delivery_count or 0, 0),
        props.due,
        props.announced,
    )


@lru_cache(maxsize=256)
def _outside(content_type: str, content_encoding: str) -> bytes:
    """How the properties begin that came as parts of the envelope itself."""
    return f'{{"content_type":{json.text(content_type)},"content_encoding":{json.text(content_encoding)},'.encode()


def _object_or_empty(raw: msgspec.Raw) -> bytes:
    text = bytes(raw)
    return b"{}" if text == b"null" else text


def _body(body: Any, encoding: str | None) -> bytes:
    if isinstance(body, str):
        return b64decode(body, validate=True) if encoding == "base64" else body.encode()
    return json.dumps(body)  # some producers leave the payload as it is


def _merged(wire: _Wire | _Usual) -> LazyObject:
    rest = bytes(wire.properties).strip()
    said = ",".join(
        f'"{name}":{json.text(value)}'
        for name, value in (("content_type", wire.content_type), ("content_encoding", wire.content_encoding))
        if value is not None
    )
    if not said:
        return LazyObject(raw=rest)
    comma = "" if rest[1:-1].strip() == b"" else ","
    return LazyObject(raw=b"{" + said.encode() + comma.encode() + rest[1:])
