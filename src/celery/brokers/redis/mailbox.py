"""Mailboxes: channels for fanout, as kombu names them, and lists for replies."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from celery.brokers.base import BrokerError
from celery.brokers.topology import Queue
from celery.net.backoff import Backoff
from celery.wire.resp import ErrorReply, pack, pack_all

from . import messages
from .aio import Link
from .errors import translate
from .locate import locator_of

if TYPE_CHECKING:
    from celery.brokers.base import Delivery
    from celery.brokers.topology import Exchange
    from celery.wire.resp import Command

    from .broker import RedisBroker

#: At most so many messages of a list at once.
_BATCH = 1000
#: Messages that nobody has come for: the oldest go.
_MOST_WAITING = 100_000


class RedisMailbox:
    """See `Mailbox`. One connection each; made again by itself when it is lost.

    A fanout or topic exchange is a channel: who listens gets what is said from then on. Any other exchange is bound to
    a list that lives for `expires` seconds after its last use.
    """

    def __init__(
        self, broker: RedisBroker, name: str, exchange: Exchange, routing_key: str, *, expires: float
    ) -> None:
        self._broker = broker
        self._queue = Queue(name, exchange, routing_key, auto_delete=True, expires=expires)
        self._expires = expires
        self._fanout = exchange.type in ("fanout", "topic")
        self._waiting: list[Delivery] = []
        self._news = asyncio.Event()
        self._link: Link | None = None
        self._closed = False
        self._locator = locator_of(broker.settings)
        self._task: asyncio.Task[None] | None = None
        broker.exchanges.learn(exchange, channel=self._fanout)

    async def open(self) -> None:
        """Be ready to receive. Raises `BrokerError`."""
        try:
            await self._connect()
        except OSError as error:
            raise translate(error, self._broker.settings.url) from error

    async def _connect(self) -> None:
        broker = self._broker
        settings = broker.settings
        link = await Link.open(settings, self._locator, on_push=self._pushed)
        commands: list[Command] = []
        if self._fanout:
            pattern = broker.keys.channel_pattern(self._queue.exchange.name, self._queue.routing_key)
            # Others publish to the channel only while somebody is bound.
            commands = [*broker.exchanges.declaring(self._queue), ("PSUBSCRIBE", pattern), ("PING",)]
        else:
            commands = list(broker.exchanges.declaring(self._queue))
        count = len(commands) - (1 if self._fanout else 0)  # what PSUBSCRIBE says is a push
        try:
            async with asyncio.timeout(settings.connect_timeout):
                replies = await link.send(pack_all(commands), count) if commands else []
        except BaseException:
            link.close()
            raise
        for reply in replies:
            if isinstance(reply, ErrorReply):
                link.close()
                raise translate(reply, settings.url)
        if not link.is_open:
            raise translate(ConnectionResetError("Connection closed by server"), settings.url)
        link.on_lost = self._lost  # until here whoever called hears of it
        self._link = link
        reading = self._watch(link) if self._fanout else self._pop(link)
        self._task = asyncio.get_running_loop().create_task(reading)

    # -- lists ------------------------------------------------------------------------------------
    async def _pop(self, link: Link) -> None:
        """Take replies off the list as they come."""
        ready = self._broker.keys.ready(self._queue.name, 0)
        every = max(min(self._expires / 3, 10.0), 1.0)
        try:
            while True:
                for data in (pack("BLPOP", ready, f"{every:.3f}"), pack("LPOP", ready, _BATCH)):
                    async with asyncio.timeout(every + 10.0):
                        (reply,) = await link.send(data, 1)
                    if isinstance(reply, ErrorReply):
                        raise translate(reply, self._broker.settings.url)
                    for raw in (reply or ())[1 if data.startswith(b"*3\r\n$5\r\nBLPOP") else 0 :]:
                        self._take(raw)
                    if reply is None:
                        break
                link.tell("PEXPIRE", ready, int(self._expires * 1000))
        except TimeoutError:
            link.abort("no answer in time")
        except BrokerError as error:
            link.abort(str(error))

    # -- channels ---------------------------------------------------------------------------------
    async def _watch(self, link: Link) -> None:
        """Give up a connection that does not answer: on a channel silence means nothing by itself."""
        every = self._broker.options.heartbeat
        try:
            while every and link.is_open:
                await asyncio.sleep(every)
                async with asyncio.timeout(every):
                    await link.send(pack("PING"), 1)
        except TimeoutError:
            link.abort("no answer in time")
        except BrokerError:
            pass  # it was lost: `_lost` knows

    def _pushed(self, push: list[Any]) -> None:
        if push[0] == b"pmessage":
            self._take(push[3])

    def _take(self, raw: bytes) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            del self._waiting[0]
        self._waiting.append(messages.read(raw, self._queue.name, None))
        self._news.set()

    # -- the link ---------------------------------------------------------------------------------
    def _lost(self, error: BrokerError) -> None:
        self._link = None
        if self._task is not None:
            self._task.cancel()
        if not self._closed:
            self._task = asyncio.get_running_loop().create_task(self._reconnect())

    async def _reconnect(self) -> None:
        backoff = Backoff()
        while not self._closed:
            await asyncio.sleep(backoff.next())
            try:
                await self._connect()
            except (BrokerError, OSError):
                continue
            return

    # -- Mailbox ----------------------------------------------------------------------------------
    async def receive(self) -> list[Delivery]:
        """See `Mailbox.receive`."""
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        batch, self._waiting = self._waiting, []
        return batch

    async def aclose(self) -> None:
        """See `Mailbox.aclose`."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
        link, self._link = self._link, None
        if link is None:
            return
        try:
            async with asyncio.timeout(1.0):
                if not self._fanout:
                    # What is written behind a command that waits is carried out when its wait is over.
                    link.close()
                    link = await Link.open(self._broker.settings, self._locator)
                commands = list(self._broker.exchanges.undeclaring(self._queue))
                commands.append(("DEL", self._broker.keys.ready(self._queue.name, 0)))
                await link.send(pack_all(commands), len(commands))
        except (BrokerError, OSError, TimeoutError):
            pass  # it expires by itself
        finally:
            link.close()
