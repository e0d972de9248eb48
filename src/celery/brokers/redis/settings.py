"""What the driver needs to know of one or several Redis URLs, read once."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from celery.brokers.base import BrokerRefused
from celery.brokers.failover import Failover
from celery.net.address import BadAddress, mask, parse_all
from celery.net.stream import Place
from celery.net.tls import TLS, BadTLS
from celery.net.tls import make as make_tls

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from celery.brokers.failover import Strategy
    from celery.net.address import Address

PORT = 6379
SENTINEL_PORT = 26379
_UNIX = frozenset({"redis+socket", "socket", "unix", "redis+unix"})
_CLUSTER = frozenset({"redis+cluster", "rediss+cluster"})
SCHEMES = frozenset({"redis", "rediss", "valkey", "valkeys", "sentinel", "sentinels", *_UNIX, *_CLUSTER})
_TLS_SCHEMES = frozenset({"rediss", "valkeys", "sentinels", "rediss+cluster"})
_TRUE = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True, slots=True)
class Target:
    """One server and how to enter it.

    Attributes:
        master: it must be one: a replica is refused.
        url: what it is called in a failover list.
    """

    place: Place
    username: str | None = None
    password: str | None = None
    database: int = 0
    master: bool = True
    url: str = ""


@dataclass(frozen=True, slots=True)
class SentinelSettings:
    """Who to ask for the master.

    Attributes:
        min_others: a sentinel that knows fewer other sentinels is not believed.
    """

    sentinels: tuple[Target, ...]
    master_name: str
    min_others: int = 0


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything about connections.

    Attributes:
        url: as given, passwords masked; for messages.
        targets: the servers, to be tried in this order; with Sentinel, one without a place.
        connect_timeout: seconds for one attempt to connect, TLS and greeting included.
        timeout: seconds that a call may take for which no deadline is given.
        client_name: as `CLIENT LIST` shows it.
        failover: which of several targets to connect to now; shared by everything that these settings are for.
        cluster: the targets are nodes of a cluster; all keys are in the slot of `slot_key`.
    """

    url: str
    targets: tuple[Target, ...]
    database: int = 0
    connect_timeout: float = 4.0
    timeout: float = 10.0
    client_name: str = ""
    sentinel: SentinelSettings | None = None
    cluster: bool = False
    slot_key: str = ""
    failover: Failover | None = field(default=None, compare=False)
    options: Mapping[str, Any] = field(default_factory=dict)

    def gave_up(self, target: Target | None) -> None:
        """An attempt to connect failed: the next one goes to the next server, if there are several."""
        if self.failover is not None and target is not None:
            self.failover.failed(target.url)


def read(
    urls: str | Iterable[str],
    *,
    ssl: bool | Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    connect_timeout: float = 4.0,
    timeout: float = 10.0,
    failover_strategy: str | Strategy | None = None,
) -> Settings:
    """Read URLs and options.

    Args:
        urls: one, several separated by `;`, or several. `redis://`, `rediss://` (TLS), `redis+socket:///path`,
            `sentinel://host:port/db` (with the option `master_name`), `redis+cluster://` or `?cluster=1`.
        ssl: `broker_use_ssl` (or `redis_backend_use_ssl`).
        options: `broker_transport_options` (or the backend's); options in the query of the first URL win.
        connect_timeout: seconds; the option `socket_connect_timeout` wins.
        timeout: seconds; the option `socket_timeout` wins.
        failover_strategy: in which order several servers are tried; see `failover.strategy_of`.

    Raises:
        BrokerRefused: something in them makes no sense.
    """
    shown = mask(urls if isinstance(urls, str) else ";".join(urls))
    try:
        addresses = parse_all(urls)
        given = {**(options or {}), **addresses[0].query}
        found = _read(shown, addresses, ssl, given, connect_timeout, timeout)
        if found.sentinel is None and not found.cluster and len(found.targets) > 1:
            order = Failover([target.url for target in found.targets], failover_strategy)
            found = replace(found, failover=order)
        return found
    except (BadAddress, BadTLS) as error:
        raise BrokerRefused(f"{shown}: {error}") from error


def _read(
    shown: str,
    addresses: tuple[Address, ...],
    ssl: bool | Mapping[str, Any] | None,
    given: dict[str, Any],
    connect_timeout: float,
    timeout: float,
) -> Settings:
    for address in addresses:
        if address.scheme not in SCHEMES:
            raise BadAddress(f"{address.scheme}:// is not Redis")
    first = addresses[0]
    tls = _tls(first, ssl, given)
    sentinel = first.scheme in ("sentinel", "sentinels") or bool(given.get("master_name"))
    cluster = first.scheme in _CLUSTER or str(given.get("cluster", "")).lower() in _TRUE
    targets = tuple(_target(address, tls, given) for address in addresses)
    settings = Settings(
        shown,
        targets,
        targets[0].database,
        _seconds(given.get("socket_connect_timeout"), connect_timeout),
        _seconds(given.get("socket_timeout"), timeout),
        str(given.get("client_name") or ""),
        cluster=cluster,
        options=given,
    )
    if cluster and any(target.database for target in targets):
        raise BadAddress("a cluster has only database 0")
    if not sentinel:
        return settings
    name = given.get("master_name")
    if not name:
        raise BadAddress(
            "Sentinel needs the name of the master: broker_transport_options = {'master_name': 'mymaster'}"
        )
    own = _sentinel_target_options(given.get("sentinel_kwargs") or {}, tls)
    sentinels = tuple(
        Target(
            replace(target.place, port=address.port or SENTINEL_PORT, tls=own["tls"]),
            own["username"],
            own["password"],
            master=False,
        )
        for target, address in zip(targets, addresses, strict=True)
    )
    others = int(given.get("min_other_sentinels") or 0)
    return replace(
        settings,
        targets=targets[:1],
        sentinel=SentinelSettings(sentinels, str(name), others),
    )


def _sentinel_target_options(kwargs: Mapping[str, Any], tls: TLS | None) -> dict[str, Any]:
    """How to enter the sentinels themselves: they have passwords and TLS of their own."""
    own = tls
    if "ssl" in kwargs or any(str(key).startswith("ssl_") for key in kwargs):
        own = make_tls(dict(kwargs)) if kwargs.get("ssl", True) else None
    return {"username": kwargs.get("username"), "password": kwargs.get("password"), "tls": own}


def _tls(address: Address, ssl: bool | Mapping[str, Any] | None, given: Mapping[str, Any]) -> TLS | None:
    wanted = address.scheme in _TLS_SCHEMES or bool(ssl)
    if not wanted:
        if any(key.startswith("ssl_") for key in address.query):
            raise BadAddress("it has TLS options, but its scheme is not rediss://")
        return None
    if address.scheme in _UNIX:
        raise BadAddress("a unix socket has no TLS")
    return make_tls(ssl, {key: str(value) for key, value in address.query.items()})


def _target(address: Address, tls: TLS | None, given: Mapping[str, Any]) -> Target:
    username = address.username or given.get("username")
    password = address.password if address.password is not None else given.get("password")
    keepalive = given.get("socket_keepalive")
    if address.scheme in _UNIX:
        path = address.path if not address.host else f"{address.host}{address.path}"
        if not path:
            raise BadAddress("it names no socket: redis+socket:///path/to/redis.sock")
        place = Place(path=path)
        database = _database(address.query.get("virtual_host") or address.query.get("db") or "")
    else:
        asked = given.get("socket_keepalive_options") or {}
        options = tuple((int(number), int(value)) for number, value in asked.items())
        place = Place(
            address.host or "localhost",
            address.port or PORT,
            tls=tls,
            keepalive=keepalive is None or bool(keepalive),
            keepalive_options=options or _KEEPALIVE,
        )
        database = _database(
            address.virtual_host or address.query.get("virtual_host") or address.query.get("db") or ""
        )
    return Target(place, username, password, database, url=address.as_url())


#: Half-open connections that nobody speaks on end within half a minute.
_KEEPALIVE = tuple(
    (number, value)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
    if (number := getattr(socket, name, None)) is not None
)


def _database(text: str) -> int:
    text = text.strip("/")
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()):
        raise BadAddress(f"Database is int between 0 and limit - 1, not {text}")
    return int(text)


def _seconds(value: Any, default: float) -> float:
    return default if value in (None, "", "None") else float(value)
