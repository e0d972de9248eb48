"""Answers on a queue of this process's own: a blocking connection that any thread may sleep on."""

from __future__ import annotations

import logging
import os
import selectors
import socket
import threading
import time
from typing import TYPE_CHECKING

from celery.brokers.base import BrokerError
from celery.brokers.topology import Queue
from celery.wire.amqp.frames import Command, Message, acknowledgement, method

from .incoming import Incoming, Receipt
from .link import SENDING, Link
from .requests import queue_itself

if TYPE_CHECKING:
    from celery.brokers.base import Delivery

    from .nodes import Nodes

logger = logging.getLogger(__name__)

#: Seconds for an attempt to connect again.
_PATIENCE = 2.0


class RabbitReplies:
    """See `Replies`. The queue is deleted when it is closed, or expires.

    Answers are acknowledged when they have been taken, so a lost connection loses none.
    """

    def __init__(self, nodes: Nodes, name: str, *, expires: float | None) -> None:
        self._nodes = nodes
        self._queue = Queue(name, expires=expires or None)
        self._incoming = Incoming({}, {name: self._queue})
        self._lock = threading.RLock()
        self._link: Link | None = None
        self._known = -1  # the link's descriptor that the poll knows
        self._batch: list[Delivery] = []
        self._tag = 0  # of the last answer, while the broker has not heard that it was taken
        self._woken = False
        self._poll = selectors.DefaultSelector()  # gevent has its own
        self._wake, self._waker = socket.socketpair()
        for end in (self._wake, self._waker):
            end.setblocking(False)
        self._poll.register(self._wake, selectors.EVENT_READ)
        self._pid = os.getpid()

    def prepare(self) -> None:
        """See `Replies.prepare`."""
        if self._link is None:
            with self._lock:
                if self._link is None:
                    self._connect(time.monotonic() + (self._nodes.options.publish_timeout or 30.0))

    def check(self) -> None:
        """See `Replies.check`."""
        with self._lock:
            if self._link is None:
                try:
                    self._connect(time.monotonic() + _PATIENCE)
                except BrokerError as error:
                    logger.debug("waiting for the broker: %s", error)

    def _connect(self, deadline: float) -> None:
        link = self._nodes.connect(deadline, self._on_event)
        link.carry_out(queue_itself(self._queue), deadline)
        link.send(
            method(SENDING, "channel.open")
            + method(SENDING, "basic.consume", queue=self._queue.name, consumer_tag="replies", nowait=True),
            deadline,
        )
        self._link, self._known, self._tag = link, link.fileno(), 0
        self._poll.register(self._known, selectors.EVENT_READ)

    def _on_event(self, event: Command | Message) -> None:
        if isinstance(event, Message):
            self._tag = event.delivery_tag
            receipt = Receipt(0, 0, b"", None, None)
            self._batch.append(self._incoming.made(event, self._queue.name, receipt))
        elif event.name in ("basic.cancel", "channel.close") and self._link is not None:
            self._link.abandon()  # the queue is gone: `check` makes another

    def wait(self, seconds: float) -> bool:
        """See `Replies.wait`."""
        return bool(self._poll.select(seconds))

    def fileno(self) -> int:
        """See `Replies.fileno`."""
        return int(self._poll.fileno())

    def collect(self) -> list[Delivery]:
        """See `Replies.collect`."""
        with self._lock:
            if self._woken:
                self._woken = False
                self._swallow()
            link = self._link
            if link is not None:
                try:
                    link.drain(to_the_end=False)
                    if self._tag:
                        link.send(acknowledgement(SENDING, self._tag, True), time.monotonic() + 1.0)
                except BrokerError as error:
                    logger.debug("waiting for results: %s", error)
                    self._lost()
                self._tag = 0
            batch, self._batch = self._batch, []
            return batch

    def _lost(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            self._poll.unregister(self._known)
            link.abandon()

    def _swallow(self) -> None:
        try:
            while self._wake.recv(4096):
                pass
        except (BlockingIOError, InterruptedError):
            return

    def wake(self) -> None:
        """See `Replies.wake`."""
        try:
            self._waker.send(b".")
        except (BlockingIOError, OSError):
            return
        finally:
            self._woken = True  # after it: who looks in between finds it the next time

    def close(self) -> None:
        """See `Replies.close`. In a child of the process that made it, only what was inherited is closed."""
        link, self._link = self._link, None
        if link is not None:
            if self._pid == os.getpid():
                try:
                    link.ask("queue.delete", time.monotonic() + 1.0, queue=self._queue.name)
                except Exception as error:  # noqa: BLE001 - it expires by itself
                    logger.debug("%s", error)
                link.close()
            else:
                link.abandon()
        self._poll.close()
        self._wake.close()
        self._waker.close()
