"""What the broker tests share: reaching a broker, sending to it, and a worker's end that records what it is told."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from celery.brokers.base import Broker, BrokerError, BrokerOptions, Delivery, Outgoing
from celery.brokers.registry import open_broker
from celery.message.headers import LazyObject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Seconds that a lease lasts in these tests (where the driver has any).
LEASE = 1.0

names = itertools.count(1)

#: Driver -> its URL. A driver with a server adds a line here and skips if the server is not there.
DRIVERS = (
    "memory",
    "sqlite",
    "redis",
    "redis-celeriac",
    "rabbitmq",
    "rabbitmq-quorum",
    "filesystem",
    "sqla",
)


@dataclass
class Site:
    """A broker, and how to reach the same one again, as another process would.

    Attributes:
        arguments: what queues are declared with, so that the broker can do all that is tested.
        priorities: such queues have priorities.
        keeps_place: a message that is given back uncounted has its old place in such a queue.
    """

    url: str
    broker: Broker
    arguments: dict[str, object] = field(default_factory=dict)
    priorities: bool = True
    keeps_place: bool = True
    opened: list[Broker] = field(default_factory=list)
    options: BrokerOptions = field(default_factory=lambda: options())

    def again(self) -> Broker:
        broker = open_broker(self.url, self.options)
        self.opened.append(broker)
        return broker


def options(url: str = "", **changes: object) -> BrokerOptions:
    return BrokerOptions(transport_options=transport_options(url), **changes)


def transport_options(url: str) -> dict[str, object]:
    """What the driver of this URL is told; the folder of a `filesystem://` one is its path."""
    scheme, _, rest = url.partition("://")
    if scheme == "filesystem":
        return {"data_folder_in": rest, "data_folder_out": rest, "control_folder": f"{rest}/control"}
    return {} if scheme.startswith("sqla+") else {"lease": LEASE}


def needs(broker: Broker, capability: str) -> None:
    """Skip what this driver says it cannot do."""
    if not getattr(broker.capabilities, capability):
        pytest.skip(f"this driver has no {capability!r}")


def in_order(broker: Broker, bodies: Iterable[str]) -> list[str]:
    """As they came, or sorted where the driver promises no order."""
    return list(bodies) if broker.capabilities.ordered else sorted(bodies)


def outgoing(body: object, queue: str = "work", **options: object) -> Outgoing:
    headers = {"id": str(body)}
    return Outgoing(
        str(body).encode(),
        LazyObject(value=headers),
        LazyObject(value={"correlation_id": str(body)}),
        routing_key=options.pop("routing_key", queue),
        **options,
    )


def send(broker: Broker, *bodies: object, **options: object) -> None:
    if "due" in options and not broker.capabilities.due:
        pytest.skip("messages of this broker have no due times")
    outcomes = broker.publisher().publish(
        [outgoing(body, **options) for body in bodies], deadline=time.monotonic() + 10
    )
    assert outcomes == [None] * len(bodies)


async def sized(broker: Broker, queue: str, expected: int) -> None:
    """Wait until a queue is of this size: some brokers count a little later."""
    async with asyncio.timeout(5):
        while broker.size(queue) != expected:  # noqa: ASYNC110 - a server tells nobody
            await asyncio.sleep(0.01)


class Recorder:
    """An `Intake` that keeps everything and lets a test wait for it."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.orphans: list[Delivery] = []
        self.fences: list[str] = []
        self.too_late: list[str] = []
        self.errors: list[BrokerError] = []
        self.connects = 0
        self._changed = asyncio.Event()

    def delivered(self, batch):
        self.deliveries += batch
        self._changed.set()

    def orphaned(self, batch):
        self.orphans += batch
        self._changed.set()

    def fenced(self, reason, *, begun=True, ended=()):
        self.fences.append(reason)
        self.too_late += ended
        self._changed.set()

    def disconnected(self, error):
        self.errors.append(error)
        self._changed.set()

    def connected(self):
        self.connects += 1
        self._changed.set()

    @property
    def bodies(self) -> list[str]:
        return [delivery.body.decode() for delivery in self.deliveries]

    async def until(self, condition: Callable[[], object], seconds: float = 20.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def count(self, number: int) -> list[Delivery]:
        await self.until(lambda: len(self.deliveries) >= number)
        return self.deliveries


@dataclass
class Worker:
    """A consumer and its recorder."""

    consumer: object
    seen: Recorder

    async def take(self, number: int) -> list[Delivery]:
        """Allow as many and wait for them."""
        already = len(self.seen.deliveries)
        self.consumer.allow(number)
        await self.seen.count(already + number)
        return self.seen.deliveries[already:]
