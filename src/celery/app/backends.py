"""Finding the class of a result backend by URL, alias, path or entry point."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

from celery import _state
from celery.exceptions import ImproperlyConfigured
from celery.utils.imports import symbol_by_name
from celery.utils.installed import entry_points

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("by_name", "by_url")

UNKNOWN_BACKEND = """
Unknown result backend: {0!r}.  Did you spell that correctly? ({1!r})
"""

#: Entry points of other distributions: alias -> class.
NAMESPACE = "celery.result_backends"

BACKEND_ALIASES: dict[str, str] = {
    "arangodb": "celery.backends.arangodb:ArangoDbBackend",
    "azureblockblob": "celery.backends.azureblockblob:AzureBlockBlobBackend",
    "cache": "celery.backends.cache:CacheBackend",
    "cassandra": "celery.backends.cassandra:CassandraBackend",
    "consul": "celery.backends.consul:ConsulBackend",
    "cosmosdbsql": "celery.backends.cosmosdbsql:CosmosDBSQLBackend",
    "couchbase": "celery.backends.couchbase:CouchbaseBackend",
    "couchdb": "celery.backends.couchdb:CouchBackend",
    "database": "celery.backends.database:DatabaseBackend",
    "db": "celery.backends.database:DatabaseBackend",
    "disabled": "celery.backends.base:DisabledBackend",
    "dynamodb": "celery.backends.dynamodb:DynamoDBBackend",
    "elasticsearch": "celery.backends.elasticsearch:ElasticsearchBackend",
    "file": "celery.backends.filesystem:FilesystemBackend",
    "gs": "celery.backends.gcs:GCSBackend",
    "memory": "celery.backends.cache:CacheBackend",
    "mongodb": "celery.backends.mongodb:MongoBackend",
    "redis": "celery.backends.redis:RedisBackend",
    "redis+cluster": "celery.backends.redis:RedisBackend",
    "rediss": "celery.backends.redis:RedisBackend",
    "rediss+cluster": "celery.backends.redis:RedisBackend",
    "s3": "celery.backends.s3:S3Backend",
    "sentinel": "celery.backends.redis:SentinelBackend",
    "socket": "celery.backends.redis:RedisBackend",
    "rpc": "celery.backends.rpc:RPCBackend",
    "sqlite": "celery.backends.sqlite:SqliteBackend",
}


def by_name(
    backend: str | type | None = None,
    loader: Any = None,
    extension_namespace: str = NAMESPACE,
) -> Any:
    """The class that a name stands for.

    Args:
        backend: an alias, `module:Class`, `module.Class`, or the class itself; None: results are disabled.
        loader: whose `override_backends` add aliases; default: the current app's.
        extension_namespace: the group of entry points that add aliases.

    Raises:
        ImproperlyConfigured: it is no name of a class.
        ModuleNotFoundError: no such module.
    """
    backend = backend or "disabled"
    if not isinstance(backend, str):
        return backend
    path = _path_of(backend, loader, extension_namespace)
    if not isinstance(path, str):
        return path
    try:
        found = symbol_by_name(path)
    except (ValueError, TypeError) as exc:
        raise ImproperlyConfigured(UNKNOWN_BACKEND.strip().format(backend, exc)) from exc
    if isinstance(found, ModuleType):
        reason = "is a Python module, not a backend class."
        raise ImproperlyConfigured(UNKNOWN_BACKEND.strip().format(backend, reason))
    return found


def _path_of(name: str, loader: Any, namespace: str) -> Any:
    """The path behind a name, or the class, if an override says so."""
    loader = loader or _state.get_current_app().loader
    overrides: Mapping[str, Any] = loader.override_backends
    if name in overrides:
        return overrides[name]
    for point in entry_points(namespace):
        if point.name == name:
            return point.value
    return BACKEND_ALIASES.get(name, name)


def by_url(backend: str | type | None = None, loader: Any = None) -> tuple[Any, str | None]:
    """The class and the URL to give it.

    `scheme://...` takes the class of `scheme` and the whole URL; `alias+scheme://...` the class of `alias`
    and the URL after the plus.

    Raises:
        ImproperlyConfigured, ModuleNotFoundError: as `by_name`.
    """
    url = None
    if isinstance(backend, str) and "://" in backend:
        url = backend
        scheme = url.partition("://")[0]
        backend = scheme
        if "+" in scheme and scheme not in BACKEND_ALIASES:
            backend, url = url.split("+", 1)
    return by_name(backend, loader), url
