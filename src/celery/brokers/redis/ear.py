"""A mailbox for a channel, over the connection that a consumer has."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from celery.brokers.base import BrokerError

from . import messages

if TYPE_CHECKING:
    from celery.brokers.base import Delivery
    from celery.brokers.topology import Queue

    from .core import Core

#: Messages that nobody has come for: the oldest go.
MOST = 10_000


class Ear:
    """See `Mailbox`. It comes back with the consumer's connection."""

    def __init__(self, core: Core, queue: Queue) -> None:
        self.queue = queue
        self.pattern = core.keys.channel_pattern(queue.exchange.name, queue.routing_key)
        self._core = core
        self._waiting: list[Delivery] = []
        self._news = asyncio.Event()

    async def open(self) -> None:
        """Listen: from now on, or from when the connection is back on."""
        core = self._core
        core.waiting.ears[self.pattern] = self
        core.waiting.subscriptions("PSUBSCRIBE", [self.pattern])
        try:
            # Its answers come after that to the subscription.
            await core.ask(*core.broker.exchanges.declaring(self.queue))
        except BrokerError:
            return  # the next connection subscribes

    def hear(self, raw: bytes) -> None:
        """Something was said on the channel."""
        if len(self._waiting) >= MOST:
            del self._waiting[0]
        self._waiting.append(messages.read(raw, self.queue.name, None))
        self._news.set()

    async def receive(self) -> list[Delivery]:
        """See `Mailbox.receive`."""
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        batch, self._waiting = self._waiting, []
        return batch

    async def aclose(self) -> None:
        """See `Mailbox.aclose`."""
        core = self._core
        if core.waiting.ears.pop(self.pattern, None) is None:
            return
        core.waiting.subscriptions("PUNSUBSCRIBE", [self.pattern])
        core.say(*core.broker.exchanges.undeclaring(self.queue))
