"""Give names their public home.

What a pickle, a traceback or a page of documentation calls a class is its `__module__`. Where a package's names
live in several files, `publish` makes them say the package.
"""

from __future__ import annotations

from typing import Any


def publish(namespace: dict[str, Any], *names: str) -> None:
    """Set `__module__` of classes and functions to the module whose `globals()` are given.

    Args:
        namespace: `globals()` of the public module; must already hold the names.
        names: which; default: everything in its `__all__`.
    """
    module = namespace["__name__"]
    for name in names or namespace["__all__"]:
        obj = namespace[name]
        if getattr(obj, "__module__", module) != module:
            obj.__module__ = module
