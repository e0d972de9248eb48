"""Celery's JSON: what plain JSON cannot say is written as `{"__type__": T, "__value__": V}`.

| Python | T | V |
|---|---|---|
| datetime, date, time | datetime, date, time | ISO-8601 string |
| Decimal | decimal | string |
| UUID | uuid | `{"hex": ...}` |
| bytes | bytes, or base64 if not UTF-8 | text |

Objects with a `__json__` method are written as what it returns, ranges and dict views as lists, tuples
too. NaN and the infinities are written as Python's `json` does. Anything else, sets included, is a `TypeError`,
until `register_type` says how to write it; types registered with `kombu.utils.json` are known as well.
"""

from __future__ import annotations

import base64
import json
import sys
import uuid
from collections.abc import ItemsView, KeysView, ValuesView
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from celery.exceptions import SoftTimeLimitExceeded

if TYPE_CHECKING:
    from collections.abc import Callable

    Encoder = Callable[[Any], Any]

__all__ = ("dumps", "loads", "register_type", "text")

T = TypeVar("T")

_encoders: dict[type, tuple[str | None, Encoder]] = {}
_decoders: dict[str, Callable[[Any], Any]] = {}


def register_type(
    t: type[T],
    marker: str | None,
    encoder: Callable[[T], Any],
    decoder: Callable[[Any], T] = lambda value: value,
) -> None:
    """Teach JSON a type.

    Args:
        t: the type; subclasses are written in the same way.
        marker: what to write as `__type__`; None writes the encoder's answer bare (it is then not read back).
        encoder: makes something that JSON knows out of a `t`.
        decoder: makes a `t` out of that.
    """
    _encoders[t] = (marker, encoder)
    if marker is not None:
        _decoders[marker] = decoder


def _read_uuid(value: dict[str, Any]) -> uuid.UUID:
    return uuid.UUID(**value)


register_type(datetime, "datetime", datetime.isoformat, datetime.fromisoformat)
register_type(date, "date", date.isoformat, lambda value: datetime.fromisoformat(value).date())
register_type(time, "time", time.isoformat, time.fromisoformat)
register_type(Decimal, "decimal", str, Decimal)
register_type(uuid.UUID, "uuid", lambda value: {"hex": value.hex}, _read_uuid)
_decoders["bytes"] = lambda value: value.encode()
_decoders["base64"] = lambda value: base64.b64decode(value)


def _write_bytes(value: bytes) -> dict[str, str]:
    try:
        return {"__type__": "bytes", "__value__": value.decode()}
    except UnicodeDecodeError:
        return {"__type__": "base64", "__value__": base64.b64encode(value).decode()}


def _default(value: Any) -> Any:
    """What to write for an object that JSON does not know; called by the encoder."""
    as_json = getattr(value, "__json__", None)
    if as_json is not None:
        return as_json()
    if isinstance(value, bytes):
        return _write_bytes(value)
    entry = _encoders.get(type(value)) or _entry_of_base(value)
    if entry is not None:
        marker, encoder = entry
        encoded = encoder(value)
        return encoded if marker is None else {"__type__": marker, "__value__": encoded}
    if isinstance(value, (range, KeysView, ValuesView, ItemsView)):
        return list(value)
    if type(value).__name__ == "__proxy__":  # Django's lazy translations
        return str(value)
    return _ask_kombu(value)


def _entry_of_base(value: Any) -> tuple[str | None, Encoder] | None:
    for base, entry in _encoders.items():  # in the order of registration: datetime comes before date
        if isinstance(value, base):
            return entry
    return None


def _ask_kombu(value: Any) -> Any:
    """Types that the program registered with kombu: known only if it imported kombu to do so."""
    theirs = sys.modules.get("kombu.utils.json")
    if theirs is not None:
        return theirs.JSONEncoder().default(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _object_hook(value: dict[str, Any]) -> Any:
    if len(value) != 2 or "__type__" not in value or "__value__" not in value:
        return value
    marker = value["__type__"]
    decoder = _decoders.get(marker) if isinstance(marker, str) else None
    if decoder is not None:
        return decoder(value["__value__"])
    theirs = sys.modules.get("kombu.utils.json")
    if theirs is not None:
        return theirs.object_hook(value)
    raise ValueError(f"Unsupported type {marker!r}")


_plain = json.JSONEncoder(default=_default, separators=(",", ":"))
_make: Any = getattr(json.encoder, "c_make_encoder", None)
#: `JSONEncoder.encode` makes a C encoder at every call; one made once takes a third of the time for small
#: values. It does not look for circles: those end in RecursionError, and `text` tells them apart.
_chunks = (
    _make(None, _default, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, True)
    if _make is not None
    else None
)


def text(value: Any) -> str:
    """Write `value` as ASCII JSON text.

    Raises:
        TypeError: something in it has no JSON form.
        ValueError: it contains itself, or is nested too deeply.
    """
    try:
        if _chunks is None:
            return _plain.encode(value)
        return "".join(_chunks(value, 0))
    except RecursionError:
        return _plain_text(value)


def _plain_text(value: Any) -> str:
    try:
        return _plain.encode(value)
    except RecursionError:
        raise ValueError("nested too deeply to be written as JSON") from None


def dumps(value: Any) -> bytes:
    """`text` as bytes."""
    return text(value).encode("ascii")


_quick = msgspec.json.Decoder().decode
#: Escapes that could spell `__type__`; other texts can be read without looking at each object.
_HIDDEN = (b"\\u005", b"\\u006", b"\\u007")

_UNDERSCORE, _BACKSLASH = b"_\\"


def may_be_extended(raw: bytes) -> bool:
    """False if `raw` certainly holds no extended type."""
    # Looking for one byte, given as a number, takes a tenth of the time.
    return (_UNDERSCORE in raw and b"__type__" in raw) or (
        _BACKSLASH in raw and any(mark in raw for mark in _HIDDEN)
    )


def loads(data: bytes | bytearray | memoryview | str) -> Any:
    """Read JSON, giving extended types back.

    Raises:
        ValueError: no JSON, not UTF-8, an unknown `__type__` or a wrong `__value__`, nested too deeply.
    """
    raw = data.encode() if isinstance(data, str) else bytes(data)
    if not may_be_extended(raw):
        try:
            return _quick(raw)
        except (msgspec.DecodeError, RecursionError):
            pass  # NaN, lone surrogates and the like: or the slow reader's message is the better one
    try:
        return json.loads(raw.decode("utf-8"), object_hook=_object_hook)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except (ValueError, SoftTimeLimitExceeded):
        raise
    except Exception as exc:
        raise ValueError(f"wrong extended value: {exc or type(exc).__name__}") from exc


#: One string as JSON text.
quote: Callable[[str], str] = json.encoder.encode_basestring_ascii
