"""A mailbox over a kombu transport: a queue of its own, drained by a thread of its own."""

# kombu is typed in parts only.
# mypy: disable-error-code="no-untyped-call,attr-defined,assignment,union-attr,misc,arg-type,no-any-return"

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

from kombu import Consumer

from celery.net.backoff import Backoff

from . import conversion
from .entities import kombu_queue
from .links import explained

if TYPE_CHECKING:
    from celery.brokers.base import Delivery
    from celery.brokers.topology import Queue

    from .links import Link, LinkPool

logger = logging.getLogger("celery.brokers.kombu")

#: Seconds between polls, doubling between these.
FIRST_PAUSE = 0.01
LONGEST_PAUSE = 0.5


class KombuMailbox:
    """See `Mailbox`."""

    def __init__(self, pool: LinkPool, queue: Queue) -> None:
        self._queue = queue
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._arrived: asyncio.Queue[Delivery] = asyncio.Queue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"celery-mailbox-{queue.name}", daemon=True)

    async def open(self) -> None:
        """Start to receive.

        Raises:
            BrokerUnavailable, BrokerRefused: as they say.
        """
        self._thread.start()
        await self._ready

    async def receive(self) -> list[Delivery]:
        """See `Mailbox.receive`."""
        found = [await self._arrived.get()]
        while not self._arrived.empty():
            found.append(self._arrived.get_nowait())
        return found

    async def aclose(self) -> None:
        """See `Mailbox.aclose`."""
        self._closing.set()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        backoff = Backoff()
        while not self._closing.is_set():
            try:
                link = self._pool.open()
                try:
                    self._serve(link, backoff)
                finally:
                    link.close()
            except Exception as error:  # noqa: BLE001 - as in the drainer
                failure = explained(self._pool.url, error, connecting=not self._ready.done())
                if not self._ready.done():
                    self._tell(self._settle, failure)
                    return
                logger.warning("A mailbox lost its broker (%s); connecting again", failure)
                self._closing.wait(backoff.next())

    def _serve(self, link: Link, backoff: Backoff) -> None:
        channel = link.channel
        channel.Message = conversion.tolerant(channel.Message)
        link.declare([self._queue], anew=True)
        consumer = Consumer(
            channel, [kombu_queue(self._queue)], no_ack=True, auto_declare=False, on_message=self._took
        )
        consumer.consume()
        self._tell(self._settle, None)
        backoff.reset()
        pause = FIRST_PAUSE
        while not self._closing.is_set():
            try:
                link.connection.drain_events(timeout=0 if link.transport.polling_interval else FIRST_PAUSE)
                pause = FIRST_PAUSE
            except TimeoutError:
                self._closing.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
        consumer.cancel()
        channel.queue_delete(self._queue.name)

    def _took(self, message: Any) -> None:
        delivery = conversion.delivery_of(message, self._queue.name, None)
        self._tell(self._arrived.put_nowait, delivery)

    def _settle(self, failure: Exception | None) -> None:
        if self._ready.done():
            return
        if failure is None:
            self._ready.set_result(None)
        else:
            self._ready.set_exception(failure)

    def _tell(self, fun: Any, *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(fun, *args)
        except RuntimeError:  # the loop has ended: nobody reads any more
            self._closing.set()
