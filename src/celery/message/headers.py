"""A JSON object that is decoded only if somebody looks inside.

A worker's core decides about a message from a few headers and passes the rest on as
bytes; only the process that runs the task decodes the whole. `LazyObject` holds either
form and makes the other on demand.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from . import json

T = TypeVar("T")

_decoder = msgspec.json.Decoder(dict[str, Any])
_encode_loosely = msgspec.json.Encoder(enc_hook=str).encode


def _encode(value: Any) -> bytes:
    try:
        raw = json.dumps(value)
    except (TypeError, ValueError):
        return bytes(_encode_loosely(value))
    if b"NaN" in raw or b"Infinity" in raw:
        try:
            _decode(raw)
        except msgspec.DecodeError:  # no JSON: others could not read any of it
            return bytes(_encode_loosely(value))
    return raw


def _decode_extended(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except ValueError as exc:
        raise msgspec.DecodeError(str(exc)) from exc
    if not isinstance(value, dict):
        raise msgspec.ValidationError("Expected `object`")
    return value


def _decode(raw: bytes) -> dict[str, Any]:
    try:
        return _decoder.decode(raw)
    except (RecursionError, UnicodeDecodeError) as exc:
        raise msgspec.DecodeError(str(exc)) from exc


class LazyObject:
    """A JSON object held as bytes, as a dict, or both.

    Args:
        raw: UTF-8 JSON text of an object, not yet validated.
        value: the object itself. One of the two must be given.
    """

    __slots__ = ("_raw", "_value")

    def __init__(self, *, raw: bytes | None = None, value: dict[str, Any] | None = None) -> None:
        self._raw = raw
        self._value = value

    @property
    def raw(self) -> bytes:
        """The JSON text, in Celery's dialect. Values that has no form for are written as their `str`."""
        raw = self._raw
        if raw is None:
            raw = self._raw = _encode(self._value)
        return raw

    @property
    def is_text(self) -> bool:
        """Whether the JSON text is there already."""
        return self._raw is not None

    @property
    def value(self) -> dict[str, Any]:
        """The object as a dict. Raises `msgspec.DecodeError` if the text is no JSON object."""
        value = self._value
        if value is None:
            raw = self._raw or b""
            value = self._value = _decode_extended(raw) if b'"__type__"' in raw else _decode(raw)
        return value

    def decode(self, decoder: msgspec.json.Decoder[T]) -> T:
        """Decode straight into a typed struct, without making the dict.

        Raises:
            msgspec.DecodeError: it is no JSON object, nested too deeply or not UTF-8; its subclass
                `ValidationError`: a field has the wrong type or a required one is missing.
        """
        try:
            return decoder.decode(self.raw)
        except (RecursionError, UnicodeDecodeError) as exc:
            raise msgspec.DecodeError(str(exc)) from exc

    def __repr__(self) -> str:
        return f"LazyObject({self.value!r})"
