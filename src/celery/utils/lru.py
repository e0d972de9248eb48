"""A dictionary that forgets what was not used for longest."""

from __future__ import annotations

import threading
from collections import OrderedDict, UserDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("LRUCache",)


class LRUCache(UserDict):  # type: ignore[type-arg]  # any keys, any values
    """A thread-safe dictionary of bounded size.

    Args:
        limit: how many items at most; the least recently used goes first. None: no limit.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.mutex = threading.RLock()
        self.data: OrderedDict[Any, Any] = OrderedDict()

    def __getitem__(self, key: Any) -> Any:
        with self.mutex:
            value = self.data[key]
            self.data.move_to_end(key)
            return value

    def get(self, key: Any, default: Any = None) -> Any:
        """The value, or `default`; counts as use."""
        with self.mutex:  # since Python 3.12 the base class looks twice
            return self[key] if key in self.data else default

    def __setitem__(self, key: Any, value: Any) -> None:
        with self.mutex:
            self.data[key] = value
            self.data.move_to_end(key)
            self._trim()

    def _trim(self) -> None:
        while self.limit and len(self.data) > self.limit:
            self.data.popitem(last=False)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add many."""
        with self.mutex:
            self.data.update(*args, **kwargs)
            self._trim()

    def popitem(self, last: bool = True) -> tuple[Any, Any]:
        """Take out the most recently used, or (`last=False`) the least."""
        with self.mutex:
            return self.data.popitem(last)

    def incr(self, key: Any, delta: int = 1) -> int:
        """Add to a number; returns the sum, which is stored as text, as memcached does.

        Raises:
            KeyError: there is none.
        """
        with self.mutex:
            value = int(self.data.pop(key)) + delta
            self[key] = str(value)
        return value

    def __iter__(self) -> Iterator[Any]:
        with self.mutex:
            return iter(list(self.data))

    def keys(self) -> Any:
        """Keys, least recently used first (a copy)."""
        with self.mutex:
            return list(self.data)

    def values(self) -> Any:
        """Values, least recently used first (a copy); does not count as use."""
        with self.mutex:
            return list(self.data.values())

    def items(self) -> Any:
        """Pairs, least recently used first (a copy); does not count as use."""
        with self.mutex:
            return list(self.data.items())

    iterkeys = keys
    itervalues = values
    iteritems = items

    def __getstate__(self) -> dict[str, Any]:
        return {"limit": self.limit, "data": self.data}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.mutex = threading.RLock()
