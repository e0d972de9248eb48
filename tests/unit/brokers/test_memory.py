"""What is special about `memory://`."""

from __future__ import annotations

import asyncio
import time

from celery.brokers.base import BrokerOptions, Outgoing
from celery.brokers.registry import open_broker
from celery.brokers.topology import Exchange, Queue
from celery.message.headers import LazyObject

QUEUE = Queue("q", Exchange(""), "q")


class Raising:
    """An intake with a bug."""

    def __init__(self):
        self.told = asyncio.Event()
        self.error = None

    def delivered(self, batch):
        raise LookupError("a bug")

    def broken(self, error):
        self.error = error
        self.told.set()


def test_an_intake_that_raises_is_told_that_it_is_broken():
    async def consume():
        broker = open_broker("memory://raising", BrokerOptions())
        broker.declare([QUEUE])
        intake, consumer = Raising(), broker.consumer("w")
        await consumer.start([QUEUE], intake)
        consumer.allow(1)
        empty = LazyObject(value={})
        broker.publisher().publish(
            [Outgoing(body=b"", headers=empty, properties=empty, routing_key="q")],
            deadline=time.monotonic() + 5,
        )
        await asyncio.wait_for(intake.told.wait(), 10)
        await consumer.stop()
        return intake.error

    assert isinstance(asyncio.run(consume()), LookupError)
