"""The same application on Huey with its SQLite storage."""

import os
import time

from huey import SqliteHuey

huey = SqliteHuey("bench", filename=os.path.join(os.environ.get("BENCH_HOME", "."), "huey.db"), results=False)
echoing = SqliteHuey("echo", filename=os.path.join(os.environ.get("BENCH_HOME", "."), "huey.db"))


@huey.task()
def noop():
    pass


@huey.task()
def mark(path):
    with open(path, "w") as file:
        file.write(str(time.time()))


def call_noop():
    noop()


def call_mark(path):
    mark(path)


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
