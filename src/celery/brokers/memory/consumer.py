"""A worker's consumer of a broker in this process: it cannot outlive the broker, so nothing is ever taken over."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery.brokers.base import BrokerOptions, Delivery, Intake
    from celery.brokers.topology import Queue

    from .hall import Hall, Item

_keys = itertools.count(1)


class MemoryConsumer:
    """The `Consumer` of a `memory://` URL."""

    def __init__(self, hall: Hall, worker_id: str, options: BrokerOptions) -> None:
        self._hall = hall
        self._worker_id = worker_id
        self._options = options
        self._key = next(_keys)
        self._queues: list[str] = []
        self._window = 0
        self._held: dict[int, Item] = {}
        self._begun: set[int] = set()
        self._receipts = itertools.count(1)
        self._intake: Intake | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._looking = False
        self._timer: asyncio.TimerHandle | None = None

    async def start(self, queues: Sequence[Queue], intake: Intake) -> None:
        """See `Consumer.start`."""
        self._loop = asyncio.get_running_loop()
        self._intake = intake
        for queue in queues:
            await self.subscribe(queue)

    def allow(self, window: int) -> None:
        """See `Consumer.allow`."""
        self._window = window
        self._look_soon()

    async def subscribe(self, queue: Queue) -> None:
        """See `Consumer.subscribe`."""
        self._hall.declare([queue])
        self._hall.listen(queue.name, self._key, self._announced)
        if queue.name not in self._queues:
            self._queues.append(queue.name)
        self._look_soon()

    async def unsubscribe(self, queue: str) -> None:
        """See `Consumer.unsubscribe`."""
        self._hall.forget(queue, self._key)
        if queue in self._queues:
            self._queues.remove(queue)

    async def begin(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """See `Consumer.begin`."""
        valid = [delivery for delivery in batch if delivery.receipt in self._held]
        self._begun.update(delivery.receipt for delivery in valid)
        self._look_soon()
        return valid

    def ack(self, delivery: Delivery) -> None:
        """See `Consumer.ack`."""
        self._release(delivery)

    def requeue(
        self, delivery: Delivery, *, front: bool = True, count: bool = True, ran: bool = True
    ) -> None:
        """See `Consumer.requeue`."""
        item = self._release(delivery)
        if item is not None:
            item.deliveries -= not count
            item.returned = item.returned or ran
            self._hall.put_back([item], front=front)

    def park(self, delivery: Delivery, due: float) -> None:
        """See `Consumer.park`."""
        item = self._release(delivery)
        if item is not None:
            item.deliveries -= 1
            item.due = due
            self._hall.put_back([item])

    def bury(self, delivery: Delivery, reason: str) -> None:
        """See `Consumer.bury`."""
        item = self._release(delivery)
        if item is not None:
            self._hall.bury(item, reason, self._options.dead_letter_limit, self._options.dead_letter_ttl)

    async def flush(self) -> None:
        """See `Consumer.flush`."""

    def quiet_for(self) -> float:
        """See `Consumer.quiet_for`: nothing is far away."""
        return 0.0

    def reconnect(self, why: str) -> None:
        """See `Consumer.reconnect`: there is no connection."""

    async def stop(self) -> None:
        """See `Consumer.stop`."""
        for queue in self._queues:
            self._hall.forget(queue, self._key)
        self._queues = []
        self._window = 0
        if self._timer is not None:
            self._timer.cancel()
        back = [item for receipt, item in self._held.items() if receipt not in self._begun]
        self._held.clear()
        self._begun.clear()
        self._hall.put_back(back)

    def _release(self, delivery: Delivery) -> Item | None:
        self._begun.discard(delivery.receipt)
        self._look_soon()
        return self._held.pop(delivery.receipt, None)

    def _announced(self) -> None:
        """Something came in; called in any thread."""
        assert self._loop is not None
        if not self._looking:
            self._looking = True
            try:
                self._loop.call_soon_threadsafe(self._look)
            except RuntimeError:
                self._looking = False  # the loop is closed: whoever ran it did not stop the consumer

    def _look_soon(self) -> None:
        if not self._looking and self._loop is not None:
            self._looking = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        """Take what may be had."""
        self._looking = False
        room = self._window - (len(self._held) - len(self._begun))
        if room <= 0 or not self._queues:
            return
        self._queues.append(self._queues.pop(0))
        items, due = self._hall.take(self._queues, room)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None and len(items) < room:
            assert self._loop is not None
            self._timer = self._loop.call_later(max(due - time.time(), 0.0), self._look)
        if items:
            assert self._intake is not None
            try:
                self._intake.delivered([self._delivery(item) for item in items])
            except Exception as error:  # noqa: BLE001 - what it was told is lost: better a dead worker than a deaf one
                self._intake.broken(error)

    def _delivery(self, item: Item) -> Delivery:
        receipt = next(self._receipts)
        self._held[receipt] = item
        return item.delivery(receipt)
