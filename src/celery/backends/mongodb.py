"""Results in MongoDB: `mongodb://host:27017/database`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from celery import states
from celery.exceptions import BackendStoreError

from .base import BaseBackend
from .encoding import PENDING_META
from .extras import need
from .processes import shared

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .processes import PerProcess

    Meta = dict[str, Any]

__all__ = ("MongoBackend",)


class MongoBackend(BaseBackend):
    """Results in two collections, one document each.

    Args:
        url: `mongodb://[user:password@]host[:port][,host2...][/database][?option=value]`, or `mongodb+srv://`.
            `mongodb_backend_settings` has `host`, `port`, `user`, `password`, `database`,
            `taskmeta_collection`, `groupmeta_collection`, `max_pool_size`, and `options` for the client.

    Raises:
        ImproperlyConfigured: pymongo is not installed.
    """

    mongo_host: Any = None
    host = "localhost"
    port = 27017
    user: str | None = None
    password: str | None = None
    database_name = "celery"
    taskmeta_collection = "celery_taskmeta"
    groupmeta_collection = "celery_groupmeta"
    max_pool_size = 10
    supports_native_join = True
    supports_result_compression = True

    def __init__(self, app: Any = None, url: str | None = None, **kwargs: Any) -> None:
        super().__init__(app, url=url, **kwargs)
        self._pymongo = need("pymongo", extra="mongodb", store="MongoDB")
        settings = self.app.conf.mongodb_backend_settings or {}
        self._read_settings(dict(settings), url)
        self._holder: PerProcess[Any] = shared(
            ("mongodb", repr(self.mongo_host), self.user, self.password, repr(sorted(self.options.items()))),
            self._connect,
        )
        self._indexed = False

    def _read_settings(self, settings: dict[str, Any], url: str | None) -> None:
        if url == "mongodb://":
            url = "mongodb://localhost"
        self.url = url
        host = url or settings.pop("host", None) or self.host
        self.port = int(settings.pop("port", self.port))
        self.user = settings.pop("user", None)
        self.password = settings.pop("password", None)
        self.max_pool_size = int(settings.pop("max_pool_size", self.max_pool_size))
        self.database_name = settings.pop("database", None) or _database_in(str(host)) or self.database_name
        self.taskmeta_collection = settings.pop("taskmeta_collection", self.taskmeta_collection)
        self.groupmeta_collection = settings.pop("groupmeta_collection", self.groupmeta_collection)
        self.options = {"maxPoolSize": self.max_pool_size, **settings.pop("options", {}), **settings}
        self.mongo_host = host

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> tuple[Any, ...]:
        return super().__reduce__(args, {"expires": self.expires, **(kwargs or {})})

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether the server may do it later: it does not answer, or another one is being elected."""
        return isinstance(exc, self._pymongo.errors.ConnectionFailure)

    # -- collections

    def _connect(self) -> Any:
        more: dict[str, Any] = {} if "://" in str(self.mongo_host) else {"port": self.port}
        if self.user:
            more.update(username=self.user, password=self.password)
        return self._pymongo.MongoClient(self.mongo_host, **more, **self.options)

    @property
    def client(self) -> Any:
        """This process's client, which all backends of the same settings share."""
        return self._holder.get()

    @property
    def database(self) -> Any:
        """The database."""
        return self.client[self.database_name]

    @property
    def collection(self) -> Any:
        """The results of tasks; there is an index on their dates."""
        found = self.database[self.taskmeta_collection]
        if not self._indexed:
            for each in (found, self.group_collection):
                each.create_index("date_done")
            self._indexed = True
        return found

    @property
    def group_collection(self) -> Any:
        """The results of groups."""
        return self.database[self.groupmeta_collection]

    # -- results

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        meta = self._get_result_meta(self._payload(result), state, traceback, request, format_date=False)
        errors = self._pymongo.errors
        try:
            # A success does not match, and cannot be inserted a second time: it stays.
            self.collection.replace_one(
                {"_id": str(task_id), "status": {"$ne": states.SUCCESS}},
                {"_id": str(task_id), **meta},
                upsert=True,
            )
        except errors.DuplicateKeyError:
            pass
        except (errors.DocumentTooLarge, errors.InvalidDocument) as exc:
            raise BackendStoreError(
                f"MongoDB does not take this result: {exc}", state=state, task_id=task_id
            ) from exc
        return result

    def _payload(self, value: Any) -> Any:
        """Text as text, as Celery stores it."""
        encoded = self.encode(value)
        text = isinstance(encoded, bytes) and self.content_encoding == "utf-8" and not self.compression
        return encoded.decode() if text else encoded

    def _get_task_meta_for(self, task_id: str) -> Meta:
        found = self.collection.find_one({"_id": task_id})
        return self._meta(found) if found else dict(PENDING_META)

    def _get_task_metas_for(self, task_ids: Sequence[str]) -> dict[str, Meta]:
        metas: dict[str, Meta] = {task_id: dict(PENDING_META) for task_id in task_ids}
        for document in self.collection.find({"_id": {"$in": list(metas)}}):
            metas[document["_id"]] = self._meta(document)
        return metas

    def _meta(self, document: Mapping[str, Any]) -> Meta:
        meta = dict(document)
        meta["task_id"] = meta.pop("_id")
        meta["result"] = self.decode(meta["result"])
        return self.meta_from_decoded(meta)

    def _forget(self, task_id: str) -> None:
        self.collection.delete_one({"_id": task_id})

    # -- groups

    def _save_group(self, group_id: str, result: Any) -> Any:
        # Celery stores ids only; what these cannot say is stored as the tuple.
        plain = result.parent is None and all(
            not hasattr(member, "results") and member.parent is None for member in result.results
        )
        stored = [member.id for member in result.results] if plain else result.as_tuple()
        document = {"_id": group_id, "result": self._payload(stored), "date_done": datetime.now(UTC)}
        self.group_collection.replace_one({"_id": group_id}, document, upsert=True)
        return result

    def _restore_group(self, group_id: str) -> Meta | None:
        found = self.group_collection.find_one({"_id": group_id})
        if not found:
            return None
        stored = self.decode(found["result"])
        if all(isinstance(member, str) for member in stored):
            stored = (group_id, None), [((member, None), None) for member in stored]
        return {
            "task_id": group_id,
            "date_done": found["date_done"],
            "result": self._group_from_tuple(stored),
        }

    def _delete_group(self, group_id: str) -> None:
        self.group_collection.delete_one({"_id": group_id})

    def cleanup(self) -> None:
        """Remove what has expired."""
        if not self.expires:
            return
        old = {"date_done": {"$lt": datetime.now(UTC) - timedelta(seconds=float(self.expires))}}
        self.collection.delete_many(old)
        self.group_collection.delete_many(old)


def _database_in(url: str) -> str | None:
    """The database that a URL names."""
    if "://" not in url:
        return None
    return url.partition("://")[2].partition("?")[0].partition("/")[2] or None
