"""Tools for functions, iterables and values that are computed later."""

from __future__ import annotations

import inspect
from collections import UserList
from collections.abc import Iterable, Mapping
from functools import partial, wraps
from itertools import islice, tee, zip_longest
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

from celery.utils.lazies import lazy, maybe_evaluate, mlazy
from celery.utils.lru import LRUCache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = (
    "LRUCache",
    "chunks",
    "dictfilter",
    "first",
    "firstmethod",
    "fun_accepts_kwargs",
    "fun_takes_argument",
    "head_from_fun",
    "is_list",
    "lazy",
    "mattrgetter",
    "maybe",
    "maybe_evaluate",
    "maybe_list",
    "memoize",
    "mlazy",
    "noop",
    "padlist",
    "regen",
    "uniq",
)

T = TypeVar("T")


class DummyContext:
    """A context manager that does nothing."""

    def __enter__(self) -> DummyContext:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass


# -- values and sequences


def reprcall(name: str, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None) -> str:
    """Return the text of a call: `add(2, y=3)`."""
    parts = [repr(arg) for arg in args]
    parts.extend(f"{key}={value!r}" for key, value in (kwargs or {}).items())
    return f"{name}({', '.join(parts)})"


def is_list(
    obj: Any,
    scalars: tuple[type, ...] = (Mapping, str),
    iters: tuple[type, ...] = (Iterable,),
) -> bool:
    """Whether `obj` can be iterated over and is not one of the `scalars`."""
    return isinstance(obj, iters) and not isinstance(obj, scalars or ())


def maybe_list(obj: Any, scalars: tuple[type, ...] = (Mapping, str)) -> Any:
    """`obj` if it is a list of some kind or None, else a list of it."""
    return obj if obj is None or is_list(obj, scalars) else [obj]


def noop(*args: Any, **kwargs: Any) -> None:
    """Takes anything, does nothing."""


def pass1(arg: T, *args: Any, **kwargs: Any) -> T:
    """The first argument."""
    return arg


def first(predicate: Callable[[Any], Any] | None, it: Iterable[Any]) -> Any:
    """The first of `it` for which `predicate` holds (default: that is not None); None if there is none."""
    holds = predicate if predicate is not None else (lambda value: value is not None)
    return next((value for value in it if holds(value)), None)


def firstmethod(method: str, on_call: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """A function that calls `method` of each object in its first argument until one answers.

    Args:
        on_call: called as `on_call(method, *args, **kwargs)` in place of the method.

    Returns:
        `f(objects, *args, **kwargs)`: the first answer that is not None, else None.
    """

    def matcher(it: Iterable[Any], *args: Any, **kwargs: Any) -> Any:
        for obj in it:
            bound = getattr(maybe_evaluate(obj), method, None)
            if bound is None:
                continue
            answer = on_call(bound, *args, **kwargs) if on_call else bound(*args, **kwargs)
            if answer is not None:
                return answer
        return None

    return matcher


def chunks(it: Iterable[T], n: int) -> Iterator[list[T]]:
    """`it` in lists of `n`; the last may be shorter."""
    source = iter(it)
    while part := list(islice(source, n)):
        yield part


def padlist(container: Sequence[Any], size: int, default: Any = None) -> list[Any]:
    """The first `size` of `container`, filled up with `default`."""
    return list(container)[:size] + [default] * (size - len(container))


def mattrgetter(*attrs: str) -> Callable[[Any], dict[str, Any]]:
    """A function that gives an object's `attrs` as a dictionary; missing ones are None."""
    return lambda obj: {attr: getattr(obj, attr, None) for attr in attrs}


def uniq(it: Iterable[T]) -> Iterator[T]:
    """Each value once, in order of first appearance."""
    seen: set[T] = set()
    return (value for value in it if not (value in seen or seen.add(value)))  # type: ignore[func-returns-value]


def lookahead(it: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Pairs of a value and the next one, which is None for the last."""
    left, right = tee(it)
    next(right, None)
    return zip_longest(left, right)


def dictfilter(d: Mapping[Any, Any] | None = None, **kw: Any) -> dict[Any, Any]:
    """What is not None of the dictionary and the keyword arguments."""
    return {key: value for key, value in {**(d or {}), **kw}.items() if value is not None}


def maybe(typ: Callable[[Any], Any], val: Any) -> Any:
    """`typ(val)`, but None stays None."""
    return typ(val) if val is not None else val


def is_numeric_value(value: Any) -> bool:
    """Whether `value` is an int or a float (True and False are not)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def seq_concat_item(seq: Any, item: Any) -> Any:
    """A sequence of the same kind with `item` added."""
    return (*seq, item) if isinstance(seq, tuple) else [*seq, item]


def seq_concat_seq(a: Any, b: Any) -> Any:
    """Both sequences in one, of the kind of the longer one (of `a` if they are equal)."""
    kind = type(a if len(a) >= len(b) else b)
    return kind(a) + kind(b)


def evaluate_promises(it: Iterable[Any]) -> Iterator[Any]:
    """Each value; those that are computed later are computed."""
    return (maybe_evaluate(value) for value in it)


def memoize(
    maxsize: int | None = None,
    keyfun: Callable[..., Any] | None = None,
    Cache: Callable[..., Any] = LRUCache,  # noqa: N803, RUF100 - the public name
) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: remember what a function returned for its arguments.

    The function gains `clear()`, `hits`, `misses` and `original_func`.

    Args:
        maxsize: forget the least recently used beyond this many; None: never.
        keyfun: makes the key of the arguments.
    """

    def decorate(fun: Callable[..., Any]) -> Any:
        cache = Cache(limit=maxsize)

        @wraps(fun)
        def remembering(*args: Any, **kwargs: Any) -> Any:
            key = keyfun(args, kwargs) if keyfun else (args, frozenset(kwargs.items()))
            try:
                value = cache[key]
            except KeyError:
                value = fun(*args, **kwargs)
                remembering.misses += 1  # type: ignore[attr-defined]  # a counter on the function
                cache[key] = value
            else:
                remembering.hits += 1  # type: ignore[attr-defined]
            return value

        def clear() -> None:
            cache.clear()
            remembering.hits = remembering.misses = 0  # type: ignore[attr-defined]

        remembering.hits = remembering.misses = 0  # type: ignore[attr-defined]
        remembering.clear = clear  # type: ignore[attr-defined]
        remembering.original_func = fun  # type: ignore[attr-defined]
        return remembering

    return decorate


def regen(it: Any) -> Any:
    """A list or tuple as it is; anything else as a list that reads it when needed, once."""
    return it if isinstance(it, (list, tuple)) else _regen(it)


class _regen(UserList, list):  # type: ignore[type-arg, misc]  # noqa: N801, RUF100 - a list to isinstance()
    def __init__(self, it: Iterable[Any]) -> None:
        self.__it: Iterator[Any] = iter(it)
        self.__read: list[Any] = []
        self.__functions: list[Callable[[Any], Any]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (self.data,)

    def map(self, func: Callable[[Any], Any]) -> None:
        """Have every value passed through `func` before it is seen."""
        if self.__read:
            self.__read = [func(value) for value in self.__read]
        self.__functions.append(func)

    def __length_hint__(self) -> int:
        return getattr(self.__it, "__length_hint__", lambda: 0)() + len(self.__read)

    def __next_value(self) -> Any:
        value = next(self.__it)
        for func in self.__functions:
            value = func(value)
        self.__read.append(value)
        return value

    def __iter__(self) -> Iterator[Any]:
        at = 0
        while True:
            while at < len(self.__read):
                yield self.__read[at]
                at += 1
            try:
                self.__next_value()
            except StopIteration:
                return

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int) and index >= 0:
            while len(self.__read) <= index:
                try:
                    self.__next_value()
                except StopIteration:
                    raise IndexError("list index out of range") from None
            return self.__read[index]
        return self.data[index]

    def __bool__(self) -> bool:
        if self.__read:
            return True
        try:
            self.__next_value()
        except StopIteration:
            return False
        return True

    @property
    def data(self) -> list[Any]:
        """All values."""
        try:
            while True:
                self.__next_value()
        except StopIteration:
            return self.__read

    @data.setter
    def data(self, values: list[Any]) -> None:
        self.__read, self.__it = values, iter(())

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{', '.join(repr(value) for value in self.data)}]>"


# -- functions and their arguments


def _spec(fun: Any) -> inspect.FullArgSpec:
    """The arguments of anything that can be called.

    Raises:
        TypeError: they cannot be known (some built-ins).
    """
    if inspect.isfunction(fun) or inspect.ismethod(fun) or inspect.isbuiltin(fun):
        return inspect.getfullargspec(fun)
    return inspect.getfullargspec(fun.__call__ if not inspect.isclass(fun) else fun)


def fun_takes_argument(name: str, fun: Callable[..., Any], position: int | None = None) -> Any:
    """Whether `fun` takes an argument of this name, or as many as `position`."""
    spec = _spec(fun)
    return (
        spec.varkw
        or spec.varargs
        or (len(spec.args) >= position if position is not None else name in spec.args)
    )


def fun_accepts_kwargs(fun: Any) -> bool:
    """Whether `fun` takes any keyword argument (`**kwargs`)."""
    # A plain function tells without inspect.
    code = getattr(getattr(fun, "__func__", fun), "__code__", None)
    if code is not None and not hasattr(fun, "__wrapped__"):
        return bool(code.co_flags & inspect.CO_VARKEYWORDS)
    try:
        parameters = inspect.signature(fun).parameters.values()
    except (TypeError, ValueError):
        # Nothing is known of it: assume the best.
        return True
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def arity_greater(fun: Callable[..., Any], n: int) -> Any:
    """Whether `fun` takes more than `n` positional arguments."""
    spec = _spec(fun)
    return spec.varargs or len(spec.args) > n


def head_from_fun(fun: Callable[..., Any], bound: bool = False) -> Callable[..., None]:
    """A function that takes the arguments `fun` takes, and does nothing.

    Calling it checks arguments at full speed, and fails with the TypeError that `fun` would raise.

    Args:
        bound: `fun`'s first argument will be given by binding, so the caller leaves it out.
    """
    target, skip_self = _underlying(fun)
    head = _hollow(target)
    if bound or skip_self:
        return partial(head, object())
    return head


def _underlying(fun: Any) -> tuple[Any, bool]:
    """The plain function behind something callable, and whether its first argument is given by binding."""
    if inspect.ismethod(fun):
        return fun.__func__, True
    if isinstance(fun, FunctionType):
        return fun, False
    call = vars(type(fun)).get("__call__") or getattr(type(fun), "__call__", None)  # noqa: B004 - its function
    return (call, True) if isinstance(call, FunctionType) else (fun, False)


def _hollow(fun: Any) -> Callable[..., None]:
    try:
        parameters = list(inspect.signature(fun).parameters.values())
    except (TypeError, ValueError):
        # A built-in that does not say: it will complain when it is called.
        return noop
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    keyword = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    rest = [p for p in parameters if p.kind is p.VAR_POSITIONAL]
    more = [p for p in parameters if p.kind is p.VAR_KEYWORD]
    names = tuple(p.name for p in (*positional, *keyword, *rest, *more))
    flags = (inspect.CO_VARARGS if rest else 0) | (inspect.CO_VARKEYWORDS if more else 0)
    name = getattr(fun, "__name__", type(fun).__name__)
    code: CodeType = _EMPTY.replace(
        co_argcount=len(positional),
        co_posonlyargcount=sum(p.kind is p.POSITIONAL_ONLY for p in positional),
        co_kwonlyargcount=len(keyword),
        co_nlocals=len(names),
        co_varnames=names,
        co_flags=_EMPTY.co_flags | flags,
        co_name=name,
        co_qualname=name,
    )
    defaults = tuple(p.default for p in positional if p.default is not p.empty)
    head = FunctionType(code, {}, name, defaults)
    head.__kwdefaults__ = {p.name: p.default for p in keyword if p.default is not p.empty}
    head.__module__ = getattr(fun, "__module__", None) or __name__
    head._source = f"def {name}{inspect.signature(fun)}"  # type: ignore[attr-defined]  # for people
    return head


_EMPTY = (lambda: None).__code__
