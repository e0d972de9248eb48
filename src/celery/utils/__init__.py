"""Tools. The names below are public; everything else has a module of its own."""

# No `from __future__ import annotations` here: it would hide the module of that name.

import importlib
from typing import Any

from celery.platforms import isatty
from celery.utils import nodenames
from celery.utils.functional import chunks, fun_takes_argument, memoize, noop, uniq
from celery.utils.imports import (
    gen_task_name,
    get_cls_by_name,
    get_full_cls_name,
    import_from_cwd,
    instantiate,
)
from celery.utils.log import LOG_LEVELS
from celery.utils.nodenames import WORKER_DIRECT_QUEUE_FORMAT, nodename, nodesplit, worker_direct
from celery.utils.objects import cached_property
from celery.utils.serialization import jsonify
from celery.utils.uuids import gen_unique_id, uuid

__all__ = (
    "LOG_LEVELS",
    "WORKER_DIRECT_QUEUE_FORMAT",
    "cached_property",
    "chunks",
    "fun_takes_argument",
    "gen_task_name",
    "gen_unique_id",
    "get_cls_by_name",
    "get_full_cls_name",
    "import_from_cwd",
    "instantiate",
    "isatty",
    "jsonify",
    "memoize",
    "nodename",
    "nodesplit",
    "noop",
    "uniq",
    "uuid",
    "worker_direct",
)


def __getattr__(name: str) -> Any:
    if name == "WORKER_DIRECT_EXCHANGE":
        return nodenames.WORKER_DIRECT_EXCHANGE
    # `import celery.utils; celery.utils.time`: modules load by being named.
    full = f"{__name__}.{name}"
    if not name.startswith("_"):
        try:
            return importlib.import_module(full)
        except ModuleNotFoundError as exc:
            if exc.name != full:
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
