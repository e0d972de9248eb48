"""From `-A proj` to an application."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from celery.local import PromiseProxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from .base import Celery

_APP_CLASS = ("celery.app.base", "Celery")
#: Attributes of a module that are looked at first, in this order.
_NAMES = ("app", "celery")
#: Where the user's own `celery.py` goes in `sys.modules`: its name belongs to this package.
OWN_FILE_MODULE = "__celery_py__"


class NoAppError(AttributeError):
    """There is a module, and no application in it."""


def find_app(
    app: str,
    symbol_by_name: Callable[..., Any] | None = None,
    imp: Callable[[str], Any] | None = None,
) -> Celery:
    """Find the application that `app` names; the current folder is searched for modules too.

    Args:
        app: `module`, `module:attribute`, `module.attribute` or `package` (then also `package.celery`).
        symbol_by_name: resolves a dotted name; None: ours.
        imp: imports a module by name; None: `importlib.import_module`.

    Raises:
        ModuleNotFoundError: no such module, or the module lacks that attribute.
        NoAppError: the module holds no application.
    """
    load = imp or importlib.import_module
    _see_current_folder()
    own = own_celery_file(app)
    if own is not None:
        found: Any = _resolve_in(_load_file(own), app)
    elif symbol_by_name is not None:
        found = symbol_by_name(app, imp=load)
    else:
        found = _resolve(app, load)
    if _is_app(found):
        return found  # type: ignore[no-any-return]
    if isinstance(found, ModuleType):
        return _search(found, load)
    raise NoAppError(f"{app!r} is a {type(found).__name__}, not a Celery application")


def own_celery_file(app: str) -> str | None:
    """`./celery.py`, if `app` names it: as a module its name would be that of this package."""
    module = app.partition(":")[0]
    path = os.path.join(os.getcwd(), "celery.py")
    if (module == "celery" or module in ("celery.app", "celery.celery")) and os.path.isfile(path):
        return path
    return None


def _see_current_folder() -> None:
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)


def _load_file(path: str) -> ModuleType:
    known = sys.modules.get(OWN_FILE_MODULE)
    if known is not None and known.__file__ == path:
        return known
    # Named as the user sees it, so that its tasks are `celery.add`; kept elsewhere in sys.modules.
    spec = importlib.util.spec_from_file_location("celery", path)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"{path} cannot be loaded", name=path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[OWN_FILE_MODULE] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[OWN_FILE_MODULE]
        raise
    return module


def _resolve_in(module: ModuleType, app: str) -> Any:
    _, _, attribute = app.partition(":")
    if not attribute:
        _, _, attribute = app.partition(".")
    return _attribute(module, attribute, app) if attribute else module


def _resolve(app: str, load: Callable[[str], Any]) -> Any:
    name, colon, attribute = app.partition(":")
    if colon:
        return _attribute(load(name), attribute, app)
    try:
        return load(app)
    except ModuleNotFoundError as error:
        parent, dot, attribute = app.rpartition(".")
        if not dot or not _is_part_of(error.name, app):
            raise
        return _attribute(load(parent), attribute, app)


def _is_part_of(missing: str | None, name: str) -> bool:
    return missing is not None and (name == missing or name.startswith(f"{missing}."))


def _attribute(module: Any, path: str, app: str) -> Any:
    value = module
    for part in path.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            # Celery says so too: what was asked for, as a whole, does not exist.
            raise ModuleNotFoundError(f"No module named {app!r}", name=app) from None
    return value


def _is_app(value: Any) -> bool:
    # By the names of its classes: importing the application's class from here would be a circle. Tasks that are
    # not made yet are left alone: looking at them would make them.
    if type(value) is PromiseProxy:
        return False
    classes = getattr(value.__class__, "__mro__", ())
    return any((cls.__module__, cls.__name__) == _APP_CLASS for cls in classes)


def _search(module: ModuleType, load: Callable[[str], Any]) -> Celery:
    found = _named_app(module)
    if found is None and hasattr(module, "__path__"):
        found = _app_of_submodule(module.__name__, load)
    if found is None:
        found = next((value for value in vars(module).values() if _is_app(value)), None)
    if found is None:
        raise NoAppError(f"Module {module.__name__!r} has no attribute 'celery'")
    return found  # type: ignore[no-any-return]


def _named_app(module: ModuleType) -> Any:
    return next((value for name in _NAMES if _is_app(value := getattr(module, name, None))), None)


def _app_of_submodule(package: str, load: Callable[[str], Any]) -> Any:
    name = f"{package}.celery"
    try:
        module = load(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None
    return _named_app(module) or next((value for value in vars(module).values() if _is_app(value)), None)
