"""The adapter over transports that need a server, or an emulator of one: what every queue must do."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import sys
import time

import pytest
from kombu import Connection
from sqlalchemy import text
from tests.conformance.brokers.tools import Recorder, Worker, needs, send
from tests.servers.process import Process, accepts, free_port

from celery.brokers.base import BrokerOptions
from celery.brokers.kombu.links import LinkPool, connection
from celery.brokers.registry import open_broker
from celery.brokers.topology import Exchange, Queue

WORK = Queue("work", Exchange("work"), "work")


@pytest.fixture(params=["memory", "sqs", "mongodb"])
def broker(request, tmp_path, monkeypatch):
    with contextlib.ExitStack() as stack:
        opened = globals()[f"open_{request.param}"](stack, tmp_path, monkeypatch)
        yield opened
        opened.close()


def open_memory(stack, folder, monkeypatch):
    """kombu's own, by its class."""
    broker = open_broker("memory://", BrokerOptions(transport="kombu.transport.memory:Transport"))
    for queue in ("work", "celery.dead"):
        broker.purge(queue)
    return broker


def open_sqs(stack, folder, monkeypatch):
    """Amazon's, as moto plays it."""
    pytest.importorskip("moto.server")
    pytest.importorskip("boto3")
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    stack.enter_context(Process(command, folder, lambda: accepts(port)))
    options = {"region": "us-east-1", "is_secure": False, "visibility_timeout": 2, "wait_time_seconds": 0}
    return open_broker(f"sqs://key:secret@127.0.0.1:{port}/", BrokerOptions(transport_options=options))


def open_mongodb(stack, folder, monkeypatch):
    """As mongomock plays it, in this process."""
    mongomock = pytest.importorskip("mongomock")
    from kombu.transport import mongodb

    pytest.importorskip("pymongo")
    client = mongomock.MongoClient()
    monkeypatch.setattr(mongodb, "MongoClient", lambda *args, **kwargs: client)
    monkeypatch.setattr(client, "server_info", lambda: {"version": "6.0.0", "versionArray": [6, 0, 0, 0]})
    # It has no capped collections, and so no fanout.
    create = mongomock.Database.create_collection
    monkeypatch.setattr(mongomock.Database, "create_collection", lambda self, name, **_: create(self, name))
    return open_broker("mongodb://127.0.0.1/queues")


def play(broker, test):
    async def main():
        worker = Worker(broker.consumer("worker"), Recorder())
        await worker.consumer.start([WORK], worker.seen)
        try:
            await test(worker)
        finally:
            await worker.consumer.stop()

    broker.declare([WORK])
    asyncio.run(main())


def test_a_round_trip(broker):
    async def test(worker):
        send(broker, *range(12), declare=[WORK])
        deliveries = await worker.take(12)
        assert sorted(worker.seen.bodies, key=int) == [str(number) for number in range(12)]
        assert {delivery.headers.value["id"] for delivery in deliveries} == set(worker.seen.bodies)
        for delivery in deliveries:
            worker.consumer.ack(delivery)
        await worker.consumer.flush()
        assert broker.size("work") == 0

    play(broker, test)


def test_requeue_park_and_begin(broker):
    async def test(worker):
        send(broker, "a")
        (first,) = await worker.take(1)
        worker.consumer.requeue(first)
        again = (await worker.seen.count(2))[1]
        assert (again.body, again.deliveries, again.redelivered) == (b"a", 2, True)
        due = time.time() + 0.2
        worker.consumer.park(again, due)
        third = (await worker.seen.count(3))[2]
        assert time.time() >= due
        assert third.deliveries == 2
        assert await worker.consumer.begin([third]) == [third]
        worker.consumer.ack(third)
        await worker.consumer.flush()
        assert broker.size("work") == 0

    play(broker, test)


def test_dead_letters(broker):
    async def test(worker):
        send(broker, "bad", "worse")
        for delivery in await worker.take(2):
            worker.consumer.bury(delivery, f"cannot be read: {delivery.body.decode()}")
        await worker.consumer.flush()
        letters = broker.dead("work")
        assert sorted(letter.body for letter in letters) == [b"bad", b"worse"]
        assert all("cannot be read" in letter.reason for letter in letters)
        assert broker.revive([letters[0].id]) == 1
        assert len(broker.dead()) == 1
        again = (await worker.seen.count(3))[2]
        assert again.body == letters[0].body
        worker.consumer.ack(again)
        assert broker.revive([letters[1].id]) == 1
        worker.consumer.ack((await worker.seen.count(4))[3])

    play(broker, test)


def test_dead_letters_can_be_thrown_away(broker):
    async def test(worker):
        send(broker, "bad", "worse")
        for delivery in await worker.take(2):
            worker.consumer.bury(delivery, "cannot be read")
        await worker.consumer.flush()
        assert broker.purge_dead("other") == 0
        assert broker.purge_dead("work") == 2
        assert broker.dead() == []
        assert broker.purge_dead() == 0

    play(broker, test)


def test_what_is_held_goes_back(broker):
    async def test(worker):
        send(broker, "a", "b", "c")
        held = await worker.take(3)
        worker.consumer.park(held[0], time.time() + 3600)
        await worker.consumer.flush()

    play(broker, test)

    async def second(worker):
        got = await worker.take(3)
        assert sorted(worker.seen.bodies) == ["a", "b", "c"]
        for delivery in got:
            worker.consumer.ack(delivery)
        await worker.consumer.flush()

    play(broker, second)


def test_purge(broker):
    broker.declare([WORK])
    send(broker, 1, 2, 3)
    assert broker.size("work") == 3
    broker.purge("work")
    assert broker.size("work") == 0


def test_a_mailbox(broker):
    needs(broker, "fanout")
    if broker.url.startswith("mongodb"):
        pytest.skip("the emulator has no capped collections")

    async def test():
        exchange = Exchange("control", "fanout")
        box = await broker.mailbox("box", exchange, "", expires=30)
        send(
            broker,
            "ping",
            exchange="control",
            routing_key="",
            mandatory=False,
            declare=[Queue("x", exchange)],
        )
        assert [delivery.body for delivery in await box.receive()] == [b"ping"]
        await box.aclose()

    asyncio.run(test())


def test_sqs_lends_for_as_long_as_a_message_is_held(tmp_path, monkeypatch):
    """`visibility_timeout` is 2 s. Somebody else takes a message later, and keeps it for just that long."""
    with contextlib.ExitStack() as stack:
        broker = open_sqs(stack, tmp_path, monkeypatch)
        stack.callback(broker.close)

        async def test(worker):
            send(broker, "held")
            (held,) = await worker.take(1)
            worker.consumer.allow(0)
            await worker.consumer.flush()
            send(broker, "clock")
            channel = Connection(broker.url, transport_options=broker._options.transport_options).channel()
            await asyncio.to_thread(_take_and_forget, channel, "work")
            worker.consumer.allow(5)
            (_, clock) = await worker.seen.count(2)
            assert clock.body == b"clock"  # it became visible again; what was taken before it did not
            worker.consumer.ack(held)
            worker.consumer.ack(clock)
            await worker.consumer.flush()
            assert broker.size("work") == 0

        play(broker, test)


def _take_and_forget(channel, queue):
    """Take one message as a client that then dies."""
    url = channel.sqs(queue=queue).get_queue_url(QueueName=queue)["QueueUrl"]
    while not channel.sqs(queue=queue).receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages"):
        pass


def test_a_call_to_sqla_that_is_cut_short_leaves_nothing_locked(tmp_path):
    url = f"sqla+sqlite:///{tmp_path}/queue.db"
    pool = LinkPool(BrokerOptions(urls=(url,)))

    def cut_short(link):
        link.size("work")
        link.channel.session.execute(text("BEGIN IMMEDIATE TRANSACTION"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as held, pool.borrow(time.monotonic() + 5) as link:
        cut_short(link)
    with sqlite3.connect(f"{tmp_path}/queue.db", timeout=0.1) as other:
        other.execute("BEGIN IMMEDIATE")
    del held  # whoever reports the error keeps what it came through
    pool.close()


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("mongodb://h", "mongodb://h/?serverSelectionTimeoutMS=2500"),
        ("mongodb://h/q?tls=true", "mongodb://h/q?tls=true&serverSelectionTimeoutMS=2500"),
        ("mongodb://h/q?serverselectiontimeoutms=1", "mongodb://h/q?serverselectiontimeoutms=1"),
    ],
)
def test_a_mongodb_that_is_not_there_is_not_waited_for_half_a_minute(url, wanted):
    pytest.importorskip("pymongo")
    assert connection(url, BrokerOptions(connect_timeout=2.5)).hostname == wanted
