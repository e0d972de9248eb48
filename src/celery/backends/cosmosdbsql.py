"""Results in Azure's Cosmos DB (SQL API): `cosmosdbsql://:KEY@HOST`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from celery.exceptions import ImproperlyConfigured

from .extras import need
from .remote import Place, RemoteStoreBackend, as_text

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ("CosmosDBSQLBackend",)


class CosmosDBSQLBackend(RemoteStoreBackend):
    """Results as items (`id`, `value`) of one container. Database and container are made if they are not there.

    Args:
        url: `cosmosdbsql://:KEY@HOST[:port]`.
        database_name, collection_name, consistency_level, max_retry_attempts, max_retry_wait_time: default the settings
            `cosmosdbsql_*`.

    Raises:
        ImproperlyConfigured: azure-cosmos is not installed, or host or key are missing.
    """

    text_only = True

    def __init__(
        self,
        url: str | None = None,
        database_name: str | None = None,
        collection_name: str | None = None,
        consistency_level: str | None = None,
        max_retry_attempts: int | None = None,
        max_retry_wait_time: int | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, url=url, **kwargs)
        self._errors = need("azure.cosmos.exceptions", extra="cosmosdbsql", store="Cosmos DB")
        self.url = url
        conf, place = self.app.conf, Place(url)
        if not place.host or not place.password:
            raise ImproperlyConfigured("Invalid URL: cosmosdbsql://:KEY@HOST needs a host and a key")
        scheme = "https" if (place.port or 443) == 443 else "http"
        self._endpoint = f"{scheme}://{place.host}:{place.port or 443}"
        self._key = place.password
        self._database_name = database_name or conf.cosmosdbsql_database_name
        self._collection_name = collection_name or conf.cosmosdbsql_collection_name
        level = consistency_level or conf.cosmosdbsql_consistency_level
        levels = ("Strong", "BoundedStaleness", "Session", "ConsistentPrefix", "Eventual")
        if level not in levels:
            raise ImproperlyConfigured(
                f"cosmosdbsql_consistency_level is {level!r}; known are {', '.join(levels)}"
            )
        self._consistency_level = level
        self._attempts = max_retry_attempts or conf.cosmosdbsql_max_retry_attempts
        self._wait = max_retry_wait_time or conf.cosmosdbsql_max_retry_wait_time

    def _identity(self) -> Hashable:
        return self._endpoint, self._key, self._database_name, self._collection_name, self._consistency_level

    def _connect(self) -> Any:
        cosmos = need("azure.cosmos", extra="cosmosdbsql", store="Cosmos DB")
        client = cosmos.CosmosClient(
            self._endpoint,
            credential=self._key,
            consistency_level=self._consistency_level,
            retry_total=self._attempts,
            retry_backoff_max=self._wait,
        )
        database = client.create_database_if_not_exists(self._database_name)
        return database.create_container_if_not_exists(
            self._collection_name, partition_key=cosmos.PartitionKey(path="/id")
        )

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether the service may do it later: it does not answer, or asks for patience."""
        status = getattr(exc, "status_code", None)
        return isinstance(exc, OSError) or (
            status is not None and (status >= 500 or status in (408, 429, 449))
        )

    def get(self, key: Any) -> Any:
        """See the base class."""
        name = self.key_t(key)
        try:
            return self.client.read_item(name, partition_key=name)["value"]
        except self._errors.CosmosResourceNotFoundError:
            return None

    def set(self, key: Any, value: Any) -> Any:
        """See the base class."""
        self.client.upsert_item({"id": self.key_t(key), "value": as_text(value)})

    def delete(self, key: Any) -> Any:
        """See the base class."""
        name = self.key_t(key)
        with contextlib.suppress(self._errors.CosmosResourceNotFoundError):
            self.client.delete_item(name, partition_key=name)
