"""The body of a task message: read in the process that runs the task, and nowhere on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from celery.exceptions import SoftTimeLimitExceeded

from . import compression as _compression
from . import json, serializers
from .errors import MalformedMessage, UndecodableBody, why
from .template import NO_EMBED

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = (
    "JSON_PROPERTIES",
    "Body",
    "checked_embed",
    "decode_body",
    "payload_of",
    "plain_arguments",
    "shape",
)


class Body(NamedTuple):
    """The payload of a task message.

    Attributes:
        embed: `callbacks`, `errbacks`, `chain` (lists or None) and `chord` (a signature or None).
    """

    args: list[Any]
    kwargs: dict[str, Any]
    embed: dict[str, Any]


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
    payload = payload_of(body, content_type, content_encoding, compression, accept)
    if isinstance(payload, dict) and "args" in payload:
        embed = {key: payload.get(key) for key in ("callbacks", "errbacks", "chain", "chord")}
        payload = (payload["args"], payload.get("kwargs") or {}, embed)
    if not isinstance(payload, (list, tuple)) or len(payload) != 3:
        raise MalformedMessage(f"body: expected [args, kwargs, embed], got {shape(payload)}")
    args, kwargs, embed = payload
    if not isinstance(args, (list, tuple)):
        raise MalformedMessage(f"body: task arguments must be a list or tuple, got {shape(args)}")
    if not isinstance(kwargs, dict):
        raise MalformedMessage(f"body: task keyword arguments must be a mapping, got {shape(kwargs)}")
    if not all(isinstance(key, str) for key in kwargs):
        raise MalformedMessage("body: a keyword argument's name is no text")
    return Body(list(args), kwargs, checked_embed(embed))


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


def payload_of(
    body: bytes,
    content_type: str | None,
    content_encoding: str | None,
    compression: str | None,
    accept: Collection[str] | None,
) -> Any:
    try:
        if compression:
            body = _compression.decompress(body, compression)
    except SoftTimeLimitExceeded:
        raise
    except Exception as exc:
        raise UndecodableBody(f"body cannot be decompressed ({compression}): {why(exc)}") from exc
    try:
        return serializers.loads(body, content_type, content_encoding, accept)
    except SoftTimeLimitExceeded:
        raise
    except Exception as exc:
        raise UndecodableBody(f"body cannot be decoded: {why(exc)}") from exc


def shape(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__} of {len(value)}"
    return type(value).__name__


def checked_embed(embed: Any) -> dict[str, Any]:
    if embed is None:
        embed = {}
    if not isinstance(embed, dict):
        raise MalformedMessage(f"body: the third part must be a mapping, got {shape(embed)}")
    for key in ("callbacks", "errbacks", "chain"):
        signatures = embed.get(key)
        if signatures is None:
            embed[key] = None
        elif not isinstance(signatures, (list, tuple)) or not all(isinstance(s, dict) for s in signatures):
            raise MalformedMessage(f"body: {key} must be a list of signatures, got {shape(signatures)}")
    chord = embed.setdefault("chord", None)
    if chord is not None and not isinstance(chord, dict):
        raise MalformedMessage(f"body: chord must be a signature, got {shape(chord)}")
    return embed
