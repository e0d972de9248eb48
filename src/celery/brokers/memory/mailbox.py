"""A mailbox of a broker in this process."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING

from celery.brokers.topology import Queue

if TYPE_CHECKING:
    from celery.brokers.base import Delivery
    from celery.brokers.topology import Exchange

    from .hall import Hall

_keys = itertools.count(-1, -1)
_BATCH = 1000


class MemoryMailbox:
    """See `Mailbox`."""

    def __init__(
        self, hall: Hall, name: str, exchange: Exchange, routing_key: str, *, expires: float
    ) -> None:
        self._hall = hall
        self._name = name
        self._key = next(_keys)
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._expires = expires
        self._used = time.monotonic()
        hall.declare([Queue(name, exchange, routing_key)])
        hall.listen(name, self._key, self._announced)

    def _announced(self) -> None:
        if self._loop.is_closed() or time.monotonic() - self._used > self._expires:
            self._hall.forget(self._name, self._key)
            self._hall.delete(self._name)
            return
        self._loop.call_soon_threadsafe(self._event.set)

    async def receive(self) -> list[Delivery]:
        """See `Mailbox.receive`."""
        while True:
            self._used = time.monotonic()
            self._event.clear()
            items, _ = self._hall.take([self._name], _BATCH)
            if items:
                return [item.delivery(None) for item in items]
            try:
                await asyncio.wait_for(self._event.wait(), self._expires / 3)
            except TimeoutError:
                continue

    async def aclose(self) -> None:
        """See `Mailbox.aclose`."""
        self._hall.forget(self._name, self._key)
        self._hall.delete(self._name)
