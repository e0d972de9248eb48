"""Small tools for objects and their attributes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ("Bunch", "FallbackContext", "cached_property", "getitem_property", "mro_lookup")

T = TypeVar("T")


class cached_property(Generic[T]):  # noqa: N801, RUF100 - the public name
    """A property computed once per object, with an optional setter and deleter.

    Assigning replaces the value; deleting lets it be computed again.

    Args:
        fget: computes the value.
        fset: called as `fset(obj, value)` on assignment; what it returns is kept.
        fdel: called as `fdel(obj, value)` on deletion, if there was a value.
    """

    def __init__(
        self,
        fget: Callable[[Any], T] | None = None,
        fset: Callable[[Any, T], T] | None = None,
        fdel: Callable[[Any, T], None] | None = None,
    ) -> None:
        self.fget = fget
        self.fset = fset
        self.fdel = fdel
        self.attrname: str = getattr(fget, "__name__", "")
        self.__doc__ = getattr(fget, "__doc__", None)
        self.__module__ = getattr(fget, "__module__", __name__)

    def __set_name__(self, owner: type, name: str) -> None:
        self.attrname = name

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> cached_property[T]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> T: ...
    def __get__(self, instance: object | None, owner: type | None = None) -> cached_property[T] | T:
        if instance is None:
            return self
        values = instance.__dict__
        name = self.attrname
        if name in values:
            return values[name]  # type: ignore[no-any-return]  # what fget returned
        if self.fget is None:
            raise AttributeError(f"cached property {name!r} has no getter")
        value = self.fget(instance)
        # Two threads may both compute it; all see the first one stored.
        return values.setdefault(name, value)  # type: ignore[no-any-return]

    def __set__(self, instance: object, value: T) -> None:
        if self.fset is not None:
            value = self.fset(instance, value)
        instance.__dict__[self.attrname] = value

    def __delete__(self, instance: object) -> None:
        missing = object()
        value = instance.__dict__.pop(self.attrname, missing)
        if self.fdel is not None and value is not missing:
            self.fdel(instance, value)

    def setter(self, fset: Callable[[Any, T], T]) -> cached_property[T]:
        """The same property with a setter (decorator)."""
        return type(self)(self.fget, fset, self.fdel)

    def deleter(self, fdel: Callable[[Any, T], None]) -> cached_property[T]:
        """The same property with a deleter (decorator)."""
        return type(self)(self.fget, self.fset, fdel)


class Bunch:
    """An object with the attributes given."""

    def __init__(self, **kwargs: Any) -> None:
        self.__dict__.update(kwargs)


def mro_lookup(
    cls: type,
    attr: str,
    stop: Iterable[type] | None = None,
    monkey_patched: Iterable[str] | None = None,
) -> type | None:
    """The first class, in the order of resolution, that defines `attr` itself.

    Args:
        stop: classes at which to give up: None is returned, unless the one before that was patched.
        monkey_patched: modules; in a `stop` class, an attribute that does not come from one of these was put
            there by somebody: that class is then returned.
    """
    halt = set(stop or ())
    original = set(monkey_patched or ())
    for node in cls.mro():
        if node in halt:
            module = getattr(vars(node).get(attr), "__module__", None)
            return node if module is not None and module not in original else None
        if attr in vars(node):
            return node
    return None


class FallbackContext:
    """A context manager that gives what was provided, or makes, and closes, one of its own.

    Args:
        provided: given as it is, and left open, unless None.
        fallback: called as `fallback(*fb_args, **fb_kwargs)` for a context manager otherwise.
    """

    def __init__(self, provided: Any, fallback: Callable[..., Any], *fb_args: Any, **fb_kwargs: Any) -> None:
        self.provided = provided
        self.fallback = fallback
        self.fb_args = fb_args
        self.fb_kwargs = fb_kwargs
        self._context: Any = None

    def __enter__(self) -> Any:
        if self.provided is not None:
            return self.provided
        self._context = self.fallback(*self.fb_args, **self.fb_kwargs)
        return self._context.__enter__()

    def __exit__(self, *exc_info: object) -> Any:
        if self._context is not None:
            return self._context.__exit__(*exc_info)
        return None


class getitem_property:  # noqa: N801, RUF100 - the public name
    """An attribute that reads and writes an item: `args = getitem_property('options.args')`.

    Args:
        keypath: keys joined by dots; all but the last must lead to mappings.
        doc: for people.
    """

    def __init__(self, keypath: str, doc: str | None = None) -> None:
        path, _, self.key = keypath.rpartition(".")
        self.path = path.split(".") if path else None
        self.__doc__ = doc

    def _path(self, obj: Any) -> Any:
        return functools.reduce(lambda at, key: at[key], self.path, obj) if self.path else obj

    def __get__(self, obj: Any, type: type | None = None) -> Any:  # noqa: A002 - the protocol's name
        if obj is None:
            return type
        return self._path(obj).get(self.key)

    def __set__(self, obj: Any, value: Any) -> None:
        self._path(obj)[self.key] = value
