"""A set that forgets."""

from __future__ import annotations

import time
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class LimitedSet:
    """A set that remembers only so many items, or only for so long.

    Args:
        maxlen: the oldest go first beyond this many; 0: no limit.
        expires: seconds an item is kept (by the monotonic clock); 0: for ever.
        data: items, or a mapping of items to the times they were added.
        minlen: so many are kept even when they are too old.

    Raises:
        ValueError: contradictory limits.
    """

    #: How many per cent of dead entries the heap may hold.
    max_heap_percent_overload = 15

    def __init__(self, maxlen: int = 0, expires: float = 0, data: Any = None, minlen: int = 0) -> None:
        self.maxlen = maxlen or 0
        self.minlen = minlen or 0
        self.expires = expires or 0
        self._data: dict[Any, tuple[float, Any]] = {}
        self._heap: list[tuple[float, int, Any]] = []
        self._count = 0
        if data:
            self.update(data)
        if not self.maxlen >= self.minlen >= 0:
            raise ValueError("minlen must be a positive number, less or equal to maxlen.")
        if self.expires < 0:
            raise ValueError("expires cannot be negative!")

    def _refresh_heap(self) -> None:
        self._heap = [(added, order, item) for item, (added, order) in self._data.items()]
        heapify(self._heap)

    def _maybe_refresh_heap(self) -> None:
        if self._heap_overload >= self.max_heap_percent_overload:
            self._refresh_heap()

    @property
    def _heap_overload(self) -> float:
        if not self._data:
            return len(self._heap)
        return len(self._heap) * 100 / max(len(self._data), 1) - 100

    @property
    def added(self) -> int:
        """How often something was added, or renewed, so far."""
        return self._count

    def clear(self) -> None:
        """Forget everything."""
        self._data.clear()
        self._heap.clear()

    def add(self, item: Any, now: float | None = None) -> None:
        """Add an item, or renew it.

        Args:
            now: the time it counts as added; default: the present.
        """
        added = float(time.monotonic() if now is None else now)
        # The counter keeps items of one moment in order, and items themselves from being compared.
        self._count += 1
        self._data[item] = (added, self._count)
        heappush(self._heap, (added, self._count, item))
        self._maybe_refresh_heap()
        if self.maxlen and len(self._data) >= self.maxlen:
            self.purge()

    def update(self, other: Any) -> None:
        """Add all of another set, mapping of times, or iterable.

        Raises:
            ValueError: a mapping whose values are not times.
        """
        if not other:
            return
        if isinstance(other, LimitedSet):
            for item, added in other.as_dict().items():
                self._keep_latest(item, added)
        elif isinstance(other, dict):
            for item, added in other.items():
                if not isinstance(added, float):
                    raise ValueError(
                        f"Expecting float timestamp, got type {type(added)!r} with value: {added}"
                    )
                self._keep_latest(item, added)
        else:
            for item in other:
                self.add(item)

    def _keep_latest(self, item: Any, added: float) -> None:
        known = self._data.get(item)
        if known is None or known[0] < added:
            self.add(item, added)

    def discard(self, item: Any) -> None:
        """Forget an item, if it is there."""
        self._data.pop(item, None)
        self._maybe_refresh_heap()

    pop_value = discard

    def purge(self, now: float | None = None) -> None:
        """Forget what is too much or too old.

        Args:
            now: what to measure age by; default: the present.
        """
        now = float(time.monotonic() if now is None else now)
        while self.maxlen and len(self._data) > self.maxlen:
            self.pop()
        if self.expires:
            while len(self._data) > self.minlen >= 0:
                self._drop_dead()
                if not self._heap or self._heap[0][0] >= now - self.expires:
                    break
                self.pop()

    def _drop_dead(self) -> None:
        while self._heap and not self._is_current(self._heap[0]):
            heappop(self._heap)

    def _is_current(self, entry: tuple[float, int, Any]) -> bool:
        added, order, item = entry
        return self._data.get(item) == (added, order)

    def pop(self, default: Any = None) -> Any:
        """Take out the oldest item; `default` if there is none."""
        self._drop_dead()
        if not self._heap:
            return default
        item = heappop(self._heap)[2]
        del self._data[item]
        return item

    def as_dict(self) -> dict[Any, float]:
        """Items and the times they were added, oldest first."""
        ordered = sorted(self._data.items(), key=lambda pair: pair[1])
        return {item: added for item, (added, _) in ordered}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LimitedSet):
            return NotImplemented
        return self.as_dict() == other.as_dict()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"<{name}({len(self)}): maxlen={self.maxlen}, expires={self.expires}, minlen={self.minlen}>"

    def __iter__(self) -> Iterator[Any]:
        return iter(self.as_dict())

    def __len__(self) -> int:
        return len(self._data)

    def __contains__(self, key: object) -> bool:
        return key in self._data

    def __bool__(self) -> bool:
        return bool(self._data)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.maxlen, self.expires, self.as_dict(), self.minlen)
