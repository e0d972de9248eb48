"""The same application on SAQ."""

import asyncio
import os
import time

from saq import Queue

queue = Queue.from_url(os.environ["BENCH_BROKER"])
_loop = None


def _run(coroutine):
    global _loop
    if _loop is None:
        _loop = asyncio.new_event_loop()
        _loop.run_until_complete(queue.connect())
    return _loop.run_until_complete(coroutine)


async def noop(ctx):
    pass


async def mark(ctx, *, path):
    with open(path, "w") as file:
        file.write(str(time.time()))


async def echo(ctx, *, value):
    return value


async def nap(ctx, *, seconds):
    await asyncio.sleep(seconds)


settings = {"queue": queue, "functions": [noop, mark, echo, nap], "concurrency": 100}


def call_noop():
    _run(queue.enqueue("noop"))


def call_mark(path):
    _run(queue.enqueue("mark", path=path))


def call_nap(seconds):
    _run(queue.enqueue("nap", seconds=seconds))


def call_echo(value):
    return _run(queue.apply("echo", value=value))


async def _many(count):
    for _ in range(count):
        await queue.enqueue("noop")


def call_many(count):
    _run(_many(count))
