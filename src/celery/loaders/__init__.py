"""Loaders: where configuration comes from and which modules are imported when a worker starts."""

from __future__ import annotations

from typing import Any

from celery.utils.imports import import_from_cwd, symbol_by_name

__all__ = ("get_loader_cls",)

LOADER_ALIASES = {
    "app": "celery.loaders.app:AppLoader",
    "default": "celery.loaders.default:Loader",
}


def get_loader_cls(loader: Any) -> Any:
    """A loader class by alias, dotted path, or as it is."""
    return symbol_by_name(loader, LOADER_ALIASES, imp=import_from_cwd)
