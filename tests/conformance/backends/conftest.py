"""Every test here runs over every backend: those of ours, and two as third parties write them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from celery import Celery
from celery.backends.base import BaseBackend, KeyValueStoreBackend
from celery.result import result_from_tuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class DictStore(KeyValueStoreBackend):
    """A key-value store of somebody else's: the least that Celery asks for, and no way to tell of changes."""

    data: ClassVar[dict[bytes, Any]] = {}

    def get(self, key):
        return self.data.get(key)

    def mget(self, keys):
        return [self.data.get(key) for key in keys]

    def set(self, key, value):
        self.data[key] = value

    def delete(self, key):
        self.data.pop(key, None)


class RowStore(BaseBackend):
    """A table of somebody else's, as django-celery-results has one."""

    rows: ClassVar[dict[str, dict[str, Any]]] = {}
    groups: ClassVar[dict[str, Any]] = {}

    def _store_result(self, task_id, result, state, traceback=None, request=None, using=None):
        _, _, encoded = self._encode(result)
        if self.rows.get(task_id, {}).get("status") == "SUCCESS":
            return result
        meta = self._get_result_meta(result, state, traceback, request, encode=True)
        self.rows[task_id] = {**meta, "result": encoded, "task_id": task_id}
        return result

    def _get_task_meta_for(self, task_id):
        row = self.rows.get(task_id)
        if row is None:
            return {"status": "PENDING", "result": None}
        return self.meta_from_decoded({**row, "result": self.decode(row["result"])})

    def _forget(self, task_id):
        self.rows.pop(task_id, None)

    def _save_group(self, group_id, result):
        self.groups[group_id] = self.encode(result.as_tuple())
        return result

    def _restore_group(self, group_id):
        stored = self.groups.get(group_id)
        if stored is None:
            return None
        return {"result": result_from_tuple(self.decode(stored), self.app)}

    def _delete_group(self, group_id):
        self.groups.pop(group_id, None)


KINDS = ("memory", "sqlite", "redis", "keyvalue", "rows")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def told(kind: str) -> bool:
    """The backend tells of changes."""
    return kind in ("memory", "sqlite", "redis")


@pytest.fixture
def make_app(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Celery]]:
    """Make an app over the backend under test; all of one test share the store."""
    where = {
        "memory": "cache+memory://",
        "sqlite": f"sqlite:///{tmp_path}/store.db",
        "redis": request.getfixturevalue("redis_url") if kind == "redis" else None,
        "keyvalue": DictStore,
        "rows": RowStore,
    }[kind]

    def make(**conf: Any) -> Celery:
        return Celery("t", broker="memory://", backend=where, set_as_current=False, **conf)

    yield make
    DictStore.data.clear()
    RowStore.rows.clear()
    RowStore.groups.clear()


@pytest.fixture
def app(make_app: Callable[..., Celery]) -> Celery:
    return make_app()


@pytest.fixture
def new_id() -> Callable[[], str]:
    return lambda: str(uuid.uuid4())


@pytest.fixture
def task_id(new_id: Callable[[], str]) -> str:
    return new_id()
