"""Buffers with a limit, which give up their oldest items."""

from __future__ import annotations

from collections import OrderedDict as _OrderedDict
from collections import deque
from queue import Empty
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class OrderedDict(_OrderedDict):  # type: ignore[type-arg]  # any keys, any values
    """An ordered dictionary, as the standard library's; kept because it is imported from here."""

    def _LRUkey(self) -> Any:  # noqa: N802, RUF100 - a name that is called
        return next(iter(self.keys()))


class Evictable:
    """Something that gives up its oldest parts when it holds too much."""

    Empty = Empty

    def evict(self) -> None:
        """Give up what is too much."""
        self._evict()

    def _evict(self, limit: int = 100) -> None:
        for _ in range(limit):
            if self._evictcount <= 0:
                return
            try:
                self._pop_to_evict()
            except self.Empty:
                return

    @property
    def _evictcount(self) -> int:
        raise NotImplementedError

    def _pop_to_evict(self) -> Any:
        raise NotImplementedError


class Messagebuffer(Evictable):
    """A queue that drops its oldest when full. Iterating takes items out.

    Args:
        maxsize: how many it holds; None: no limit.
        iterable: what to begin with.
    """

    def __init__(
        self, maxsize: int | None, iterable: Iterable[Any] | None = None, deque: type[deque[Any]] = deque
    ) -> None:
        self.maxsize = maxsize
        self.data: Any = deque(iterable or [])

    def put(self, item: Any) -> None:
        """Add one at the end."""
        self.data.append(item)
        if self.maxsize:
            self._evict()

    def extend(self, it: Iterable[Any]) -> None:
        """Add many at the end."""
        self.data.extend(it)
        if self.maxsize:
            self._evict(limit=len(self.data))

    def take(self, *default: Any) -> Any:
        """Take out the oldest.

        Raises:
            queue.Empty: there is none, and no default.
        """
        try:
            return self.data.popleft()
        except IndexError:
            if default:
                return default[0]
            raise self.Empty from None

    def _pop_to_evict(self) -> Any:
        return self.take()

    @property
    def _evictcount(self) -> int:
        return len(self) - (self.maxsize or len(self))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)}/{self.maxsize}>"

    def __iter__(self) -> Iterator[Any]:
        while self.data:
            yield self.take()

    def __len__(self) -> int:
        return len(self.data)

    def __contains__(self, item: object) -> bool:
        return item in self.data

    def __reversed__(self) -> Iterator[Any]:
        backwards: Iterator[Any] = reversed(self.data)
        return backwards

    def __getitem__(self, index: int) -> Any:
        return self.data[index]


class BufferMap(OrderedDict, Evictable):
    """Buffers by name, with a limit to what they hold together.

    Args:
        maxsize: how many items in all; the buffer unused for longest gives up its oldest.
        iterable: pairs of a name and an item to begin with.
        bufmaxsize: how many items one buffer holds.
    """

    Buffer = Messagebuffer
    maxsize: int | None = None
    #: How many items there are.
    total = 0
    bufmaxsize: int | None = None

    def __init__(
        self,
        maxsize: int | None,
        iterable: Iterable[tuple[Any, Any]] | None = None,
        bufmaxsize: int | None = 1000,
    ) -> None:
        super().__init__()
        self.maxsize = maxsize
        self.bufmaxsize = bufmaxsize
        for key, item in iterable or ():
            self.put(key, item)

    def put(self, key: Any, item: Any) -> None:
        """Add an item to the buffer `key`."""
        self._get_or_create_buffer(key).put(item)
        self._recount(key)

    def extend(self, key: Any, it: Iterable[Any]) -> None:
        """Add many to the buffer `key`."""
        self._get_or_create_buffer(key).extend(it)
        self._recount(key)

    def _recount(self, key: Any) -> None:
        self.move_to_end(key)
        self.total = sum(len(buffer) for buffer in self.values())
        if self.maxsize:
            self._evict(limit=self.total)

    def take(self, key: Any, *default: Any) -> Any:
        """Take out the oldest of the buffer `key`.

        Raises:
            queue.Empty: there is none, and no default.
        """
        try:
            item = self[key].take()
        except (KeyError, self.Empty):
            if default:
                return default[0]
            raise self.Empty from None
        self.total -= 1
        self.move_to_end(key)
        return item

    def _get_or_create_buffer(self, key: Any) -> Messagebuffer:
        if key not in self:
            self[key] = self._new_buffer()
        return self[key]  # type: ignore[no-any-return]  # just made

    def _new_buffer(self) -> Messagebuffer:
        return self.Buffer(maxsize=self.bufmaxsize)

    def _pop_to_evict(self) -> Any:
        for key, buffer in self.items():
            if buffer:
                self.total -= 1
                # Next time it is another's turn.
                self.move_to_end(key)
                return buffer.take()
        raise self.Empty

    @property
    def _evictcount(self) -> int:
        return self.total - (self.maxsize or self.total)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.total}/{self.maxsize}>"
