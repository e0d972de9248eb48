"""A worker in a process of its own, for tests that kill, stop or stall it.

`python holder.py URL LEASE WINDOW [guarded] [eager] [ARGUMENTS]`, the last being the queue's as a JSON object; says `ready`, then a line for everything it is told. Its
standard input takes: `begin` (all held), `ack` (all held or begun), `hog SECONDS [TIMES]` (keep every thread of
this process from running), `stop`. An eager one acknowledges everything at once and in silence.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from celery.brokers.base import BrokerError, BrokerOptions, Consumer, Delivery
from celery.brokers.registry import open_broker
from celery.brokers.topology import Exchange, Queue

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.conformance.brokers.tools import transport_options

if TYPE_CHECKING:
    from collections.abc import Sequence


def say(*words: object) -> None:
    print(*words, flush=True)


class Holder:
    """Holds what it gets."""

    def __init__(self, consumer: Consumer, *, eager: bool) -> None:
        self.held: list[Delivery] = []
        self.consumer = consumer
        self.eager = eager

    def delivered(self, batch: Sequence[Delivery]) -> None:
        for delivery in batch:
            if self.eager:
                self.consumer.ack(delivery)
                continue
            self.held.append(delivery)
            say("got", delivery.body.decode(), delivery.deliveries)

    def orphaned(self, batch: Sequence[Delivery]) -> None:
        for delivery in batch:
            self.held.append(delivery)
            say("orphan", delivery.body.decode())

    def fenced(self, reason: str, *, begun: bool = True, ended: Sequence[str] = ()) -> None:
        say("fenced")

    def disconnected(self, error: BrokerError) -> None:
        say("disconnected", error)

    def connected(self) -> None:
        say("connected")


async def main(url: str, lease: float, window: int, *options: str) -> None:
    broker = open_broker(url, BrokerOptions(transport_options=transport_options(url) | {"lease": lease}))
    consumer = broker.consumer(f"holder-{id(broker)}", guarded="guarded" in options)
    holder = Holder(consumer, eager="eager" in options)
    arguments = next((json.loads(word) for word in options if word.startswith("{")), {})
    await consumer.start([Queue("work", Exchange("work"), "work", arguments=arguments)], holder)
    say("ready")
    consumer.allow(window)
    while True:
        line = await asyncio.to_thread(sys.stdin.readline)
        word, _, rest = line.strip().partition(" ")
        if word == "begin":
            say("begun", len(await consumer.begin(holder.held)))
        elif word == "ack":
            held, holder.held = holder.held, []
            for delivery in held:
                consumer.ack(delivery)
            await consumer.flush()
            say("acked")
        elif word == "hog":
            seconds, _, times = rest.partition(" ")
            for _ in range(int(times or 1)):
                # PyDLL does not release the interpreter's lock.
                ctypes.PyDLL(None).usleep(int(float(seconds) * 1e6))
                await asyncio.sleep(0)
            say("hogged")
        else:
            await consumer.stop()
            return


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]))
