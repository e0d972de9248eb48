"""Every test here runs over every backend: those of ours, and two as third parties write them."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from tests.servers.documents import ArangoServer, ConsulServer, CouchServer, ElasticServer

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


def _fixture(name: str, prefix: str = "") -> Callable[[pytest.FixtureRequest, Path], str]:
    return lambda request, _: prefix + request.getfixturevalue(name)


def _mongodb(request: pytest.FixtureRequest) -> str:
    """pymongo's client is replaced by mongomock's: there is no server to be had."""
    import mongomock

    request.getfixturevalue("monkeypatch").setattr("pymongo.MongoClient", mongomock.MongoClient)
    return f"mongodb://localhost/{os.urandom(4).hex()}"


def _s3(request: pytest.FixtureRequest) -> str:
    import boto3

    url = request.getfixturevalue("aws_url")
    boto3.client("s3", endpoint_url=url).create_bucket(Bucket="bucket")
    return "s3://"


def _google(request: pytest.FixtureRequest) -> str:
    url = request.getfixturevalue("google_server").url
    request.getfixturevalue("monkeypatch").setenv("STORAGE_EMULATOR_HOST", url)
    return f"gs://bucket/{os.urandom(4).hex()}?gcs_project=test"


#: What is tested -> how it is configured.
STORES: dict[str, Callable[[pytest.FixtureRequest, Path], Any]] = {
    "memory": lambda request, folder: "cache+memory://",
    "sqlite": lambda request, folder: f"sqlite:///{folder}/store.db",
    "redis": _fixture("redis_url"),
    "db-sqlite": lambda request, folder: f"db+sqlite:///{folder}/results.db",
    "db-postgresql": _fixture("postgres_url", "db+"),
    "db-mariadb": _fixture("mariadb_url", "db+"),
    "memcached": lambda request, _: (
        f"cache+memcached://{request.getfixturevalue('memcached_server').address}/"
    ),
    "file": lambda request, folder: f"file://{folder}",
    "mongodb": lambda request, folder: _mongodb(request),
    "dynamodb": lambda request, _: (
        f"dynamodb://@{request.getfixturevalue('aws_url').removeprefix('http://')}/results"
    ),
    "s3": lambda request, _: _s3(request),
    "gs": lambda request, _: _google(request),
    "azureblockblob": lambda request, _: (
        f"azureblockblob://{request.getfixturevalue('azurite_server').connection_string}"
    ),
    "consul": lambda request, _: (
        f"consul://127.0.0.1:{request.getfixturevalue('consul_server').port}/results"
    ),
    "couchdb": lambda request, _: (
        f"couchdb://127.0.0.1:{request.getfixturevalue('couch_server').port}/results"
    ),
    "elasticsearch": lambda request, _: (
        f"elasticsearch://127.0.0.1:{request.getfixturevalue('elastic_server').port}/results"
    ),
    "arangodb": lambda request, _: (
        f"arangodb://127.0.0.1:{request.getfixturevalue('arango_server').port}/db/results"
    ),
    "keyvalue": lambda request, folder: DictStore,
    "rows": lambda request, folder: RowStore,
}
#: These tell of changes; the others can only be asked.
TELLING = frozenset({"memory", "sqlite", "redis"})
#: These hold text only.
TEXT_ONLY = frozenset({"couchdb", "elasticsearch", "arangodb"})
#: Celery's tables have no column for the group and the parent of a task, and no time zone.
TABLES = frozenset({"db-sqlite", "db-postgresql", "db-mariadb"})


@pytest.fixture
def consul_server() -> Iterator[ConsulServer]:
    with ConsulServer() as server:
        yield server


@pytest.fixture
def couch_server() -> Iterator[CouchServer]:
    with CouchServer() as server:
        yield server


@pytest.fixture
def elastic_server() -> Iterator[ElasticServer]:
    with ElasticServer() as server:
        yield server


@pytest.fixture
def arango_server() -> Iterator[ArangoServer]:
    with ArangoServer() as server:
        yield server


@pytest.fixture(params=STORES)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def told(kind: str) -> bool:
    """The backend tells of changes."""
    return kind in TELLING


@pytest.fixture
def table(kind: str) -> bool:
    """The backend is one of Celery's tables."""
    return kind in TABLES


@pytest.fixture
def make_app(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Celery]]:
    """Make an app over the backend under test; all of one test share the store."""
    where = STORES[kind](request, tmp_path)

    more = (
        {"s3_bucket": "bucket", "s3_endpoint_url": request.getfixturevalue("aws_url")} if kind == "s3" else {}
    )

    def make(**conf: Any) -> Celery:
        return Celery("t", broker="memory://", backend=where, set_as_current=False, **more, **conf)

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
