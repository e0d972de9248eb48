"""Results in CouchDB: `couchdb://user:password@host:5984/database`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .extras import need
from .remote import Place, RemoteStoreBackend, as_text

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ("CouchBackend",)

#: How often a document is written again that somebody else wrote at the same time.
COLLISIONS = 5


class CouchBackend(RemoteStoreBackend):
    """Results as documents with one field, `value`. The database is made if it is not there.

    Args:
        url: `couchdb://[user:password@]host[:port][/database]`; `couchdb+https://...` for TLS.

    Raises:
        ImproperlyConfigured: pycouchdb is not installed.
    """

    text_only = True
    container = "default"
    scheme = "http"
    host = "localhost"
    port = 5984
    username: str | None = None
    password: str | None = None

    def __init__(self, url: str | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, url=url, **kwargs)
        self._pycouchdb = need("pycouchdb", extra="couchdb", store="CouchDB")
        self.url = url
        place = Place(url)
        self.scheme = "https" if place.scheme == "https" else self.scheme
        self.host = place.host or self.host
        self.port = place.port or self.port
        self.container = place.path or self.container
        self.username, self.password = place.user, place.password

    def _identity(self) -> Hashable:
        return self.scheme, self.host, self.port, self.container, self.username, self.password

    def _connect(self) -> Any:
        login = f"{self.username}:{self.password}@" if self.username and self.password else ""
        server = self._pycouchdb.Server(f"{self.scheme}://{login}{self.host}:{self.port}")
        try:
            return server.database(self.container)
        except self._pycouchdb.exceptions.NotFound:
            return server.create(self.container)

    @property
    def connection(self) -> Any:
        """The database."""
        return self.client

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether CouchDB may do it later: it does not answer, or two writers met."""
        return isinstance(exc, (OSError, self._pycouchdb.exceptions.Conflict))

    def _find(self, key: Any) -> Any:
        try:
            return self.client.get(self.key_t(key))
        except self._pycouchdb.exceptions.NotFound:
            return None

    def get(self, key: Any) -> Any:
        """See the base class."""
        found = self._find(key)
        return None if found is None else found["value"]

    def set(self, key: Any, value: Any) -> Any:
        """See the base class."""
        for left in reversed(range(COLLISIONS)):
            document = {**(self._find(key) or {"_id": self.key_t(key)}), "value": as_text(value)}
            try:
                return self.client.save(document)
            except self._pycouchdb.exceptions.Conflict:
                if not left:
                    raise
        return None

    def delete(self, key: Any) -> Any:
        """See the base class."""
        found = self._find(key)
        if found is not None:
            self.client.delete(found["_id"])
