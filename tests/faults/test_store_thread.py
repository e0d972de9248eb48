"""The thread that talks to the store: what happens when something goes wrong in the midst of its work."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time

import pytest

from celery.brokers.registry import open_broker
from celery.brokers.sqlite import leases, strokes
from celery.brokers.sqlite.books import Books
from celery.brokers.sqlite.clerk import Clerk
from celery.brokers.sqlite.database import Database
from celery.brokers.sqlite.desk import Errand, Report, State, Word
from celery.brokers.topology import Queue
from tests.conformance.brokers.tools import Recorder, options, outgoing, send
from tests.support import wait_until

QUEUES = [Queue("first"), Queue("second")]


class Watcher(Recorder):
    """Also keeps what the consumer says when it cannot go on."""

    def __init__(self):
        super().__init__()
        self.broke = []

    def broken(self, error):
        self.broke.append(error)
        self._changed.set()


class Deaf(Watcher):
    def delivered(self, batch):
        raise RuntimeError("a bug in the worker")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


@pytest.fixture
def broker(path):
    made = open_broker(f"sqlite:///{path}", options())
    made.declare(QUEUES)
    yield made
    made.close()


def ask(path, statement):
    with contextlib.closing(sqlite3.connect(path, timeout=20)) as store:
        return store.execute(statement).fetchall()


def test_a_turn_that_fails_halfway_does_not_acknowledge_a_new_message_of_the_same_number(
    path, broker, monkeypatch
):
    database = Database(path)
    connection = database.connect()
    strokes.install(connection)
    books = Books(database, "w", options(), "nobody", 10.0, 1.0)
    report = Report()
    state, _ = books.make(
        connection, State({q.name: q for q in QUEUES}), [Word("allow", value=10)], Errand(), report
    )
    send(broker, "old", queue="first")
    state, _ = books.make(connection, state, [], Errand(), report)
    (old,) = report.delivered
    real = strokes.take_turn
    calls = []

    def take_turn(*args, **kwargs):
        rows = real(*args, **kwargs)
        calls.append(kwargs)
        if len(calls) == 1:  # the old message is gone: the next one gets its number
            other = QUEUES[0].name if state.names[kwargs["queue"]] == "second" else "second"
            send(broker, "new", queue=other)
            return rows
        raise sqlite3.OperationalError("disk I/O error")

    words = [Word("ack", (old.receipt,))]
    with monkeypatch.context() as patched:
        patched.setattr(strokes, "take_turn", take_turn)
        with pytest.raises(sqlite3.OperationalError):
            books.make(connection, state, words, Errand(), Report())
    report = Report()
    state, _ = books.make(connection, state, words, Errand(), report)
    (new,) = report.delivered
    assert new.body == b"new"
    assert new.receipt == old.receipt, "this test is about reused numbers"
    assert ask(path, "SELECT count(*) FROM message") == [(1,)], "it has not run: it must not be gone"
    assert len(state.out) == 1
    connection.close()
    database.close()


def run(test):
    async def main():
        async with asyncio.timeout(30):
            await test()

    asyncio.run(main())


def test_an_error_that_nobody_foresaw_is_said(broker, monkeypatch):
    def broken(*_args):
        raise RuntimeError("boom")

    async def test():
        consumer, seen = broker.consumer("w"), Watcher()
        await consumer.start(QUEUES, seen)
        monkeypatch.setattr(leases, "others", broken)
        await seen.until(lambda: seen.broke)
        assert "boom" in repr(seen.broke[0])

    run(test)


def test_nobody_waits_for_a_thread_that_has_ended(broker, monkeypatch):
    def fail(self):
        raise ValueError("filedescriptor out of range in select()")

    async def test():
        consumer, watcher = broker.consumer("w", guarded=False), Watcher()
        await consumer.start(QUEUES, watcher)
        monkeypatch.setattr(Clerk, "_sleep", fail)
        flushing = asyncio.ensure_future(consumer.flush())
        await asyncio.wait_for(watcher.until(lambda: watcher.broke), 10)
        await asyncio.wait_for(flushing, 10)
        await asyncio.wait_for(consumer.stop(), 10)
        assert "out of range" in str(watcher.broke[0])

    asyncio.run(test())


def test_a_passing_error_that_nobody_foresaw_is_survived(broker, monkeypatch):
    real, left = leases.others, [2]

    def broken(*args):
        if left[0]:
            left[0] -= 1
            raise RuntimeError("boom")
        return real(*args)

    async def test():
        consumer, seen = broker.consumer("w"), Watcher()
        await consumer.start(QUEUES, seen)
        monkeypatch.setattr(leases, "others", broken)
        await seen.until(lambda: seen.connects)
        consumer.allow(1)
        send(broker, "a", queue="first")
        await seen.count(1)
        await consumer.stop()

    run(test)


def test_what_a_worker_could_not_take_in_goes_to_another(path, broker):
    async def test():
        consumer, seen = broker.consumer("w"), Deaf()
        await consumer.start(QUEUES, seen)
        send(broker, "a", queue="first")
        consumer.allow(1)
        await seen.until(lambda: seen.broke)
        other, heard = broker.consumer("v"), Watcher()
        await other.start(QUEUES, heard)
        other.allow(1)
        await heard.count(1)
        await other.stop()

    run(test)


def test_a_start_that_is_cancelled_leaves_nothing_behind(path, broker):
    async def test():
        store = sqlite3.connect(path, isolation_level=None)
        store.execute("BEGIN IMMEDIATE")
        consumer = broker.consumer("w")
        starting = asyncio.create_task(consumer.start(QUEUES, Watcher()))
        done, _ = await asyncio.wait([starting], timeout=0.1)
        assert not done
        starting.cancel()
        await asyncio.wait([starting])
        store.execute("ROLLBACK")
        store.close()

    run(test)
    wait_until(lambda: not [t for t in threading.enumerate() if t.name.startswith("celery-store-w")])
    assert ask(path, "SELECT count(*) FROM consumer") == [(0,)]


def test_a_reason_that_is_no_proper_text_is_kept(broker):
    async def test():
        consumer, seen = broker.consumer("w"), Watcher()
        await consumer.start(QUEUES, seen)
        consumer.allow(1)
        broker.publisher().publish([outgoing("a", "first")], deadline=time.monotonic() + 5)
        (delivery,) = await seen.count(1)
        consumer.bury(delivery, "E('\udcff')")
        await consumer.flush()
        assert broker.dead()[0].reason == r"E('\udcff')"
        await consumer.stop()

    run(test)
