"""kombu's and billiard's exception classes, without importing either.

A program may say `except kombu.exceptions.OperationalError` or `except billiard.exceptions.SoftTimeLimitExceeded`:
to do so it must have imported that module. `raised_class` then gives a class derived from ours *and* theirs, made
once; in a program that has not, our own class is as good. So nobody pays for an import, and either clause catches.

Results and pickles of ours name these classes as `celery.exceptions`; `own_path` maps the stock names on
read. Three of them stock Celery does not have there, so they are pickled under kombu's name.
"""

from __future__ import annotations

import copyreg
import importlib
import sys
from contextlib import suppress
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from celery import exceptions

if TYPE_CHECKING:
    from types import ModuleType

E = TypeVar("E", bound=BaseException)

#: Our class -> where stock Celery has it.
STOCK: dict[type[BaseException], str] = {
    exceptions.OperationalError: "kombu.exceptions",
    exceptions.SerializationError: "kombu.exceptions",
    exceptions.EncodeError: "kombu.exceptions",
    exceptions.DecodeError: "kombu.exceptions",
    exceptions.ContentDisallowed: "kombu.exceptions",
    exceptions.SoftTimeLimitExceeded: "billiard.exceptions",
    exceptions.TimeLimitExceeded: "billiard.exceptions",
    exceptions.WorkerLostError: "billiard.exceptions",
    exceptions.Terminated: "billiard.exceptions",
}
_BY_PATH = {(module, cls.__name__): cls for cls, module in STOCK.items()}
_twins: dict[type[BaseException], type[BaseException]] = {}


def stock_class(cls: type[BaseException]) -> type[BaseException]:
    """The class as stock Celery has it, imported if need be; `cls` itself if it is not a foreign one."""
    own = own_class(cls)
    if own not in STOCK:
        return cls
    return cast("type[BaseException]", getattr(importlib.import_module(STOCK[own]), own.__name__))


def kombu_object(name: str) -> Any:
    """`kombu.<name>` (an entity class), kombu being imported now if it was not."""
    return getattr(importlib.import_module("kombu"), name)


def own_class(cls: type[BaseException]) -> type[BaseException]:
    """Ours for a twin or a foreign class; any other class unchanged."""
    if cls.__module__ == exceptions.__name__ and "__twin_of__" in vars(cls):
        return cast("type[BaseException]", vars(cls)["__twin_of__"])
    return _BY_PATH.get((cls.__module__, cls.__name__), cls)


def own_path(module: str, name: str) -> tuple[str, str]:
    """Where the exception that stock Celery calls `module.name` lives here.

    >>> own_path('billiard.exceptions', 'WorkerLostError')
    ('celery.exceptions', 'WorkerLostError')
    """
    return (exceptions.__name__ if (module, name) in _BY_PATH else module), name


def raised_class(cls: type[E]) -> type[E]:
    """What to raise for `cls`, one of ours: its twin if the foreign module is imported, else itself."""
    twin = _twins.get(cls)
    if twin is not None:
        return cast("type[E]", twin)
    module = sys.modules.get(STOCK.get(cls, ""))
    foreign = getattr(module, cls.__name__, None)
    if foreign is None:
        return cls
    return cast("type[E]", _twins.setdefault(cls, _make_twin(cls, foreign)))


def _make_twin(own: type[BaseException], foreign: type[BaseException]) -> type[BaseException]:
    body = {"__module__": own.__module__, "__doc__": own.__doc__, "__twin_of__": own}
    twin = type(own.__name__, (own, foreign), body)
    copyreg.pickle(twin, _reduce)
    return twin


def _reduce(exc: BaseException) -> tuple[Any, ...]:
    own = own_class(type(exc))
    named = stock_class(own) if issubclass(own, exceptions.SerializationError) else own
    return named, exc.args


for _cls in STOCK:
    if issubclass(_cls, exceptions.SerializationError):
        copyreg.pickle(_cls, _reduce)


def adopt(exc: BaseException) -> BaseException:
    """Ours for an exception instance of kombu or billiard; any other unchanged. The traceback is kept."""
    own = own_class(type(exc))
    if own is type(exc) or isinstance(exc, own):
        return exc
    return raised_class(own)(*exc.args).with_traceback(exc.__traceback__)


def operational_error(*args: Any) -> exceptions.OperationalError:
    """An `OperationalError` to raise."""
    return raised_class(exceptions.OperationalError)(*args)


def encode_error(*args: Any) -> exceptions.EncodeError:
    """An `EncodeError` to raise."""
    return raised_class(exceptions.EncodeError)(*args)


def decode_error(*args: Any) -> exceptions.DecodeError:
    """A `DecodeError` to raise."""
    return raised_class(exceptions.DecodeError)(*args)


def content_disallowed(*args: Any) -> exceptions.ContentDisallowed:
    """A `ContentDisallowed` to raise."""
    return raised_class(exceptions.ContentDisallowed)(*args)


def soft_time_limit_exceeded(*args: Any) -> exceptions.SoftTimeLimitExceeded:
    """A `SoftTimeLimitExceeded` to raise."""
    return raised_class(exceptions.SoftTimeLimitExceeded)(*args)


def time_limit_exceeded(*args: Any) -> exceptions.TimeLimitExceeded:
    """A `TimeLimitExceeded` to raise."""
    return raised_class(exceptions.TimeLimitExceeded)(*args)


def worker_lost_error(*args: Any) -> exceptions.WorkerLostError:
    """A `WorkerLostError` to raise."""
    return raised_class(exceptions.WorkerLostError)(*args)


def terminated(*args: Any) -> exceptions.Terminated:
    """A `Terminated` to raise."""
    return raised_class(exceptions.Terminated)(*args)


def is_wrapped(function: Any, module: ModuleType) -> bool:
    """Whether somebody has put something of theirs in the place of a function of `module`."""
    return type(function) is not FunctionType or function.__globals__ is not module.__dict__


def call_wrappers(module: str, cls: str, method: str, *args: Any) -> None:
    """Call what tools have put in the place of a method of a foreign class that is not used here.

    The original fails at once, as it is called on nothing; what the wrappers do before and after that (send what they
    still hold, for instance) they do. Nothing happens if nobody has wrapped it.
    """
    loaded = sys.modules.get(module)
    if loaded is None:
        return
    holder = getattr(loaded, cls)
    if is_wrapped(vars(holder)[method], loaded):
        with suppress(BaseException):
            getattr(holder, method)(object(), *args)
