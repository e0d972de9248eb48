"""`Settings`: the configuration of an application, in layers, read when first needed.

From the top: changes made by code, the environment, `add_defaults` (the latest first), the configuration
source, the built-in defaults. Four environment variables (`CELERY_BROKER_URL`, `CELERY_BROKER_READ_URL`,
`CELERY_BROKER_WRITE_URL`, `CELERY_RESULT_BACKEND`) stand above everything: the command line sets them.

Attributes are for use and are checked (`conf.worker_concurrency` is a number or an error that says what is
wrong); items are for reading back and are given as set (`conf["worker_concurrency"]`).
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from copy import copy
from typing import TYPE_CHECKING, Any

from celery.exceptions import CDeprecationWarning
from celery.utils.text import pretty

from . import defaults
from .censor import filter_hidden_settings
from .checks import EnvironmentLayer, check, variable_of, warn_near_misses
from .defaults import DEFAULTS, NEW_TO_OLD, OLD_TO_NEW, Option, find, searchresult
from .embedded import embedded_url_of, needs_embedded_store

if TYPE_CHECKING:
    from collections.abc import Callable

_PENDING, _LOADING, _LOADED = "pending", "loading", "loaded"
#: Settings whose environment variable wins over changes made by code.
_ENVIRONMENT_FIRST = frozenset(("broker_url", "broker_read_url", "broker_write_url", "result_backend"))
_OWN = frozenset(
    (
        "maps",
        "prefix",
        "key_t",
        "deprecated_settings",
        "_load",
        "_state",
        "_lock",
        "_presets",
        "_observers",
        "_embedded_url",
        "version",
    )
)


def copy_of_defaults() -> dict[str, Any]:
    """The built-in defaults; what can be changed in place is a copy."""
    return {name: copy(value) if type(value) is dict else value for name, value in DEFAULTS.items()}


class _computed:
    """A setting that follows others while nobody sets it; type checkers see that it may be set."""

    def __init__(self, getter: Callable[[Settings], Any]) -> None:
        self._getter = getter
        self.__doc__ = getter.__doc__
        self._name = getter.__name__

    def __get__(self, settings: Settings | None, cls: type | None = None) -> Any:
        return self if settings is None else self._getter(settings)

    def __set__(self, settings: Settings, value: Any) -> None:
        settings[self._name] = value


class Settings(MutableMapping[str, Any]):
    """Layers of settings, under old and new names, with or without a prefix.

    Args:
        changes: the layer that writing goes to.
        defaults: the layers below it, the strongest first; None: the environment and the built-in defaults.
        keys: accepted for Celery's sake: functions that give further spellings of a key.
        prefix: namespace of the source, as `CELERY`.
        deprecated_settings: old names that the source uses.
    """

    maps: list[Mapping[str, Any]]
    prefix: str
    key_t: Any
    deprecated_settings: set[str]
    version: int

    def __init__(
        self,
        changes: dict[str, Any] | None = None,
        defaults: Iterable[Mapping[str, Any]] | None = None,
        keys: Iterable[Callable[[str], str]] | None = None,
        prefix: str | None = None,
        *,
        deprecated_settings: set[str] | None = None,
    ) -> None:
        lower = [EnvironmentLayer(), copy_of_defaults()] if defaults is None else list(defaults)
        self.maps = [{} if changes is None else changes, *lower]
        self.prefix = with_underscore(prefix)
        self.key_t = tuple(keys) if keys else None
        self.deprecated_settings = deprecated_settings or set()
        self._load: Callable[[Settings], None] | None = None
        self._state = _LOADED
        self._lock = threading.RLock()
        self._presets: dict[str, Any] = dict(self.changes)
        self._observers: list[Callable[..., None]] = []
        self._embedded_url: str | None = None
        #: Counts changes: what was made from settings is good as long as this stays the same.
        self.version = 0

    # -- lazy reading

    @classmethod
    def pending(cls, presets: Mapping[str, Any], load: Callable[[Settings], None]) -> Settings:
        """Settings that record changes and are read when first asked for anything.

        Args:
            presets: what the constructor was given.
            load: called once, with these settings, at the first read; it calls `install`.
        """
        conf = cls(canonical(presets))
        conf._load = load
        conf._state = _PENDING
        return conf

    @property
    def loaded(self) -> bool:
        """True once the configuration source has been read."""
        return self._state == _LOADED

    def forget(self) -> None:
        """Read the source again at the next use. Changes made before the last reading stay, later ones go."""
        if self._state == _LOADED and self._load is not None:
            self.maps[0] = dict(self._presets)
            self._embedded_url = None
            self.version += 1
            self._state = _PENDING

    def install(
        self, layers: Iterable[Mapping[str, Any]], *, prefix: str | None, deprecated_settings: set[str]
    ) -> None:
        """Put `layers` (the strongest first) between the changes and nothing: called while loading."""
        self._presets = dict(self.changes)
        self.maps = [self.changes, *layers]
        self.version += 1
        self.prefix = with_underscore(prefix)
        self.deprecated_settings = deprecated_settings

    def finalize(self) -> Settings:
        """Read the configuration now if that has not happened; returns self."""
        if self._state != _LOADED:
            self._load_once()
        return self

    def _load_once(self) -> None:
        # Another thread waits for the lock until everything is read; the loading thread itself
        # (signal handlers, loaders) passes and sees what there is so far.
        with self._lock:
            if self._state == _PENDING and self._load is not None:
                self._state = _LOADING
                try:
                    self._load(self)
                except BaseException:
                    self._state = _PENDING
                    raise
                self._state = _LOADED

    # -- layers

    @property
    def changes(self) -> dict[str, Any]:
        """What code has set."""
        return self.maps[0]  # type: ignore[return-value]

    @property
    def defaults(self) -> list[Mapping[str, Any]]:
        """The layers below the changes, the strongest first."""
        return self.maps[1:]

    def add_defaults(self, d: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Add a layer above the configuration source and below changes made by code and the environment."""
        layer = d() if callable(d) else d
        self.finalize()
        at = 2 if len(self.maps) > 1 and isinstance(self.maps[1], EnvironmentLayer) else 1
        self.maps.insert(at, canonical(layer))
        self.version += 1

    def without_defaults(self) -> Settings:
        """The same settings without the built-in defaults."""
        self.finalize()
        return Settings({}, self.maps[:-1], prefix=self.prefix, deprecated_settings=self.deprecated_settings)

    def copy(self) -> Settings:
        """A copy that shares the layers below the changes."""
        self.finalize()
        return type(self)(
            dict(self.changes), self.maps[1:], self.key_t, self.prefix, deprecated_settings=self.deprecated_settings
        )  # fmt: skip

    __copy__ = copy

    def swap_with(self, other: Settings) -> None:
        """Become what `other` is."""
        other.finalize()
        self.maps, self.prefix, self.key_t = other.maps, other.prefix, other.key_t
        self.version += 1
        self.deprecated_settings = other.deprecated_settings
        self._state = _LOADED

    def bind_to(self, callback: Callable[..., None]) -> None:
        """Call `callback(*args, **kwargs)` with the arguments of every later `update`."""
        self._observers.append(callback)

    # -- mapping

    def _spellings(self, key: str) -> tuple[str, ...]:
        other = OLD_TO_NEW.get(key) or NEW_TO_OLD.get(key)
        names = (key, other) if other else (key,)
        if self.key_t:
            names = (*names, *(form(key) for form in self.key_t))
        if not self.prefix:
            return names
        new = OLD_TO_NEW.get(key, key)
        return (self.prefix + new, (self.prefix + new).upper(), *names)

    def _find(self, key: str, maps: Iterable[Mapping[str, Any]]) -> Any:
        names = self._spellings(key)
        for layer in maps:
            for name in names:
                try:
                    return layer[name]
                except KeyError:
                    continue
        raise KeyError(key)

    def __getitem__(self, key: str) -> Any:
        self.finalize()
        name = OLD_TO_NEW.get(key, key)
        if name in _ENVIRONMENT_FIRST:
            value = os.environ.get(variable_of(name)) or self._find(key, self.maps)
            if not value and name in ("broker_url", "result_backend") and self.uses_embedded_store:
                return self._embedded()
            return value
        return self._find(key, self.maps)

    def __setitem__(self, key: str, value: Any) -> None:
        name = OLD_TO_NEW.get(key, key)
        if name not in DEFAULTS:
            warn_near_misses((key,), namespace=self.prefix, stacklevel=4)
        self.changes[name] = value
        self.version += 1

    def __delitem__(self, key: str) -> None:
        self.version += 1
        try:
            del self.changes[OLD_TO_NEW.get(key, key)]
        except KeyError:
            raise KeyError(f"Key not found in the first mapping: {key!r}") from None

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, str):
            return False
        maps = self.maps if self._state != _PENDING else self.maps[:1]
        return any(name in layer for layer in maps for name in self._spellings(key))

    def __iter__(self) -> Iterator[str]:
        self.finalize()
        merged: dict[str, None] = {}
        for layer in reversed(self.maps):
            merged.update(dict.fromkeys(layer))
        return iter(merged)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return any(map(bool, self.maps))

    def __repr__(self) -> str:
        self.finalize()
        return f"{type(self).__name__}({self.table()!r})"

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Set `key` unless it is set; before the configuration is read only changes count."""
        if key in self:
            return self[key] if self._state != _PENDING else self.changes[OLD_TO_NEW.get(key, key)]
        self[key] = default
        return None

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Change many settings at once; read nothing."""
        for key, value in dict(*args, **kwargs).items():
            self[key] = value
        for callback in self._observers:
            callback(*args, **kwargs)

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a change made by code and return its value.

        Raises:
            KeyError: code has not set it, and no default is given.
        """
        self.version += 1
        try:
            return self.changes.pop(OLD_TO_NEW.get(key, key), *default)
        except KeyError:
            raise KeyError(f"Key not found in the first mapping: {key!r}") from None

    def clear(self) -> None:
        """Drop the changes made by code."""
        self.version += 1
        self.changes.clear()

    @classmethod
    def fromkeys(cls, iterable: Iterable[str], *args: Any) -> Settings:
        """Settings with these keys set to one value."""
        return cls(dict.fromkeys(iterable, *args))

    def iterkeys(self) -> Iterator[str]:
        """The keys, one by one."""
        return iter(self)

    def itervalues(self) -> Iterator[Any]:
        """The values, one by one."""
        return (self[key] for key in self)

    def iteritems(self) -> Iterator[tuple[str, Any]]:
        """Pairs of key and value, one by one."""
        return ((key, self[key]) for key in self)

    # -- attributes

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in _OWN:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        try:
            value = self[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None
        return check(OLD_TO_NEW.get(name, name), value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN:
            object.__setattr__(self, name, value)
        else:
            self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None

    # -- the embedded store

    def raw(self, key: str) -> Any:
        """The value of `key` as set, without what stands in for it; None if nobody set it."""
        self.finalize()
        try:
            return self._find(key, self.maps)
        except KeyError:
            return None

    @property
    def uses_embedded_store(self) -> bool:
        """True if no broker and no result backend is configured anywhere."""
        return needs_embedded_store(self)

    def _embedded(self) -> str:
        # Looked for once: the answer depends on the current folder, which daemons leave.
        if self._embedded_url is None:
            self._embedded_url = embedded_url_of(self)
        return self._embedded_url

    # -- settings that stand for one another

    @_computed
    def broker_url(self) -> Any:
        """The broker's URL; the embedded store's when neither broker nor result backend is configured."""
        return check("broker_url", self["broker_url"]) or self.first("broker_host")

    @_computed
    def broker_read_url(self) -> Any:
        """The URL to consume from."""
        return check("broker_read_url", self["broker_read_url"]) or self.broker_url

    @_computed
    def broker_write_url(self) -> Any:
        """The URL to publish to."""
        return check("broker_write_url", self["broker_write_url"]) or self.broker_url

    @_computed
    def task_default_exchange(self) -> Any:
        """Exchange of the default queue: the queue's own name unless set."""
        return self.first("task_default_exchange", "task_default_queue")

    @_computed
    def task_default_routing_key(self) -> Any:
        """Routing key of the default queue: the queue's own name unless set."""
        return self.first("task_default_routing_key", "task_default_queue")

    @_computed
    def timezone(self) -> Any:
        """The time zone: ours, or Django's `TIME_ZONE`."""
        return self.first("timezone", "TIME_ZONE")

    # -- finding

    def first(self, *keys: str) -> Any:
        """The first of these that is set to something other than None."""
        for key in keys:
            value = self.get(key)
            if value is not None:
                return value
        return None

    def value_set_for(self, key: str) -> bool:
        """True if somebody has set `key`: not only a built-in default."""
        self.finalize()
        return any(name in layer for layer in self.maps[:-1] for name in self._spellings(key))

    def find_option(self, name: str, namespace: str = "") -> searchresult:
        """See `celery.app.defaults.find`."""
        return find(name, namespace)

    def option_of(self, family: str, key: str) -> Option:
        """What is known of setting `family_key`, for `worker.concurrency=3` on the command line.

        Raises:
            KeyError: no such family, or no such setting in it.
        """
        whole = f"{family}_{key}"
        families = defaults.NAMESPACES
        if whole in families:
            return families[whole]  # type: ignore[no-any-return]
        if not isinstance(families.get(family), dict):
            raise KeyError(family)
        return families[family][key]  # type: ignore[no-any-return]

    def any_option(self) -> Option:
        """An option of no particular type: it knows how to read every type by name."""
        return Option(type="any")

    def find_value_for_key(self, name: str, namespace: str = "celery") -> Any:
        """The value of a setting by its name, or its name less the family's prefix.

        Raises:
            KeyError: there is no such setting.
        """
        family, key, _ = self.find_option(name, namespace=namespace)
        return self.get_by_parts(family, key)

    def get_by_parts(self, *parts: str | None) -> Any:
        """`get_by_parts("worker", "concurrency")` is `conf["worker_concurrency"]`."""
        return self["_".join(part for part in parts if part)]

    # -- showing

    def table(self, with_defaults: bool = False, censored: bool = True) -> dict[str, Any]:
        """The settings as a dict, secrets replaced by stars."""
        shown = self if with_defaults else self.without_defaults()
        plain = {key: shown[key] for key in shown if not key.startswith("_")}
        return filter_hidden_settings(plain) if censored else plain

    def humanize(self, with_defaults: bool = False, censored: bool = True) -> str:
        """The settings as lines of `key: value`, secrets replaced by stars."""
        return "\n".join(
            f"{key}: {pretty(value, width=50)}"
            for key, value in self.table(with_defaults, censored).items()
        )  # fmt: skip

    def maybe_warn_deprecated_settings(self) -> bool:
        """Warn about each old name the source uses; True if there is one."""
        self.finalize()
        for old in sorted(self.deprecated_settings):
            warnings.warn(
                f"\n    The {old!r} setting is deprecated and scheduled for removal in\n"
                f"    version 6.0.0. Use the {OLD_TO_NEW[old]} instead\n",
                CDeprecationWarning,
                stacklevel=2,
            )
        return bool(self.deprecated_settings)


def with_underscore(prefix: str | None) -> str:
    """`CELERY` as the prefix `CELERY_`; nothing stays nothing."""
    if not prefix:
        return ""
    return prefix if prefix.endswith("_") else f"{prefix}_"


def canonical(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with old names written as new ones; where both are given the new one counts."""
    renamed = {OLD_TO_NEW[key]: value for key, value in mapping.items() if key in OLD_TO_NEW}
    return {**renamed, **{key: value for key, value in mapping.items() if key not in OLD_TO_NEW}}
