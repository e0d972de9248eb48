"""Field tables and message properties, to and from bytes.

Tables carry the types that RabbitMQ has for them. What is written as text may come back as bytes if it is no
UTF-8; a timestamp comes back as an aware datetime.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from .errors import ProtocolError

#: Tables and arrays inside one another, at most.
DEEPEST = 100

_u16 = struct.Struct(">H")
_u32 = struct.Struct(">I")
_i32 = struct.Struct(">i")
_i64 = struct.Struct(">q")
_u64 = struct.Struct(">Q")

#: Numbers of a fixed size by their tag.
_FIXED = {
    tag: struct.Struct(f">{code}")
    for tag, code in zip(b"bBsuIilLfd", ("b", "B", "h", "H", "i", "I", "q", "q", "f", "d"), strict=True)
}


# -- writing


def shortstr(text: str | bytes) -> bytes:
    """A text of at most 255 bytes.

    Raises:
        ValueError: it is longer.
    """
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(raw) > 255:
        raise ValueError(
            f"a name or property of at most 255 bytes is expected, got {len(raw)}: {raw[:40]!r}..."
        )
    return bytes((len(raw),)) + raw


def longstr(text: str | bytes) -> bytes:
    """A text of any length."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return _u32.pack(len(raw)) + raw


def table(values: Mapping[str, Any]) -> bytes:
    """A table with its length before it.

    Raises:
        ValueError: a value has no form in a table, or a key is too long.
    """
    try:
        body = b"".join([shortstr(str(key)) + field(value) for key, value in values.items()])
    except RecursionError as exc:
        raise ValueError("headers are nested too deeply") from exc
    return _u32.pack(len(body)) + body


def field(value: Any) -> bytes:
    """One value with its tag.

    Raises:
        ValueError: it has no form in a table.
    """
    writer = _WRITERS.get(type(value))
    if writer is not None:
        return writer(value)
    for kind, general in _GENERAL:
        if isinstance(value, kind):
            return general(value)
    raise ValueError(f"a header cannot hold {value!r} ({type(value).__name__})")


def _text(value: str) -> bytes:
    return b"S" + longstr(value)


def _integer(value: int) -> bytes:
    if -0x80000000 <= value < 0x80000000:
        return b"I" + _i32.pack(value)
    if -0x8000000000000000 <= value < 0x8000000000000000:
        return b"l" + _i64.pack(value)
    return _text(str(value))


def _decimal(value: Decimal) -> bytes:
    sign, digits, exponent = value.as_tuple()
    unscaled = int("".join(map(str, digits)) or "0")
    if isinstance(exponent, str) or not -255 <= exponent <= 0 or sign or unscaled > 0xFFFFFFFF:
        return _text(str(value))
    return b"D" + struct.pack(">BI", -exponent, unscaled)


def _moment(value: datetime) -> bytes:
    when = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return b"T" + _u64.pack(max(0, int(when.timestamp())))


def _array(value: Sequence[Any]) -> bytes:
    body = b"".join(map(field, value))
    return b"A" + _u32.pack(len(body)) + body


_WRITERS: dict[type, Callable[[Any], bytes]] = {
    str: _text,
    bytes: lambda value: b"x" + longstr(value),
    bytearray: lambda value: b"x" + longstr(bytes(value)),
    bool: lambda value: b"t\x01" if value else b"t\x00",
    int: _integer,
    float: lambda value: b"d" + _FIXED[0x64].pack(value),
    Decimal: _decimal,
    datetime: _moment,
    dict: lambda value: b"F" + table(value),
    list: _array,
    tuple: _array,
    type(None): lambda value: b"V",
}
_GENERAL: tuple[tuple[type, Callable[[Any], bytes]], ...] = (
    (str, _text),
    (bool, _WRITERS[bool]),
    (int, _integer),
    (float, _WRITERS[float]),
    (datetime, _moment),
    (Mapping, _WRITERS[dict]),
    (list, _array),
    (tuple, _array),
)


# -- reading


def read_shortstr(data: bytes, at: int, end: int) -> tuple[str, int]:
    """A text of at most 255 bytes at `at`, and where it ends.

    Raises:
        ProtocolError: it does not fit before `end`.
    """
    if at >= end:
        raise ProtocolError("a short text is missing")
    stop = at + 1 + data[at]
    if stop > end:
        raise ProtocolError("a short text is cut off")
    return data[at + 1 : stop].decode("utf-8", "surrogateescape"), stop


def read_longstr(data: bytes, at: int, end: int) -> tuple[bytes, int]:
    """A text of any length at `at` as bytes, and where it ends."""
    if at + 4 > end:
        raise ProtocolError("a long text is missing")
    stop = at + 4 + _u32.unpack_from(data, at)[0]
    if stop > end:
        raise ProtocolError("a long text is cut off")
    return data[at + 4 : stop], stop


def read_table(data: bytes, at: int, end: int, depth: int = 0) -> tuple[dict[str, Any], int]:
    """A table at `at`, and where it ends.

    Raises:
        ProtocolError: it is none.
    """
    if at + 4 > end:
        raise ProtocolError("a table is missing")
    stop = at + 4 + _u32.unpack_from(data, at)[0]
    if stop > end:
        raise ProtocolError("a table is cut off")
    at += 4
    values: dict[str, Any] = {}
    while at < stop:
        key, at = read_shortstr(data, at, stop)
        values[key], at = read_field(data, at, stop, depth)
    return values, stop


def read_field(data: bytes, at: int, end: int, depth: int = 0) -> tuple[Any, int]:
    """One tagged value at `at`, and where it ends."""
    if at >= end:
        raise ProtocolError("a value is missing")
    tag, at = data[at], at + 1
    if tag == 0x53:  # S, nearly always
        raw, at = read_longstr(data, at, end)
        return _as_text(raw), at
    if tag == 0x56:  # V
        return None, at
    fixed = _FIXED.get(tag)
    if fixed is not None:
        if at + fixed.size > end:
            raise ProtocolError("a number is cut off")
        return fixed.unpack_from(data, at)[0], at + fixed.size
    reader = _READERS.get(tag)
    if reader is None:
        raise ProtocolError(f"a value of unknown type {bytes((tag,))!r}")
    if depth > DEEPEST:
        raise ProtocolError("tables are nested too deeply")
    return reader(data, at, end, depth + 1)


def _as_text(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _read_bool(data: bytes, at: int, end: int, depth: int) -> tuple[bool, int]:
    if at >= end:
        raise ProtocolError("a truth value is cut off")
    return data[at] != 0, at + 1


def _read_bytes(data: bytes, at: int, end: int, depth: int) -> tuple[bytes, int]:
    return read_longstr(data, at, end)


def _read_decimal(data: bytes, at: int, end: int, depth: int) -> tuple[Decimal, int]:
    if at + 5 > end:
        raise ProtocolError("a decimal number is cut off")
    scale, unscaled = struct.unpack_from(">BI", data, at)
    return Decimal(unscaled).scaleb(-scale), at + 5


def _read_moment(data: bytes, at: int, end: int, depth: int) -> tuple[Any, int]:
    if at + 8 > end:
        raise ProtocolError("a time is cut off")
    seconds = _u64.unpack_from(data, at)[0]
    try:
        return datetime.fromtimestamp(seconds, UTC), at + 8
    except (ValueError, OverflowError, OSError):
        return seconds, at + 8  # some write milliseconds


def _read_array(data: bytes, at: int, end: int, depth: int) -> tuple[list[Any], int]:
    if at + 4 > end:
        raise ProtocolError("a list is missing")
    stop = at + 4 + _u32.unpack_from(data, at)[0]
    if stop > end:
        raise ProtocolError("a list is cut off")
    at += 4
    values = []
    while at < stop:
        value, at = read_field(data, at, stop, depth)
        values.append(value)
    return values, stop


_READERS: dict[int, Callable[[bytes, int, int, int], tuple[Any, int]]] = {
    0x74: _read_bool,  # t
    0x78: _read_bytes,  # x
    0x44: _read_decimal,  # D
    0x54: _read_moment,  # T
    0x46: read_table,  # F
    0x41: _read_array,  # A
}


# -- properties

#: Properties of a message: name, flag, kind (`s` short text, `F` table, `o` octet, `T` time).
PROPERTIES: tuple[tuple[str, int, str], ...] = (
    ("content_type", 1 << 15, "s"),
    ("content_encoding", 1 << 14, "s"),
    ("headers", 1 << 13, "F"),
    ("delivery_mode", 1 << 12, "o"),
    ("priority", 1 << 11, "o"),
    ("correlation_id", 1 << 10, "s"),
    ("reply_to", 1 << 9, "s"),
    ("expiration", 1 << 8, "s"),
    ("message_id", 1 << 7, "s"),
    ("timestamp", 1 << 6, "T"),
    ("type", 1 << 5, "s"),
    ("user_id", 1 << 4, "s"),
    ("app_id", 1 << 3, "s"),
    ("cluster_id", 1 << 2, "s"),
)
NAMES = frozenset(name for name, _, _ in PROPERTIES)


def properties(values: Mapping[str, Any], headers: bytes | None = None) -> bytes:
    """Flags and property list. Unknown names and None are left out.

    Args:
        headers: an encoded table, instead of one in `values`.

    Raises:
        ValueError: a value does not fit its property.
    """
    flags, parts = 0, []
    for name, flag, kind in PROPERTIES:
        if name == "headers" and headers is not None:
            flags |= flag
            parts.append(headers)
            continue
        value = values.get(name)
        if value is None:
            continue
        flags |= flag
        parts.append(_property(name, kind, value))
    return _u16.pack(flags) + b"".join(parts)


def _property(name: str, kind: str, value: Any) -> bytes:
    try:
        if kind == "s":
            return shortstr(value if isinstance(value, (str, bytes)) else str(value))
        if kind == "o":
            return bytes((min(max(int(value), 0), 255),))
        if kind == "F":
            return table(value)
        return _u64.pack(int(value.timestamp() if isinstance(value, datetime) else value))
    except (TypeError, ValueError, struct.error, AttributeError) as exc:
        raise ValueError(f"property {name}: {exc}") from exc


class Properties:
    """The properties of a received message, taken apart but for its headers.

    Attributes:
        values: all but the headers.
        headers: the table with its length, still encoded; empty if there is none.
    """

    __slots__ = ("headers", "values")

    def __init__(self, values: dict[str, Any], headers: bytes) -> None:
        self.values = values
        self.headers = headers


def find_headers(data: bytes) -> tuple[bytes, int | None]:
    """The header table (empty if there is none) and the priority (None if it has none) of a message.

    Args:
        data: flags and property list.

    Raises:
        ProtocolError: they are none.
    """
    try:
        flags = data[0] << 8 | data[1]
        at = 2
        if flags & 0x8000:
            at += 1 + data[at]
        if flags & 0x4000:
            at += 1 + data[at]
        headers = b""
        if flags & 0x2000:
            stop = at + 4 + _u32.unpack_from(data, at)[0]
            headers = data[at:stop]
            at = stop
        if flags & 0x1000:
            at += 1
        priority = data[at] if flags & 0x0800 else None
    except (IndexError, struct.error) as exc:
        raise ProtocolError("properties are cut off") from exc
    if at > len(data):
        raise ProtocolError("properties are cut off")
    return headers, priority


def read_properties(data: bytes, at: int = 0) -> Properties:
    """Take flags and property list apart.

    Raises:
        ProtocolError: they are none.
    """
    end = len(data)
    if at + 2 > end:
        raise ProtocolError("properties are missing")
    flags = _u16.unpack_from(data, at)[0]
    at += 2
    if flags & 1:
        raise ProtocolError("properties have further flags")
    values: dict[str, Any] = {}
    headers = b""
    for name, flag, kind in PROPERTIES:
        if not flags & flag:
            continue
        if kind == "s":
            values[name], at = read_shortstr(data, at, end)
        elif kind == "o":
            if at >= end:
                raise ProtocolError("a property is cut off")
            values[name], at = data[at], at + 1
        elif kind == "F":
            raw, stop = read_longstr(data, at, end)
            headers, at = data[at:stop], stop
            del raw
        else:
            values[name], at = _read_moment(data, at, end, 0)
    return Properties(values, headers)
