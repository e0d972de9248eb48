"""Results in Consul's key-value store: `consul://host:8500/path`."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from celery.exceptions import ImproperlyConfigured

from .extras import need
from .remote import Place, RemoteStoreBackend

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ("ConsulBackend",)

#: Consul's limits for the life of a session, in seconds.
_SHORTEST, _LONGEST = 10, 86400


class ConsulBackend(RemoteStoreBackend):
    """Results under one path. A result that expires belongs to a session, which takes it along when it ends.

    Args:
        url: `consul://[:token@]host[:port][/path]`; `?scheme=https` for TLS.

    Raises:
        ImproperlyConfigured: python-consul2 is not installed, or the URL has no host.
    """

    supports_autoexpire = True
    supports_result_compression = True
    consistency = "consistent"
    path: str | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._consul = need("consul", extra="consul", store="Consul")
        self._place = Place(self.url)
        if not self._place.host:
            raise ImproperlyConfigured(
                "The URL of the consul result store has no host: consul://host:8500/path"
            )
        self.path = self._place.path

    def _identity(self) -> Hashable:
        return self._place.host, self._place.port, self._place.password, repr(self._place.query)

    def _connect(self) -> Any:
        place = self._place
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of the library's own doing
            return self._consul.Consul(
                host=place.host,
                port=place.port or 8500,
                token=place.password,
                scheme=place.query.get("scheme", "http"),
                consistency=self.consistency,
            )

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether Consul may do it later: it does not answer, or is electing a leader."""
        return isinstance(exc, (OSError, self._consul.Timeout)) or (
            isinstance(exc, self._consul.ConsulException) and str(exc).startswith("5")
        )

    def _name(self, key: Any) -> str:
        return f"{self.path}/{self.key_t(key)}" if self.path else self.key_t(key)

    def get(self, key: Any) -> Any:
        """See the base class."""
        _, found = self.client.kv.get(self._name(key))
        return None if found is None else found["Value"]

    def set(self, key: Any, value: Any) -> Any:
        """See the base class."""
        client, name = self.client, self._name(key)
        if not self.expires:
            return client.kv.put(name, value)
        life = min(max(int(self.expires), _SHORTEST), _LONGEST)
        _, found = client.kv.get(name)
        session = (found or {}).get("Session") or client.session.create(
            name=name, behavior="delete", ttl=life
        )
        return client.kv.put(name, value, acquire=session)

    def delete(self, key: Any) -> Any:
        """See the base class."""
        self.client.kv.delete(self._name(key))
