"""Mappings that read as attributes, or in layers."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, ClassVar

from celery.utils.functional import first, uniq
from celery.utils.text import match_case

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


def force_mapping(m: Any) -> Any:
    """A mapping as it is; any other object as a mapping of its attributes. Django's lazy ones are unwrapped."""
    if type(m).__name__ in {"LazyObject", "LazySettings", "SimpleLazyObject"}:
        m = getattr(m, "_wrapped", m)
    return m if isinstance(m, Mapping) else DictAttribute(m)


def lpmerge(L: dict[Any, Any], R: Mapping[Any, Any]) -> dict[Any, Any]:  # noqa: N803, RUF100 - public names
    """Put into `L` what is not None in `R`; returns `L`."""
    L.update({key: value for key, value in R.items() if value is not None})
    return L


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
