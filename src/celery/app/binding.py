"""Classes made to belong to an app: subclasses that have it as an attribute, and find it again when unpickled."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from celery import _state
from celery.utils.imports import symbol_by_name


def subclass(
    app: Any,
    class_or_path: Any,
    /,
    *,
    name: str | None,
    attribute: str,
    reverse: str | None,
    keep_reduce: bool,
    **attributes: Any,
) -> Any:
    """Make a subclass that has `app` as a class attribute. See `Celery.subclass_with_self`."""
    cls = symbol_by_name(class_or_path)
    path = reverse or cls.__name__

    def __reduce__(obj: Any) -> Any:
        return _unpickle_appattr, (path, obj.__reduce_args__())

    own = {attribute: app, "__module__": cls.__module__, "__doc__": cls.__doc__, **attributes}
    if not keep_reduce:
        own["__reduce__"] = __reduce__
    return type(name or cls.__name__, (cls,), own)


def _unpickle_appattr(reverse_name: str, args: Any) -> Any:
    """Rebuild an object that has the current app as attribute."""
    return attrgetter(reverse_name)(_state.get_current_app())(*args)
