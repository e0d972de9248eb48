"""A JSON object that is decoded only if somebody looks inside.

A worker's core decides about a message from a few headers and passes the rest on as
bytes; only the process that runs the task decodes the whole. `LazyObject` holds either
form and makes the other on demand.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder(enc_hook=str).encode


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
        """The JSON text. Values JSON does not know are written as their `str`."""
        if self._raw is None:
            self._raw = _encode(self._value)
        return self._raw

    @property
    def value(self) -> dict[str, Any]:
        """The object as a dict. Raises `msgspec.DecodeError` if the text is no JSON object."""
        if self._value is None:
            self._value = _decode(self._raw or b"")
        return self._value

    def decode(self, decoder: msgspec.json.Decoder[T]) -> T:
        """Decode straight into a typed struct, without making the dict.

        Raises:
            msgspec.ValidationError: a field has the wrong type or a required one is missing.
        """
        return decoder.decode(self.raw)

    def __repr__(self) -> str:
        return f"LazyObject({self.value!r})"
