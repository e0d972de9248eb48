"""Results in Elasticsearch: `elasticsearch://host:9200/index/doctype`."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .extras import need
from .remote import Place, RemoteStoreBackend, as_text

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

__all__ = ("ElasticsearchBackend",)


class ElasticsearchBackend(RemoteStoreBackend):
    """Results as documents with the fields `result` and `@timestamp`.

    With `elasticsearch_save_meta_as_text=False`, `result` is the meta as an object, in which the task's own
    result and its traceback are text.

    Args:
        url: `elasticsearch://[user:password@]host[:port][/index[/doctype]]`; `elasticsearch+https://...` for TLS. The type of
            documents is of servers before 7 and not used.

    Raises:
        ImproperlyConfigured: elasticsearch is not installed.
    """

    text_only = True
    index = "celery"
    doc_type: str | None = None
    scheme = "http"
    host = "localhost"
    port = 9200
    username: str | None = None
    password: str | None = None
    supports_native_join = True

    def __init__(self, url: str | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, url=url, **kwargs)
        self._elasticsearch = need("elasticsearch", extra="elasticsearch", store="Elasticsearch")
        self.url = url
        conf, place = self.app.conf, Place(url)
        self.scheme = place.scheme if place.scheme in ("http", "https") else self.scheme
        self.host = place.host or self.host
        self.port = place.port or self.port
        self.username, self.password = place.user, place.password
        index, _, doc_type = place.path.partition("/")
        self.index = index or self.index
        self.doc_type = doc_type or self.doc_type
        self.es_save_meta_as_text = bool(conf.elasticsearch_save_meta_as_text)
        options = {
            "request_timeout": conf.elasticsearch_timeout,
            "retry_on_timeout": conf.elasticsearch_retry_on_timeout,
            "max_retries": conf.elasticsearch_max_retries,
        }
        self._options = {name: value for name, value in options.items() if value is not None}

    def _identity(self) -> Hashable:
        return self.scheme, self.host, self.port, self.username, self.password, repr(self._options)

    def _connect(self) -> Any:
        login = {"basic_auth": (self.username, self.password)} if self.username and self.password else {}
        return self._elasticsearch.Elasticsearch(
            [f"{self.scheme}://{self.host}:{self.port}"], **login, **self._options
        )

    @property
    def server(self) -> Any:
        """The client."""
        return self.client

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether the server may do it later: it does not answer, is busy, or two writers met."""
        library = self._elasticsearch
        if isinstance(exc, library.ApiError):
            return exc.status_code in {409, 429, 500, 502, 503, 504}
        return isinstance(exc, library.TransportError)

    def get(self, key: Any) -> Any:
        """See the base class."""
        try:
            found = self.client.get(index=self.index, id=self.key_t(key))
        except self._elasticsearch.NotFoundError:
            return None
        return self._payload(found["_source"]["result"])

    def mget(self, keys: Sequence[Any]) -> Any:
        """See the base class."""
        names = [self.key_t(key) for key in keys]
        try:
            documents = self.client.mget(index=self.index, ids=names)["docs"] if names else []
        except self._elasticsearch.NotFoundError:  # no result was ever stored
            documents = []
        found = {d["_id"]: self._payload(d["_source"]["result"]) for d in documents if d.get("found")}
        return [found.get(name) for name in names]

    def set(self, key: Any, value: Any) -> Any:
        """See the base class."""
        document = {
            "result": self._stored(as_text(value)),
            "@timestamp": f"{datetime.now(UTC).isoformat(timespec='milliseconds')[:-6]}Z",
        }
        self.client.index(index=self.index, id=self.key_t(key), document=document)

    def delete(self, key: Any) -> Any:
        """See the base class."""
        with contextlib.suppress(self._elasticsearch.NotFoundError):
            self.client.delete(index=self.index, id=self.key_t(key))

    # -- metas as text, or as objects

    def _stored(self, text: str) -> Any:
        if self.es_save_meta_as_text or self.serializer != "json":
            return text
        meta = json.loads(text)
        for field in ("result", "traceback"):
            if field in meta:
                meta[field] = json.dumps(meta[field])
        return meta

    @staticmethod
    def _payload(stored: Any) -> Any:
        if not isinstance(stored, dict):
            return stored
        meta = dict(stored)
        for field in ("result", "traceback"):
            if isinstance(meta.get(field), str):
                meta[field] = json.loads(meta[field])
        return json.dumps(meta)
