"""What operators and kombu's objects ask a broker: blocking, on a connection of its own, from any thread."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar

from celery.brokers.base import BrokerUnavailable
from celery.wire.amqp.errors import NOT_FOUND, Closed
from celery.wire.amqp.frames import Command, Message, content, method

from .errors import refused
from .link import ASKING, Link

if TYPE_CHECKING:
    from collections.abc import Callable

    from .nodes import Nodes
    from .requests import Request

T = TypeVar("T")

#: Seconds for one question where the settings name none.
_PATIENCE = 30.0


class Desk:
    """One connection, made when first needed; whoever asks has it to himself meanwhile."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._reset()
        nodes.after_fork(self._reset)

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._link: Link | None = None

    def _deadline(self) -> float:
        return time.monotonic() + (self._nodes.options.publish_timeout or _PATIENCE)

    def use(self, work: Callable[[Link, float], T]) -> T:
        """Call `work` with an open connection and a deadline; once more with another one if that one was stale.

        Raises:
            BrokerUnavailable, BrokerRefused: as they say.
        """
        deadline = self._deadline()
        with self._lock:
            link = self._link
            if link is not None and link.usable:
                try:
                    return work(link, deadline)
                except BrokerUnavailable:
                    self._link = None
                    raise
            self._link = link = self._nodes.connect(deadline)
            return work(link, deadline)

    def carry_out(self, *requests: Request) -> None:
        """Ask for these, in order."""

        def work(link: Link, deadline: float) -> None:
            for request in requests:
                link.carry_out(request, deadline)

        self.use(work)

    def ask(self, name: str, **values: object) -> Command | Message | None:
        """Call one method; None if what it is about is not there.

        Raises:
            BrokerRefused, BrokerUnavailable: it could not be carried out.
        """

        def work(link: Link, deadline: float) -> Command | Message | None:
            try:
                return link.ask(name, deadline, **values)
            except Closed as closed:
                if closed.code == NOT_FOUND:
                    return None
                raise refused(link.endpoint, closed, name) from closed

        return self.use(work)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            link, self._link = self._link, None
            if link is not None:
                link.close()


def publish_and_wait(
    link: Link, exchange: str, key: str, properties: bytes, body: bytes, deadline: float
) -> bool:
    """Publish on the channel for requests, within a transaction; False if there is no queue for it.

    For the odd message of an operator: slow, and safe.
    """
    link.ask("tx.select", deadline)
    frames = method(ASKING, "basic.publish", exchange=exchange, routing_key=key, mandatory=True)
    link.send(frames + content(ASKING, properties, body, link.machine.frame_max), deadline)
    answer = link.ask("tx.commit", deadline)
    return not isinstance(answer, Message)
