"""A worker's consumer of a kombu transport: the loop's side of a `Drainer`."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from .drainer import Drainer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery.brokers.base import BrokerOptions, Delivery, Intake
    from celery.brokers.topology import Queue

    from .links import Link, LinkPool


class KombuConsumer:
    """See `Consumer`.

    No lease is kept: what a dead worker held comes back when, and if, the transport says so
    (`Capabilities.recovers`), and what it had begun is gone, as with stock Celery.
    """

    def __init__(self, pool: LinkPool, options: BrokerOptions, worker_id: str) -> None:
        self._pool = pool
        self._options = options
        self._worker_id = worker_id
        self._drainer: Drainer | None = None

    @property
    def _work(self) -> Drainer:
        assert self._drainer is not None, "not started"
        return self._drainer

    async def start(self, queues: Sequence[Queue], intake: Intake) -> None:
        """See `Consumer.start`."""
        loop = asyncio.get_running_loop()
        self._drainer = Drainer(self._pool, self._options, loop, intake, self._worker_id)
        ready = loop.create_future()
        self._drainer.order(partial(self._drainer.begin_work, list(queues)), ready)
        self._drainer.start()
        try:
            await ready
        except BaseException:
            self._drainer.quit()
            raise

    def allow(self, window: int) -> None:
        """See `Consumer.allow`."""
        self._work.allow(window)

    async def subscribe(self, queue: Queue) -> None:
        """See `Consumer.subscribe`."""
        await self._ask(partial(self._work.subscribe, queue))

    async def unsubscribe(self, queue: str) -> None:
        """See `Consumer.unsubscribe`."""
        await self._ask(partial(self._work.unsubscribe, queue))

    async def begin(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """See `Consumer.begin`. The transport is told that they are done with."""
        valid = await self._ask(partial(self._work.begin, [delivery.receipt for delivery in batch]))
        return [delivery for delivery in batch if delivery.receipt.number in valid]

    def ack(self, delivery: Delivery) -> None:
        """See `Consumer.ack`."""
        self._work.order(partial(self._work.acknowledge, delivery.receipt))

    def requeue(
        self, delivery: Delivery, *, front: bool = True, count: bool = True, ran: bool = True
    ) -> None:
        """See `Consumer.requeue`. It comes behind all others: no transport has another place."""
        del front
        self._work.order(partial(self._work.give_back, delivery.receipt, count=count, ran=ran))

    def park(self, delivery: Delivery, due: float) -> None:
        """See `Consumer.park`. It waits in this worker, and goes back into the queue when the consumer stops."""
        self._work.order(partial(self._work.park, delivery.receipt, due))

    def bury(self, delivery: Delivery, reason: str) -> None:
        """See `Consumer.bury`."""
        self._work.order(partial(self._work.set_aside, delivery.receipt, reason))

    async def flush(self) -> None:
        """See `Consumer.flush`."""
        await self._ask(lambda link: None)

    def quiet_for(self) -> float:
        """See `Consumer.quiet_for`."""
        return self._work.quiet_for()

    def reconnect(self, why: str) -> None:
        """See `Consumer.reconnect`."""
        self._work.reconnect(why)

    async def stop(self) -> None:
        """See `Consumer.stop`."""
        if self._drainer is None or not self._drainer.alive:
            return
        try:
            await self._ask(self._work.finish)
        finally:
            self._work.quit()
        await asyncio.to_thread(self._work.join, 1.0)

    async def _ask(self, work: Callable[[Link], Any]) -> Any:
        answer = asyncio.get_running_loop().create_future()
        self._work.order(work, answer)
        return await answer
