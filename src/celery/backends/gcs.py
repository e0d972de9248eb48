"""Results in Google's Cloud Storage: `gs://bucket/folder?gcs_project=name&ttl=86400`."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from celery.exceptions import ImproperlyConfigured

from .extras import need
from .remote import Place, RemoteStoreBackend, as_bytes

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

__all__ = ("GCSBackend",)


class GCSBackend(RemoteStoreBackend):
    """Results as objects of a bucket.

    Args:
        url: `gs://bucket[/folder][?gcs_project=name][&ttl=seconds]`; what it leaves out is `gcs_bucket`,
            `gcs_base_path`, `gcs_project` and `gcs_ttl`. Objects carry the end of their life as custom time; the bucket
            needs a lifecycle rule (`daysSinceCustomTime`) that removes them.

    Raises:
        ImproperlyConfigured: google-cloud-storage is not installed, or bucket or project are missing.
        ValueError: a negative `ttl`, or one for a bucket without such a rule.
    """

    supports_autoexpire = True
    supports_result_compression = True
    supports_native_join = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._errors = need("google.api_core.exceptions", extra="gcs", store="Google Cloud Storage")
        conf, place = self.app.conf, Place(self.url)
        self.bucket_name = place.query.get("gcs_bucket") or place.host or conf.gcs_bucket
        self.base_path = (place.query.get("gcs_base_path") or place.path or conf.gcs_base_path or "").strip(
            "/"
        )
        self.project = place.query.get("gcs_project") or conf.gcs_project
        self.ttl = float(place.query.get("ttl") or place.query.get("gcs_ttl") or conf.gcs_ttl or 0)
        self._threads = int(
            place.query.get("gcs_threadpool_maxsize") or conf.get("gcs_threadpool_maxsize") or 10
        )
        for value, setting in ((self.bucket_name, "gcs_bucket"), (self.project, "gcs_project")):
            if not value:
                raise ImproperlyConfigured(f"Missing {setting}: set it, or name it in result_backend's URL")
        if self.ttl < 0:
            raise ValueError(f"Invalid ttl: {self.ttl} must be greater than or equal to 0")
        self._bucket_checked = False

    def _identity(self) -> Hashable:
        return self.project

    def _connect(self) -> Any:
        storage = need("google.cloud.storage", extra="gcs", store="Google Cloud Storage")
        return storage.Client(project=self.project)

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether the service may do it later: it does not answer, or asks for patience."""
        errors = self._errors
        return isinstance(
            exc, (errors.ServerError, errors.TooManyRequests, errors.RetryError, ConnectionError)
        )

    @property
    def bucket(self) -> Any:
        """The bucket, whose lifecycle fits."""
        bucket = self.client.bucket(self.bucket_name)
        if self.ttl and not self._bucket_checked:
            bucket.reload()
            if not any(
                rule.get("action", {}).get("type") == "Delete"
                and "daysSinceCustomTime" in rule.get("condition", {})
                for rule in bucket.lifecycle_rules
            ):
                raise ValueError(
                    f"The bucket {self.bucket_name} has no lifecycle rule that deletes by daysSinceCustomTime; "
                    "results with a ttl would stay for ever"
                )
            self._bucket_checked = True
        return bucket

    def _blob(self, key: Any) -> Any:
        name = self.key_t(key)
        return self.bucket.blob(f"{self.base_path}/{name}" if self.base_path else name)

    def get(self, key: Any) -> Any:
        """See the base class."""
        try:
            return self._blob(key).download_as_bytes()
        except self._errors.NotFound:
            return None

    def mget(self, keys: Sequence[Any]) -> Any:
        """See the base class; `gcs_threadpool_maxsize` at a time."""
        with ThreadPoolExecutor(self._threads, thread_name_prefix="celery-gcs") as threads:
            return list(threads.map(self.get, keys))

    def set(self, key: Any, value: Any) -> Any:
        """See the base class."""
        blob = self._blob(key)
        if self.ttl:
            blob.custom_time = datetime.now(UTC) + timedelta(seconds=self.ttl)
        blob.upload_from_string(as_bytes(value))

    def delete(self, key: Any) -> Any:
        """See the base class."""
        with contextlib.suppress(self._errors.NotFound):
            self._blob(key).delete()
