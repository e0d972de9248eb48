"""The same application on Taskiq with its Redis list broker."""

import asyncio
import os
import time

from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

url = os.environ["BENCH_BROKER"]
broker = ListQueueBroker(url).with_result_backend(RedisAsyncResultBackend(url))
_loop = None


def _run(coroutine):
    global _loop
    if _loop is None:
        _loop = asyncio.new_event_loop()
        _loop.run_until_complete(broker.startup())
    return _loop.run_until_complete(coroutine)


@broker.task
async def noop():
    pass


@broker.task
async def mark(path):
    with open(path, "w") as file:
        file.write(str(time.time()))


@broker.task
async def echo(value):
    return value


@broker.task
async def nap(seconds):
    await asyncio.sleep(seconds)


def call_noop():
    _run(noop.kiq())


def call_mark(path):
    _run(mark.kiq(path))


def call_nap(seconds):
    _run(nap.kiq(seconds))


async def _echo(value):
    task = await echo.kiq(value)
    return (await task.wait_result(check_interval=0.001, timeout=30)).return_value


def call_echo(value):
    return _run(_echo(value))


async def _many(count):
    for _ in range(count):
        await noop.kiq()


def call_many(count):
    _run(_many(count))
