"""Stand-ins for objects that are found, or made, when first touched.

`Proxy` asks again on every access (`current_app`); `PromiseProxy` asks once (a task that is declared before its
app is finalized).
"""

from __future__ import annotations

import importlib
import operator
import types
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("PromiseProxy", "Proxy", "class_property", "maybe_evaluate", "try_import")

_get = object.__getattribute__
_set = object.__setattr__


def _class_default(name: str, kind: type, value: Any) -> Callable[[Callable[[Any], Any]], Any]:
    """An attribute that reads as `value` on the class, and as the current object's on an instance.

    It must be an instance of `kind`, because Python and its tools check class attributes such as `__doc__`.
    """

    def __new__(cls: type, getter: Callable[[Any], Any]) -> Any:
        self: Any = kind.__new__(cls, value)
        self.__getter = getter
        return self

    def __get__(self: Any, obj: Any, cls: type | None = None) -> Any:
        return self.__getter(obj) if obj is not None else self

    return type(name, (kind,), {"__new__": __new__, "__get__": __get__})


def try_import(module: str, default: Any = None) -> Any:
    """The module of that name, or `default` if it cannot be imported."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return default


class Proxy:
    """Behaves as the object that `local(*args, **kwargs)` returns at that moment.

    Args:
        local: called on every access.
        args, kwargs: what to call it with.
        name, __doc__: answers to `__name__` and `__doc__` that need no object.
    """

    __slots__ = ("__args", "__custom_doc", "__custom_name", "__kwargs", "__local")

    def __init__(
        self,
        local: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        name: str | None = None,
        __doc__: str | None = None,  # noqa: A002 - the public name
    ) -> None:
        _set(self, "_Proxy__local", local)
        _set(self, "_Proxy__args", args or ())
        _set(self, "_Proxy__kwargs", kwargs or {})
        _set(self, "_Proxy__custom_name", name)
        _set(self, "_Proxy__custom_doc", __doc__)

    @_class_default("name", str, __name__)
    def __name__(self) -> Any:
        return _get(self, "_Proxy__custom_name") or self._get_current_object().__name__

    @_class_default("module", str, __name__)  # noqa: A003 - the module's name is meant
    def __module__(self) -> Any:
        return self._get_current_object().__module__

    @_class_default("doc", str, __doc__)
    def __doc__(self) -> Any:
        return _get(self, "_Proxy__custom_doc") or self._get_current_object().__doc__

    def _get_class(self) -> type:
        return type(self._get_current_object())

    @property
    def __class__(self) -> Any:
        return self._get_current_object().__class__

    @__class__.setter
    def __class__(self, cls: type) -> None:
        self._get_current_object().__class__ = cls

    def _get_current_object(self) -> Any:
        """The object itself, for those who must have it (identity, pickling, speed)."""
        return _get(self, "_Proxy__local")(*_get(self, "_Proxy__args"), **_get(self, "_Proxy__kwargs"))

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]  # read-only on purpose
        try:
            found: dict[str, Any] = self._get_current_object().__dict__
        except RuntimeError as exc:
            raise AttributeError("__dict__") from exc
        return found

    def __repr__(self) -> str:
        try:
            obj = self._get_current_object()
        except RuntimeError:
            return f"<{type(self).__name__} unbound>"
        return repr(obj)

    def __bool__(self) -> bool:
        try:
            return bool(self._get_current_object())
        except RuntimeError:
            return False

    def __dir__(self) -> list[str]:
        try:
            return dir(self._get_current_object())
        except RuntimeError:
            return []

    def __getattr__(self, name: str) -> Any:
        if name == "__members__":
            return dir(self._get_current_object())
        return getattr(self._get_current_object(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._get_current_object(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._get_current_object(), name)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._get_current_object()[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._get_current_object()[key]

    def __getitem__(self, key: Any) -> Any:
        return self._get_current_object()[key]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._get_current_object()(*args, **kwargs)

    def __eq__(self, other: object) -> Any:
        return self._get_current_object() == other

    def __ne__(self, other: object) -> Any:
        return self._get_current_object() != other

    def __hash__(self) -> int:
        return hash(self._get_current_object())

    def __iter__(self) -> Any:
        return iter(self._get_current_object())

    def __contains__(self, item: Any) -> bool:
        return item in self._get_current_object()

    def __enter__(self) -> Any:
        return self._get_current_object().__enter__()

    def __exit__(self, *exc_info: Any) -> Any:
        return self._get_current_object().__exit__(*exc_info)

    def __reduce__(self) -> Any:
        return self._get_current_object().__reduce__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._get_current_object().__reduce_ex__(protocol)


def _forward_unary(function: Callable[..., Any]) -> Callable[..., Any]:
    def forward(self: Proxy) -> Any:
        return function(self._get_current_object())

    return forward


def _forward_binary(function: Callable[..., Any]) -> Callable[..., Any]:
    def forward(self: Proxy, other: Any) -> Any:
        return function(self._get_current_object(), other)

    return forward


def _forward_reflected(function: Callable[..., Any]) -> Callable[..., Any]:
    def forward(self: Proxy, other: Any) -> Any:
        return function(other, self._get_current_object())

    return forward


_UNARY: dict[str, Callable[..., Any]] = {
    "neg": operator.neg,
    "pos": operator.pos,
    "abs": operator.abs,
    "invert": operator.invert,
    "str": str,
    "len": len,
    "int": int,
    "float": float,
    "complex": complex,
    "index": operator.index,
    "fspath": lambda obj: obj.__fspath__(),
    "await": lambda obj: obj.__await__(),
}
_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "matmul": operator.matmul,
    "floordiv": operator.floordiv,
    "truediv": operator.truediv,
    "mod": operator.mod,
    "divmod": divmod,
    "pow": operator.pow,
    "lshift": operator.lshift,
    "rshift": operator.rshift,
    "and": operator.and_,
    "xor": operator.xor,
    "or": operator.or_,
}
_ORDER: dict[str, Callable[..., Any]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}


def _install(forward: Callable[..., Any], table: dict[str, Callable[..., Any]], pattern: str) -> None:
    for name, function in table.items():
        setattr(Proxy, pattern.format(name), forward(function))


_install(_forward_unary, _UNARY, "__{}__")
_install(_forward_binary, _ARITHMETIC, "__{}__")
_install(_forward_reflected, _ARITHMETIC, "__r{}__")
_install(_forward_binary, _ORDER, "__{}__")


class PromiseProxy(Proxy):
    # A docstring would hide the property of that name; the class's own is in it.
    @_class_default(
        "doc",
        str,
        "A `Proxy` whose object is made once, at the first touch.\n\n"
        "Functions registered by `__then__` are called when that happens.",
    )
    def __doc__(self) -> Any:
        return _get(self, "_Proxy__custom_doc") or self._get_current_object().__doc__

    __slots__ = ("__pending", "__thing", "__weakref__")

    def _get_current_object(self) -> Any:
        try:
            return _get(self, "_PromiseProxy__thing")
        except AttributeError:
            return self.__evaluate__()

    def __then__(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `fun(*args, **kwargs)` once the object exists: now, if it does."""
        if self.__evaluated__():
            return fun(*args, **kwargs)
        try:
            pending = _get(self, "_PromiseProxy__pending")
        except AttributeError:
            pending = []
            _set(self, "_PromiseProxy__pending", pending)
        pending.append((fun, args, kwargs))
        return None

    def __evaluated__(self) -> bool:
        """Whether the object exists."""
        try:
            _get(self, "_PromiseProxy__thing")
        except AttributeError:
            return False
        return True

    def __maybe_evaluate__(self) -> Any:
        return self._get_current_object()

    def __evaluate__(self) -> Any:
        """Make the object and run what waited for it."""
        thing = Proxy._get_current_object(self)
        _set(self, "_PromiseProxy__thing", thing)
        for name in ("_Proxy__local", "_Proxy__args", "_Proxy__kwargs"):
            _set(self, name, None)  # what made it is not needed, nor what that holds on to
        try:
            pending = _get(self, "_PromiseProxy__pending")
        except AttributeError:
            return thing
        object.__delattr__(self, "_PromiseProxy__pending")
        for fun, args, kwargs in pending:
            fun(*args, **kwargs)
        return thing


def maybe_evaluate(obj: Any) -> Any:
    """The object behind a `PromiseProxy`; anything else as it is."""
    try:
        return obj.__maybe_evaluate__()
    except AttributeError:
        return obj


class class_property:  # noqa: N801, RUF100 - the public name
    """A property of a class rather than of its instances.

    Args:
        getter: a classmethod, or a function of the class.
        setter: likewise, of the class and the value.
    """

    def __init__(self, getter: Any = None, setter: Any = None) -> None:
        self.__get: Any = getter.__func__ if isinstance(getter, classmethod) else getter
        self.__set: Any = setter.__func__ if isinstance(setter, classmethod) else setter
        if self.__get is not None:
            self.__doc__ = self.__get.__doc__
            self.__name__ = self.__get.__name__
            self.__module__ = self.__get.__module__

    def __get__(self, obj: Any, cls: type | None = None) -> Any:
        return self.__get(cls if cls is not None else type(obj))

    def __set__(self, obj: Any, value: Any) -> Any:
        if self.__set is None:
            self._refuse()
        return self.__set(obj if isinstance(obj, type) else type(obj), value)

    def setter(self, setter: Any) -> class_property:
        """The same property with a setter."""
        return type(self)(self.__get, setter)

    def _refuse(self) -> NoReturn:
        raise AttributeError(f"class property {getattr(self, '__name__', '')!r} cannot be set")


def fun_of_method(method: Any) -> Any:
    """The function of a bound method; anything else as it is."""
    return method.__func__ if isinstance(method, types.MethodType) else method


def reclassmethod(method: Any) -> Any:
    """The method's function as a classmethod."""
    return classmethod(fun_of_method(method))
