"""What becomes of messages, connections and queues when something is missing, locked, or lost at the wrong moment."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from urllib.parse import urlsplit

import pytest
from tests.conformance.brokers.tools import Recorder, outgoing, send, sized
from tests.servers.proxy import Proxy

from celery.brokers.base import BrokerOptions, BrokerUnavailable
from celery.brokers.registry import open_broker
from celery.brokers.topology import Exchange, Queue
from celery.wire.amqp.frames import method

pytestmark = pytest.mark.timeout(90)

WORK = Queue("work", Exchange("work"), "work")


async def begun(broker, body="a"):
    """A consumer that has begun one message."""
    consumer, seen = broker.consumer("w"), Recorder()
    await consumer.start([WORK], seen)
    send(broker, body, exchange="work", declare=[WORK])
    consumer.allow(1)
    (delivery,) = await seen.count(1)
    assert await consumer.begin([delivery]) == [delivery]
    await consumer.flush()
    return consumer, seen, delivery


def test_a_message_that_came_back_and_could_not_be_sent_again_is_not_accepted(amqp_url):
    """Its queue was deleted and is somebody else's now: the second declaration fails."""
    broker, other = open_broker(amqp_url), open_broker(amqp_url)
    send(broker, "a", exchange="work", declare=[WORK])
    assert broker.delete("work") == 1
    other.declare([Queue("work", exclusive=True)])
    with pytest.raises(BrokerUnavailable, match="locked"):
        broker.publisher().publish(
            [outgoing("b", "work", exchange="work", declare=[WORK])], deadline=time.monotonic() + 10
        )
    broker.close()
    other.close()


@pytest.mark.parametrize("count", [1, 2])
def test_that_an_exchange_was_deleted_is_known_as_soon_as_the_broker_says_so(amqp_url, count):
    broker, other = open_broker(amqp_url), open_broker(amqp_url)
    publisher = broker.publisher()
    batch = [outgoing("a", "work", exchange="work", declare=[WORK])] * count
    for _ in range(3):
        assert publisher.publish(batch, deadline=time.monotonic() + 30) == [None] * count
    other.publisher()._connected(time.monotonic() + 30).ask(
        "exchange.delete", time.monotonic() + 30, exchange="work"
    )
    with pytest.raises(BrokerUnavailable, match="no exchange 'work'"):
        publisher.publish(batch, deadline=time.monotonic() + 30)
    assert publisher.publish(batch, deadline=time.monotonic() + 30) == [None] * count
    asyncio.run(sized(broker, "work", 4 * count))
    broker.close()
    other.close()


@pytest.mark.parametrize("where", ["dead", "delayed"])
def test_a_message_goes_where_it_should_though_that_was_deleted(amqp_url, where):
    async def main():
        broker = open_broker(amqp_url)
        consumer, seen = broker.consumer("w"), Recorder()
        await consumer.start([WORK], seen)
        send(broker, *range(30), exchange="work", declare=[WORK])
        consumer.allow(1)
        for number in range(30):
            await seen.until(lambda: seen.deliveries)
            delivery = seen.deliveries.pop()
            if where == "dead":
                consumer.bury(delivery, "no good")
            else:
                consumer.park(delivery, time.time() + 1000)
            await consumer.flush()
            if number == 0:
                assert broker.delete("work.dead" if where == "dead" else "celery_delayed_9") == 1
            kept = "work.dead" if where == "dead" else "celery_delayed_9"
            if number and broker.size(kept):
                break
        else:
            pytest.fail("it comes back again and again")
        await consumer.stop()
        broker.close()

    asyncio.run(main())


def test_a_queue_may_have_a_long_name(amqp_url):
    """The names made of it for records and delays must not be longer than AMQP allows."""

    async def main():
        broker, queue = open_broker(amqp_url), Queue("q" * 240)
        consumer, seen = broker.consumer("w" * 40), Recorder()
        await consumer.start([queue], seen)
        send(broker, "a", "b", queue=queue.name, declare=[queue])
        consumer.allow(2)
        first, second = await seen.count(2)
        assert await consumer.begin([first]) == [first]
        consumer.ack(first)
        consumer.park(second, time.time() + 2.5)
        again = (await seen.count(3))[2]
        assert (again.body, again.queue) == (b"b", queue.name)
        consumer.bury(again, "no good")
        await consumer.flush()
        await sized(broker, f"{queue.name}.dead", 1)
        await consumer.stop()
        broker.close()

    asyncio.run(main())


def test_consuming_that_is_refused_is_not_tried_at_full_speed(amqp_url):
    async def main():
        broker = open_broker(amqp_url)
        refused = Queue("work", consumer_arguments={"x-priority": "high"})
        consumer, seen = broker.consumer("w"), Recorder()
        await consumer.start([refused], seen)
        consumer.allow(1)
        started = time.monotonic()
        await seen.until(lambda: len(seen.errors) == 4)
        # 0.2, 0.4 and 0.8 seconds, each shortened by at most a quarter.
        assert time.monotonic() - started > 1.0
        assert "PRECONDITION_FAILED" in str(seen.errors[0])
        await consumer.stop()
        broker.close()

    asyncio.run(main())


def test_the_connection_ends_with_the_last_answer(amqp_url):
    """The broker stops in the moment in which a consumer has come back."""
    address, connections = urlsplit(amqp_url), []
    ended = asyncio.Event()

    async def serve(reader, writer):
        connections.append(writer)
        far, near = await asyncio.open_connection(address.hostname, address.port)
        ways = [relay(reader, near, doctored=False), relay(far, writer, doctored=len(connections) == 2)]
        tasks = [asyncio.ensure_future(way) for way in ways]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for end in (near, writer):
            end.close()
        await asyncio.wait(tasks)
        ended.set()

    async def relay(reader, writer, *, doctored):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                last = doctored and b"celeriac.lost.work" in data
                goodbye = method(0, "connection.close", code=320, text="CONNECTION_FORCED - shutdown")
                writer.write(data + goodbye if last else data)
                if last:
                    return

    async def main():
        broker = open_broker(amqp_url)
        broker.declare([WORK])
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            relayed = open_broker(amqp_url.replace(f":{address.port}/", f":{port}/"))
            consumer, seen = relayed.consumer("w"), Recorder()
            await consumer.start([WORK], seen)
            connections[0].transport.abort()
            consumer.allow(1)
            await seen.until(lambda: seen.connects)
            send(broker, "a", exchange="work", declare=[WORK])
            (delivery,) = await seen.count(1)
            consumer.ack(delivery)
            ended.clear()
            await consumer.stop()
            await ended.wait()
        broker.close()

    asyncio.run(main())


def test_a_mailbox_comes_back_once_when_its_link_is_half_open(amqp_url):
    """Until the broker notices, too, the mailbox's queue belongs to the old connection."""

    async def main():
        port = urlsplit(amqp_url).port
        with Proxy(port) as proxy:
            url = amqp_url.replace(f":{port}/", f":{proxy.port}/")
            broker = open_broker(url, BrokerOptions(transport_options={"lease": 1}))
            box = await broker.mailbox("box", Exchange("news", "fanout"), "", expires=30)
            proxy.forget()
            plain = open_broker(amqp_url)
            async with asyncio.timeout(30):
                receiving = asyncio.ensure_future(box.receive())
                while not receiving.done():
                    plain.publisher().publish(
                        [outgoing("a", "", exchange="news", mandatory=False)], deadline=time.monotonic() + 5
                    )
                    await asyncio.sleep(0.1)
            assert proxy.accepted < 12
            await box.aclose()
            plain.close()
            broker.close()

    asyncio.run(main())


@pytest.mark.parametrize("how", ["requeued", "buried"])
def test_what_had_begun_and_ends_while_the_broker_is_away_goes_where_it_should(amqp_url, how):
    async def main():
        port = urlsplit(amqp_url).port
        with Proxy(port) as proxy:
            broker = open_broker(amqp_url.replace(f":{port}/", f":{proxy.port}/"))
            consumer, seen, delivery = await begun(broker)
            proxy.cut()
            await seen.until(lambda: seen.errors)
            if how == "requeued":
                consumer.requeue(delivery)
            else:
                consumer.bury(delivery, "no good")
            await seen.until(lambda: seen.connects)
            if how == "requeued":
                again = (await seen.count(2))[1]
                assert again.body == b"a"
                consumer.ack(again)
            async with asyncio.timeout(10):
                await consumer.flush()
            if how == "buried":
                await sized(broker, "work.dead", 1)
            await sized(broker, "work", 0)
            await consumer.stop()
            assert not broker.has_queue("celeriac.begun.w.work")  # its record has ended, too
            broker.close()

    asyncio.run(main())


def test_what_somebody_else_has_taken_over_is_not_given_back(amqp_url):
    """The connection was away for longer than the lease: what the worker wanted with it does not matter any more."""

    async def main():
        port = urlsplit(amqp_url).port
        options = BrokerOptions(transport_options={"lease": 2})
        with Proxy(port) as proxy:
            broker = open_broker(amqp_url.replace(f":{port}/", f":{proxy.port}/"), options)
            plain = open_broker(amqp_url, options)
            consumer, seen, delivery = await begun(broker)
            survivor, told = plain.consumer("w2"), Recorder()
            await survivor.start([WORK], told)
            proxy.refuse()
            proxy.cut()
            await seen.until(lambda: seen.errors)
            consumer.requeue(delivery)
            await told.until(lambda: told.orphans)
            survivor.bury(told.orphans[0], "lost")
            await survivor.flush()
            proxy.refuse(False)
            await seen.until(lambda: seen.connects)
            async with asyncio.timeout(10):
                await consumer.flush()
            assert plain.size("work") == 0
            assert [delivery.body for delivery in seen.deliveries] == [b"a"]
            await consumer.stop()
            await survivor.stop()
            broker.close()
            plain.close()

    asyncio.run(main())


def test_what_the_broker_never_heard_of_is_not_kept(amqp_url):
    """A batch that was being begun when the connection was lost: nobody knows whether its record will come back."""

    async def main():
        port = urlsplit(amqp_url).port
        with Proxy(port) as proxy:
            broker = open_broker(amqp_url.replace(f":{port}/", f":{proxy.port}/"))
            plain = open_broker(amqp_url)
            consumer, seen, _ = await begun(broker)
            large = "x" * 250
            send(plain, large, exchange="work", declare=[WORK])
            second = (await seen.count(2))[1]
            proxy.stall()
            beginning = asyncio.ensure_future(consumer.begin([second]))
            await asyncio.sleep(0)
            proxy.cut()
            proxy.flow()
            assert await beginning == []
            await seen.until(lambda: seen.connects)
            again = (await seen.count(3))[2]
            assert again.body == large.encode()
            assert not any(large.encode() in record.paper for record in consumer._records._mine.values())
            assert await consumer.begin([again]) == [again]
            consumer.ack(again)
            await consumer.flush()
            await consumer.stop()
            broker.close()
            plain.close()

    asyncio.run(main())


def test_what_is_offered_again_waits_for_room_in_its_queue(amqp_url):
    """The broker has taken the record of a message and its acknowledgement, nobody was told, and its place is taken."""
    small = Queue("small", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})

    async def main():
        port = urlsplit(amqp_url).port
        with Proxy(port) as proxy:
            broker = open_broker(amqp_url.replace(f":{port}/", f":{proxy.port}/"))
            plain = open_broker(amqp_url)
            consumer, seen = broker.consumer("w"), Recorder()
            await consumer.start([small], seen)
            consumer.allow(1)
            for number, body in enumerate("ab", 1):
                send(plain, body, queue="small")
                delivery = (await seen.count(number))[-1]
                if body == "a":
                    assert await consumer.begin([delivery]) == [delivery]
                    consumer.ack(delivery)
                await consumer.flush()
            consumer.allow(0)
            proxy.refuse()
            proxy.reset_after(1)
            assert await consumer.begin([delivery]) == []
            send(plain, "c", queue="small")
            told = asyncio.create_task(refusal("small"))
            proxy.refuse(False)
            await told
            consumer.allow(2)
            assert [one.body for one in (await seen.count(4))[2:]] == [b"c", b"b"]
            await consumer.stop()
            broker.close()
            plain.close()

    asyncio.run(main())


async def refusal(queue):
    """Wait until the log says that messages cannot go back into a queue."""
    said = asyncio.Event()

    class Handler(logging.Handler):
        def emit(self, record):
            if f"Queue '{queue}' takes no messages" in record.getMessage():
                said.set()

    handler, logger = Handler(), logging.getLogger("celery.brokers.rabbitmq.records")
    logger.addHandler(handler)
    try:
        await said.wait()
    finally:
        logger.removeHandler(handler)


def test_a_batch_of_two_queues_that_was_being_begun_when_the_connection_was_lost(amqp_url):
    """The broker has taken both records, nobody was told: both tasks are offered again."""
    queues = [Queue(name, Exchange("work"), name) for name in ("one", "two")]

    async def main():
        port = urlsplit(amqp_url).port
        options = BrokerOptions(transport_options={"lease": 2})
        with Proxy(port) as proxy:
            broker, plain = (
                open_broker(amqp_url.replace(f":{port}/", f":{proxy.port}/"), options),
                open_broker(amqp_url),
            )
            consumer, seen = broker.consumer("w"), Recorder()
            await consumer.start(queues, seen)
            consumer.allow(4)
            for queue in ("one", "two"):
                send(plain, "a", queue=queue)
            first = list(await seen.count(2))
            assert await consumer.begin(first) == first
            for queue in ("one", "two"):
                send(plain, f"b{queue}", queue=queue)
            second = list(await seen.count(4))[2:]
            await consumer.flush()
            proxy.reset_after(1)
            assert await consumer.begin(second) == []
            await seen.until(lambda: seen.connects)
            again = list(await seen.count(6))[4:]
            assert {delivery.body for delivery in again} == {b"bone", b"btwo"}
            for delivery in (*first, *again):
                consumer.ack(delivery)
            await consumer.flush()
            for queue in ("one", "two"):
                await sized(plain, queue, 0)
            await consumer.stop()
            broker.close()
            plain.close()

    asyncio.run(main())


def test_a_message_whose_routing_key_is_no_text(amqp_url):
    """Any bytes may be one. It can be begun, and does not take others of its batch along."""
    odd = Queue("odd", Exchange("odd", "fanout"), "")

    async def main():
        broker = open_broker(amqp_url)
        consumer, seen = broker.consumer("w"), Recorder()
        await consumer.start([odd], seen)
        for key in ("\udcff", "plain"):
            send(broker, "a", exchange="odd", routing_key=key, declare=[odd])
        consumer.allow(2)
        both = list(await seen.count(2))
        assert both[0].routing_key.encode()
        assert both[1].routing_key == "plain"
        assert await consumer.begin(both) == both
        for delivery in both:
            consumer.ack(delivery)
        await consumer.flush()
        await sized(broker, "odd", 0)
        await consumer.stop()
        broker.close()

    asyncio.run(main())


def test_windows_that_change_leave_nothing_behind(amqp_url):
    """A worker's window follows what runs; each change may take a consumer of the broker's, known only as long as it is."""

    async def main():
        broker = open_broker(amqp_url)
        consumer, seen = broker.consumer("w"), Recorder()
        await consumer.start([WORK], seen)
        for number in range(200):
            send(broker, number, exchange="work", declare=[WORK])
            consumer.allow(1 + number % 40)
            await seen.count(number + 1)
            consumer.ack(seen.deliveries[-1])
            if number % 10 == 0:
                await consumer.flush()
        await consumer.flush()
        assert len(consumer.incoming.grants) < 10
        await consumer.stop()
        broker.close()

    asyncio.run(main())


def test_nobody_writes_into_a_frame_that_is_half_written(amqp_url):
    """The keeper sends heartbeats while a task holds the process: not while the rest of a frame waits in it."""

    async def main():
        port = urlsplit(amqp_url).port
        options = BrokerOptions(transport_options={"lease": 3})
        with Proxy(port) as proxy:
            plain = open_broker(amqp_url)
            broker = open_broker(amqp_url.replace(f":{port}/", f":{proxy.port}/"), options)
            consumer, seen = broker.consumer("w", guarded=True), Recorder()
            await consumer.start([WORK], seen)
            large = outgoing("b", "work", exchange="work")
            large.body = bytes(16_000_000)
            send(plain, "a", exchange="work", declare=[WORK])
            assert plain.publisher().publish([large], deadline=time.monotonic() + 10) == [None]
            consumer.allow(2)
            first, second = await seen.count(2)
            consumer.park(first, time.time() + 1000)
            await consumer.flush()
            proxy.stall()
            consumer.park(second, time.time() + 1000)
            await asyncio.sleep(0)
            threading.Timer(0.5, proxy.flow).start()
            time.sleep(3.5)  # noqa: ASYNC251 - as a task does that lets nobody else run
            async with asyncio.timeout(20):
                await consumer.flush()
            assert seen.errors == []
            await consumer.stop()
            broker.close()
            plain.close()

    asyncio.run(main())
