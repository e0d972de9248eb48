"""Exceptions that may not survive pickling, values that JSON lacks, and words for true and false."""

from __future__ import annotations

import datetime
import numbers
import pickle  # noqa: S403, RUF100 - what is read was written by the caller just before
import sys
from base64 import b64decode as base64decode
from base64 import b64encode as base64encode
from functools import partial
from inspect import getmro
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NoReturn

from celery.utils.saferepr import saferepr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = (
    "STRTOBOOL_DEFAULT_TABLE",
    "UnpickleableExceptionWrapper",
    "create_exception_cls",
    "ensure_serializable",
    "find_pickleable_exception",
    "get_pickleable_etype",
    "get_pickleable_exception",
    "get_pickled_exception",
    "jsonify",
    "raise_with_context",
    "strtobool",
    "subclass_exception",
)

#: Classes that say nothing about an error.
unwanted_base_classes = (Exception, BaseException, object)

STRTOBOOL_DEFAULT_TABLE: dict[str, bool] = {
    "false": False,
    "no": False,
    "0": False,
    "true": True,
    "yes": True,
    "1": True,
    "on": True,
    "off": False,
}


def subclass_exception(name: str, parent: type[BaseException], module: str) -> type[BaseException]:
    """A new exception class."""
    return type(name, (parent,), {"__module__": module})


def create_exception_cls(
    name: str, module: str, parent: type[BaseException] | None = None
) -> type[BaseException]:
    """A class for an exception of which only the name is known.

    Args:
        parent: default `Exception`.
    """
    return subclass_exception(name, parent or Exception, module)


def itermro(cls: type, stop: tuple[type, ...]) -> Iterator[type]:
    """The class and its bases, up to the first in `stop`."""
    return takewhile(lambda base: base not in stop, getmro(cls))


def find_pickleable_exception(
    exc: BaseException,
    loads: Callable[[bytes], Any] = pickle.loads,
    dumps: Callable[..., bytes] = pickle.dumps,
) -> BaseException | None:
    """An exception of the nearest base class of `exc` that can be pickled; None if none says anything."""
    for base in itermro(type(exc), unwanted_base_classes):
        try:
            candidate: BaseException = base(*exc.args)
            loads(dumps(candidate))
        except Exception:  # noqa: BLE001, S112, RUF100 - user code: whatever it raises, try the next
            continue
        return candidate
    return None


def get_pickleable_etype(
    cls: type[BaseException],
    loads: Callable[[bytes], Any] = pickle.loads,
    dumps: Callable[..., bytes] = pickle.dumps,
) -> type[BaseException]:
    """The nearest base of an exception class that can be pickled."""
    for base in itermro(cls, unwanted_base_classes):
        try:
            loads(dumps(base))
        except Exception:  # noqa: BLE001, S112, RUF100 - as above
            continue
        return base
    return Exception


def get_pickleable_exception(exc: BaseException) -> BaseException:
    """`exc` if it survives pickling, else a base class's exception, else a wrapper with its text."""
    try:
        pickle.loads(pickle.dumps(exc))  # noqa: S301, RUF100 - our own bytes
    except Exception:  # noqa: BLE001, S110, RUF100 - user code: whatever it raises, it cannot be pickled
        pass
    else:
        return exc
    return find_pickleable_exception(exc) or UnpickleableExceptionWrapper.from_exception(exc)


def get_pickled_exception(exc: BaseException) -> BaseException:
    """The original of a wrapper (or a likeness); any other exception as it is."""
    return exc.restore() if isinstance(exc, UnpickleableExceptionWrapper) else exc


class UnpickleableExceptionWrapper(Exception):  # noqa: N818, RUF100 - the public name
    """Stands for an exception that cannot be pickled.

    Args:
        exc_module, exc_cls_name: its class.
        exc_args: its arguments; those that cannot be pickled become text.
        text: its repr.
    """

    exc_module: str | None = None
    exc_cls_name: str | None = None
    exc_args: Any = None

    def __init__(
        self, exc_module: str, exc_cls_name: str, exc_args: Iterable[Any], text: str | None = None
    ) -> None:
        self.exc_module = exc_module
        self.exc_cls_name = exc_cls_name
        self.exc_args = tuple(ensure_serializable(exc_args, pickle.dumps))
        self.text = text
        super().__init__(exc_module, exc_cls_name, self.exc_args, text)

    def restore(self) -> BaseException:
        """An exception of a class of the same name, made for the purpose."""
        return create_exception_cls(self.exc_cls_name or "Exception", self.exc_module or __name__)(
            *self.exc_args
        )

    def __str__(self) -> str:
        return self.text or ""

    @classmethod
    def from_exception(cls, exc: BaseException) -> UnpickleableExceptionWrapper:
        """Wrap `exc`."""
        module = getattr(type(exc), "__module__", None) or __name__
        return cls(module, type(exc).__name__, getattr(exc, "args", ()), saferepr(exc))


def ensure_serializable(items: Iterable[Any], encoder: Callable[[Any], Any]) -> tuple[Any, ...]:
    """`items` with those that `encoder` fails on replaced by their repr."""
    safe = []
    for item in items:
        try:
            encoder(item)
        except Exception:  # noqa: BLE001 - encoders run user code
            safe.append(saferepr(item))
        else:
            safe.append(item)
    return tuple(safe)


def b64encode(s: str | bytes) -> str:
    """Base64 as text; text is encoded as UTF-8 first."""
    return base64encode(s.encode() if isinstance(s, str) else s).decode("ascii")


def b64decode(s: str | bytes) -> bytes:
    """Bytes of base64 text."""
    return base64decode(s)


def strtobool(term: Any, table: dict[str, bool] | None = None) -> Any:
    """`'yes'`, `'off'`, `'1'` ... as a bool; anything but a string as it is.

    Raises:
        TypeError: another word.
    """
    if not isinstance(term, str):
        return term
    try:
        return (STRTOBOOL_DEFAULT_TABLE if table is None else table)[term.lower()]
    except KeyError:
        raise TypeError(f"Cannot coerce {term!r} to type bool") from None


def _datetime_to_json(dt: Any) -> str:
    text: str = dt.isoformat()
    if "." in text:
        # Milliseconds, as ECMA-262 has it.
        head, _, tail = text.partition(".")
        text = f"{head}.{tail[:3]}{tail[6:]}"
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text


def jsonify(
    obj: Any,
    builtin_types: tuple[type, ...] = (numbers.Real, str),
    key: Any = None,
    keyfilter: Callable[[Any], bool] | None = None,
    unknown_type_filter: Callable[[Any], Any] | None = None,
) -> Any:
    """`obj` in terms of what JSON has.

    Args:
        builtin_types: left as they are.
        key: the key `obj` was found under.
        keyfilter: keys of dictionaries for which it is false are left out.
        unknown_type_filter: makes something of what is not known.

    Raises:
        ValueError: a type that is not known, and no `unknown_type_filter`.
    """
    from_json = partial(
        jsonify, builtin_types=builtin_types, keyfilter=keyfilter, unknown_type_filter=unknown_type_filter
    )
    if hasattr(obj, "__json__"):
        return obj.__json__()
    if obj is None or isinstance(obj, builtin_types):
        return obj
    if isinstance(obj, (tuple, list)):
        return [from_json(value, key=key) for value in obj]
    if isinstance(obj, dict):
        return {
            name: from_json(value, key=name)
            for name, value in obj.items()
            if (keyfilter(name) if keyfilter else True)
        }
    if isinstance(obj, (datetime.date, datetime.time)):
        return _datetime_to_json(obj)
    if isinstance(obj, datetime.timedelta):
        return str(obj)
    if unknown_type_filter is None:
        raise ValueError(f"Unsupported type: {type(obj)!r} {obj!r} (parent: {key})")
    return unknown_type_filter(obj)


def raise_with_context(exc: BaseException) -> NoReturn:
    """Raise `exc` because of the exception being handled, if there is one.

    Raises:
        BaseException: `exc`; the one being handled if that is the same.
    """
    handled = sys.exc_info()[1]
    if handled is None:
        raise exc
    if handled is exc:
        raise  # noqa: PLE0704, RUF100 - the one being handled
    raise exc from handled
