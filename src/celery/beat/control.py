"""Beat in remote control: it answers `ping`, so that one can see that it lives."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from celery.app.broadcasts import matches, packed, request_exchange, unpacked
from celery.brokers import publishing
from celery.message.serializers import prepare_accept_content
from celery.utils.nodenames import default_nodename, host_format

if TYPE_CHECKING:
    from celery.brokers.base import Broker, Delivery

    from .service import Service

__all__ = ("BeatPidbox", "beat_nodename")

logger = logging.getLogger("celery.beat")

#: The part of beat's name before the `@`.
NODENAME_DEFAULT = "celerybeat"
#: Seconds for an answer.
_WITHIN = 5.0


def beat_nodename(hostname: str | None = None) -> str:
    """The name of a beat: `celerybeat@host`; one without `@` gets the name, with `%h` and so on expanded."""
    if not hostname:
        return host_format(default_nodename(f"{NODENAME_DEFAULT}@%h"))
    return host_format(hostname if "@" in hostname else f"{NODENAME_DEFAULT}@{hostname}")


class BeatPidbox:
    """A thread that answers `ping` for a service, as long as that ticks."""

    #: Seconds to wait for the thread's end.
    join_timeout = 3.0
    #: Seconds without a tick after which it is silent, at least.
    min_tick_age = 60.0
    #: Seconds between attempts to be reachable.
    retry_interval = 5.0

    def __init__(self, service: Service) -> None:
        self.service = service
        self.app = service.app
        self._loop: asyncio.AbstractEventLoop | None = None
        self._serving: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="celery-beat-control", daemon=True)

    # -- whether beat lives

    @property
    def max_tick_age(self) -> float:
        """Seconds without a tick after which it is silent: `beat_remote_control_max_tick_age`, or twice the interval
        between two looks at the schedule, but at least `min_tick_age`."""
        configured = self.app.conf.beat_remote_control_max_tick_age
        if configured is not None:
            return float(configured)
        return float(max(2 * self.service.scheduler.max_interval, self.min_tick_age))

    def tick_age(self) -> float:
        """Seconds since the last tick."""
        return time.monotonic() - self.service.last_tick

    def is_stale(self) -> bool:
        """Whether it hangs."""
        return self.tick_age() > self.max_tick_age

    def fanout_support(self) -> bool:
        """Whether the broker can tell everybody."""
        return bool(self.app.broker_for_read().capabilities.fanout)

    # -- the thread

    def start(self) -> None:
        """Begin to answer; without fanout a warning says that it cannot."""
        if not self.fanout_support():
            logger.warning("beat: no remote control: this broker has no fanout")
            return
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        if not self._thread.is_alive():
            return
        if self._loop is not None and self._serving is not None:
            self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join(self.join_timeout)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except asyncio.CancelledError:
            return

    async def _serve(self) -> None:
        self._loop, self._serving = asyncio.get_running_loop(), asyncio.current_task()
        while True:
            try:
                await self._answer_all(self.app.broker_for_read())
            except Exception as error:  # noqa: BLE001 - whatever the driver raised: it is tried again
                logger.warning("beat: no remote control for the moment: %s", error)
                await asyncio.sleep(self.retry_interval)

    async def _answer_all(self, broker: Broker) -> None:
        conf, name = self.app.conf, self.service.hostname
        namespace = str(conf.control_exchange)
        mailbox = await broker.mailbox(
            f"{name}.{namespace}.pidbox",
            request_exchange(namespace),
            "",
            expires=conf.control_queue_expires,
            ttl=conf.control_queue_ttl,
            durable=bool(conf.control_queue_durable),
            exclusive=bool(conf.control_queue_exclusive),
        )
        try:
            while True:
                for delivery in await mailbox.receive():
                    try:
                        await self._take(delivery)
                    except Exception as error:  # noqa: BLE001 - a message must never end this
                        logger.warning("beat: a message to remote control is not answered: %r", error)
        finally:
            await mailbox.aclose()

    async def _take(self, delivery: Delivery) -> None:
        body = unpacked(delivery, prepare_accept_content([*self.app.conf.accept_content, "json"]))
        if isinstance(body, dict) and body.get("reply_to") and self._is_ping_for_us(body):
            await self._reply(body)

    def _is_ping_for_us(self, body: dict[str, Any]) -> bool:
        if body.get("method") != "ping" or self.is_stale():
            return False
        name, destination, pattern = self.service.hostname, body.get("destination"), body.get("pattern")
        if destination:
            return name in destination
        return not pattern or matches(pattern, body.get("matcher"), name)

    async def _reply(self, body: dict[str, Any]) -> None:
        broker, reply_to = self.app.broker_for_write(), body["reply_to"]
        headers = {"ticket": body.get("ticket"), "clock": self.app.clock.forward()}
        message = packed(
            {self.service.hostname: {"ok": "pong"}},
            headers,
            reply_to["exchange"],
            reply_to["routing_key"],
            mode=1,
        )
        policy = self.app.amqp.snapshot.policy
        (outcome,) = await publishing.apublish(
            broker.publisher(), [message], policy, time.monotonic() + _WITHIN, url=broker.url
        )
        if outcome is not None:
            logger.debug("beat: nobody got the answer: %s", outcome)
