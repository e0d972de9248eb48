"""Collections with a limit."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ("LimitedSet",)


class LimitedSet:
    """A set that remembers when each item was added, and forgets the oldest.

    Args:
        maxlen: hold at most this many items; 0 for no limit.
        expires: seconds after which an item may be forgotten; 0 for never.
        data: items to begin with: another one of these, a mapping of item to time, or just items.
        minlen: keep at least this many items even if they have expired.

    Raises:
        ValueError: a limit is negative, or `maxlen` is below `minlen`.
    """

    def __init__(self, maxlen: int = 0, expires: float = 0, data: Any = None, minlen: int = 0) -> None:
        self.maxlen = maxlen or 0
        self.minlen = minlen or 0
        self.expires = expires or 0
        if self.minlen < 0 or self.expires < 0 or (self.maxlen and self.maxlen < self.minlen):
            raise ValueError("minlen and expires must not be negative, and maxlen not below minlen")
        # In order of time added: the oldest first.
        self._data: dict[Any, float] = {}
        if data:
            self.update(data)

    def add(self, item: Any, now: float | None = None) -> None:
        """Add `item`, or make it new again.

        Args:
            now: unix time it counts as added at.
        """
        when = time.time() if now is None else now
        newest = next(reversed(self._data.values()), when)
        self._data.pop(item, None)
        self._data[item] = when
        if when < newest:
            self._data = dict(sorted(self._data.items(), key=lambda pair: pair[1]))
        if self.maxlen and len(self._data) > self.maxlen:
            self.purge()

    def update(self, other: LimitedSet | Mapping[Any, Any] | Iterable[Any]) -> None:
        """Add all items of `other`, with their times if it has any."""
        if not other:
            return
        if isinstance(other, LimitedSet):
            merged = {**self._data, **other._data}
        elif hasattr(other, "items"):
            merged = {**self._data, **{item: _time_of(value) for item, value in other.items()}}
        else:
            now = time.time()
            merged = {**self._data, **dict.fromkeys(other, now)}
        self._data = dict(sorted(merged.items(), key=lambda pair: pair[1]))
        self.purge()

    def discard(self, item: Any) -> None:
        """Forget `item`, if it is there."""
        self._data.pop(item, None)

    pop_value = discard

    def purge(self, now: float | None = None) -> None:
        """Forget what is too old or too much."""
        now = time.time() if now is None else now
        while len(self._data) > self.minlen:
            oldest = next(iter(self._data))
            too_many = self.maxlen and len(self._data) > self.maxlen
            too_old = self.expires and self._data[oldest] + self.expires < now
            if not (too_many or too_old):
                break
            del self._data[oldest]

    def pop(self, default: Any = None) -> Any:
        """Remove and return the oldest item; `default` if there is none."""
        if not self._data:
            return default
        oldest = next(iter(self._data))
        del self._data[oldest]
        return oldest

    def clear(self) -> None:
        """Forget everything."""
        self._data.clear()

    def as_dict(self) -> dict[Any, float]:
        """Items and the unix times they were added at, the oldest first."""
        return dict(self._data)

    def __contains__(self, item: object) -> bool:
        return item in self._data

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._data))

    def __len__(self) -> int:
        return len(self._data)

    def __bool__(self) -> bool:
        return bool(self._data)

    def __eq__(self, other: object) -> bool:
        return self._data == other._data if isinstance(other, LimitedSet) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.maxlen, self.expires, self.as_dict(), self.minlen)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({len(self)})>"


def _time_of(value: Any) -> float:
    """A time out of what older state files hold: a number, or a pair of time and item."""
    return float(value[0] if isinstance(value, tuple) else value)
