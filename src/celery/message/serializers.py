"""Bodies to bytes and back, by serializer name and content type.

json, pickle, yaml and msgpack are built in; others are added by `register`, by a package's
`kombu.serializers` entry point, or by `kombu.serialization.register` in programs that import kombu.
Reading is by permission: `loads` refuses every content type that the caller did not list.
"""

from __future__ import annotations

import pickle
import sys
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec

from celery import _foreign
from celery.exceptions import (
    ContentDisallowed,
    DecodeError,
    EncodeError,
    ImproperlyConfigured,
    SoftTimeLimitExceeded,
)
from celery.utils.installed import entry_points

from . import json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = (
    "Serializer",
    "dumps",
    "loads",
    "name_of",
    "prepare_accept_content",
    "register",
    "unregister",
)

#: Both ends of a mixed fleet must know it; Python 3.14 writes 5 by default.
PICKLE_PROTOCOL = 4
#: Content that is no code and was never encoded by a serializer: always readable.
RAW_TYPES = frozenset({"application/data", "application/text"})
#: Refused when the caller gives no list.
UNSAFE = frozenset({"application/x-python-serialize", "application/x-yaml", "application/x-msgpack"})


class Serializer(msgspec.Struct, frozen=True):
    """One way to write a body.

    Attributes:
        encode: makes `bytes` or `str` of a value.
        decode: makes a value of bytes, or of text where `content_encoding` is a text encoding
            and `wants_text` is set.
    """

    name: str
    content_type: str
    content_encoding: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    wants_text: bool = False


_by_name: dict[str, Serializer] = {}
_by_type: dict[str, Serializer] = {}


def register(
    name: str,
    encoder: Callable[[Any], Any] | None,
    decoder: Callable[[Any], Any] | None,
    content_type: str,
    content_encoding: str = "utf-8",
) -> None:
    """Add a serializer, or replace one.

    Args:
        encoder: value to `str` or `bytes`.
        decoder: back; it gets `str` unless `content_encoding` is `"binary"`.
        content_type: MIME type that names it on the wire.
    """
    found = Serializer(
        name,
        content_type,
        content_encoding,
        encoder or _none("encoder", name),
        decoder or _none("decoder", name),
        wants_text=content_encoding not in ("binary", "ascii-8bit"),
    )
    _by_name[name] = _by_type[content_type] = found


def unregister(name: str) -> None:
    """Forget a serializer.

    Raises:
        EncodeError: there is none of that name.
    """
    found = _find(name)
    del _by_name[name]
    _by_type.pop(found.content_type, None)


def _none(what: str, name: str) -> Callable[[Any], Any]:
    def missing(_value: Any) -> Any:
        raise TypeError(f"serializer {name} has no {what}")

    return missing


def _lazy(module: str, write: str, read: str, extra: str, **options: Any) -> tuple[Any, Any]:
    """Encoder and decoder of a library that is imported on first use."""

    def call(function: str, value: Any, **kwargs: Any) -> Any:
        try:
            library = import_module(module)
        except ImportError:
            raise TypeError(f"needs the {module} library: pip install 'celery[{extra}]'") from None
        return getattr(library, function)(value, **kwargs)

    return (
        lambda value: call(write, value, **options.get("writing", {})),
        lambda value: call(read, value, **options.get("reading", {})),
    )


def _register_builtin() -> None:
    _by_name["json"] = _by_type["application/json"] = Serializer(
        "json", "application/json", "utf-8", json.dumps, json.loads
    )
    register(
        "pickle",
        lambda value: pickle.dumps(value, protocol=PICKLE_PROTOCOL),
        pickle.loads,
        "application/x-python-serialize",
        "binary",
    )
    register("yaml", *_lazy("yaml", "safe_dump", "safe_load", "yaml"), "application/x-yaml", "utf-8")
    register(
        "msgpack",
        *_lazy(
            "msgpack",
            "packb",
            "unpackb",
            "msgpack",
            writing={"use_bin_type": True},
            reading={"raw": False, "strict_map_key": False},
        ),
        "application/x-msgpack",
        "binary",
    )


_register_builtin()
_OWN_JSON = _by_name["json"]


def json_is_ours() -> bool:
    """False if somebody has registered another serializer as "json"."""
    return _by_name.get("json") is _OWN_JSON


ENTRY_POINTS = "kombu.serializers"


def _load_entry_point(name: str) -> Serializer | None:
    for point in entry_points(ENTRY_POINTS):
        if point.name == name:
            register(name, *point.load())
    return _by_name.get(name)


def _of_kombu() -> Any:
    """kombu's own registry, in programs that imported kombu (to register something there, maybe)."""
    return sys.modules.get("kombu.serialization")


def _from_kombu(name: str) -> Serializer | None:
    kombu = _of_kombu()
    content_type = kombu.registry.name_to_type.get(name) if kombu is not None else None
    if content_type is None:
        return None
    return Serializer(name, content_type, "", lambda value: kombu.dumps(value, name), json.loads)


def _find(name: str) -> Serializer:
    found = _by_name.get(name) or _from_kombu(name) or _load_entry_point(name)
    if found is None:
        known = ", ".join(sorted(_by_name))
        raise _foreign.encode_error(f"No encoder installed for {name}: the serializers are {known}")
    return found


def dumps(data: Any, serializer: str | None = None) -> tuple[str, str, bytes]:
    """Write a body.

    Args:
        serializer: its name; None: bytes and text as they are, all else as json. "raw" writes bytes and text only.

    Returns:
        content type, content encoding, bytes.

    Raises:
        EncodeError: no such serializer, or it cannot write `data`.
    """
    if serializer is None or serializer == "raw":
        raw = _dump_raw(data, serializer)
        if raw is not None:
            return raw
        serializer = "json"
    found = _find(serializer)
    try:
        encoded = found.encode(data)
    except (EncodeError, SoftTimeLimitExceeded):
        raise
    except Exception as exc:
        if isinstance(exc, _stock_errors("EncodeError")):
            raise
        raise _foreign.encode_error(str(exc) or type(exc).__name__) from exc
    if isinstance(encoded, tuple):  # kombu's answer
        content_type, content_encoding, encoded = encoded
        return content_type, content_encoding, _as_bytes(encoded)
    return found.content_type, found.content_encoding, _as_bytes(encoded)


def _dump_raw(data: Any, serializer: str | None) -> tuple[str, str, bytes] | None:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return "application/data", "binary", bytes(data)
    if isinstance(data, str):
        return ("text/plain" if serializer is None else "application/data"), "utf-8", data.encode()
    if serializer is None:
        return None
    raise _foreign.encode_error(f"serializer raw writes bytes and text, not {type(data).__name__}")


def _as_bytes(encoded: Any) -> bytes:
    if isinstance(encoded, bytes):
        return encoded
    if isinstance(encoded, str):
        return encoded.encode()
    return bytes(encoded)


def loads(
    data: bytes | str,
    content_type: str | None,
    content_encoding: str | None,
    accept: Iterable[str] | None = None,
) -> Any:
    """Read a body.

    Args:
        content_type, content_encoding: as the message's properties name them; None: text.
        accept: content types that may be read (see `prepare_accept_content`); None: all but pickle, yaml and
            msgpack.

    Raises:
        ContentDisallowed: the type is not in `accept`.
        DecodeError: the bytes are not what the type says.
    """
    content_type = content_type or "application/data"
    if content_type not in RAW_TYPES:
        _check_allowed(content_type, accept)
    elif not content_encoding:
        content_encoding = "utf-8"
    if not data:
        return data
    found = _by_type.get(content_type) or _reader_of_kombu(content_type, content_encoding)
    try:
        if found is None:
            return _read_raw(data, content_encoding)
        if found.wants_text and not isinstance(data, str):
            data = _read_raw(data, content_encoding or found.content_encoding)
        return found.decode(data)
    except (DecodeError, SoftTimeLimitExceeded):  # its time may be over in the middle of it
        raise
    except Exception as exc:
        if isinstance(exc, _stock_errors("DecodeError")):
            raise
        reason = str(exc) or type(exc).__name__
        raise _foreign.decode_error(f"{found.name if found else content_type}: {reason}") from exc


def _check_allowed(content_type: str, accept: Iterable[str] | None) -> None:
    allowed = content_type not in UNSAFE if accept is None else content_type in accept
    if not allowed:
        raise _foreign.content_disallowed(
            f"Refusing to deserialize untrusted content of type {name_of(content_type)} ({content_type})"
        )


def _read_raw(data: Any, content_encoding: str | None) -> Any:
    if isinstance(data, str) or content_encoding in (None, "binary", "ascii-8bit"):
        return data
    return bytes(data).decode(content_encoding)


def _reader_of_kombu(content_type: str, content_encoding: str | None) -> Serializer | None:
    kombu = _of_kombu()
    if kombu is None:
        return _reader_by_entry_point(content_type)
    name = kombu.registry.type_to_name.get(content_type)
    if name is None:
        return _reader_by_entry_point(content_type)
    return Serializer(
        name,
        content_type,
        "",
        kombu.dumps,
        lambda data: kombu.loads(data, content_type, content_encoding, accept={content_type}, force=True),
    )


def _reader_by_entry_point(content_type: str) -> Serializer | None:
    if content_type in RAW_TYPES or content_type.startswith("text/"):
        return None
    _load_all_entry_points()
    return _by_type.get(content_type)


@cache
def _load_all_entry_points() -> None:
    """Entry points are known by name only, so all are loaded at the first unknown type, and not again."""
    for point in entry_points(ENTRY_POINTS):
        if point.name not in _by_name:
            register(point.name, *point.load())


def _stock_errors(name: str) -> tuple[type[BaseException], ...]:
    kombu = sys.modules.get("kombu.exceptions")
    return (getattr(kombu, name),) if kombu is not None else ()


def name_of(content_type: str) -> str:
    """The serializer's name for a content type, or the type itself."""
    found = _by_type.get(content_type)
    return found.name if found is not None else content_type


def prepare_accept_content(
    content_types: Iterable[str] | None, name_to_type: Mapping[str, str] | None = None, *, setting: str = ""
) -> frozenset[str] | None:
    """Serializer names and MIME types, mixed, as the set of MIME types that `loads` wants.

    Args:
        content_types: None stays None.
        name_to_type: names to look up instead of the registered ones.
        setting: where they come from.

    Raises:
        EncodeError: an unknown name.
        ImproperlyConfigured: the same, if it came from a setting.
    """
    if content_types is None:
        return None
    if name_to_type is not None:
        return frozenset(n if "/" in n else name_to_type[n] for n in content_types)
    try:
        return frozenset(n if "/" in n else _find(n).content_type for n in content_types)
    except EncodeError as exc:
        if setting:
            raise ImproperlyConfigured(f"Setting {setting!r}: {exc}") from exc
        raise


#: Names other modules use in `except`.
__errors__ = (ContentDisallowed, DecodeError, EncodeError)
