"""Mappings that read as attributes or in layers, sets that forget, and buffers with a limit."""

from __future__ import annotations

import time
from collections import OrderedDict as _OrderedDict
from collections import deque
from collections.abc import Mapping, MutableMapping
from heapq import heapify, heappop, heappush
from queue import Empty
from typing import TYPE_CHECKING, Any, ClassVar

from celery.utils.functional import first, uniq
from celery.utils.text import match_case

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = (
    "AttributeDict",
    "AttributeDictMixin",
    "BufferMap",
    "ChainMap",
    "ConfigurationView",
    "DictAttribute",
    "Evictable",
    "LimitedSet",
    "Messagebuffer",
    "OrderedDict",
    "force_mapping",
    "lpmerge",
)


def force_mapping(m: Any) -> Any:
    """A mapping as it is; any other object as a mapping of its attributes. Django's lazy ones are unwrapped."""
    if type(m).__name__ in {"LazyObject", "LazySettings", "SimpleLazyObject"}:
        m = getattr(m, "_wrapped", m)
    return m if isinstance(m, Mapping) else DictAttribute(m)


def lpmerge(L: dict[Any, Any], R: Mapping[Any, Any]) -> dict[Any, Any]:  # noqa: N803, RUF100 - public names
    """Put into `L` what is not None in `R`; returns `L`."""
    L.update({key: value for key, value in R.items() if value is not None})
    return L


class OrderedDict(_OrderedDict):  # type: ignore[type-arg]  # any keys, any values
    """An ordered dictionary, as the standard library's; kept because it is imported from here."""

    def _LRUkey(self) -> Any:  # noqa: N802, RUF100 - a name that is called
        return next(iter(self.keys()))


class AttributeDictMixin:
    """Items read and written as attributes."""

    def __getattr__(self, k: str) -> Any:
        try:
            return self[k]  # type: ignore[index]  # mixed into mappings
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {k!r}") from None

    def __setattr__(self, key: str, value: Any) -> None:
        self[key] = value


class AttributeDict(dict, AttributeDictMixin):  # type: ignore[type-arg]  # any keys, any values
    """A dictionary whose items are attributes too."""


class DictAttribute:
    """An object whose attributes are read and written as items.

    Args:
        obj: the object.
    """

    obj: Any = None

    def __init__(self, obj: Any) -> None:
        object.__setattr__(self, "obj", obj)

    def __getattr__(self, key: str) -> Any:
        return getattr(self.obj, key)

    def __setattr__(self, key: str, value: Any) -> None:
        setattr(self.obj, key, value)

    def get(self, key: str, default: Any = None) -> Any:
        """The attribute, or `default`."""
        try:
            return self[key]
        except KeyError:
            return default

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The attribute, set to `default` first if there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    def __getitem__(self, key: str) -> Any:
        try:
            return getattr(self.obj, key)
        except AttributeError:
            raise KeyError(key) from None

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self.obj, key, value)

    def __contains__(self, key: object) -> bool:
        return hasattr(self.obj, str(key))

    def __iter__(self) -> Iterator[str]:
        return iter(dir(self.obj))

    def keys(self) -> list[str]:
        """Names of all attributes."""
        return list(self)

    def items(self) -> list[tuple[str, Any]]:
        """Names and values of all attributes."""
        return [(key, getattr(self.obj, key)) for key in self]

    def values(self) -> list[Any]:
        """Values of all attributes."""
        return [getattr(self.obj, key) for key in self]

    iterkeys = keys
    iteritems = items
    itervalues = values


MutableMapping.register(DictAttribute)


class ChainMap(MutableMapping[Any, Any]):
    """Several mappings read as one, the first that has a key winning; written to is the first.

    Args:
        maps: in order of precedence; default: one empty one.
        key_t: applied to every key (keyword only).
    """

    key_t: Callable[[Any], Any] | None = None
    changes: Any = None
    defaults: Any = None
    maps: Any = None
    _observers: ClassVar[tuple[Any, ...]] = ()

    def __init__(self, *maps: Any, **kwargs: Any) -> None:
        layers = list(maps or [{}])
        self.__dict__.update(
            key_t=kwargs.get("key_t"),
            maps=layers,
            changes=layers[0],
            defaults=layers[1:],
            _observers=[],
        )

    def add_defaults(self, d: Any) -> None:
        """Put a mapping right behind the first."""
        d = force_mapping(d)
        self.defaults.insert(0, d)
        self.maps.insert(1, d)

    def _key(self, key: Any) -> Any:
        return self.key_t(key) if self.key_t is not None else key

    def __missing__(self, key: Any) -> Any:
        raise KeyError(key)

    def __getitem__(self, key: Any) -> Any:
        wanted = self._key(key)
        for mapping in self.maps:
            try:
                return mapping[wanted]
            except KeyError:
                continue
        return self.__missing__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.changes[self._key(key)] = value

    def __delitem__(self, key: Any) -> None:
        try:
            del self.changes[self._key(key)]
        except KeyError:
            raise KeyError(f"Key not found in first mapping: {key!r}") from None

    def pop(self, key: Any, *default: Any) -> Any:
        """Take a key out of the first mapping.

        Raises:
            KeyError: it is not there, and there is no default.
        """
        try:
            return self.maps[0].pop(key, *default)
        except KeyError:
            raise KeyError(f"Key not found in the first mapping: {key!r}") from None

    def clear(self) -> None:
        """Empty the first mapping."""
        self.changes.clear()

    def get(self, key: Any, default: Any = None) -> Any:
        """The value, or `default`."""
        try:
            return self[self._key(key)]
        except KeyError:
            return default

    def __len__(self) -> int:
        return len(set().union(*self.maps))

    def __iter__(self) -> Iterator[Any]:
        # Lowest first, so that the order of defaults is kept.
        return iter(uniq(key for mapping in reversed(self.maps) for key in mapping))

    def __contains__(self, key: object) -> bool:
        wanted = self._key(key)
        return any(wanted in mapping for mapping in self.maps)

    def __bool__(self) -> bool:
        return any(self.maps)

    def setdefault(self, key: Any, default: Any = None) -> None:
        """Set a key of the first mapping, unless some mapping has it."""
        wanted = self._key(key)
        if wanted not in self:
            self[wanted] = default

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Change the first mapping, and tell those bound to it."""
        self.changes.update(*args, **kwargs)
        for callback in self._observers:
            callback(*args, **kwargs)

    def bind_to(self, callback: Callable[..., Any]) -> None:
        """Have `callback` called with what `update` is called with."""
        self._observers.append(callback)  # type: ignore[attr-defined]  # a list on instances

    @classmethod
    def fromkeys(cls, iterable: Iterable[Any], *args: Any) -> ChainMap:
        """One mapping with these keys."""
        return cls(dict.fromkeys(iterable, *args))

    def copy(self) -> ChainMap:
        """A chain with a copy of the first mapping; the others are shared."""
        return type(self)(self.maps[0].copy(), *self.maps[1:])

    __copy__ = copy

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.maps))})"

    def _iterate_items(self) -> Iterator[tuple[Any, Any]]:
        return ((key, self[key]) for key in self)

    def _iterate_values(self) -> Iterator[Any]:
        return (self[key] for key in self)

    iterkeys = _iterate_keys = __iter__
    iteritems = _iterate_items
    itervalues = _iterate_values

    def keys(self) -> Any:
        """All keys."""
        return list(self)

    def items(self) -> Any:
        """All pairs."""
        return list(self._iterate_items())

    def values(self) -> Any:
        """All values."""
        return list(self._iterate_values())


class ConfigurationView(ChainMap, AttributeDictMixin):
    """Changes in front of layers of defaults, read by attribute or item, under several names.

    Args:
        changes: the mapping written to.
        defaults: mappings behind it, in order of precedence.
        keys: functions that give other names of a key.
        prefix: of all keys, in the case of the key.
    """

    def __init__(
        self,
        changes: Any,
        defaults: list[Any] | None = None,
        keys: Iterable[Callable[[str], str]] | None = None,
        prefix: str | None = None,
    ) -> None:
        layers = defaults or []
        super().__init__(changes, *layers)
        self.__dict__.update(
            prefix=prefix.rstrip("_") + "_" if prefix else prefix,
            _keys=tuple(keys or ()),
        )

    def _to_keys(self, key: str) -> tuple[str, ...]:
        prefix = self.prefix
        if prefix:
            whole = prefix + key if not key.startswith(prefix) else key
            return match_case(whole, prefix), key
        return (key,)

    def _names(self, key: str) -> tuple[str, ...]:
        own = self._to_keys(key)
        return (*own, *(make(key) for make in self._keys if make(key) not in own))

    def __getitem__(self, key: str) -> Any:
        names = self._names(key)
        for mapping in self.maps:
            for name in names:
                try:
                    return mapping[name]
                except KeyError:
                    continue
        if len(self.maps) > 1:
            return self.__missing__(key)
        raise KeyError(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self.changes[self._key(key)] = value

    def first(self, *keys: str) -> Any:
        """The first of these keys whose value is not None."""
        return first(None, (self.get(key) for key in keys))

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or `default`."""
        try:
            return self[key]
        except KeyError:
            return default

    def clear(self) -> None:
        """Forget what was changed; defaults stay."""
        self.changes.clear()

    def __contains__(self, key: object) -> bool:
        names = self._names(str(key))
        return any(name in mapping for mapping in self.maps for name in names)

    def swap_with(self, other: ConfigurationView) -> None:
        """Become what `other` is."""
        for name in ("changes", "defaults", "key_t", "prefix", "maps"):
            self.__dict__[name] = other.__dict__[name]

    def copy(self) -> ChainMap:
        """A view of a copy of the changes; defaults are shared."""
        return type(self)(self.changes.copy(), list(self.defaults), self._keys, self.prefix)

    __copy__ = copy


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
