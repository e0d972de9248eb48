"""A store as a `Broker`: makes the faces, answers the operator."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from celery.brokers.base import Capabilities
from celery.brokers.topology import Queue

from . import location, store
from .database import Database
from .fetcher import SqliteFetcher
from .publisher import SqlitePublisher
from .wakeup import nudge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery.brokers.base import BrokerOptions, DeadLetter
    from celery.brokers.topology import Exchange

    from .consumer import SqliteConsumer
    from .mailbox import SqliteMailbox


#: Messages thrown away in one transaction at most: workers go on between.
_PURGE_AT_ONCE = 5000


class SqliteBroker:
    """The `Broker` of a `sqlite://` URL. Making one touches no file.

    Args:
        url: `sqlite:///relative.db`, `sqlite:////absolute.db`, or `sqlite://` for the project's own store;
            `?synchronous=FULL` in it wins over the option.
        options: of `transport_options` it reads `lease` (seconds, 10).

    Raises:
        BrokerRefused: the URL makes no sense.
    """

    capabilities = Capabilities()

    def __init__(self, url: str, options: BrokerOptions) -> None:
        self.url = url
        self._options = options
        self.database = Database(
            location.path_from_url(url), location.synchronous_from_url(url) or options.synchronous
        )
        self._publisher: SqlitePublisher | None = None
        self._lock = threading.Lock()

    def publisher(self) -> SqlitePublisher:
        """See `Broker.publisher`."""
        with self._lock:
            if self._publisher is None:
                self._publisher = SqlitePublisher(self.database)
            return self._publisher

    def consumer(self, worker_id: str, *, guarded: bool = False) -> SqliteConsumer:
        """See `Broker.consumer`."""
        from . import mailbox  # noqa: F401, PLC0415 - a worker has one, too: its processes share what is loaded by now
        from .consumer import SqliteConsumer  # noqa: PLC0415 - asyncio is not for those who only send

        return SqliteConsumer(self.database, worker_id, self._options, guarded=guarded)

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
    ) -> SqliteMailbox:
        """See `Broker.mailbox`."""
        del ttl, durable, exclusive
        from .mailbox import SqliteMailbox  # noqa: PLC0415 - as above

        box = SqliteMailbox(self.database, name, exchange, routing_key, expires=expires)
        await box.open()
        return box

    def declare(self, queues: Sequence[Queue]) -> None:
        """See `Broker.declare`."""
        with self.database.transaction() as connection:
            store.declare(connection, queues)

    def delete(self, queue: str) -> int:
        """See `Broker.delete`."""
        with self.database.transaction() as connection:
            number = store.queue_id(connection, queue)
            return 0 if number is None else store.delete(connection, number)

    def size(self, queue: str) -> int:
        """See `Broker.size`."""
        with self.database.errors():
            connection = self.database.connection()
            number = store.queue_id(connection, queue)
            return 0 if number is None else store.size(connection, number)

    def purge(self, queue: str) -> int:
        """See `Broker.purge`."""
        total = 0
        while True:
            with self.database.transaction() as connection:
                number = store.queue_id(connection, queue)
                count = 0 if number is None else store.purge(connection, number, _PURGE_AT_ONCE)
            total += count
            if not count:
                return total

    def dead(self, queue: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """See `Broker.dead`."""
        with self.database.errors():
            return store.dead(self.database.connection(), queue, limit)

    def revive(self, ids: Sequence[int]) -> int:
        """See `Broker.revive`."""
        with self.database.transaction(time.monotonic() + self.database.patience) as connection:
            count, addresses = store.revive(connection, ids)
        nudge(addresses)
        return count

    def purge_dead(self, queue: str | None = None) -> int:
        """See `Broker.purge_dead`."""
        total = 0
        while True:
            with self.database.transaction() as connection:
                count = store.purge_dead(connection, queue, _PURGE_AT_ONCE)
            total += count
            if not count:
                return total

    def fetcher(self) -> SqliteFetcher:
        """See `DirectBroker.fetcher`."""
        return SqliteFetcher(self.database)

    def bind(self, queue: str, exchange: Exchange, routing_key: str) -> None:
        """See `DirectBroker.bind`."""
        self.declare([Queue(queue, exchange, routing_key)])

    def unbind(self, queue: str, exchange: str, routing_key: str) -> None:
        """See `DirectBroker.unbind`."""
        with self.database.transaction() as connection:
            store.unbind(connection, queue, exchange, routing_key)

    def bindings(self, exchange: str) -> list[tuple[str, str]]:
        """See `DirectBroker.bindings`."""
        with self.database.errors():
            return store.bindings(self.database.connection(), exchange)

    def has_queue(self, queue: str) -> bool:
        """See `DirectBroker.has_queue`."""
        with self.database.errors():
            return store.queue_id(self.database.connection(), queue) is not None

    def close(self) -> None:
        """See `Broker.close`."""
        with self._lock:
            publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.close()
        self.database.close()
