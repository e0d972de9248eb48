"""Tools. The names below are public; everything else has a module of its own."""

from __future__ import annotations

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
    "jsonify",
    "memoize",
    "nodename",
    "nodesplit",
    "noop",
    "uniq",
    "uuid",
    "worker_direct",
)
