"""A `repr` of bounded length, depth and time, for logs, events and message headers.

Strings keep their line breaks and backslashes as they are, as in Celery's; only the quote is escaped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ("reprstream", "saferepr")

_ELLIPSIS = "..."
#: Stands for "no limit".
_UNLIMITED = 1 << 62

#: Integers beyond this are not quick to write.
_LARGE = 10**100
#: Containers of at most so many items are looked through for a short cut.
_FEW = 16
#: Values whose repr is short and cannot fail.
_PLAIN = frozenset({bool, float, type(None), complex})


def saferepr(o: Any, maxlen: int | None = None, maxlevels: int = 3, seen: set[int] | None = None) -> str:
    """Text for `o` that stays readable when `o` is large, deep, recursive or broken.

    Args:
        maxlen: about how many characters; brackets and ellipses come on top. None or 0: no limit.
        maxlevels: how many levels of containers are shown; of those inside only the brackets are. 0: all.
        seen: ids of containers that enclose `o`.

    >>> saferepr(([1, 2, 3], 'x' * 20), 12)
    "([1, 2, 3], 'x...')"
    """
    limit = maxlen or _UNLIMITED
    if _is_simple(o):
        text = repr(o)
        if len(text) <= limit:
            return text
    writer = _Writer(limit, maxlevels, set() if seen is None else seen)
    writer.write(o, 0)
    return "".join(writer.out)


def _is_simple(o: Any) -> bool:
    """Whether `repr(o)` is short, quick and what would be written anyway: what most tasks are called with."""
    kind = type(o)
    if kind is tuple or kind is list:
        return len(o) <= _FEW and all(map(_is_atom, o))
    if kind is dict:
        return len(o) <= _FEW and all(map(_is_atom, o)) and all(map(_is_atom, o.values()))
    return _is_atom(o)


def _is_atom(value: Any) -> bool:
    kind = type(value)
    if kind is int:
        return bool(-_LARGE < value < _LARGE)
    if kind is str:
        # Python would write these three in another way.
        return len(value) <= 100 and "'" not in value and "\\" not in value and value.isprintable()
    return kind in _PLAIN


def reprstream(
    stack: Iterable[Any],
    seen: set[int] | None = None,
    maxlevels: int = 3,
    level: int = 0,
    isinstance: Any = isinstance,  # noqa: A002 - Celery's signature
) -> Iterator[str]:
    """The pieces of which `saferepr` would join the text of each value in `stack`."""
    for value in stack:
        writer = _Writer(_UNLIMITED, maxlevels, set() if seen is None else seen)
        writer.write(value, level)
        yield from writer.out


class _Writer:
    __slots__ = ("left", "levels", "out", "seen")

    def __init__(self, left: int, levels: int, seen: set[int]) -> None:
        self.out: list[str] = []
        self.left = left
        self.levels = levels
        self.seen = seen

    def write(self, value: Any, level: int) -> None:
        kind = type(value)
        if kind is int:
            self._text(_repr_int(value))
        elif kind in _PLAIN:
            self._text(repr(value))
        elif isinstance(value, str):
            self._quoted(value, "")
        elif isinstance(value, bytes):
            self._bytes(value)
        elif isinstance(value, (dict, tuple, list, set, frozenset)):
            self._container(value, level)
        else:
            self._text(_repr(value))

    def _text(self, text: str) -> None:
        if len(text) > self.left:
            text = text[: self.left].rsplit(" ", 1)[0] + _ELLIPSIS
            self.left = 0
        else:
            self.left -= len(text)
        self.out.append(text)

    def _quoted(self, value: str, prefix: str) -> None:
        if len(value) + 2 > self.left:
            value = value[: max(self.left, 0)] + _ELLIPSIS
            self.left = 0
        else:
            self.left -= len(value) + 2
        self.out.append(f"{prefix}'" + value.replace("'", "\\'") + "'")

    def _bytes(self, value: bytes) -> None:
        # One character is at most four bytes: no need to decode more than can be shown.
        head = value[: self.left * 4] if self.left < len(value) else value
        try:
            text = head.decode("utf-8", "ignore" if len(head) < len(value) else "strict")
        except UnicodeDecodeError:
            text = head.hex()
        self._quoted(text, "b")

    def _container(self, value: Any, level: int) -> None:
        if 0 < self.levels <= level and (value or not isinstance(value, (set, frozenset))):
            start, end = ("{", "}") if isinstance(value, dict) else _brackets(value)
            self._open(start)
            self._text(_ELLIPSIS)
            self.out.append(",)" if isinstance(value, tuple) and len(value) == 1 else end)
            return
        if id(value) in self.seen:
            self._text(f"<Recursion on {type(value).__name__} with id={id(value)}>")
            return
        self.seen.add(id(value))
        if isinstance(value, dict):
            self._dict(value, level)
        else:
            self._sequence(value, level)
        # Only those that enclose a value make a recursion.
        self.seen.discard(id(value))

    def _sequence(self, value: Any, level: int) -> None:
        start, end = _brackets(value)
        self._open(start)
        first = True
        for item in _copy(value):
            if not first and not self._separate():
                break
            first = False
            self.write(item, level + 1)
        if isinstance(value, tuple) and len(value) == 1:
            end = ",)"
        self.out.append(end)

    def _dict(self, value: dict[Any, Any], level: int) -> None:
        self._open("{")
        first = True
        for key, item in _copy_items(value):
            if not first and not self._separate():
                break
            first = False
            self.write(key, level + 1)
            if self.left <= 0:
                self.out.append(", " + _ELLIPSIS)
                break
            self.out.append(": ")
            self.left -= 2
            self.write(item, level + 1)
        self.out.append("}")

    def _open(self, bracket: str) -> None:
        self.out.append(bracket)
        self.left -= len(bracket)

    def _separate(self) -> bool:
        """Whether there is room for another item."""
        if self.left <= 2:
            self.left = 0
            self.out.append(", " + _ELLIPSIS)
            return False
        self.out.append(", ")
        self.left -= 2
        return True


def _brackets(value: Any) -> tuple[str, str]:
    if isinstance(value, tuple):
        return "(", ")"
    if isinstance(value, list):
        return "[", "]"
    if isinstance(value, frozenset):
        return ("frozenset({", "})") if value else ("frozenset(", ")")
    return ("{", "}") if value else ("set(", ")")


def _copy(value: Any) -> Iterable[Any]:
    # Another thread may be changing it; tuples and frozensets cannot change.
    return value if isinstance(value, (tuple, frozenset)) else _retry_copy(list, value)


def _copy_items(value: dict[Any, Any]) -> Any:
    return _retry_copy(list, value.items())


def _retry_copy(make: Any, value: Any) -> Any:
    for _ in range(3):
        try:
            return make(value)
        except RuntimeError:  # changed size during iteration
            continue
    return ()


def _repr_int(value: int) -> str:
    try:
        return repr(value)
    except ValueError:  # more digits than Python converts
        return hex(value)


def _repr(value: Any) -> str:
    try:
        text = repr(value)
    except Exception as exc:  # noqa: BLE001 - logging must not fail because of a broken repr
        return f"<Unrepresentable {type(value)!r}{id(value):#x}: {_describe(exc)}>"
    # A subclass of str may have a repr of its own.
    return str(text)


def _describe(exc: Exception) -> str:
    try:
        return repr(exc)
    except Exception:  # noqa: BLE001 - as above
        return type(exc).__name__
