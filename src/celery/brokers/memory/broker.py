"""An in-process broker as a `Broker`. All apps of a process that name the same URL share it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from celery.brokers.base import Capabilities
from celery.brokers.topology import Queue

from .fetcher import MemoryFetcher
from .hall import Hall
from .publisher import MemoryPublisher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery.brokers.base import BrokerOptions, DeadLetter
    from celery.brokers.topology import Exchange

    from .consumer import MemoryConsumer
    from .mailbox import MemoryMailbox

_halls: dict[str, Hall] = {}
_lock = threading.Lock()


def open_memory(url: str, options: BrokerOptions) -> MemoryBroker:
    """The broker of a `memory://` URL: `memory://` and `memory://name` are different ones."""
    name = url.partition("://")[2].rstrip("/")
    with _lock:
        hall = _halls.get(name)
        if hall is None:
            hall = _halls[name] = Hall()
    return MemoryBroker(url, options, hall)


class MemoryBroker:
    """The `Broker` of a `memory://` URL."""

    capabilities = Capabilities(shared=False)

    def __init__(self, url: str, options: BrokerOptions, hall: Hall) -> None:
        self.url = url
        self._options = options
        self._hall = hall

    def publisher(self) -> MemoryPublisher:
        """See `Broker.publisher`."""
        return MemoryPublisher(self._hall)

    def consumer(self, worker_id: str, *, guarded: bool = False) -> MemoryConsumer:
        """See `Broker.consumer`; there is no lease to guard."""
        del guarded
        from .consumer import MemoryConsumer  # noqa: PLC0415 - asyncio is not for those who only send

        return MemoryConsumer(self._hall, worker_id, self._options)

    async def mailbox(
        self,
        name: str,
        exchange: Exchange,
        routing_key: str,
        *,
        expires: float,
        ttl: float | None = None,
        durable: bool = False,
        exclusive: bool = True,
    ) -> MemoryMailbox:
        """See `Broker.mailbox`. It lives until closed, or until `expires` seconds without a `receive`."""
        del ttl, durable, exclusive
        from .mailbox import MemoryMailbox  # noqa: PLC0415 - as above

        return MemoryMailbox(self._hall, name, exchange, routing_key, expires=expires)

    def declare(self, queues: Sequence[Queue]) -> None:
        """See `Broker.declare`."""
        self._hall.declare(queues)

    def delete(self, queue: str) -> int:
        """See `Broker.delete`."""
        return self._hall.delete(queue)

    def size(self, queue: str) -> int:
        """See `Broker.size`."""
        return self._hall.size(queue)

    def purge(self, queue: str) -> int:
        """See `Broker.purge`."""
        return self._hall.purge(queue)

    def dead(self, queue: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """See `Broker.dead`."""
        return self._hall.dead(queue, limit)

    def revive(self, ids: Sequence[int]) -> int:
        """See `Broker.revive`."""
        return self._hall.revive(ids)

    def purge_dead(self, queue: str | None = None) -> int:
        """See `Broker.purge_dead`."""
        return self._hall.purge_dead(queue)

    def fetcher(self) -> MemoryFetcher:
        """See `DirectBroker.fetcher`."""
        return MemoryFetcher(self._hall)

    def bind(self, queue: str, exchange: Exchange, routing_key: str) -> None:
        """See `DirectBroker.bind`."""
        self._hall.declare([Queue(queue, exchange, routing_key)])

    def unbind(self, queue: str, exchange: str, routing_key: str) -> None:
        """See `DirectBroker.unbind`."""
        self._hall.unbind(queue, exchange, routing_key)

    def bindings(self, exchange: str) -> list[tuple[str, str]]:
        """See `DirectBroker.bindings`."""
        return self._hall.bindings(exchange)

    def has_queue(self, queue: str) -> bool:
        """See `DirectBroker.has_queue`."""
        return self._hall.has_queue(queue)

    def close(self) -> None:
        """See `Broker.close`. What waits stays: others may share it."""
