"""Results in Azure's blob storage: `azureblockblob://CONNECTION_STRING`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from celery.exceptions import ImproperlyConfigured

from .extras import need
from .remote import RemoteStoreBackend, as_bytes

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ("AzureBlockBlobBackend",)

_PREFIX = "azureblockblob://"
#: What may stand before the `@` of an account's URL instead of a connection string.
_CREDENTIALS = ("DefaultAzureCredential", "ManagedIdentityCredential")


class AzureBlockBlobBackend(RemoteStoreBackend):
    """Results as blobs of one container, which is made if it is not there.

    Args:
        url: `azureblockblob://` and a connection string, or `DefaultAzureCredential@https://account...` or
            `ManagedIdentityCredential@https://account...`.
        container_name: default `azureblockblob_container_name`.

    Raises:
        ImproperlyConfigured: azure-storage-blob is not installed, or the URL says nothing.
    """

    supports_result_compression = True

    def __init__(
        self, url: str | None = None, container_name: str | None = None, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, url=url, **kwargs)
        self._errors = need("azure.core.exceptions", extra="azureblockblob", store="Azure Block Blob")
        conf = self.app.conf
        self._where = (url or "").removeprefix(_PREFIX)
        if not self._where:
            raise ImproperlyConfigured("Invalid URL: azureblockblob:// needs a connection string")
        self._container_name = container_name or conf.azureblockblob_container_name
        self.base_path = conf.azureblockblob_base_path or ""
        self._options = {
            "connection_timeout": conf.azureblockblob_connection_timeout,
            "read_timeout": conf.azureblockblob_read_timeout,
            "initial_backoff": conf.azureblockblob_retry_initial_backoff_sec,
            "increment_base": conf.azureblockblob_retry_increment_base,
            "retry_total": conf.azureblockblob_retry_max_attempts,
        }

    def as_uri(self, include_password: bool = False) -> str:
        """The URL; all that could be secret is masked."""
        if include_password:
            return f"{_PREFIX}{self._where}"
        credential, at, account = self._where.partition("@")
        return f"{_PREFIX}{credential}@{account}" if at and credential in _CREDENTIALS else f"{_PREFIX}**"

    def _identity(self) -> Hashable:
        return self._where, self._container_name, repr(self._options)

    def _connect(self) -> Any:
        blob = need("azure.storage.blob", extra="azureblockblob", store="Azure Block Blob")
        options = dict(self._options)
        policy = blob.ExponentialRetry(
            initial_backoff=options.pop("initial_backoff"),
            increment_base=options.pop("increment_base"),
            retry_total=options.pop("retry_total"),
        )
        credential, at, account = self._where.partition("@")
        if at and credential in _CREDENTIALS:
            identity = need("azure.identity", extra="azureblockblob", store="Azure Block Blob")
            service = blob.BlobServiceClient(
                account, credential=getattr(identity, credential)(), retry_policy=policy, **options
            )
        else:
            service = blob.BlobServiceClient.from_connection_string(
                self._where, retry_policy=policy, **options
            )
        container = service.get_container_client(self._container_name)
        with contextlib.suppress(self._errors.ResourceExistsError):
            container.create_container()
        return container

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether the service may do it later: it does not answer, or asks for patience."""
        errors = self._errors
        if isinstance(exc, errors.HttpResponseError):
            return exc.status_code is None or exc.status_code >= 500 or exc.status_code == 429
        return isinstance(exc, errors.ServiceRequestError | errors.ServiceResponseError)

    def _blob(self, key: Any) -> Any:
        return self.client.get_blob_client(f"{self.base_path}{self.key_t(key)}")

    def get(self, key: Any) -> Any:
        """See the base class."""
        try:
            return self._blob(key).download_blob().readall()
        except self._errors.ResourceNotFoundError:
            return None

    def set(self, key: Any, value: Any) -> Any:
        """See the base class."""
        self._blob(key).upload_blob(as_bytes(value), overwrite=True)

    def delete(self, key: Any) -> Any:
        """See the base class."""
        with contextlib.suppress(self._errors.ResourceNotFoundError):
            self._blob(key).delete_blob()
