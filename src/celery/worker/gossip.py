"""Following the neighbours: which workers come, go, or fall silent, and which of them does something for all.

Celery's workers listen to one another always. Ours begin when somebody wants to know: when the first handler is put into
`consumer.gossip.on`, or `follow` is called. Until then a worker hears of nobody, and takes part in no election.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from celery.brokers.base import BrokerError
from celery.brokers.topology import Exchange
from celery.message import serializers
from celery.message.serializers import prepare_accept_content

from .link import wait_before

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.brokers.base import Delivery, Mailbox

logger = logging.getLogger("celery.worker.consumer.gossip")

#: Seconds between two looks for those who have fallen silent.
LOOK_EVERY = 5.0
#: Seconds until an election is decided by those who stand.
DECIDED_WITHIN = 2.0
#: Seconds for leaving the neighbours at the end.
CLOSED_WITHIN = 2.0
#: The version of what is said in an election.
VERSION = 1


class Handlers(set[Any]):
    """Functions of a worker (`celery.events.state.Worker`); the first one makes the gossip follow."""

    def __init__(self, follow: Callable[[], None]) -> None:
        super().__init__()
        self._follow = follow

    def add(self, handler: Any) -> None:
        """Call `handler` from now on, on the worker's extension thread."""
        super().add(handler)
        self._follow()


class Gossip:
    """What `consumer.gossip` is.

    Args:
        consumer: the facade (`celery.worker.consumer.Consumer`) of its worker.

    Attributes:
        on: `node_join`, `node_leave` and `node_lost`, sets of handlers.
        election_handlers: by topic, called with the action by the worker that was elected.
        state: the neighbours, a `celery.events.state.State`; None until they are followed.
    """

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self.app = consumer.app
        self.hostname = consumer.hostname
        self.enabled = not consumer.controller.options.get("without_gossip")
        self.on = SimpleNamespace(
            node_join=Handlers(self.follow), node_leave=Handlers(self.follow), node_lost=Handlers(self.follow)
        )
        self.election_handlers: dict[str, Callable[[Any], Any]] = {"task": self.call_task}
        self.state: Any = None
        self._lock = threading.Lock()
        self._wanted = False
        self._following: asyncio.Task[None] | None = None
        self._elections: dict[str, _Election] = {}

    # -- any thread -------------------------------------------------------------------------------
    def follow(self) -> None:
        """Listen to the neighbours from now on, or from when this worker is ready."""
        with self._lock:
            self._wanted = True
        core = self._consumer.controller.core
        if core is not None:
            core.call_soon(self._start)

    def ready(self) -> None:
        """The worker is ready."""
        if self._wanted:
            self.follow()

    def election(self, id: str, topic: str, action: Any = None) -> None:  # noqa: A002 - Celery's name
        """Stand for election, if this worker follows the others: who wins does `action`."""
        if self._following is not None:
            self._send("worker-elect", id=id, topic=topic, action=action, cver=VERSION)

    def call_task(self, task: Any) -> None:
        """Call the signature that an election was about."""
        try:
            self.app.signature(task).apply_async()
        except Exception as exc:
            logger.exception("Could not call task: %r", exc)

    def _send(self, kind: str, **fields: Any) -> None:
        self._consumer.event_dispatcher.send(kind, **fields)

    # -- on the loop ------------------------------------------------------------------------------
    def _start(self) -> None:
        if self.enabled and self._following is None:
            from celery.events.state import State  # noqa: PLC0415 - most workers follow nobody

            self.state = State(on_node_join=self._joined, on_node_leave=self._left, max_tasks_in_memory=1)
            self._following = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        """Listen no more."""
        self.enabled = False
        following = self._following
        if following is not None:
            following.cancel()
            # An open connection would hold up the end of the loop for as long as the server keeps it.
            await asyncio.wait([following], timeout=CLOSED_WITHIN)

    async def _follow(self) -> None:
        attempt = 0
        while True:
            try:
                box = await self._open()
            except BrokerError as error:
                attempt += 1
                logger.debug("no news of neighbours yet: %s", error)
                await asyncio.sleep(wait_before(attempt))
                continue
            try:
                # They are asked who they are: a heartbeat of each says so.
                self._consumer.call_soon(self.app.control.heartbeat)
                await self._listen(box)
            finally:
                await box.aclose()

    async def _open(self) -> Mailbox:
        conf = self.app.conf
        opened: Mailbox = await self.app.broker_for_read().mailbox(
            f"{conf.event_queue_prefix}.{uuid.uuid4()}",
            Exchange(conf.event_exchange, "topic"),
            "worker.#",
            expires=conf.event_queue_expires,
            ttl=conf.event_queue_ttl,
        )
        return opened

    async def _listen(self, box: Mailbox) -> None:
        loop = asyncio.get_running_loop()
        look_at = loop.time() + LOOK_EVERY
        hearing: asyncio.Future[list[Delivery]] = asyncio.ensure_future(box.receive())
        try:
            while True:
                await asyncio.wait([hearing], timeout=max(look_at - loop.time(), 0))
                if hearing.done():
                    for delivery in hearing.result():
                        self._read(delivery)
                    hearing = asyncio.ensure_future(box.receive())
                if loop.time() >= look_at:
                    look_at = loop.time() + LOOK_EVERY
                    self._look_for_lost()
        finally:
            hearing.cancel()

    def _read(self, delivery: Delivery) -> None:
        accept = prepare_accept_content({self.app.conf.event_serializer, "json"})
        properties = delivery.properties.value
        try:
            event = serializers.loads(
                delivery.body, properties.get("content_type"), properties.get("content_encoding"), accept
            )
            self._hear(event)
        except Exception as error:  # noqa: BLE001 - whatever others send
            logger.warning("An event of a neighbour could not be read: %r", error)

    def _hear(self, event: dict[str, Any]) -> None:
        self.app.clock.adjust(event.get("clock") or 0)
        if event["type"] == "worker-elect":
            self._nominate(event)
        elif event["type"] == "worker-elect-ack":
            self._count(event)
        elif event["hostname"] != self.hostname:
            event["local_received"] = event["timestamp"] = time.time()
            self.state.event(event)

    def _look_for_lost(self) -> None:
        for worker in self.state.workers.values():
            if worker.heartbeats and not worker.alive:
                logger.info("missed heartbeat from %s", worker.hostname)
                self.state.workers.pop(worker.hostname, None)
                self._tell(self.on.node_lost, worker)

    def _joined(self, worker: Any) -> None:
        logger.debug("%s joined the party", worker.hostname)
        self._tell(self.on.node_join, worker)

    def _left(self, worker: Any) -> None:
        logger.debug("%s left", worker.hostname)
        self._tell(self.on.node_leave, worker)

    def _tell(self, handlers: Handlers, worker: Any) -> None:
        for handler in list(handlers):
            self._consumer.call_soon(handler, worker)

    # -- elections --------------------------------------------------------------------------------
    def _nominate(self, event: dict[str, Any]) -> None:
        """Somebody stands: say that it was heard."""
        if event.get("cver", VERSION) != VERSION:
            logger.warning("A vote of another version of elections was heard: %r", event.get("cver"))
            return
        election = self._elections.get(event["id"])
        if election is None:
            election = self._elections[event["id"]] = _Election(event["topic"], event["action"])
            asyncio.get_running_loop().call_later(DECIDED_WITHIN, self._decide, event["id"])
        election.candidates.add((event["clock"], f"{event['hostname']}.{event['pid']}", event["hostname"]))
        self._send("worker-elect-ack", id=event["id"])

    def _count(self, event: dict[str, Any]) -> None:
        """As soon as all workers stand, and as many have answered as there are, it is decided."""
        election = self._elections.get(event["id"])
        if election is None:
            return
        election.answers += 1
        workers = 1 + sum(1 for _ in self.state.alive_workers())
        if min(election.answers, len(election.candidates)) >= workers:
            self._decide(event["id"])

    def _decide(self, id: str) -> None:  # noqa: A002 - as above
        """The one with the lowest clock is it, then by name."""
        election = self._elections.pop(id, None)
        if election is None:
            return
        _, node, leader = min(election.candidates)
        if leader != self.hostname:
            logger.info("node %s elected for %r", node, id)
            return
        logger.info("I won the election %r", id)
        handler = self.election_handlers.get(election.topic)
        if handler is None:
            logger.error("Unknown election topic %r", election.topic)
        else:
            self._consumer.call_soon(handler, election.action)


class _Election:
    """One election, so far."""

    def __init__(self, topic: str, action: Any) -> None:
        self.topic = topic
        self.action = action
        self.candidates: set[tuple[int, str, str]] = set()
        self.answers = 0
