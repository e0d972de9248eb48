"""Results in ArangoDB: `arangodb://user:password@host:8529/database/collection`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from .extras import need
from .remote import Place, RemoteStoreBackend, as_text

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

__all__ = ("ArangoDbBackend",)


class ArangoDbBackend(RemoteStoreBackend):
    """Results as documents with one field, `task`. The collection is made if it is not there.

    Args:
        url: `arangodb://[user:password@]host[:port][/database[/collection]]`; what it leaves out is in
            `arangodb_backend_settings` (`host`, `port`, `database`, `collection`, `username`, `password`,
            `http_protocol`, `verify`).

    Raises:
        ImproperlyConfigured: python-arango is not installed.
    """

    text_only = True
    host = "127.0.0.1"
    port = 8529
    database = "celery"
    collection = "celery"
    username: str | None = None
    password: str | None = None
    http_protocol = "http"
    verify = False
    supports_native_join = True

    def __init__(self, url: str | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, url=url, **kwargs)
        self._errors = need("arango.exceptions", extra="arangodb", store="ArangoDB")
        self.url = url
        settings = self.app.conf.arangodb_backend_settings or {}
        place = Place(url)
        database, _, collection = place.path.partition("/")
        self.host = place.host or settings.get("host") or self.host
        self.port = int(place.port or settings.get("port") or self.port)
        self.database = database or settings.get("database") or self.database
        self.collection = collection or settings.get("collection") or self.collection
        self.username = place.user or settings.get("username") or self.username
        self.password = place.password or settings.get("password") or self.password
        self.http_protocol = settings.get("http_protocol", self.http_protocol)
        self.verify = settings.get("verify", self.verify)

    def _identity(self) -> Hashable:
        where = f"{self.http_protocol}://{self.host}:{self.port}"
        return where, self.database, self.collection, self.username, self.password, self.verify

    def _connect(self) -> Any:
        arango = need("arango", extra="arangodb", store="ArangoDB")
        client = arango.ArangoClient(
            hosts=f"{self.http_protocol}://{self.host}:{self.port}", verify_override=self.verify
        )
        database = client.db(self.database, username=self.username or "root", password=self.password or "")
        if not database.has_collection(self.collection):
            try:
                database.create_collection(self.collection)
            except self._errors.CollectionCreateError:
                if not database.has_collection(self.collection):  # nobody else made it either
                    raise
        return database

    @property
    def db(self) -> Any:
        """The database."""
        return self.client

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether ArangoDB may do it later: it does not answer, or two writers met."""
        if isinstance(exc, self._errors.ArangoServerError):
            return (exc.http_code or 0) >= 500 or exc.http_code in (409, 412)
        return isinstance(exc, OSError)

    @property
    def _documents(self) -> Any:
        return self.client.collection(self.collection)

    def get(self, key: Any) -> Any:
        """See the base class."""
        found = self._documents.get(self.key_t(key))
        return None if found is None else found["task"]

    def mget(self, keys: Sequence[Any]) -> Any:
        """See the base class."""
        names = [self.key_t(key) for key in keys]
        found = {document["_key"]: document["task"] for document in self._documents.get_many(names)}
        return [found.get(name) for name in names]

    def set(self, key: Any, value: Any) -> Any:
        """See the base class."""
        self._documents.insert({"_key": self.key_t(key), "task": as_text(value)}, overwrite=True, silent=True)

    def delete(self, key: Any) -> Any:
        """See the base class."""
        self._documents.delete(self.key_t(key), ignore_missing=True)

    def cleanup(self) -> None:
        """Remove the results of tasks that were over longer than `result_expires` ago."""
        if not self.expires:
            return
        until = datetime.now(UTC) - timedelta(seconds=float(self.expires))
        self.client.aql.execute(
            "FOR record IN @@collection FILTER JSON_PARSE(record.task).date_done < @until REMOVE record IN @@collection",
            bind_vars={"@collection": self.collection, "until": until.isoformat()},
        )
