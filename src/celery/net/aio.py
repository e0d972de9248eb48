"""Connecting on an event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from .stream import configure

if TYPE_CHECKING:
    from collections.abc import Callable

    from .stream import Place

P = TypeVar("P", bound=asyncio.BaseProtocol)


async def connect(place: Place, protocol: Callable[[], P], seconds: float) -> P:
    """Connect, and shake hands if it is TLS; the protocol gets its transport by `connection_made`.

    Raises:
        OSError: it did not work; `TimeoutError` after `seconds`.
    """
    loop = asyncio.get_running_loop()
    options: dict[str, Any] = {}
    if place.tls is not None:
        options = {
            "ssl": place.tls.context,
            "server_hostname": place.tls.server_hostname or place.host,
            "ssl_handshake_timeout": max(seconds, 0.1),
        }
    async with asyncio.timeout(seconds):
        if place.path:
            transport, made = await loop.create_unix_connection(protocol, place.path, **options)
        else:
            transport, made = await loop.create_connection(protocol, place.host, place.port, **options)
    sock = transport.get_extra_info("socket")
    if sock is not None:
        configure(sock, place)
    return made
