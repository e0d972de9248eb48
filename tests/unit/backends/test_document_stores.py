"""Stores whose servers are not to be had: their URLs and settings, and what they do with stand-ins of their libraries."""

from __future__ import annotations

import subprocess
import sys
import types
from datetime import UTC, datetime, timedelta

import pytest

from celery import Celery
from celery.exceptions import ImproperlyConfigured


def make_app(url, **conf):
    return Celery("t", broker="memory://", backend=url, set_as_current=False, **conf)


LIBRARIES = {
    "db+sqlite://": ("sqlalchemy", "sqlalchemy", {}),
    "cache+memcached://": ("pymemcache", "pymemcache", {}),
    "mongodb://": ("pymongo", "mongodb", {}),
    "dynamodb://us-east-1": ("botocore", "dynamodb", {}),
    "s3://": ("botocore", "s3", {}),
    "gs://b": ("google", "gcs", {}),
    "azureblockblob://x": ("azure", "azureblockblob", {}),
    "cosmosdbsql://:k@h": ("azure", "cosmosdbsql", {}),
    "elasticsearch://": ("elasticsearch", "elasticsearch", {}),
    "cassandra://": ("cassandra", "cassandra", {}),
    "couchbase://": ("couchbase", "couchbase", {}),
    "couchdb://": ("pycouchdb", "couchdb", {}),
    "consul://h": ("consul", "consul", {}),
    "arangodb://": ("arango", "arangodb", {}),
}


def test_a_missing_library_is_named_with_its_extra():
    script = f"""
import sys
for name in {sorted({library for library, _, _ in LIBRARIES.values()})!r}:
    sys.modules[name] = None
from celery import Celery
for url in {list(LIBRARIES)!r}:
    try:
        Celery("t", broker="memory://", backend=url).backend.client
    except Exception as exc:
        print(type(exc).__name__, exc)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == len(LIBRARIES), done.stdout
    for line, (url, (library, extra, _)) in zip(lines, LIBRARIES.items(), strict=True):
        assert line.startswith("ImproperlyConfigured Results in "), (url, line)
        assert f"need {library} " in line
        assert line.endswith(f"pip install 'celery[{extra}]'"), (url, line)


# -- Couchbase


class DocumentNotFound(Exception):
    pass


class Collection:
    """As much of couchbase's as is used."""

    def __init__(self):
        self.documents = {}

    def get(self, key):
        if key not in self.documents:
            raise DocumentNotFound
        return types.SimpleNamespace(value=self.documents[key][0])

    def get_multi(self, keys):
        found = {key: self.get(key) for key in keys if key in self.documents}
        return types.SimpleNamespace(results=found)

    def upsert(self, key, value, expiry=None):
        self.documents[key] = value, expiry

    def remove(self, key):
        self.get(key)
        del self.documents[key]


@pytest.fixture
def couchbase(monkeypatch):
    asked, collection = [], Collection()

    class Cluster:
        def __init__(self, where, options):
            asked.append((where, options))

        def bucket(self, name):
            asked.append(name)
            return types.SimpleNamespace(default_collection=lambda: collection)

    temporary = {"TimeoutException": TimeoutError, "TemporaryFailException": OSError}
    modules = {
        "couchbase": {},
        "couchbase.auth": {"PasswordAuthenticator": lambda *login: login},
        "couchbase.cluster": {"Cluster": Cluster},
        "couchbase.options": {"ClusterOptions": lambda login: login},
        "couchbase.exceptions": {"DocumentNotFoundException": DocumentNotFound, **temporary},
    }
    for name, content in modules.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("celery.backends.processes._shared", {})
    return types.SimpleNamespace(asked=asked, collection=collection)


def test_couchbase(couchbase):
    app = make_app("couchbase://me:secret@h/mine", result_expires=60)
    app.backend.mark_as_done("a", 1)
    assert couchbase.asked == [("couchbase://h", ("me", "secret")), "mine"]
    ((key, (value, life)),) = couchbase.collection.documents.items()
    assert (key, life) == ("celery-task-meta-a", timedelta(seconds=60))
    assert value.startswith('{"status":"SUCCESS","result":1')
    metas = app.backend.get_task_metas(["a", "b"])
    assert [meta["status"] for meta in metas.values()] == ["SUCCESS", "PENDING"]
    group = app.GroupResult("g", [app.AsyncResult("a")]).save()
    assert app.GroupResult.restore("g") == group
    app.backend.forget("a")
    app.backend.forget("a")
    assert app.backend.get_state("a") == "PENDING"
    assert app.backend.as_uri() == "couchbase://me:**@h/mine"


def test_couchbase_settings(couchbase):
    settings = {"host": "h2", "port": 1, "bucket": "b", "username": "u", "password": "p"}
    backend = make_app("couchbase://", couchbase_backend_settings=settings).backend
    found = (backend.host, backend.port, backend.bucket, backend.username, backend.password)
    assert found == ("h2", 1, "b", "u", "p")
    with pytest.raises(ImproperlyConfigured, match="expected a dict"):
        _ = make_app("couchbase://", couchbase_backend_settings=["h"]).backend


# -- Cassandra


class Session:
    """As much of a Cassandra as is used: one table, read and written by the backend's own statements."""

    def __init__(self):
        self.rows, self.statements = [], []

    def execute(self, statement, arguments=()):
        text = getattr(statement, "query", statement)
        self.statements.append((text, getattr(statement, "level", None)))
        if text.startswith("INSERT"):
            self.rows.insert(0, arguments)
        elif text.startswith("DELETE"):
            self.rows = [row for row in self.rows if row[0] != arguments[0]]
        elif text.startswith("SELECT"):
            return [row[1:] for row in self.rows if row[0] == arguments[0]]
        return []


@pytest.fixture
def cassandra(monkeypatch):
    session, asked = Session(), []

    class Cluster:
        def __init__(self, **options):
            asked.append(options)

        def connect(self, keyspace):
            asked.append(keyspace)
            return session

    class Statement:
        def __init__(self, query, consistency_level):
            self.query, self.level = query, consistency_level

    kinds = {
        name: type(name, (Exception,), {})
        for name in ("OperationTimedOut", "Unavailable", "Timeout", "AlreadyExists")
    }
    levels = types.SimpleNamespace(LOCAL_QUORUM="LQ", ONE="ONE", ALL="ALL")
    modules = {
        "cassandra": {"ConsistencyLevel": levels, **kinds},
        "cassandra.cluster": {"Cluster": Cluster, "NoHostAvailable": OSError},
        "cassandra.query": {"SimpleStatement": Statement},
        "cassandra.auth": {"PlainTextAuthProvider": lambda **login: login},
    }
    for name, content in modules.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("celery.backends.processes._shared", {})
    return types.SimpleNamespace(session=session, asked=asked, unavailable=kinds["Unavailable"])


CASSANDRA = {"cassandra_servers": ["h1"], "cassandra_keyspace": "ks", "cassandra_table": "t"}


def test_cassandra(cassandra):
    app = make_app(
        "cassandra://",
        cassandra_entry_ttl=60,
        cassandra_port=9,
        cassandra_options={"protocol_version": 4},
        cassandra_read_consistency="ONE",
        cassandra_write_consistency="ALL",
        cassandra_auth_provider="PlainTextAuthProvider",
        cassandra_auth_kwargs={"username": "u", "password": "p"},
        **CASSANDRA,
    )
    backend = app.backend
    backend.mark_as_started("a", pid=1)
    backend.mark_as_done("a", {"x": 1})
    backend.mark_as_failure("a", KeyError("late"), traceback="tb")
    options = {"contact_points": ["h1"], "port": 9, "protocol_version": 4}
    assert cassandra.asked == [{"auth_provider": {"username": "u", "password": "p"}, **options}, "ks"]
    make, insert, *_ = cassandra.session.statements
    assert make[0].startswith("CREATE TABLE t (")
    assert insert == (
        "INSERT INTO t (task_id, status, result, date_done, traceback, children)"
        " VALUES (%s, %s, %s, %s, %s, %s) USING TTL 60",
        "ALL",
    )
    meta = backend.get_task_meta("a")
    assert (meta["status"], meta["result"]) == ("SUCCESS", {"x": 1})  # a success stays
    assert cassandra.session.statements[-1][1] == "ONE"
    assert abs(app.AsyncResult("a").date_done - datetime.now(UTC)) < timedelta(minutes=1)
    backend.mark_as_failure("b", KeyError("k"), traceback="tb")
    assert (backend.get_state("b"), backend.get_traceback("b")) == ("FAILURE", "tb")
    backend.forget("a")
    assert backend.get_state("a") == "PENDING"
    assert backend.exception_safe_to_retry(cassandra.unavailable())
    with pytest.raises(NotImplementedError, match="keeps no groups"):
        app.GroupResult("g", []).save()


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"cassandra_servers": None}, "set cassandra_servers"),
        ({"cassandra_table": None}, "set cassandra_keyspace and cassandra_table"),
        ({"cassandra_bundle_path": "/x"}, "not both"),
        ({"cassandra_auth_provider": "Nope", "cassandra_auth_kwargs": {"a": 1}}, "no such class"),
    ],
)
def test_cassandra_settings(cassandra, conf, message):
    with pytest.raises(ImproperlyConfigured, match=message):
        _ = make_app("cassandra://", **{**CASSANDRA, **conf}).backend


def test_cassandra_in_the_cloud(cassandra):
    conf = {**CASSANDRA, "cassandra_servers": None, "cassandra_secure_bundle_path": "/bundle.zip"}
    make_app("cassandra://", **conf).backend.mark_as_done("a", 1)
    assert cassandra.asked[0]["cloud"] == {"secure_connect_bundle": "/bundle.zip"}


# -- Cosmos DB


@pytest.fixture
def cosmos(monkeypatch):
    items, asked = {}, []

    class NotFound(Exception):
        status_code = 404

    class Container:
        def read_item(self, name, partition_key):
            if name not in items:
                raise NotFound
            return items[partition_key]

        def upsert_item(self, item):
            items[item["id"]] = item

        def delete_item(self, name, partition_key):
            self.read_item(name, partition_key)
            del items[name]

    class Client:
        def __init__(self, endpoint, **options):
            asked.append((endpoint, options))

        def create_database_if_not_exists(self, name):
            asked.append(name)
            return self

        def create_container_if_not_exists(self, name, partition_key):
            asked.append((name, partition_key))
            return Container()

    modules = {
        "azure": {},
        "azure.cosmos": {"CosmosClient": Client, "PartitionKey": lambda path: path},
        "azure.cosmos.exceptions": {"CosmosResourceNotFoundError": NotFound},
    }
    for name, content in modules.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("celery.backends.processes._shared", {})
    return types.SimpleNamespace(items=items, asked=asked, error=NotFound)


def test_cosmos_db(cosmos):
    app = make_app(
        "cosmosdbsql://:secret@h.example",
        cosmosdbsql_database_name="d",
        cosmosdbsql_collection_name="c",
        cosmosdbsql_consistency_level="Strong",
        cosmosdbsql_max_retry_attempts=3,
        cosmosdbsql_max_retry_wait_time=4,
    )
    app.backend.mark_as_done("a", 1)
    options = {
        "credential": "secret",
        "consistency_level": "Strong",
        "retry_total": 3,
        "retry_backoff_max": 4,
    }
    assert cosmos.asked == [("https://h.example:443", options), "d", ("c", "/id")]
    assert set(cosmos.items["celery-task-meta-a"]) == {"id", "value"}
    assert app.backend.get_result("a") == 1
    app.backend.forget("a")
    app.backend.forget("a")
    assert app.backend.get_state("a") == "PENDING"
    assert app.backend.as_uri() == "cosmosdbsql://:**@h.example"
    busy = cosmos.error()
    busy.status_code = 429
    assert app.backend.exception_safe_to_retry(busy)
    assert not app.backend.exception_safe_to_retry(cosmos.error())
    with pytest.raises(ImproperlyConfigured, match="needs a host and a key"):
        _ = make_app("cosmosdbsql://h").backend
    with pytest.raises(ImproperlyConfigured, match="known are Strong"):
        _ = make_app("cosmosdbsql://:k@h", cosmosdbsql_consistency_level="Weak").backend


# -- ArangoDB


def test_arangodb_settings():
    pytest.importorskip("arango")
    settings = {
        "host": "h", "port": 1, "database": "d", "collection": "c", "username": "u", "password": "p",
        "http_protocol": "https", "verify": True,
    }  # fmt: skip
    backend = make_app("arangodb://", arangodb_backend_settings=settings).backend
    found = (
        backend.host, backend.port, backend.database, backend.collection, backend.username, backend.password,
        backend.http_protocol, backend.verify,
    )  # fmt: skip
    assert found == tuple(settings.values())
    named = make_app("arangodb://me:secret@h:2/db/col").backend
    assert (named.host, named.port, named.database, named.collection) == ("h", 2, "db", "col")
    assert named.as_uri() == "arangodb://me:**@h:2/db/col"
