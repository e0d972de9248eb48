"""What stores have in common that are asked over a network by a client library: text keys, one client a process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from celery.exceptions import ImproperlyConfigured

from .base import KeyValueStoreBackend
from .processes import shared

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from .processes import PerProcess


class RemoteStoreBackend(KeyValueStoreBackend):
    """Base of such stores. A driver gives `get`, `set`, `delete`, `_identity()` and `_connect()`; `mget` if it can."""

    #: The store holds nothing but text.
    text_only = False
    _holder: PerProcess[Any] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.text_only and self.content_encoding != "utf-8":
            raise ImproperlyConfigured(
                f"{type(self).__name__} stores text, and result_serializer {self.serializer!r} makes bytes: "
                "use json or yaml"
            )

    @property
    def client(self) -> Any:
        """This process's client, which all backends of the same settings share."""
        if self._holder is None:
            self._holder = shared((type(self), self._identity()), self._connect)
        return self._holder.get()

    def _identity(self) -> Hashable:
        """Everything that `_connect` depends on."""
        self._lacks("_identity")

    def _connect(self) -> Any:
        """Make a client."""
        self._lacks("_connect")

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> tuple[Any, ...]:
        return super().__reduce__(args, {"expires": self.expires, **(kwargs or {})})

    @staticmethod
    def key_t(s: Any) -> str:
        """Keys are text."""
        return s.decode() if isinstance(s, bytes) else str(s)

    def mget(self, keys: Sequence[Any]) -> Any:
        """See the base class."""
        return [self.get(key) for key in keys]


class Place:
    """The parts of a URL, decoded; those that are not there are None (`path`: empty).

    Args:
        url: `scheme://user:password@host:port/path?query`.
    """

    def __init__(self, url: str | None) -> None:
        parts = urlsplit(url or "")
        self.scheme = parts.scheme
        self.host = parts.hostname or None
        try:
            self.port = parts.port
        except ValueError:
            raise ImproperlyConfigured(
                f"The port in the URL of the {self.scheme} result store is no number"
            ) from None
        self.user = unquote(parts.username) if parts.username else None
        self.password = unquote(parts.password) if parts.password else None
        self.path = unquote(parts.path).strip("/")
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))


def as_bytes(value: Any) -> bytes:
    """An encoded result as bytes."""
    return value.encode() if isinstance(value, str) else bytes(value)


def as_text(value: Any) -> str:
    """An encoded result as text, for stores that hold nothing else."""
    return str(value) if isinstance(value, str) else bytes(value).decode()
