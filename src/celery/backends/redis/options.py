"""What the settings and the URL say about the Redis that keeps the results."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from celery.brokers.base import BrokerRefused
from celery.brokers.redis import settings as redis_settings
from celery.net.address import parse_all
from celery.net.tls import requirement
from celery.utils.imports import symbol_by_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery.brokers.redis.locate import Locator
    from celery.brokers.redis.settings import Settings, Target

#: Seconds that Redis may take to answer, unless `redis_socket_timeout` is set.
TIMEOUT = 20.0
#: Seconds that an attempt to connect may take, unless `redis_socket_connect_timeout` is set.
CONNECT_TIMEOUT = 4.0
#: Brings all keys of a cluster into one slot, unless `global_keyprefix` has a hash tag of its own.
CLUSTER_PREFIX = "{celery-results}:"


@dataclass(frozen=True, slots=True)
class Retries:
    """How often an operation is tried again (`retry_policy`).

    Attributes:
        retries: after the first try.
        start, step, longest: seconds; the pauses are start, start + step, ... up to `longest`.
        seconds: all tries together; None: no limit.
    """

    retries: float = 20
    start: float = 0.0
    step: float = 1.0
    longest: float = 1.0
    seconds: float | None = None

    @classmethod
    def of(cls, policy: Mapping[str, Any]) -> Retries:
        """Read a policy as Celery writes it."""
        retries = policy.get("max_retries", 20)
        numbers = (policy.get(name, default) for name, default in _STEPS.items())
        return cls(inf if retries is None else int(retries), *map(float, numbers))

    def pause(self, attempt: int) -> float:
        """Seconds to wait before try number `attempt` (1 is the first repetition)."""
        return min(self.start + self.step * (attempt - 1), self.longest)

    @property
    def patience(self) -> float:
        """Seconds that all of the pauses last."""
        if self.retries == inf:
            return inf
        return sum(self.pause(attempt) for attempt in range(1, int(self.retries) + 1))


_STEPS = {"interval_start": 0, "interval_step": 1, "interval_max": 1}


def url_of(
    conf: Any,
    host: str | None = None,
    port: int | None = None,
    db: int | None = None,
    password: str | None = None,
) -> str:
    """The URL that `redis_host`, `redis_port`, `redis_db`, `redis_username` and `redis_password` make."""
    password = password or conf.redis_password
    user = quote(conf.redis_username or "", safe="")
    secret = f":{quote(str(password), safe='')}" if password else ""
    entry = f"{user}{secret}@" if user or secret else ""
    scheme = "rediss" if conf.redis_backend_use_ssl else "redis"
    place = f"{host or conf.redis_host or 'localhost'}:{port or conf.redis_port or 6379}"
    return f"{scheme}://{entry}{place}/{db or conf.redis_db or 0}"


def read(conf: Any, url: str, given: Mapping[str, Any]) -> Settings:
    """What to connect to, and how.

    Args:
        url: one, or several separated by `;`.
        given: options that stand above those of the settings (`host`, `port`, `db`, `password` ...).

    Raises:
        ValueError: the URL or the TLS options make no sense.
    """
    ssl = conf.redis_backend_use_ssl or None
    for address in parse_all(url):
        verify = address.query.get("ssl_cert_reqs") or (ssl or {}).get("ssl_cert_reqs")
        if verify is not None:
            requirement(verify)
    options = {**_options(conf), **given}
    try:
        found = redis_settings.read(
            url,
            ssl=ssl if not _is_plain(url) else None,
            options=options,
            connect_timeout=CONNECT_TIMEOUT,
            timeout=TIMEOUT,
        )
    except BrokerRefused as error:
        text = str(error).replace(" broker_transport_options", " result_backend_transport_options")
        raise ValueError(text) from error
    if found.cluster:
        return replace(found, slot_key=prefix_of(found, str(options.get("global_keyprefix") or "")))
    database = options.get("db")
    if database is not None and not found.database:
        targets = tuple(replace(target, database=int(database)) for target in found.targets)
        found = replace(found, database=int(database), targets=targets)
    return found


def _is_plain(url: str) -> bool:
    return url.startswith(("socket:", "unix:", "redis+socket:"))


def _options(conf: Any) -> dict[str, Any]:
    """The settings under the names of the driver's options; only what is set."""
    named = {
        "username": conf.redis_username,
        "password": conf.redis_password,
        "db": conf.redis_db,
        "client_name": conf.get("redis_client_name"),
        "socket_connect_timeout": conf.redis_socket_connect_timeout,
    }
    for option, setting in (
        ("socket_timeout", "redis_socket_timeout"),
        ("socket_keepalive", "redis_socket_keepalive"),
    ):
        if conf.value_set_for(setting):
            named[option] = conf[setting]
    named = {name: value for name, value in named.items() if value is not None}
    return {**named, **(conf.result_backend_transport_options or {})}


def identity_of(conf: Any, url: str, settings: Settings) -> tuple[str, ...]:
    """What all backends that can share connections have in common."""
    ssl, provider = conf.redis_backend_use_ssl, conf.get("redis_backend_credential_provider")
    return (url, repr(sorted(settings.options.items(), key=str)), repr(ssl), repr(provider))


def prefix_of(settings: Settings, prefix: str) -> str:
    """The global prefix of all keys."""
    return CLUSTER_PREFIX + prefix if settings.cluster and "{" not in prefix else prefix


class Credentials:
    """Finds Redis as another locator does, and asks a provider for user name and password each time.

    Args:
        provider: an object with `get_credentials()`, as redis-py has them; or where it is (`module:name`).
    """

    def __init__(self, locator: Locator, provider: Any) -> None:
        self._locator = locator
        found = symbol_by_name(provider) if isinstance(provider, str) else provider
        self.provider = found() if isinstance(found, type) else found
        self.immediate = False

    def locate(self, deadline: float) -> Target:
        """See `Locator.locate`."""
        username, password = (*self.provider.get_credentials(), None)[:2]
        if password is None:  # one alone is the password
            username, password = None, username
        return replace(self._locator.locate(deadline), username=username, password=password)
