"""The task message of protocol 2, and protocol 1 turned into it.

Writing: `build_v2` and `build_v1` make a message as values. Reading, in three steps, each of which raises
`MalformedMessage` and nothing else, whatever the bytes are:

1. `normalize` makes protocol 2 of what came (a message of protocol 1 has no `task` header);
2. `decode_headers` gives the typed headers, enough for every decision, the body untouched;
3. `decode_body` gives arguments and embedded signatures, in the process that runs the task.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from celery.utils.iso8601 import parse_iso8601

from . import compression as _compression
from . import json, serializers
from .errors import MalformedMessage, UndecodableBody, UnknownMessage
from .headers import LazyObject
from .template import NO_EMBED

if TYPE_CHECKING:
    from collections.abc import Collection

    from celery.brokers.base import Delivery

__all__ = (
    "JSON_PROPERTIES",
    "Body",
    "MalformedMessage",
    "TaskHeaders",
    "TaskMessage",
    "TaskProperties",
    "build_v1",
    "build_v2",
    "decode_body",
    "decode_headers",
    "decode_properties",
    "normalize",
    "plain_arguments",
)

#: Seconds; what a limit may be at most (it becomes a timer).
LONGEST_LIMIT = 1e9
#: Headers with fewer brackets cannot be nested too deeply for whoever decodes all of them.
SHALLOW = 200
#: More retries than this are a mistake, and would make back-off arithmetic explode.
MOST_RETRIES = 1_000_000


class TaskHeaders(msgspec.Struct, gc=False):
    """The headers of protocol 2 that the system itself reads. Custom headers are in the `LazyObject`.

    Attributes:
        eta, expires: ISO-8601 strings, known to be readable; see `eta_at` and `expires_at`.
        timelimit: hard and soft limit in seconds.
        ignore_result: None when the sender did not know the task.
        redelivered: set by kombu when it restored the message.
    """

    task: str
    id: str
    lang: str | None = "py"
    shadow: str | None = None
    eta: str | None = None
    expires: str | None = None
    group: str | None = None
    group_index: int | None = None
    retries: int = 0
    timelimit: tuple[float | int | None, float | int | None] | None = (None, None)
    root_id: str | None = None
    parent_id: str | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    origin: str | None = None
    ignore_result: bool | None = False
    replaced_task_nesting: int | None = 0
    stamped_headers: list[str] | None = None
    stamps: dict[str, Any] | None = None
    compression: str | None = None
    redelivered: bool | None = None

    def eta_at(self, naive: tzinfo = UTC) -> datetime | None:
        """When it may run, as an aware datetime.

        Args:
            naive: zone of a string that names no offset (UTC if `enable_utc`, else the local one).
        """
        return None if self.eta is None else _aware(self.eta, naive)

    def expires_at(self, naive: tzinfo = UTC) -> datetime | None:
        """When it is too late to run it, as an aware datetime."""
        return None if self.expires is None else _aware(self.expires, naive)


class TaskProperties(msgspec.Struct, gc=False):
    """The AMQP properties that the system itself reads."""

    correlation_id: str | None = None
    reply_to: str | None = None
    content_type: str | None = None
    content_encoding: str | None = None
    delivery_mode: int | str | None = None
    priority: int | str | None = None
    expiration: str | int | float | None = None


def _aware(stamp: str, naive: tzinfo) -> datetime:
    when = parse_iso8601(stamp)
    return when if when.tzinfo is not None else when.replace(tzinfo=naive)


class Body(NamedTuple):
    """The payload of a task message.

    Attributes:
        embed: `callbacks`, `errbacks`, `chain` (lists or None) and `chord` (a signature or None).
    """

    args: list[Any]
    kwargs: dict[str, Any]
    embed: dict[str, Any]


class TaskMessage(NamedTuple):
    """A message as values, not yet serialized.

    Attributes:
        body: for protocol 2 `(args, kwargs, embed)`, for protocol 1 a dict.
        sent_event: fields of a task-sent event, if asked for.
    """

    headers: dict[str, Any]
    properties: dict[str, Any]
    body: Any
    sent_event: dict[str, Any] | None = None


# -- writing


def build_v2(
    task_id: str,
    name: str,
    args: Any,
    kwargs: Any,
    *,
    eta: str | None = None,
    expires: str | None = None,
    group_id: str | None = None,
    group_index: int | None = None,
    retries: int = 0,
    chord: Any = None,
    callbacks: Any = None,
    errbacks: Any = None,
    chain: Any = None,
    reply_to: str | None = None,
    time_limit: float | None = None,
    soft_time_limit: float | None = None,
    root_id: str | None = None,
    parent_id: str | None = None,
    shadow: str | None = None,
    origin: str | None = None,
    ignore_result: bool | None = False,
    argsrepr: str = "",
    kwargsrepr: str = "",
    stamped_headers: list[str] | None = None,
    stamps: dict[str, Any] | None = None,
    replaced_task_nesting: int = 0,
    sent_event: bool = False,
) -> TaskMessage:
    """Make a message of protocol 2.

    Args:
        eta, expires: absolute, as ISO-8601 strings.
        root_id: None: the task's own id.
        sent_event: also give the fields of a task-sent event.
    """
    headers = {
        "lang": "py",
        "task": name,
        "id": task_id,
        "shadow": shadow,
        "eta": eta,
        "expires": expires,
        "group": group_id,
        "group_index": group_index,
        "retries": retries,
        "timelimit": [time_limit, soft_time_limit],
        "root_id": root_id or task_id,
        "parent_id": parent_id,
        "argsrepr": argsrepr,
        "kwargsrepr": kwargsrepr,
        "origin": origin,
        "ignore_result": ignore_result,
        "replaced_task_nesting": replaced_task_nesting,
        "stamped_headers": stamped_headers,
        "stamps": {} if stamps is None else stamps,
    }
    embed = {"callbacks": callbacks, "errbacks": errbacks, "chain": chain, "chord": chord}
    event = None
    if sent_event:
        event = {
            "uuid": task_id,
            "root_id": root_id or task_id,
            "parent_id": parent_id,
            "name": name,
            "args": argsrepr,
            "kwargs": kwargsrepr,
            "retries": retries,
            "eta": eta,
            "expires": expires,
        }
    properties = {"correlation_id": task_id, "reply_to": reply_to or ""}
    return TaskMessage(headers, properties, (args, kwargs, embed), event)


def build_v1(
    task_id: str,
    name: str,
    args: Any,
    kwargs: Any,
    *,
    eta: str | None = None,
    expires: str | None = None,
    group_id: str | None = None,
    group_index: int | None = None,
    retries: int = 0,
    chord: Any = None,
    callbacks: Any = None,
    errbacks: Any = None,
    reply_to: str | None = None,
    time_limit: float | None = None,
    soft_time_limit: float | None = None,
    utc: bool = True,
    argsrepr: str = "",
    kwargsrepr: str = "",
    sent_event: bool = False,
) -> TaskMessage:
    """Make a message of protocol 1: all is in the body, the headers are free.

    Args:
        utc: whether dates without an offset are UTC.
    """
    body = {
        "task": name,
        "id": task_id,
        "args": args,
        "kwargs": kwargs,
        "group": group_id,
        "group_index": group_index,
        "retries": retries,
        "eta": eta,
        "expires": expires,
        "utc": utc,
        "callbacks": callbacks,
        "errbacks": errbacks,
        "timelimit": (time_limit, soft_time_limit),
        "taskset": group_id,
        "chord": chord,
    }
    event = None
    if sent_event:
        event = {
            "uuid": task_id,
            "name": name,
            "args": argsrepr,
            "kwargs": kwargsrepr,
            "retries": retries,
            "eta": eta,
            "expires": expires,
        }
    properties = {"correlation_id": task_id, "reply_to": reply_to or ""}
    return TaskMessage({}, properties, body, event)


# -- reading

_NO_LIMITS = (None, None)
_decode_headers = msgspec.json.Decoder(TaskHeaders).decode
_properties_decoder = msgspec.json.Decoder(TaskProperties)


class _Ids(msgspec.Struct, gc=False):
    """Ids that are no strings: some producers use numbers, and stock workers run those."""

    id: str | int
    root_id: str | int | None = None
    parent_id: str | int | None = None


_ids_decoder = msgspec.json.Decoder(_Ids)


def decode_headers(headers: LazyObject) -> TaskHeaders:
    """Read the headers of a protocol 2 message.

    Raises:
        MalformedMessage: they are no JSON object, `task` or `id` is missing, or one has a value that makes
            no sense: a date that is none, limits that are no numbers of seconds.
    """
    raw = headers.raw
    try:
        decoded = _decode_headers(raw)
    except (msgspec.DecodeError, RecursionError) as exc:
        decoded = _with_numeric_ids(headers, exc)
    except Exception as exc:
        raise MalformedMessage(f"headers cannot be read: {_why(exc)}") from exc
    if not decoded.task:
        raise MalformedMessage("headers: task is empty")
    if not decoded.id:
        raise MalformedMessage("headers: id is empty")
    if decoded.eta is not None:
        _check_date("eta", decoded.eta)
    if decoded.expires is not None:
        _check_date("expires", decoded.expires)
    if not 0 <= decoded.retries <= MOST_RETRIES:
        raise MalformedMessage(f"headers: retries is {decoded.retries}")
    limits = decoded.timelimit
    if limits is None:
        decoded.timelimit = _NO_LIMITS
    elif limits != _NO_LIMITS:
        _check_limits(limits)
    if len(raw) > 1000 and raw.count(b"[") + raw.count(b"{") > SHALLOW:
        _check_depth(headers)
    return decoded


def _with_numeric_ids(headers: LazyObject, problem: Exception) -> TaskHeaders:
    """The second look, at headers that are not right in every type."""
    try:
        ids = headers.decode(_ids_decoder)
        value = dict(headers.value)
        numeric = {k: str(v) for k, v in msgspec.structs.asdict(ids).items() if type(v) is int}
        if value.get("retries", 0) is None:
            numeric["retries"] = 0  # type: ignore[assignment]  # it goes into a dict of anything
        if numeric:
            return msgspec.convert({**value, **numeric}, TaskHeaders)
    except Exception as exc:  # noqa: BLE001 - the first problem is the one to tell
        problem = problem if not isinstance(exc, msgspec.ValidationError) else exc
    raise MalformedMessage(f"headers cannot be read: {_why(problem)}") from problem


def _check_date(name: str, stamp: str) -> None:
    try:
        _aware(stamp, UTC).timestamp()
    except Exception as exc:
        raise MalformedMessage(f"headers: {name} is no date: {stamp[:80]!r}") from exc


def _check_limits(limits: tuple[float | int | None, float | int | None]) -> None:
    for limit in limits:
        if limit is not None and not 0 <= limit <= LONGEST_LIMIT:
            raise MalformedMessage(f"headers: timelimit is no number of seconds: {limit!r}")


def _check_depth(headers: LazyObject) -> None:
    try:
        LazyObject(raw=headers.raw).value  # noqa: B018 - decoding is the check
    except Exception as exc:
        raise MalformedMessage(f"headers cannot be read: {_why(exc)}") from exc


def _why(exc: BaseException) -> str:
    """One line about `exc`, not too long to log."""
    return " ".join((str(exc) or type(exc).__name__).split())[:300]


def decode_properties(properties: LazyObject) -> TaskProperties:
    """Read the properties.

    Raises:
        MalformedMessage: they are no JSON object, or one has the wrong type.
    """
    try:
        return properties.decode(_properties_decoder)
    except Exception as exc:
        raise MalformedMessage(f"properties cannot be read: {_why(exc)}") from exc


def decode_body(
    body: bytes,
    content_type: str | None,
    content_encoding: str | None,
    compression: str | None = None,
    accept: Collection[str] | None = None,
) -> Body:
    """Read a body: decompress, deserialize, check its shape.

    A dict with `args` is understood too (headers of protocol 2 over a body of protocol 1).

    Args:
        compression: the header of that name.
        accept: content types that may be read; see `serializers.prepare_accept_content`.

    Raises:
        MalformedMessage: anything is wrong with it; `__cause__` tells more, for instance `ContentDisallowed`.
    """
    if content_type == "application/json" and not compression and (accept is None or content_type in accept):
        plain = plain_arguments(body)
        if plain is not None:
            return Body(*plain, dict(NO_EMBED))
    payload = _payload(body, content_type, content_encoding, compression, accept)
    if isinstance(payload, dict) and "args" in payload:
        embed = {key: payload.get(key) for key in ("callbacks", "errbacks", "chain", "chord")}
        payload = (payload["args"], payload.get("kwargs") or {}, embed)
    if not isinstance(payload, (list, tuple)) or len(payload) != 3:
        raise MalformedMessage(f"body: expected [args, kwargs, embed], got {_shape(payload)}")
    args, kwargs, embed = payload
    if not isinstance(args, (list, tuple)):
        raise MalformedMessage(f"body: task arguments must be a list or tuple, got {_shape(args)}")
    if not isinstance(kwargs, dict):
        raise MalformedMessage(f"body: task keyword arguments must be a mapping, got {_shape(kwargs)}")
    if not all(isinstance(key, str) for key in kwargs):
        raise MalformedMessage("body: a keyword argument's name is no text")
    return Body(list(args), kwargs, _checked_embed(embed))


#: How the properties of a message with a JSON body begin, if we or a driver of ours have written them.
JSON_PROPERTIES = b'{"content_type":"application/json","content_encoding":"utf-8"'


class _Nothing(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """What most messages embed."""

    callbacks: None = None
    errbacks: None = None
    chain: None = None
    chord: None = None


_decode_plain = msgspec.json.Decoder(tuple[list[Any], dict[str, Any], _Nothing]).decode


def plain_arguments(body: bytes) -> tuple[list[Any], dict[str, Any]] | None:
    """Arguments of a JSON body that has its usual shape and no extended types, and embeds nothing: a fifth of the
    long way. None: `decode_body` says what is in it, or wrong with it."""
    if not serializers.json_is_ours() or json.may_be_extended(body):
        return None
    try:
        args, kwargs, _ = _decode_plain(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return args, kwargs


def _payload(
    body: bytes,
    content_type: str | None,
    content_encoding: str | None,
    compression: str | None,
    accept: Collection[str] | None,
) -> Any:
    try:
        if compression:
            body = _compression.decompress(body, compression)
    except Exception as exc:
        raise UndecodableBody(f"body cannot be decompressed ({compression}): {_why(exc)}") from exc
    try:
        return serializers.loads(body, content_type, content_encoding, accept)
    except Exception as exc:
        raise UndecodableBody(f"body cannot be decoded: {_why(exc)}") from exc


def _shape(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__} of {len(value)}"
    return type(value).__name__


def _checked_embed(embed: Any) -> dict[str, Any]:
    if embed is None:
        embed = {}
    if not isinstance(embed, dict):
        raise MalformedMessage(f"body: the third part must be a mapping, got {_shape(embed)}")
    for key in ("callbacks", "errbacks", "chain"):
        signatures = embed.get(key)
        if signatures is None:
            embed[key] = None
        elif not isinstance(signatures, (list, tuple)) or not all(isinstance(s, dict) for s in signatures):
            raise MalformedMessage(f"body: {key} must be a list of signatures, got {_shape(signatures)}")
    chord = embed.setdefault("chord", None)
    if chord is not None and not isinstance(chord, dict):
        raise MalformedMessage(f"body: chord must be a signature, got {_shape(chord)}")
    return embed


# -- protocol 1


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
        raise MalformedMessage(f"headers cannot be read: {_why(exc)}") from exc
    return _from_v1(custom, delivery.body, delivery.properties, accept)


def _from_v1(
    custom: dict[str, Any], body: bytes, properties: LazyObject, accept: Collection[str] | None
) -> tuple[LazyObject, bytes, LazyObject]:
    props = decode_properties(properties)
    compression = custom.get("compression")
    if compression is not None and not isinstance(compression, str):
        raise MalformedMessage("headers: compression is no text")
    payload = _payload(body, props.content_type, props.content_encoding, compression, accept)
    if not isinstance(payload, dict) or "task" not in payload:
        raise UnknownMessage("unknown message: no task header, and its body is no task of protocol 1")
    if "id" not in payload:
        raise MalformedMessage("body: task without id")
    args, kwargs = payload.get("args", []), payload.get("kwargs", {})
    if not isinstance(args, (list, tuple)):
        raise MalformedMessage(f"body: task arguments must be a list or tuple, got {_shape(args)}")
    if not isinstance(kwargs, dict):
        raise MalformedMessage(f"body: task keyword arguments must be a mapping, got {_shape(kwargs)}")
    embed = _checked_embed({key: payload.get(key) for key in ("callbacks", "errbacks", "chord")})
    try:
        return (
            LazyObject(value=_headers_of_v1(payload, custom)),
            *_encoded_like(props, (args, kwargs, embed), properties),
        )
    except Exception as exc:
        raise MalformedMessage(f"protocol 1 message cannot be converted: {_why(exc)}") from exc


def _headers_of_v1(payload: dict[str, Any], custom: dict[str, Any]) -> dict[str, Any]:
    headers = {"lang": "py"} | {key: payload[key] for key in _V1_HEADERS if payload.get(key) is not None}
    if "group" not in headers and payload.get("taskset") is not None:
        headers["group"] = payload["taskset"]
    if payload.get("utc", True):
        for key in ("eta", "expires"):
            if isinstance(headers.get(key), str):
                headers[key] = _aware(headers[key], UTC).isoformat()
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
