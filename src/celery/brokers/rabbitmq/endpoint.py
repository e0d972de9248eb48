"""What a URL and the settings say about reaching a RabbitMQ node."""

from __future__ import annotations

import platform
import socket
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celery.brokers.base import BrokerRefused
from celery.net import tls
from celery.net.address import Address, BadAddress, parse
from celery.net.stream import Place
from celery.utils.nodenames import gethostname
from celery.wire.amqp.connection import Login

if TYPE_CHECKING:
    from celery.brokers.base import BrokerOptions

PORT = 5672
TLS_PORT = 5671


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One node, and how to enter.

    Attributes:
        name: the URL for messages, its password masked.
        timeout: seconds for one attempt to connect.
        heartbeat: seconds; 0: none.
    """

    name: str
    place: Place
    login: Login
    timeout: float
    heartbeat: float
    options: BrokerOptions = field(repr=False)


def endpoint(url: str, options: BrokerOptions) -> Endpoint:
    """Read a URL of this driver.

    Raises:
        BrokerRefused: it, or an option, makes no sense.
    """
    try:
        address = parse(url if "://" in url else f"{url}://")
        secure = address.scheme == "amqps" or bool(options.ssl)
        place = Place(
            address.host or "localhost",
            address.port or (TLS_PORT if secure else PORT),
            tls=tls.make(options.ssl, address.query) if secure else None,
            keepalive_options=_keepalive(),
        )
    except (BadAddress, tls.BadTLS) as exc:
        raise BrokerRefused(str(exc)) from exc
    return Endpoint(
        _name(address, place),
        place,
        _login(address, options),
        options.connect_timeout,
        float(options.transport_options.get("lease") or options.heartbeat),
        options,
    )


def _name(address: Address, place: Place) -> str:
    return str(address.at(place.host, place.port))


def _login(address: Address, options: BrokerOptions) -> Login:
    transport = options.transport_options
    mechanism = (
        address.query.get("login_method") or options.login_method or transport.get("login_method") or "PLAIN"
    )
    path = address.path
    return Login(
        user=address.username or "guest",
        password=address.password if address.password is not None else "guest",
        # No path, or a bare slash, is the vhost `/`, as in kombu.
        vhost=path.removeprefix("/") or "/",
        mechanism=str(mechanism).upper(),
        client={**_program(), **(transport.get("client_properties") or {})},
    )


def _program() -> dict[str, Any]:
    return {
        "product": "celeriac",
        "version": "5.7.0",
        "platform": f"Python {platform.python_version()}",
        "connection_name": f"{sys.argv[0].rpartition('/')[2] or 'python'}@{gethostname()}",
    }


def _keepalive() -> tuple[tuple[int, int], ...]:
    """A dead peer is noticed within 20 seconds also where no heartbeats are sent."""
    wanted = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 3, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 20_000}
    return tuple((getattr(socket, name), value) for name, value in wanted.items() if hasattr(socket, name))
