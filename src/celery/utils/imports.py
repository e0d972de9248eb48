"""Importing by name."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .installed import entry_points

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

__all__ = (
    "NotAPackage",
    "cwd_in_path",
    "find_module",
    "gen_task_name",
    "import_from_cwd",
    "instantiate",
    "load_extension_class_names",
    "load_extension_classes",
    "module_file",
    "qualname",
    "reload_from_cwd",
    "symbol_by_name",
)

#: The program's main file when Windows starts a child anew: tasks of `__main__` are named by it.
MP_MAIN_FILE = os.environ.get("MP_MAIN_FILE")


class NotAPackage(Exception):  # noqa: N818, RUF100 - the public name
    """Something in a module that is not a package was to be imported."""


def qualname(obj: Any) -> str:
    """Full name of a class, a function, or of an object's class: `'datetime.timedelta'`.

    A nested one is named without its module, as Celery does.
    """
    if not hasattr(obj, "__name__") and hasattr(obj, "__class__"):
        obj = obj.__class__
    name: str = getattr(obj, "__qualname__", obj.__name__)
    if "." in name or not getattr(obj, "__module__", None):
        return name
    return f"{obj.__module__}.{name}"


get_full_cls_name = qualname


def symbol_by_name(
    name: Any,
    aliases: dict[str, str] | None = None,
    imp: Callable[..., Any] | None = None,
    package: str | None = None,
    sep: str = ".",
    default: Any = None,
    **kwargs: Any,
) -> Any:
    """What a dotted name stands for: `'module.path:Name'`, `'module.path.Name'` or a module.

    Args:
        name: anything but a string is returned as it is.
        aliases: short names.
        imp: imports a module; default `importlib.import_module`.
        package: what relative names are relative to.
        default: returned if it cannot be imported, unless None.

    Raises:
        ImportError, AttributeError: there is no such module, or no such name in it.
        ValueError: no module is named, or importing failed in an unusual way.
    """
    if not isinstance(name, str):
        return name
    name = (aliases or {}).get(name) or name
    separator = ":" if ":" in name else sep
    module_name, _, attribute = name.rpartition(separator)
    if not module_name:
        module_name, attribute = attribute, ""
    try:
        module = _import_named(module_name, imp or importlib.import_module, package, kwargs)
        return getattr(module, attribute) if attribute else module
    except (ImportError, AttributeError):
        if default is None:
            raise
    return default


get_cls_by_name = symbol_by_name


def _import_named(name: str, imp: Callable[..., Any], package: str | None, kwargs: dict[str, Any]) -> Any:
    try:
        return imp(name, package=package, **kwargs)
    except ValueError as exc:
        raise ValueError(f"Couldn't import {name!r}: {exc}").with_traceback(exc.__traceback__) from exc


def instantiate(name: Any, *args: Any, **kwargs: Any) -> Any:
    """Call what `name` stands for (see `symbol_by_name`)."""
    return symbol_by_name(name)(*args, **kwargs)


@contextmanager
def cwd_in_path() -> Iterator[None]:
    """Have the current directory in `sys.path` for the time of a block."""
    try:
        here = os.getcwd()
    except FileNotFoundError:
        here = None
    if not here or here in sys.path:
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


def find_module(module: str, path: Any = None, imp: Callable[..., Any] | None = None) -> Any:
    """Import a module, also from the current directory.

    Raises:
        NotAPackage: part of the path is a module, not a package.
        ModuleNotFoundError: it does not exist.
    """
    load = imp or importlib.import_module
    with cwd_in_path():
        try:
            return load(module)
        except ImportError:
            # Say which part of the path is to blame.
            parts = module.split(".")
            for at in range(1, len(parts)):
                package = ".".join(parts[:at])
                if not hasattr(load(package), "__path__"):
                    raise NotAPackage(package) from None
            raise


def import_from_cwd(
    module: str,
    imp: Callable[..., Any] | None = None,
    package: str | None = None,
) -> Any:
    """Import a module, with the current directory in the path."""
    load = imp or importlib.import_module
    with cwd_in_path():
        return load(module, package=package)


def reload_from_cwd(module: ModuleType, reloader: Callable[..., Any] | None = None) -> Any:
    """Load a module again, with the current directory in the path."""
    with cwd_in_path():
        return (reloader or importlib.reload)(module)


def module_file(module: ModuleType) -> str:
    """The source file of a module.

    Raises:
        AttributeError: it has none (built in).
    """
    name: str = module.__file__  # type: ignore[assignment]  # an AttributeError is what callers expect
    return name[:-1] if name.endswith((".pyc", ".pyo")) else name


def gen_task_name(app: Any, name: str, module_name: str | None) -> str:
    """Default name of a task: its module and its own name; `app.main` stands for `__main__`."""
    module_name = module_name or "__main__"
    try:
        module = sys.modules[module_name]
    except KeyError:
        # An exotic import (exec, a doctest) is no reason to fail.
        module = None
    if module is not None:
        module_name = module.__name__
        if MP_MAIN_FILE and getattr(module, "__file__", None) == MP_MAIN_FILE:
            module_name = "__main__"
    if module_name == "__main__" and app.main:
        return f"{app.main}.{name}"
    return ".".join(part for part in (module_name, name) if part)


def load_extension_class_names(namespace: str) -> Iterator[tuple[str, str]]:
    """Name and `module:attribute` of every installed entry point of the group `namespace`."""
    for entry in entry_points(namespace):
        yield entry.name, entry.value


def load_extension_classes(namespace: str) -> Iterator[tuple[str, Any]]:
    """Name and object of every installed entry point of the group; one that cannot be imported is warned about."""
    for name, path in load_extension_class_names(namespace):
        try:
            found = symbol_by_name(path)
        except (ImportError, SyntaxError) as exc:
            warnings.warn(f"Cannot load {namespace} extension {path!r}: {exc!r}", stacklevel=2)
        else:
            yield name, found
