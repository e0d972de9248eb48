"""Result backends: the classes that people subclass, with Celery's method names.

A backend stores what became of a task, under its id, as a *meta* (see `encoding`). A new store needs few methods:

- a key-value store subclasses `KeyValueStoreBackend` and gives `get`, `mget`, `set`, `delete` (and `incr`, `expire`);
- any other subclasses `BaseBackend` and gives `_store_result`, `_get_task_meta_for`, `_forget`,
  `_save_group`, `_restore_group`, `_delete_group`.

A store that can tell when a result changes also gives `hub()`: then nobody polls. `defer()` and
`flush()` let whoever runs many tasks store their results together.
"""

from __future__ import annotations

from celery import states
from celery._public import publish
from celery._state import get_current_task

from .core import (
    E_NO_BACKEND,
    Backend,
    BaseBackend,
    BaseDictBackend,
    DisabledBackend,
    unpickle_backend,
)
from .encoding import COMPRESSED_PAYLOAD_MAGIC, compress_payload, decompress_payload
from .keyvalue import BaseKeyValueStoreBackend, KeyValueStoreBackend
from .pending import SyncBackendMixin

__all__ = (
    "COMPRESSED_PAYLOAD_MAGIC",
    "E_NO_BACKEND",
    "Backend",
    "BaseBackend",
    "BaseDictBackend",
    "BaseKeyValueStoreBackend",
    "DisabledBackend",
    "KeyValueStoreBackend",
    "SyncBackendMixin",
    "compress_payload",
    "decompress_payload",
    "get_current_task",
    "states",
    "unpickle_backend",
)

publish(
    globals(),
    "Backend",
    "BaseBackend",
    "BaseKeyValueStoreBackend",
    "DisabledBackend",
    "KeyValueStoreBackend",
    "SyncBackendMixin",
    "unpickle_backend",
    "compress_payload",
    "decompress_payload",
)
