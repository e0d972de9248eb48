"""Sending a worker's events: in groups, in the order in which things happened, and never in anybody's way.

What is said while a group is on its way goes with the next one, and there is a short pause between two, so that groups grow
with the load; a lone event goes at once. While the broker is away events wait, a bounded number of them: then the oldest
go. They are sent while the worker's link to its broker is up, few at a time over the consumer's own connection where its
driver can do that, and are no concern of the tasks' in any case.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from celery.brokers.base import Broadcaster, BrokerError, Outgoing, Unroutable
from celery.message import events
from celery.message.headers import LazyObject
from celery.utils.time import utcoffset

from .heartbeat import Heart
from .task_events import TaskEvents

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery.brokers.base import Consumer, Publisher

    from .extension import ExtensionThread
    from .options import WorkerOptions
    from .state import WorkerState

logger = logging.getLogger("celery.worker.events")

#: Events that may wait.
MOST = 10_000
#: Task events in one message.
TOGETHER = 250
#: Of more events than this the first one asks whether anybody listens.
ASKED_FROM = 10
#: Bytes of a message that may go by the consumer's own connection. More would hold up tasks and acknowledgements there.
RIDES = 8192
#: Seconds from one write to the next, and to the next attempt after one that failed.
PAUSE = 0.02
AGAIN = 1.0
#: Seconds one write may take.
WITHIN = 10.0
#: The group of events that can be switched on and off, as Celery's log names it.
TASKS = "task"


class EventSender:
    """A worker's way to those who listen.

    Args:
        consumer: the worker's consumer, None if there is none.

    Attributes:
        tasks: makes the events of tasks; None while these are off. Whoever has something to tell looks here.
        heart: sends signs of life.
    """

    def __init__(
        self,
        app: Any,
        options: WorkerOptions,
        state: WorkerState,
        extension: ExtensionThread,
        consumer: Callable[[], Consumer | None],
    ) -> None:
        self.app = app
        self.hostname = options.hostname
        self.tasks: TaskEvents | None = None
        self.heart = Heart(
            options.hostname,
            app.clock,
            state,
            extension,
            self.add,
            interval=options.heartbeat_interval,
            slots=options.concurrency,
        )
        #: Called with whether task events are on, whenever that changes.
        self.switched: Callable[[bool], None] = lambda on: None
        self._consumer = consumer
        self._exchange = app.conf.event_exchange
        self._serializer = app.conf.event_serializer or "json"
        self._headers = LazyObject(value={"hostname": options.hostname})
        self._properties: dict[tuple[str, str], LazyObject] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[Any] = deque()
        self._dropped = 0
        self._up = False
        self._sending: asyncio.Task[None] | None = None
        self._publisher: Publisher | None = None

    # -- any thread -------------------------------------------------------------------------------
    def enable(self) -> bool:
        """Switch task events on; False if they are."""
        if self.tasks is not None:
            return False
        self.tasks = TaskEvents(self.hostname, self.app.clock, self.add)
        self.heart.keen = True
        self.switched(True)
        return True

    def disable(self) -> bool:
        """Switch task events off; False if they are."""
        if self.tasks is None:
            return False
        self.tasks = None
        self.heart.keen = False
        self.switched(False)
        return True

    def answer(self) -> None:
        """Send a heartbeat to whoever has asked for one."""
        self._on_loop(self.heart.answer)

    def announce(self) -> None:
        """Say anew that this worker is here."""
        self._on_loop(self._announce)

    def send(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's name
        """Send an event of somebody else's."""
        event = {
            "hostname": self.hostname,
            "utcoffset": utcoffset(),
            "pid": os.getpid(),
            "clock": self.app.clock.forward(),
            **fields,
            "timestamp": time.time(),
            "type": type,
        }
        self._on_loop(self.add, event)

    def close(self) -> None:
        """After the loop's end: let go of connection and thread that only events had use for. Whoever sends something
        else in this process gets others."""
        if self._publisher is not None:
            self._publisher.close()

    def _on_loop(self, fun: Callable[..., Any], *args: Any) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            try:
                loop.call_soon_threadsafe(fun, *args)
            except RuntimeError:  # it was closed this instant
                logger.debug("an event came after the worker had ended")

    # -- on the loop ------------------------------------------------------------------------------
    def start(self) -> None:
        """The worker has connected for the first time."""
        self._loop = asyncio.get_running_loop()
        self.linked(True)

    def linked(self, up: bool) -> None:
        """The worker's link to its broker is up, or down."""
        if self._loop is None:
            return
        self._up = up
        if up:
            self.heart.start(self._loop)
            self._send_soon()
        else:
            self.heart.stop()

    def add(self, event: Any) -> None:
        """Have an event sent: a task event, or a dict."""
        waiting = self._waiting
        waiting.append(event)
        if len(waiting) > MOST:
            waiting.popleft()
            self._dropped += 1
        if self._sending is None:
            self._send_soon()

    async def farewell(self, seconds: float) -> None:
        """Say that this worker is gone, and return when all is sent; wait no longer than `seconds`."""
        if self._loop is None:
            return
        self.heart.farewell()
        sending = self._sending
        if sending is not None:
            await asyncio.wait([sending], timeout=seconds)
            sending.cancel()
        self._up = False

    def _announce(self) -> None:
        if self._loop is not None and self._up:
            self.heart.start(self._loop)

    def _send_soon(self) -> None:
        if self._up and self._waiting and (self._sending is None or self._sending.done()):
            assert self._loop is not None
            self._sending = self._loop.create_task(self._send_all())

    async def _send_all(self) -> None:
        try:
            while self._waiting and self._up:
                batch = list(self._waiting)
                self._waiting.clear()
                pause = PAUSE if await self._sent(batch) else AGAIN
                await asyncio.sleep(pause)
        finally:
            self._sending = None

    async def _sent(self, batch: list[Any]) -> bool:
        """Send events. False if they may go later; what cannot be sent at all is logged and dropped."""
        if self.tasks is not None:
            self.tasks.offset = utcoffset()
        try:
            if len(batch) > ASKED_FROM:
                batch = await self._wanted(batch)
            messages = self._messages(batch)
            outcomes = await self._publish(messages) if messages else ()
        except (BrokerError, TimeoutError) as error:
            logger.debug("Events are not sent yet: %r", error)
            self._put_back(batch)
            return False
        except Exception as error:
            logger.error("%d events could not be sent: %r", len(batch), error, exc_info=error)
            return True
        self._hear(messages, outcomes)
        if self._dropped:
            logger.warning("%d events were dropped while the broker did not take any", self._dropped)
            self._dropped = 0
        return True

    async def _wanted(self, batch: list[Any]) -> list[Any]:
        """Send the first task event alone. If nobody listens to it, the others need not be written: whoever begins to
        listen now does so after they happened."""
        at = next((index for index, event in enumerate(batch) if isinstance(event, events.TaskEvent)), None)
        if at is None:
            return batch
        first = self._message([batch[at]], events.TASK_GROUP)
        first.mandatory = True
        (outcome,) = await self._publish([first])
        if isinstance(outcome, Unroutable):
            return [event for event in batch if not isinstance(event, events.TaskEvent)]
        return batch[:at] + batch[at + 1 :]

    # What leaves under load has a connection of its own, which is opened when it is first needed.
    async def _publish(self, messages: Sequence[Outgoing]) -> Sequence[BrokerError | None]:
        consumer, broker = self._consumer(), self.app.broker_for_write()
        few = len(messages) == 1 and len(messages[0].body) <= RIDES
        if few and isinstance(consumer, Broadcaster) and broker is self.app.broker_for_read():
            return await asyncio.wait_for(consumer.broadcast(messages), WITHIN)
        publisher = self._publisher = broker.publisher()
        outcomes: Sequence[BrokerError | None] = await publisher.apublish(
            messages, deadline=time.monotonic() + WITHIN
        )
        return outcomes

    def _hear(self, messages: Sequence[Outgoing], outcomes: Sequence[BrokerError | None]) -> None:
        for message, outcome in zip(messages, outcomes, strict=True):
            if message.mandatory and len(messages) == 1:  # a publisher for Redis does not know who listens
                self.heart.heard(outcome is None)
            if outcome is not None and not isinstance(outcome, Unroutable):
                logger.debug("An event was refused: %s", outcome)

    def _put_back(self, batch: list[Any]) -> None:
        room = MOST - len(self._waiting)
        kept = batch[-room:] if room > 0 else []
        self._dropped += len(batch) - len(kept)
        self._waiting.extendleft(reversed(kept))

    def _messages(self, batch: list[Any]) -> list[Outgoing]:
        """Task events that follow one another go together; any other goes alone."""
        messages: list[Outgoing] = []
        group: list[Any] = []
        for event in batch:
            known = isinstance(event, events.TaskEvent)
            if known or events.group_from(event["type"]) == TASKS:
                group.append(event)
                if len(group) < TOGETHER:
                    continue
            if group:
                messages.append(self._message(group, events.TASK_GROUP))
                group = []
            if not known and events.group_from(event["type"]) != TASKS:
                messages.append(self._message(event, events.routing_key_of(event["type"])))
        if group:
            messages.append(self._message(group, events.TASK_GROUP))
        return messages

    def _message(self, payload: Any, routing_key: str) -> Outgoing:
        content_type, encoding, body = events.encode(payload, self._serializer)
        properties = self._properties.get((content_type, encoding))
        if properties is None:
            properties = self._properties[content_type, encoding] = LazyObject(
                value={"content_type": content_type, "content_encoding": encoding, "delivery_mode": 1}
            )
        # A heartbeat is also a question: does anybody listen?
        asks = routing_key.startswith("worker.")
        return Outgoing(body, self._headers, properties, self._exchange, routing_key, mandatory=asks)
