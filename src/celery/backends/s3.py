"""Results in Amazon's S3, or a store that speaks like it: `s3://` and the settings `s3_*`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.exceptions import ImproperlyConfigured

from .extras import need
from .remote import RemoteStoreBackend, as_bytes

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ("S3Backend",)


class S3Backend(RemoteStoreBackend):
    """Results as objects of the bucket `s3_bucket`, named `s3_base_path` and key. Expiry is the bucket's lifecycle's.

    Raises:
        ImproperlyConfigured: boto3 is not installed, or no bucket is set.
    """

    supports_result_compression = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._botocore = need("botocore.exceptions", extra="s3", store="S3")
        conf = self.app.conf
        self.endpoint_url = conf.s3_endpoint_url
        self.aws_region = conf.s3_region
        self.aws_access_key_id = conf.s3_access_key_id
        self.aws_secret_access_key = conf.s3_secret_access_key
        self.bucket_name = conf.s3_bucket
        if not self.bucket_name:
            raise ImproperlyConfigured("Missing bucket name: set s3_bucket")
        self.base_path = conf.s3_base_path or ""

    def _identity(self) -> Hashable:
        return self.endpoint_url, self.aws_region, self.aws_access_key_id, self.aws_secret_access_key

    def _connect(self) -> Any:
        boto3 = need("boto3", extra="s3", store="S3")
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=self.aws_region,
            aws_access_key_id=self.aws_access_key_id,
            aws_secret_access_key=self.aws_secret_access_key,
        )

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether the service may do it later: it does not answer, or asks for patience."""
        if isinstance(exc, self._botocore.ClientError):
            code: int = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return code >= 500 or code == 429
        return isinstance(exc, (self._botocore.ConnectionError, self._botocore.HTTPClientError))

    def _name(self, key: Any) -> dict[str, str]:
        return {"Bucket": self.bucket_name, "Key": self.base_path + self.key_t(key)}

    def get(self, key: Any) -> Any:
        """See the base class."""
        client = self.client
        try:
            return client.get_object(**self._name(key))["Body"].read()
        except client.exceptions.NoSuchKey:
            return None

    def set(self, key: Any, value: Any) -> Any:
        """See the base class."""
        self.client.put_object(**self._name(key), Body=as_bytes(value))

    def delete(self, key: Any) -> Any:
        """See the base class."""
        self.client.delete_object(**self._name(key))
