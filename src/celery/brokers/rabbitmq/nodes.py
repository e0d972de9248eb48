"""The nodes behind one broker setting: which to connect to, and connections that forks leave behind."""

from __future__ import annotations

import os
import time
import weakref
from typing import TYPE_CHECKING

from celery.brokers.base import BrokerError, BrokerRefused
from celery.brokers.failover import Failover

from .endpoint import Endpoint, endpoint
from .link import Link

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.brokers.base import BrokerOptions
    from celery.wire.amqp.frames import Command, Message


class Nodes:
    """Every URL of a failover list as an endpoint.

    Raises:
        BrokerRefused: one of the URLs makes no sense.
    """

    def __init__(self, url: str, options: BrokerOptions) -> None:
        self.options = options
        urls = options.urls or (url,)
        self._endpoints = {each: endpoint(each, options) for each in urls}
        self._failover = Failover(urls, options.failover_strategy)

    @property
    def now(self) -> Endpoint:
        """The one to connect to."""
        return self._endpoints[self._failover.current]

    @property
    def name(self) -> str:
        """Its URL, the password masked."""
        return self.now.name

    def __len__(self) -> int:
        return len(self._failover)

    def failed(self, tried: Endpoint) -> None:
        """It could not be reached: another one is next."""
        url = next(url for url, known in self._endpoints.items() if known is tried)
        self._failover.failed(url)

    def connect(self, deadline: float, on_event: Callable[[Command | Message], None] | None = None) -> Link:
        """A blocking connection to the first node that gives one.

        Raises:
            BrokerUnavailable, BrokerRefused: what the last of them said.
        """
        error: BrokerError | None = None
        for _ in range(len(self)):
            tried = self.now
            try:
                return Link(tried, deadline, on_event)
            except BrokerError as exc:
                # A refusal is what to tell, if all that others say is that they are away.
                if error is None or isinstance(exc, BrokerRefused):
                    error = exc
                self.failed(tried)
                if time.monotonic() >= deadline:
                    break
        assert error is not None
        raise error

    def after_fork(self, reset: Callable[[], None]) -> None:
        """Have a bound method called in a child after a fork."""
        _resets.add(weakref.WeakMethod(reset))


_resets: set[weakref.WeakMethod[Callable[[], None]]] = set()


def _in_child() -> None:
    for reference in list(_resets):
        reset = reference()
        if reset is None:
            _resets.discard(reference)
        else:
            reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
