"""Warnings about what will go away."""

from __future__ import annotations

import warnings
from functools import wraps
from typing import TYPE_CHECKING, Any

from celery.exceptions import CDeprecationWarning, CPendingDeprecationWarning
from celery.utils.imports import qualname

if TYPE_CHECKING:
    from collections.abc import Callable as _Callable

__all__ = ("Callable", "Property", "warn")

PENDING_DEPRECATION_FMT = """
    {description} is scheduled for deprecation in \
    version {deprecation} and removal in version v{removal}. \
    {alternative}
"""

DEPRECATION_FMT = """
    {description} is deprecated and scheduled for removal in
    version {removal}. {alternative}
"""


def warn(
    description: str | None = None,
    deprecation: str | None = None,
    removal: str | None = None,
    alternative: str | None = None,
    stacklevel: int = 2,
) -> None:
    """Warn of something.

    Args:
        description: what.
        deprecation: the version that will deprecate it; without, it is deprecated now.
        removal: the version that will not have it.
        alternative: a sentence that says what to use.
    """
    words = {
        "description": description,
        "deprecation": deprecation,
        "removal": removal,
        "alternative": alternative,
    }
    if deprecation is not None:
        warning: Warning = CPendingDeprecationWarning(PENDING_DEPRECATION_FMT.format(**words))
    else:
        warning = CDeprecationWarning(DEPRECATION_FMT.format(**words))
    warnings.warn(warning, stacklevel=stacklevel)


def Callable(  # noqa: N802, RUF100 - the public name
    deprecation: str | None = None,
    removal: str | None = None,
    alternative: str | None = None,
    description: str | None = None,
) -> _Callable[[_Callable[..., Any]], _Callable[..., Any]]:
    """Decorator: calling the function warns (see `warn`)."""

    def decorate(fun: _Callable[..., Any]) -> _Callable[..., Any]:
        @wraps(fun)
        def warning(*args: Any, **kwargs: Any) -> Any:
            warn(description or qualname(fun), deprecation, removal, alternative, stacklevel=3)
            return fun(*args, **kwargs)

        return warning

    return decorate


def Property(  # noqa: N802, RUF100 - the public name
    deprecation: str | None = None,
    removal: str | None = None,
    alternative: str | None = None,
    description: str | None = None,
) -> _Callable[[_Callable[..., Any]], _deprecated_property]:
    """Decorator: a property whose use warns (see `warn`)."""

    def decorate(fun: _Callable[..., Any]) -> _deprecated_property:
        return _deprecated_property(
            fun,
            deprecation=deprecation,
            removal=removal,
            alternative=alternative,
            description=description or fun.__name__,
        )

    return decorate


class _deprecated_property:  # noqa: N801, RUF100 - as properties are called
    def __init__(
        self,
        fget: _Callable[[Any], Any] | None = None,
        fset: _Callable[[Any, Any], Any] | None = None,
        fdel: _Callable[[Any], Any] | None = None,
        doc: str | None = None,
        **depreinfo: Any,
    ) -> None:
        self._get = fget
        self._set = fset
        self._del = fdel
        self.__doc__ = doc or getattr(fget, "__doc__", None)
        self.depreinfo = {**depreinfo, "stacklevel": 3}

    def __get__(self, obj: Any, type: type | None = None) -> Any:  # noqa: A002 - the protocol's name
        if obj is None:
            return self
        if self._get is None:
            raise AttributeError("unreadable attribute")
        warn(**self.depreinfo)
        return self._get(obj)

    def __set__(self, obj: Any, value: Any) -> None:
        if self._set is None:
            raise AttributeError("cannot set attribute")
        warn(**self.depreinfo)
        self._set(obj, value)

    def __delete__(self, obj: Any) -> None:
        if self._del is None:
            raise AttributeError("cannot delete attribute")
        warn(**self.depreinfo)
        self._del(obj)

    def _with(self, **changed: Any) -> _deprecated_property:
        info = {key: value for key, value in self.depreinfo.items() if key != "stacklevel"}
        return type(self)(**{"fget": self._get, "fset": self._set, "fdel": self._del, **changed}, **info)

    def setter(self, fset: _Callable[[Any, Any], Any]) -> _deprecated_property:
        """The same property with a setter (decorator)."""
        return self._with(fset=fset)

    def deleter(self, fdel: _Callable[[Any], Any]) -> _deprecated_property:
        """The same property with a deleter (decorator)."""
        return self._with(fdel=fdel)
