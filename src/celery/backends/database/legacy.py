"""Rows of old Celery versions, whose values are pickles whatever the serializer."""

from __future__ import annotations

import io
import pickle
import sys
from typing import Any

#: The first byte of a pickle; no text in UTF-8 begins with it.
MAGIC = b"\x80"

#: Classes without side effects that values are made of.
_HARMLESS: dict[str, frozenset[str]] = {
    "_codecs": frozenset({"encode"}),  # bytes, as Python 2 wrote them
    "builtins": frozenset({"set", "frozenset", "bytearray", "complex", "range", "slice"}),
    "collections": frozenset({"OrderedDict", "deque"}),
    "datetime": frozenset({"date", "datetime", "time", "timedelta", "timezone"}),
    "decimal": frozenset({"Decimal"}),
    "uuid": frozenset({"UUID"}),
}


class _Reader(pickle.Unpickler):
    """Knows values and exceptions, and nothing that does anything when it is made."""

    def find_class(self, module: str, name: str) -> Any:
        module = {"__builtin__": "builtins", "exceptions": "builtins"}.get(module, module)  # of Python 2
        found: Any = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        if name in _HARMLESS.get(module, ()) or (
            isinstance(found, type) and issubclass(found, BaseException)
        ):
            return found
        raise pickle.UnpicklingError(
            f"This row of an old Celery holds a {module}.{name}: add 'pickle' to result_accept_content to read it."
        )


def load(blob: bytes, *, trusted: bool) -> Any:
    """The value of an old row.

    Args:
        trusted: pickles are accepted (`result_accept_content`); else only plain values and exceptions.

    Raises:
        UnpicklingError: it holds anything else.
    """
    return pickle.loads(blob) if trusted else _Reader(io.BytesIO(blob)).load()
