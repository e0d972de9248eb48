"""What the embedded store costs: CPU microseconds per message, by itself.

Run `python benchmarks/store.py [messages]`. Wall rates depend on what else the machine does; the CPU figures are
the ones to compare.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from celery.brokers.base import BrokerOptions, Delivery, Outgoing
from celery.brokers.registry import open_broker
from celery.brokers.topology import Exchange, Queue
from celery.message.headers import LazyObject

if TYPE_CHECKING:
    from collections.abc import Iterator

QUEUE = Queue("work", Exchange("work"), "work")
HEADERS = b'{"lang":"py","task":"bench.noop","id":"' + b"0" * 36 + b'","argsrepr":"' + b"x" * 480 + b'"}'
PROPERTIES = b'{"correlation_id":"' + b"0" * 36 + b'","delivery_mode":2,"priority":0}'
BODY = b"[[1, 2], {}, " + b" " * 200 + b"{}]"


@contextmanager
def measured(what: str, messages: int) -> Iterator[None]:
    """Print the rate and the CPU time of what is done inside."""
    cpu, wall = time.process_time(), time.perf_counter()
    yield
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"{what:44} {messages / wall:10,.0f}/s   {cpu * 1e6 / messages:7.1f} us CPU a message", flush=True)


def outgoing() -> Outgoing:
    return Outgoing(
        BODY, LazyObject(raw=HEADERS), LazyObject(raw=PROPERTIES), routing_key="work", declare=[QUEUE]
    )


class Sink:
    """A worker that acknowledges everything it gets, at once or after `begin`."""

    def __init__(self, total: int, *, early: bool) -> None:
        self.left = total
        self.early = early
        self.done = asyncio.Event()
        self.consumer = None
        self.tasks: set[asyncio.Task[None]] = set()

    def delivered(self, batch: list[Delivery]) -> None:
        if self.early:
            task = asyncio.ensure_future(self.begin(batch))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        else:
            self.finish(batch)

    async def begin(self, batch: list[Delivery]) -> None:
        self.finish(await self.consumer.begin(batch))

    def finish(self, batch: list[Delivery]) -> None:
        for delivery in batch:
            self.consumer.ack(delivery)
        self.left -= len(batch)
        if self.left <= 0:
            self.done.set()

    def orphaned(self, batch: list[Delivery]) -> None: ...

    def fenced(self, reason: str) -> None:
        raise SystemExit(reason)

    def disconnected(self, error: Exception) -> None:
        raise SystemExit(str(error))

    def connected(self) -> None: ...


async def drain(url: str, total: int, window: int, *, early: bool) -> None:
    broker = open_broker(url, BrokerOptions())
    sink = Sink(total, early=early)
    sink.consumer = broker.consumer("bench")
    await sink.consumer.start([QUEUE], sink)
    sink.consumer.allow(window)
    await sink.done.wait()
    await sink.consumer.stop()


def fill(publisher, total: int, batch: int) -> None:
    for _ in range(total // batch):
        publisher.publish([outgoing() for _ in range(batch)], deadline=time.monotonic() + 60)


def main(total: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for url in (f"sqlite:///{folder}/store.db", "memory://bench"):
            broker = open_broker(url, BrokerOptions())
            publisher = broker.publisher()
            print(url.partition("://")[0])
            with measured("publish one by one", total):
                fill(publisher, total, 1)
            with measured("publish 100 at once", total):
                fill(publisher, total, 100)
            with measured("publish one by one, 8 threads", total):
                threads = [threading.Thread(target=fill, args=(publisher, total // 8, 1)) for _ in range(8)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            for what, window, early in (
                ("reserve and ack, window 500", 500, False),
                ("reserve, begin and ack, window 500", 500, True),
                ("reserve and ack, window 10", 10, False),
            ):
                broker.purge("work")
                fill(publisher, total // 100 * 100, 100)
                with measured(what, total // 100 * 100):
                    asyncio.run(drain(url, total // 100 * 100, window, early=early))
            broker.close()
        print(f"file: {os.path.getsize(Path(folder) / 'store.db') / 1e6:.1f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
