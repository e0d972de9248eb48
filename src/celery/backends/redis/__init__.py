"""Results in Redis. Public as `celery.backends.redis`.

A result is stored and published in one step by a script, never over a success. Those who wait hear of it on one
connection of their process. All else goes over one more, which all threads share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery._public import publish
from celery.exceptions import ImproperlyConfigured

try:
    from .backend import RedisBackend, SentinelBackend
except ModuleNotFoundError as exc:
    if exc.name not in ("hiredis", "redis"):
        raise
    raise ImproperlyConfigured(
        f"Results in Redis need the package {exc.name!r}, which is not installed: pip install 'celeriac[redis]'"
    ) from exc

if TYPE_CHECKING:
    SentinelManagedSSLConnection: type

__all__ = ("RedisBackend", "SentinelBackend", "SentinelManagedSSLConnection")

publish(globals(), "RedisBackend", "SentinelBackend")


def __getattr__(name: str) -> Any:
    if name == "SentinelManagedSSLConnection":
        from .foreign import managed_ssl_connection  # noqa: PLC0415 - imports redis-py, which few need

        globals()[name] = made = managed_ssl_connection()
        made.__module__ = __name__
        return made
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
