"""A mailbox: a queue of its own bound to an exchange, gone when nobody reads it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from celery.brokers.base import BrokerError
from celery.net.backoff import Backoff
from celery.wire.amqp.frames import Command, Message, method

from .incoming import Incoming, Receipt
from .link import SENDING
from .requests import declare_queue
from .session import Session, open_session

if TYPE_CHECKING:
    from celery.brokers.base import Delivery
    from celery.brokers.topology import Queue

    from .nodes import Nodes

logger = logging.getLogger(__name__)

_TAG = "mailbox"


class RabbitMailbox:
    """See `Mailbox`. Messages that are published while the connection is being made again are lost.

    Args:
        queue: to make, and to read.
    """

    def __init__(self, nodes: Nodes, queue: Queue) -> None:
        self._nodes = nodes
        self._queue = queue
        self._incoming = Incoming({}, {queue.name: queue})
        self._session: Session | None = None
        self._batch: list[Delivery] = []
        self._news = asyncio.Event()
        self._comeback: asyncio.Task[None] | None = None
        self._closed = False

    async def open(self) -> None:
        """Declare the queue: from now on messages come in.

        Raises:
            BrokerUnavailable, BrokerRefused: as they say.
        """
        tried = self._nodes.now
        try:
            session = await open_session(tried, self._on_events, self._on_lost)
        except BrokerError:
            self._nodes.failed(tried)
            raise
        try:
            for request in declare_queue(self._queue):
                await session.carry_out(request)
            session.ensure_open()  # it may have been lost with the last answer
        except BaseException:
            session.abort(None)
            raise
        self._session = session
        session.write(
            method(SENDING, "channel.open")
            + method(
                SENDING,
                "basic.consume",
                queue=self._queue.name,
                consumer_tag=_TAG,
                no_ack=True,
                nowait=True,
            )
        )

    def _on_events(self, events: list[Command | Message]) -> None:
        for event in events:
            if isinstance(event, Message):
                receipt = Receipt(0, 0, event.properties, None, None)
                delivery = self._incoming.made(event, self._queue.name, receipt)
                delivery.receipt = None
                self._batch.append(delivery)
            elif event.name in ("basic.cancel", "channel.close") and self._session is not None:
                self._session.abort(None)
        if self._batch:
            self._news.set()

    def _on_lost(self, error: BrokerError) -> None:
        session, self._session = self._session, None
        if session is not None and not self._closed:  # else whoever is opening it hears of it
            logger.debug("mailbox %s: %s", self._queue.name, error)
            self._comeback = asyncio.get_running_loop().create_task(self._come_back())

    async def _come_back(self) -> None:
        backoff = Backoff()
        while not self._closed:
            await asyncio.sleep(backoff.next())
            try:
                await self.open()
            except BrokerError as error:
                logger.debug("mailbox %s: %s", self._queue.name, error)
            else:
                return

    async def receive(self) -> list[Delivery]:
        """See `Mailbox.receive`."""
        while not self._batch:
            self._news.clear()
            await self._news.wait()
        batch, self._batch = self._batch, []
        return batch

    async def aclose(self) -> None:
        """See `Mailbox.aclose`."""
        self._closed = True
        if self._comeback is not None:
            self._comeback.cancel()
        session, self._session = self._session, None
        if session is not None:
            await session.close()
