"""The same application on Huey, with its SQLite storage or on Redis."""

import os
import time

from huey import RedisHuey, SqliteHuey

url = os.environ.get("BENCH_BROKER", "")
if url.startswith("redis"):
    huey = RedisHuey("bench", url=url, results=False)
    echoing = RedisHuey("echo", url=url)
else:
    folder = os.environ.get("BENCH_HOME", ".")
    huey = SqliteHuey("bench", filename=os.path.join(folder, "huey.db"), results=False)
    echoing = SqliteHuey("echo", filename=os.path.join(folder, "huey.db"))


@huey.task()
def noop():
    pass


@huey.task()
def mark(path):
    with open(path, "w") as file:
        file.write(str(time.time()))


@huey.task()
def nap(seconds):
    time.sleep(seconds)


def call_noop():
    noop()


def call_mark(path):
    mark(path)


def call_nap(seconds):
    nap(seconds)


def call_later(seconds):
    noop.schedule(delay=seconds)


@echoing.task()
def echo(value):
    return value


def call_echo(value):
    return echo(value).get(blocking=True, timeout=30)


def call_many(count):
    for _ in range(count):
        noop()
