"""The same application on Huey with its SQLite storage."""

import os
import time

from huey import SqliteHuey

huey = SqliteHuey("bench", filename=os.path.join(os.environ.get("BENCH_HOME", "."), "huey.db"), results=False)


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
