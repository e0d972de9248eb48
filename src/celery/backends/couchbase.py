"""Results in Couchbase: `couchbase://user:password@host/bucket`."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from .extras import need
from .remote import Place, RemoteStoreBackend, as_text

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ("CouchbaseBackend",)


class CouchbaseBackend(RemoteStoreBackend):
    """Results as documents of a bucket's default collection.

    Args:
        url: `couchbase://user:password@host[:port][/bucket]`; what it leaves out is in
            `couchbase_backend_settings` (`host`, `port`, `bucket`, `username`, `password`).

    Raises:
        ImproperlyConfigured: couchbase is not installed.
    """

    text_only = True
    bucket = "default"
    host = "localhost"
    port = 8091
    username: str | None = None
    password: str | None = None
    supports_autoexpire = True
    supports_native_join = True

    def __init__(self, url: str | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, url=url, **kwargs)
        self._errors = need("couchbase.exceptions", extra="couchbase", store="Couchbase")
        self.url = url
        settings = self.app.conf.couchbase_backend_settings or {}
        place = Place(url)
        self.host = place.host or settings.get("host") or self.host
        self.port = int(place.port or settings.get("port") or self.port)
        self.bucket = place.path or settings.get("bucket") or self.bucket
        self.username = place.user or settings.get("username") or self.username
        self.password = place.password or settings.get("password") or self.password

    def _identity(self) -> Hashable:
        return self.host, self.port, self.bucket, self.username, self.password

    def _connect(self) -> Any:
        auth = need("couchbase.auth", extra="couchbase", store="Couchbase")
        cluster_of = need("couchbase.cluster", extra="couchbase", store="Couchbase")
        options = need("couchbase.options", extra="couchbase", store="Couchbase")
        login = auth.PasswordAuthenticator(self.username or "", self.password or "")
        where = self.host if self.port == 8091 else f"{self.host}:{self.port}"
        cluster = cluster_of.Cluster(f"couchbase://{where}", options.ClusterOptions(login))
        return cluster.bucket(self.bucket).default_collection()

    @property
    def connection(self) -> Any:
        """The collection."""
        return self.client

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether Couchbase may do it later."""
        errors = self._errors
        return isinstance(exc, (errors.TimeoutException, errors.TemporaryFailException))

    def get(self, key: Any) -> Any:
        """See the base class."""
        try:
            return self.client.get(self.key_t(key)).value
        except self._errors.DocumentNotFoundException:
            return None

    def mget(self, keys: Any) -> Any:
        """See the base class."""
        names = [self.key_t(key) for key in keys]
        found = self.client.get_multi(names).results if names else {}
        return [found[name].value if name in found else None for name in names]

    def set(self, key: Any, value: Any) -> Any:
        """See the base class."""
        life = {"expiry": timedelta(seconds=float(self.expires))} if self.expires else {}
        self.client.upsert(self.key_t(key), as_text(value), **life)

    def delete(self, key: Any) -> Any:
        """See the base class."""
        with contextlib.suppress(self._errors.DocumentNotFoundException):
            self.client.remove(self.key_t(key))
