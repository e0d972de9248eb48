"""Where task code runs: the pools, by name."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from celery.concurrency.base import Pool, PoolOptions

__all__ = ("get_available_pool_names", "get_implementation", "make_pool")

#: Short name -> `module:class`.
ALIASES: dict[str, str] = {
    "prefork": "celery.concurrency.prefork:TaskPool",
    "processes": "celery.concurrency.prefork:TaskPool",
    "threads": "celery.concurrency.thread:TaskPool",
    "solo": "celery.concurrency.solo:TaskPool",
    "asyncio": "celery.concurrency.aio:TaskPool",
}
_CUSTOM = "CELERY_CUSTOM_WORKER_POOL"


def get_implementation(cls: Any) -> Any:
    """The pool class of a name.

    Args:
        cls: an alias (`prefork`, `processes`, `threads`, `solo`, `asyncio`; `custom` for the class named by
            the environment variable `CELERY_CUSTOM_WORKER_POOL`), a path `module:class` or `module.class`, or a class.

    Returns:
        A class that is constructed as `cls(app, limit=..., hostname=..., options=...)` and is a `Pool`; or a subclass
        of `BasePool`. `make_pool` makes a `Pool` of either.

    Raises:
        ImportError: there is no such module or class.
    """
    if not isinstance(cls, str):
        return cls
    path = _aliases().get(cls, cls)
    separator = ":" if ":" in path else "."
    module_name, _, attribute = path.rpartition(separator)
    if not module_name:
        names = ", ".join(get_available_pool_names())
        msg = f"There is no pool {cls!r}. Pools: {names}; or a path like 'package.module:Class'"
        raise ImportError(msg)
    module = importlib.import_module(module_name)
    try:
        return getattr(module, attribute)
    except AttributeError as exc:
        msg = f"Pool {cls!r}: module {module_name!r} has no {attribute!r}"
        raise ImportError(msg) from exc


def get_available_pool_names() -> tuple[str, ...]:
    """All short names."""
    return tuple(_aliases())


def _aliases() -> dict[str, str]:
    custom = os.environ.get(_CUSTOM)
    return {**ALIASES, "custom": custom} if custom else ALIASES


def make_pool(cls: Any, app: Any, *, limit: int, hostname: str, options: PoolOptions) -> Pool:
    """A pool, not yet started.

    Args:
        cls: anything that `get_implementation` takes.
        limit: number of tasks that may run at a time.
        hostname: node name of the worker.

    Raises:
        ImportError: there is no such pool.
    """
    from celery.concurrency import adapter, base  # noqa: PLC0415 - naming pools must not load them

    implementation = get_implementation(cls)
    if isinstance(implementation, type) and issubclass(implementation, base.BasePool):
        return adapter.PortedPool(implementation, app, limit=limit, hostname=hostname, options=options)
    return cast("Pool", implementation(app, limit=limit, hostname=hostname, options=options))
