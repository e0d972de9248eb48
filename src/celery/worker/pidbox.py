"""A worker's mailbox for remote control: opened when the worker has connected, and again whenever its broker is lost.

Commands are read here, on the worker's loop, and carried out elsewhere: Celery's on a thread that nothing of the user's
can hold up, those of the user's own code on the extension thread. Neither that thread nor the commands are there before the
first message comes.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from celery.app.broadcasts import matches, request_exchange, unpacked
from celery.brokers.base import BrokerError, BrokerRefused, Listener
from celery.message.serializers import prepare_accept_content

from .extension import ExtensionThread
from .link import wait_before

if TYPE_CHECKING:
    from celery.brokers.base import Broker, Consumer, Delivery, Mailbox

    from .control import Desk

logger = logging.getLogger("celery.worker.pidbox")

#: Seconds that the mailbox may take before the worker begins without it.
OPEN_WITHIN = 2.0


class Pidbox:
    """Receives commands.

    Args:
        controller: the `WorkController` they are for.
    """

    def __init__(self, controller: Any, broker: Broker) -> None:
        self._controller = controller
        self._app = controller.app
        self._hostname: str = controller.hostname
        self._broker = broker
        self._accept = prepare_accept_content([*self._app.conf.accept_content, "json"])
        self._serving: asyncio.Task[None] | None = None
        self._opened: asyncio.Event | None = None
        self._thread: ExtensionThread | None = None
        self._desk: Desk | None = None
        self._consumer: Consumer | None = None

    # -- on the loop ------------------------------------------------------------------------------
    @property
    def possible(self) -> bool:
        """Whether the broker can deliver commands at all."""
        return self._broker.capabilities.fanout

    async def open(self, consumer: Consumer) -> None:
        """Be ready for commands; if the broker does not let us, go on trying, and return.

        Args:
            consumer: the worker's: its connection is used, if its driver can do that.
        """
        self._consumer = consumer
        if self._serving is not None:
            return
        if not self.possible:
            logger.warning(
                "This broker has no fanout: remote control of this worker (inspect, control, revoke) is not possible"
            )
            return
        self._opened = asyncio.Event()
        self._serving = asyncio.get_running_loop().create_task(self._serve())
        waiting = asyncio.ensure_future(self._opened.wait())
        await asyncio.wait([waiting, self._serving], timeout=OPEN_WITHIN, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def close(self) -> None:
        """Take no more commands."""
        serving, self._serving = self._serving, None
        if serving is not None:
            serving.cancel()
            await asyncio.wait([serving], timeout=OPEN_WITHIN)

    def end(self) -> None:
        """End the thread of commands."""
        if self._thread is not None:
            self._thread.stop(OPEN_WITHIN)

    async def _serve(self) -> None:
        assert self._opened is not None
        attempt = 0
        while True:
            try:
                mailbox = await self._open_mailbox()
            except Exception as error:  # noqa: BLE001 - whatever its driver raised: it is tried again
                attempt += 1
                if attempt == 1 and (isinstance(error, BrokerRefused) or not isinstance(error, BrokerError)):
                    logger.error("Remote control of this worker is not possible at present: %s", error)
                    self._opened.set()  # nobody need wait for it
                logger.debug("no mailbox yet: %s", error)
                await asyncio.sleep(wait_before(attempt))
                continue
            self._opened.set()
            attempt = 0
            try:
                await self._receive(mailbox)
            except Exception as error:  # noqa: BLE001 - whatever its driver raised: it is made anew
                logger.error("The mailbox for remote control was lost (%r); it is opened again", error)
                await asyncio.sleep(wait_before(1))
            finally:
                await self._close_mailbox(mailbox)

    async def _open_mailbox(self) -> Mailbox:
        conf = self._app.conf
        namespace = str(conf.control_exchange)
        name, exchange = f"{self._hostname}.{namespace}.pidbox", request_exchange(namespace)
        if isinstance(self._consumer, Listener):
            return await self._consumer.listen(name, exchange, expires=conf.control_queue_expires)
        return await self._broker.mailbox(
            name,
            exchange,
            "",
            expires=conf.control_queue_expires,
            ttl=conf.control_queue_ttl,
            durable=bool(conf.control_queue_durable),
            exclusive=bool(conf.control_queue_exclusive),
        )

    async def _close_mailbox(self, mailbox: Mailbox) -> None:
        try:
            await mailbox.aclose()
        except Exception as error:  # noqa: BLE001 - it expires by itself
            logger.debug("mailbox not closed: %r", error)

    async def _receive(self, mailbox: Mailbox) -> None:
        while True:
            for delivery in await mailbox.receive():
                try:
                    self._take(delivery)
                except Exception as error:  # noqa: BLE001 - a message must never end this
                    logger.warning("A message to remote control cannot be read: %r", error)

    def _take(self, delivery: Delivery) -> None:
        body = unpacked(delivery, self._accept)
        self._app.clock.adjust(delivery.headers.value.get("clock") or 0)
        if not isinstance(body, dict) or not self._is_for_us(body):
            return
        if self._thread is None:
            self._thread = ExtensionThread(name="celery-control")
        self._thread.call(self._carry_out, body)

    def _is_for_us(self, body: dict[str, Any]) -> bool:
        destination, pattern = body.get("destination"), body.get("pattern")
        if destination:
            return self._hostname in destination
        return not pattern or matches(pattern, body.get("matcher"), self._hostname)

    # -- on the thread of commands ----------------------------------------------------------------
    def _carry_out(self, body: dict[str, Any]) -> None:
        if self._desk is None:
            from .control import Desk  # noqa: PLC0415 - most workers are never asked anything

            self._desk = Desk(self._controller)
        self._desk.handle(body)
