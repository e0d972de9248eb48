"""The same Redis by redis-py: `backend.client`, as people know it from Celery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.exceptions import ImproperlyConfigured
from celery.utils.imports import symbol_by_name

if TYPE_CHECKING:
    from celery.brokers.redis.settings import Settings

MISSING = "You need to install the redis library in order to use this: pip install 'celeriac[redis]'"


def _redis() -> Any:
    try:
        import redis  # noqa: PLC0415 - heavy, and only for those who ask for a client
    except ImportError as exc:
        raise ImproperlyConfigured(MISSING) from exc
    return redis


def parameters(conf: Any, settings: Settings, max_connections: int | None, provider: Any) -> dict[str, Any]:
    """How redis-py connects, under its names."""
    target = settings.targets[0]
    found: dict[str, Any] = {
        "db": target.database,
        "username": target.username,
        "password": target.password,
        "max_connections": max_connections,
        "socket_timeout": settings.timeout,
        "socket_connect_timeout": settings.connect_timeout,
        "retry_on_timeout": bool(conf.redis_retry_on_timeout),
        "client_name": settings.client_name or None,
        "health_check_interval": conf.get("redis_backend_health_check_interval") or 0,
    }
    if target.place.path:
        return found | {"path": target.place.path}
    if provider is not None:
        made = symbol_by_name(provider) if isinstance(provider, str) else provider
        del found["username"], found["password"]
        found["credential_provider"] = made() if isinstance(made, type) else made
    found |= {
        "host": target.place.host,
        "port": target.place.port,
        "socket_keepalive": target.place.keepalive,
    }
    return found | _tls(conf, settings)


def _tls(conf: Any, settings: Settings) -> dict[str, Any]:
    if settings.targets[0].place.tls is None:
        return {}
    given = {**(conf.redis_backend_use_ssl or {}), **settings.options}
    found = {name: value for name, value in given.items() if name.startswith("ssl_")}
    if isinstance(verify := found.get("ssl_cert_reqs"), str):
        found["ssl_cert_reqs"] = verify.lower().removeprefix("cert_")
    return found


def client_of(settings: Settings, connparams: dict[str, Any], pool: Any = None) -> Any:
    """A client.

    Args:
        pool: use this redis-py connection pool.

    Raises:
        ImproperlyConfigured: redis-py is not installed.
    """
    redis = _redis()
    if pool is not None:
        return redis.Redis(connection_pool=pool)
    tls = settings.targets[0].place.tls is not None
    if settings.sentinel is not None:
        return _master(redis, settings, connparams, tls)
    if settings.cluster:
        for name in ("db", "retry_on_timeout"):
            connparams.pop(name, None)
        return redis.cluster.RedisCluster(ssl=tls, **connparams)
    kind = (
        redis.SSLConnection
        if tls
        else redis.UnixDomainSocketConnection
        if "path" in connparams
        else redis.Connection
    )
    return redis.Redis(connection_pool=redis.ConnectionPool(connection_class=kind, **connparams))


def _master(redis: Any, settings: Settings, connparams: dict[str, Any], tls: bool) -> Any:
    sentinel = settings.sentinel
    assert sentinel is not None
    for name in ("host", "port"):
        connparams.pop(name, None)
    first = sentinel.sentinels[0]
    own = {
        "username": first.username,
        "password": first.password,
        **(settings.options.get("sentinel_kwargs") or {}),
    }
    found = redis.sentinel.Sentinel(
        [(target.place.host, target.place.port) for target in sentinel.sentinels],
        min_other_sentinels=sentinel.min_others,
        sentinel_kwargs=own,
        ssl=tls,
        **connparams,
    )
    return found.master_for(sentinel.master_name, redis.Redis)


def managed_ssl_connection() -> type:
    """redis-py's connection to the master over TLS, under the name that Celery gives it."""
    redis = _redis()

    class SentinelManagedSSLConnection(redis.sentinel.SentinelManagedConnection, redis.SSLConnection):  # type: ignore[name-defined, misc]
        """Connect to a Redis server using Sentinel + TLS."""

    return SentinelManagedSSLConnection
