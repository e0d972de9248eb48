"""What a result looks like in a store: the meta mapping, stored exceptions, compressed payloads.

A meta is a mapping in Celery's exact form: `status`, `result`, `traceback`, `children`, `date_done`, `task_id`
and, with `result_extended`, what the task was called with. Exceptions are stored by the name of their class
(`exc_type`, `exc_module`) and their arguments; only classes of modules that are already imported are
made again, and only if they are exceptions.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from celery import _foreign, exceptions
from celery.exceptions import SecurityError
from celery.message import compression as codecs
from celery.message import json
from celery.states import FAILURE
from celery.utils.serialization import (
    create_exception_cls,
    ensure_serializable,
    get_pickleable_exception,
    get_pickled_exception,
)

if TYPE_CHECKING:
    from collections.abc import Callable

#: A payload that begins with this is compressed: magic, content type, a zero byte, the compressed bytes.
COMPRESSED_PAYLOAD_MAGIC = b"\x00celery-compressed\x00"

#: Serializers that can carry exceptions as they are.
EXCEPTION_ABLE_CODECS = frozenset({"pickle"})

PENDING_META: dict[str, Any] = {"status": "PENDING", "result": None}


def compress_payload(payload: bytes | str, compression: str) -> bytes:
    """Compress an encoded result and mark it, so that every reader knows.

    Args:
        compression: name of the method (`gzip`, `bzip2`, ...).

    Raises:
        UnknownCompression: no such method, or its library is missing.
    """
    raw = payload.encode() if isinstance(payload, str) else bytes(payload)
    body, content_type = codecs.compress(raw, compression)
    return COMPRESSED_PAYLOAD_MAGIC + content_type.encode() + b"\x00" + body


def decompress_payload(payload: Any) -> Any:
    """Undo `compress_payload`; anything without the mark is returned as it is."""
    if isinstance(payload, (bytearray, memoryview)):
        payload = bytes(payload)
    if isinstance(payload, bytes) and payload.startswith(COMPRESSED_PAYLOAD_MAGIC):
        content_type, _, body = payload[len(COMPRESSED_PAYLOAD_MAGIC) :].partition(b"\x00")
        return codecs.decompress(body, content_type.decode())
    return payload


_this_second: tuple[int, str] = (-1, "")


def done_now(now: float) -> str:
    """`now` (unix time) as `date_done` is stored: what `datetime.isoformat` writes, at a quarter of its price."""
    global _this_second
    micros = int(now * 1e6)
    second, rest = divmod(micros, 1_000_000)
    at, text = _this_second
    if at != second:
        text = datetime.fromtimestamp(second, UTC).isoformat()[:-6]
        _this_second = second, text
    return f"{text}.{rest:06d}+00:00" if rest else f"{text}+00:00"


def success_as_json(task_id: str, result: Any, request: Any, done: str) -> str:
    """The meta of a success without children, as `result_meta` and the JSON serializer would write it.

    Raises:
        TypeError, ValueError: the result has no JSON form.
    """
    quote = json.quote
    family = f'"group_id":{quote(request.group)},' if request.group else ""
    if request.parent_id:
        family += f'"parent_id":{quote(request.parent_id)},'
    return (
        f'{{"status":"SUCCESS","result":{json.text(result)},"traceback":null,"children":[],"date_done":"{done}",'
        f'{family}"task_id":{quote(task_id)}}}'
    )


def store_exception(exc: BaseException, serializer: str, encode: Callable[[Any], Any]) -> Any:
    """An exception in the form in which it is stored.

    Args:
        serializer: with `pickle` the exception itself (wrapped if it cannot be pickled), else a mapping.
        encode: raises for what the serializer cannot write; such arguments are stored as their `repr`.
    """
    if serializer in EXCEPTION_ABLE_CODECS:
        return get_pickleable_exception(exc)
    kind = type(exc)
    return {
        "exc_type": getattr(kind, "__qualname__", None) or kind.__name__,
        "exc_message": ensure_serializable(exc.args or _text_of(exc), encode),
        "exc_module": kind.__module__,
    }


def _text_of(exc: BaseException) -> tuple[str, ...]:
    """What to store for an exception without arguments. If it cannot be made again without, its text is all that is
    left of it: then that, so that whoever reads the result learns it."""
    try:
        text = str(exc)
    except Exception:  # noqa: BLE001 - the user's code
        return ()
    if not text:
        return ()
    try:
        type(exc)()
    except Exception:  # noqa: BLE001 - the user's code
        return (text,)
    return ()


def restore_exception(stored: Any) -> BaseException | None:
    """The exception that `store_exception` stored.

    Returns:
        An instance of its class if that is known here, else of a class made for the purpose, with the same name;
        None for None.

    Raises:
        SecurityError: the class named is no exception class.
        ValueError: the mapping does not name a class.
    """
    if not stored:
        return None
    if isinstance(stored, BaseException):
        return _foreign.adopt(get_pickled_exception(stored))
    if not isinstance(stored, Mapping):
        raise ValueError(f"Exception information must be a mapping, not {stored!r}")
    name = stored.get("exc_type")
    if name is None:
        raise ValueError("Exception information must include the exception type")
    module, name = stored.get("exc_module"), str(name)
    message = stored.get("exc_message", "")
    kind = _find_class(module, name)
    if not (isinstance(kind, type) and issubclass(kind, BaseException)):
        raise SecurityError(f"Expected an exception class, got {module}.{name} with payload {message}")
    return _make(kind, message)


def _find_class(module: str | None, name: str) -> Any:
    """The class, if its module is imported already: reading a result must never import anything."""
    if module is not None:
        module, name = _foreign.own_path(str(module), name)
        found: Any = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is not None:
            return _foreign.raised_class(found) if found in _foreign.STOCK else found
    return create_exception_cls(name, exceptions.__name__)


def _make(kind: type[BaseException], message: Any) -> BaseException:
    try:
        return kind(*message) if isinstance(message, (tuple, list)) else kind(message)
    except Exception:  # noqa: BLE001 - a constructor of the user's may raise anything
        return Exception(f"{kind}({message})")


def unreadable(task_id: str, error: Exception) -> dict[str, Any]:
    """What those get who wait for a result that cannot be read (what was stored is no exception class, say)."""
    return {"status": FAILURE, "result": error, "traceback": None, "children": [], "task_id": task_id}


def result_meta(
    result: Any,
    state: str,
    traceback: Any,
    request: Any,
    *,
    done: Any,
    children: Any,
    extended: bool,
    encode: Callable[[Any], Any] | None = None,
) -> dict[str, Any]:
    """The mapping to be stored, without `task_id`.

    Args:
        result: already in its stored form.
        request: the task's request, or None.
        done: the value of `date_done`, None for a state that is not the last.
        extended: add what the task was called with (`result_extended`).
        encode: applied to `args` and `kwargs` of an extended result.
    """
    meta = {
        "status": state,
        "result": result,
        "traceback": traceback,
        "children": children,
        "date_done": done,
    }
    if request is None:
        return meta
    group = getattr(request, "group", None)
    if group:
        meta["group_id"] = group
    parent = getattr(request, "parent_id", None)
    if parent:
        meta["parent_id"] = parent
    if extended:
        meta.update(_extension(request, encode))
    return meta


def _extension(request: Any, encode: Callable[[Any], Any] | None) -> dict[str, Any]:
    delivery = getattr(request, "delivery_info", None) or {}
    extra = {
        "name": getattr(request, "task", None),
        "args": getattr(request, "args", None),
        "kwargs": getattr(request, "kwargs", None),
        "worker": getattr(request, "hostname", None),
        "retries": getattr(request, "retries", None),
        "queue": delivery.get("routing_key"),
    }
    if encode is not None:
        for field in ("args", "kwargs"):
            encoded = encode(extra[field])
            extra[field] = encoded.encode() if isinstance(encoded, str) else encoded
    stamps = getattr(request, "stamps", None)
    if stamps:
        extra["stamped_headers"] = cast("Any", request).stamped_headers
        extra.update(stamps)
    return extra
