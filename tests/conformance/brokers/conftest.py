"""One broker of every driver."""

from __future__ import annotations

import asyncio

import pytest

from celery.brokers.registry import open_broker
from celery.brokers.topology import Exchange, Queue

from .tools import DRIVERS, Recorder, Site, Worker, names, options


@pytest.fixture(params=DRIVERS)
def site(request, tmp_path):
    driver, _, kind = request.param.partition("-")
    arguments = {}
    if driver == "redis":
        url = request.getfixturevalue("redis_url")
    elif driver == "rabbitmq":
        url = request.getfixturevalue("amqp_url")
        arguments = {"x-queue-type": "quorum"} if kind == "quorum" else {"x-max-priority": 9}
    else:
        url = {
            "memory": f"memory://{next(names)}",
            "sqlite": f"sqlite:///{tmp_path}/store.db",
            "filesystem": f"filesystem://{tmp_path}",
            "sqla": f"sqla+sqlite:///{tmp_path}/queue.db",
        }[driver]
    made = options(url, fleet="celeriac" if kind == "celeriac" else "mixed")
    broker = open_broker(url, made)
    can = broker.capabilities
    found = Site(
        url,
        broker,
        arguments,
        priorities=can.priorities and kind != "quorum",
        keeps_place=can.ordered and kind != "quorum",
        options=made,
    )
    yield found
    for broker in (found.broker, *found.opened):
        broker.close()


@pytest.fixture
def broker(site):
    return site.broker


@pytest.fixture
def queue(site, broker):
    made = Queue("work", Exchange("work"), "work", arguments=site.arguments)
    broker.declare([made])
    return made


@pytest.fixture
def work(site):
    """Run a coroutine function with a `hire` function that starts workers and stops them at the end."""

    def run(test):
        async def main():
            hired = []

            async def hire(*queues, broker=None, guarded=False):
                consumer = (broker or site.broker).consumer(f"worker-{next(names)}", guarded=guarded)
                worker = Worker(consumer, Recorder())
                await consumer.start(list(queues), worker.seen)
                hired.append(worker)
                return worker

            try:
                await test(hire)
            finally:
                for worker in hired:
                    await worker.consumer.stop()

        asyncio.run(main())

    return run
