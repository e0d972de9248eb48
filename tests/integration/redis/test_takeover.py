"""What a worker leaves behind at awkward moments, and what reaches the server late: nothing of it is lost, or done twice."""

from __future__ import annotations

import asyncio
import socket

import pytest
from tests.conformance.brokers.tools import Recorder, Worker, outgoing, send
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisServer
from tests.support import wait_until

from celery.brokers.base import BrokerOptions
from celery.brokers.redis import messages, scripts
from celery.brokers.redis.aio import AsyncClient
from celery.brokers.redis.connection import greeting
from celery.brokers.registry import open_broker
from celery.brokers.topology import Exchange, Queue
from celery.wire.resp import Parser, pack_all

WORK = Queue("work", Exchange("work"), "work")
OTHER = Queue("other", Exchange("other"), "other")


class Watched(Recorder):
    """Also keeps what would end the worker, and what says whether it holds a message."""

    def __init__(self):
        super().__init__()
        self.ends = []
        self.doubts = []

    def delivered(self, batch):
        self.doubts += [delivery.held for delivery in batch if delivery.held is not None]
        super().delivered(batch)

    def broken(self, error):
        self.ends.append(error)
        self._changed.set()


def broker_at(url, lease=1.0, **options):
    return open_broker(url, BrokerOptions(transport_options={"lease": lease}, **options))


async def started(broker, *queues, window=10, name="w"):
    worker = Worker(broker.consumer(name), Watched())
    await worker.consumer.start(list(queues or (WORK,)), worker.seen)
    worker.consumer.allow(window)
    return worker


async def die(worker):
    """As if killed: nothing is given back, nothing is said."""
    consumer = worker.consumer
    consumer.stopped = True
    for timer in (consumer.lease.timer, consumer.dues.timer):
        if timer is not None:
            timer.cancel()
    consumer.session.close()


async def end_lease(worker, keys, client):
    """What a reaper does first, to a worker that is cut off."""
    consumer = worker.consumer
    await client.call("ZADD", keys.leases, "XX", 1, consumer.incarnation)
    record = await client.run(
        scripts.FENCE,
        [keys.leases, keys.worker(consumer.incarnation), keys.reaped(consumer.incarnation)],
        [consumer.incarnation],
    )
    assert record


@pytest.mark.parametrize("raw", [b"not json", b'{"body": ', b"\xff\xfe\x00", b"1,2"])
def test_a_malformed_message_of_a_dead_worker(redis_url, raw):
    """Taking it over neither ends the survivor nor keeps it from the rest."""

    async def main():
        broker = broker_at(redis_url)
        broker.client.call("LPUSH", "work", raw)
        send(broker, "good")
        dead = await started(broker)
        await dead.seen.count(2)
        await die(dead)
        alive = await started(broker)
        await alive.seen.until(lambda: alive.seen.ends or len(alive.seen.deliveries) == 2)
        assert alive.seen.ends == []
        assert sorted(one.body for one in alive.seen.deliveries) == sorted([b"good", raw])
        await alive.consumer.stop()
        broker.close()

    asyncio.run(main())


def test_a_key_that_is_no_list(redis_url):
    """What was taken from the other queues in the same step is not lost."""

    async def main():
        broker = broker_at(redis_url)
        broker.client.call("SET", "other", "something else")
        send(broker, "a")
        worker = await started(broker, WORK, OTHER)
        assert [one.body for one in await worker.seen.count(1)] == [b"a"]
        await die(worker)
        assert broker.client.call("HLEN", "unacked") == 1
        broker.close()

    asyncio.run(main())


async def idle(worker):
    """Return when it waits for the next message."""
    while worker.consumer.waiting.waiter.place is None:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)


def test_what_a_waiter_moved_is_held_when_the_server_says_so(redis_url):
    """It may be acknowledged early with the same write, settled, parked; its task may not run before the answer."""

    async def main():
        broker = broker_at(redis_url, lease=30.0)
        worker = await started(broker)
        for number, end in enumerate(("begin", "ack", "park", "requeue", "bury")):
            await idle(worker)
            send(broker, end)
            await worker.seen.until(lambda number=number: len(worker.seen.doubts) > number)
            delivery = worker.seen.deliveries[-1]
            if end == "begin":
                assert await worker.consumer.begin([delivery]) == [delivery]
                worker.consumer.ack(delivery)
            elif end == "park":
                worker.consumer.park(delivery, 1e10)
            elif end == "bury":
                worker.consumer.bury(delivery, "why")
            elif end == "requeue":
                worker.consumer.allow(0)
                worker.consumer.requeue(delivery)
            else:
                worker.consumer.ack(delivery)
            assert await worker.seen.doubts[number] is True
            await worker.consumer.flush()
            if end == "requeue":
                assert broker.size("work") == 2  # and the parked one
                broker.client.call("DEL", "work")
                worker.consumer.allow(10)
        assert broker.client.call("HLEN", broker.keys.unacked) == 1
        assert [letter.body for letter in broker.dead("work")] == [b"bury"]
        await worker.consumer.stop()
        broker.close()

    asyncio.run(main())


def test_what_a_fenced_waiter_moved_is_not_held(redis_url):
    async def main():
        broker = broker_at(redis_url, lease=30.0)
        worker = await started(broker)
        await idle(worker)
        await end_lease(worker, broker.keys, AsyncClient.of(broker.settings))
        send(broker, "a")
        await worker.seen.until(lambda: worker.seen.doubts)
        assert await worker.consumer.begin(worker.seen.deliveries) == []
        assert await worker.seen.doubts[0] is False
        await worker.seen.until(lambda: worker.seen.fences)
        assert worker.seen.ends == []
        await worker.consumer.stop()
        broker.close()

    asyncio.run(main())


def test_a_record_goes_with_the_next_write_or_soon(redis_url):
    """Until then it is known whose it is: who dies before leaves it to the others."""

    async def main():
        broker = broker_at(redis_url)
        worker = await started(broker)
        send(broker, "a")
        (first,) = await worker.seen.count(1)
        assert await worker.consumer.begin([first]) == [first]
        worker.consumer.ack(first)
        while broker.client.call("HLEN", broker.keys.unacked):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        worker.consumer.tidy_soon = lambda: None
        send(broker, "b")
        second = (await worker.seen.count(2))[1]
        assert await worker.consumer.begin([second]) == [second]
        worker.consumer.ack(second)
        send(broker, "c")
        third = (await worker.seen.count(3))[2]
        assert await worker.consumer.begin([third]) == [third]
        assert broker.client.call("HLEN", broker.keys.unacked) == 1
        worker.consumer.ack(third)
        assert await worker.consumer.session.announce()
        await die(worker)
        heir = await started(broker, name="heir")
        await heir.seen.until(lambda: heir.seen.orphans)
        assert [one.body for one in heir.seen.orphans] == [b"c"]
        await heir.consumer.stop()
        broker.close()

    asyncio.run(main())


def test_nothing_is_begun_after_the_lease(redis_url):
    """Whoever reaps has perhaps looked already, and is about to offer it again."""

    async def main():
        broker = broker_at(redis_url, lease=30.0)
        send(broker, "a")
        worker = await started(broker)
        (delivery,) = await worker.seen.count(1)
        await end_lease(worker, broker.keys, AsyncClient.of(broker.settings))
        assert await worker.consumer.begin([delivery]) == []
        await worker.seen.until(lambda: worker.seen.fences)
        await worker.consumer.stop()
        broker.close()

    asyncio.run(main())


def test_what_ended_too_late_is_told(redis_url):
    """The acknowledgement was refused, for the message is another worker's by now."""

    async def main():
        broker = broker_at(redis_url, lease=30.0)
        send(broker, "a", "b")
        worker = await started(broker)
        first, second = await worker.seen.count(2)
        worker.consumer.ack(first)
        await worker.consumer.flush()
        client = AsyncClient.of(broker.settings)
        await end_lease(worker, broker.keys, client)
        await client.call("DEL", broker.keys.unacked, broker.keys.index)  # and now it has taken what was held
        worker.consumer.ack(second)
        await worker.consumer.subscribe(OTHER)
        await worker.seen.until(lambda: worker.seen.fences)
        assert worker.seen.too_late == [second.headers.value["id"]]
        await worker.consumer.stop()
        broker.close()

    asyncio.run(main())


def test_a_lease_that_is_over_does_not_begin_again(redis_url):
    """A worker that is told to consume another queue before it knows that it was taken for dead."""

    async def main():
        broker = broker_at(redis_url, lease=30.0)
        send(broker, "a")
        worker = await started(broker)
        await worker.seen.count(1)
        await end_lease(worker, broker.keys, AsyncClient.of(broker.settings))
        await worker.consumer.subscribe(OTHER)
        await worker.seen.until(lambda: worker.seen.fences)
        send(broker, "b", routing_key="other")
        await worker.seen.count(2)
        await worker.consumer.stop()
        broker.close()

    asyncio.run(main())


@pytest.mark.parametrize("reconnects", [False, True])
def test_what_came_while_a_queue_was_given_up(redis_url, reconnects):
    """Its message was moved to the worker just before that, and the answer was never read."""

    async def main():
        broker = broker_at(redis_url)
        worker = await started(broker, WORK, OTHER)
        await worker.consumer.unsubscribe("other")
        pending = broker.keys.pending(worker.consumer.incarnation, "other")
        broker.client.call("LPUSH", pending, messages.pack(outgoing("late")))
        if reconnects:
            worker.consumer.reconnect("for the test")
        else:
            await die(worker)
            worker = await started(broker)
        await asyncio.to_thread(wait_until, lambda: broker.size("other") == 1)
        await worker.consumer.stop()
        broker.close()

    asyncio.run(main())


def test_a_reservation_that_arrives_late(redis_url):
    """By then the worker has another connection, and has looked for what the lost one had taken."""

    async def main():
        broker = broker_at(redis_url, lease=30.0)
        worker = await started(broker)
        consumer = worker.consumer
        late = []

        def remember(data, *rest, write=consumer.link.write):
            late.append(data)
            write(data, *rest)

        consumer.link.write = remember
        send(broker, "a")
        await worker.seen.count(1)
        consumer.ack(worker.seen.deliveries[0])
        await consumer.flush()
        reserved = [data for data in late if scripts.RESERVE.sha.encode() in data]
        consumer.reconnect("for the test")
        await worker.seen.until(lambda: worker.seen.connects)
        consumer.allow(0)
        await consumer.flush()
        send(broker, "b")
        await AsyncClient.of(broker.settings).send(reserved[-1], reserved[-1].count(b"EVALSHA"), 1e9)
        assert broker.size("work") == 1
        consumer.allow(10)
        await worker.seen.count(2)
        await consumer.stop()
        broker.close()

    asyncio.run(main())


def test_orphans_whose_answer_was_lost(redis_url, redis_server):
    """They are ours since the server took them from their list: the next connection finds them."""

    async def main():
        broker = broker_at(redis_url)
        dead = await started(broker)
        send(broker, "begun")
        (delivery,) = await dead.seen.count(1)
        assert await dead.consumer.begin([delivery]) == [delivery]
        await dead.consumer.stop()
        with Proxy(redis_server.port) as proxy:
            through = broker_at(redis_url.replace(str(redis_server.port), str(proxy.port)))
            worker = Worker(through.consumer("w"), Watched())
            consumer = worker.consumer
            asked = consumer.ask

            async def cut(*commands, link=None):
                found = await asked(*commands, link=link)
                if scripts.ORPHANS.sha in commands[0]:
                    consumer.ask = asked
                    proxy.cut()
                    await worker.seen.until(lambda: worker.seen.errors)
                    raise worker.seen.errors[0]
                return found

            consumer.ask = cut
            await consumer.start([WORK], worker.seen)
            consumer.allow(1)
            await worker.seen.until(lambda: worker.seen.orphans)
            assert [one.body for one in worker.seen.orphans] == [b"begun"]
            assert worker.seen.deliveries == []
            consumer.ack(worker.seen.orphans[0])
            await consumer.flush()
            await consumer.stop()
            through.close()
        assert broker.client.call("HLEN", "unacked") == 0
        broker.close()

    asyncio.run(main())


def test_a_mailbox_that_is_cut_off_while_it_opens_connects_once(redis_url, redis_server):
    """Two connections would hear every control command twice."""

    async def main():
        with Proxy(redis_server.port) as proxy:
            broker = broker_at(redis_url.replace(str(redis_server.port), str(proxy.port)))
            exchange = Exchange("celery.pidbox", "fanout", durable=False)
            box = await broker.mailbox("box", exchange, "", expires=10)
            said = await asyncio.to_thread(_length_of_greeting, broker.settings)
            accepted = proxy.accepted
            proxy.reset_after(said + 2)
            proxy.cut()  # the next connection is reset just after it was greeted

            def subscribers():
                return int(redis_server.cli("PUBSUB", "NUMPAT"))

            await asyncio.to_thread(wait_until, lambda: proxy.accepted >= accepted + 2 and subscribers() == 1)
            tasks = [task for task in asyncio.all_tasks() if "_reconnect" in repr(task.get_coro())]
            assert tasks == []
            assert subscribers() == 1
            await box.aclose()
            broker.close()

    asyncio.run(main())


def _length_of_greeting(settings):
    """How many bytes a server says before a new connection asks for anything."""
    target = settings.targets[0]
    data = pack_all(greeting(target, settings.client_name))
    with socket.create_connection((target.place.host, target.place.port)) as sock:
        sock.sendall(data)
        parser, said, replies = Parser(), 0, 0
        while replies < data.count(b"HELLO") + data.count(b"SELECT"):
            chunk = sock.recv(4096)
            said += len(chunk)
            parser.feed(chunk)
            replies += len(list(parser.replies()))
    return said


def test_a_server_that_takes_no_writes_for_a_while(tmp_path):
    """What a worker says meanwhile is said again, and what could not be begun is not begun."""

    async def main(server):
        broker = broker_at(server.url)
        worker = await started(broker, window=4)
        consumer = worker.consumer
        send(broker, "ack", "requeue", "park", "begin")
        acked, requeued, parked, begun = await worker.seen.count(4)
        await consumer.flush()
        server.cli("CONFIG", "SET", "min-replicas-to-write", 1)
        consumer.allow(0)
        consumer.ack(acked)
        consumer.requeue(requeued)
        consumer.park(parked, 2e9)
        begin = asyncio.ensure_future(consumer.begin([begun]))
        await consumer.flush()
        assert not begin.done()
        server.cli("CONFIG", "SET", "min-replicas-to-write", 0)
        assert await begin == [begun]
        await consumer.flush()
        assert broker.client.call("HLEN", "unacked") == 2
        assert broker.size("work") == 2
        assert broker.client.call("ZSCORE", "unacked_index", begun.receipt.tag) is None
        consumer.ack(begun)
        await consumer.stop()
        broker.close()

    with RedisServer(tmp_path) as server:
        asyncio.run(main(server))


def test_a_mailbox_notices_that_its_connection_is_half_open(redis_url, redis_server):
    """On a channel silence means nothing by itself."""

    async def main():
        with Proxy(redis_server.port) as proxy:
            url = redis_url.replace(str(redis_server.port), str(proxy.port))
            through = open_broker(url, BrokerOptions(heartbeat=0.5))
            exchange = Exchange("celery.pidbox", "fanout", durable=False)
            box = await through.mailbox("box", exchange, "", expires=10)
            accepted = proxy.accepted
            proxy.forget()
            await asyncio.to_thread(wait_until, lambda: proxy.accepted > accepted)
            broker = broker_at(redis_url)
            received = asyncio.ensure_future(box.receive())
            while not received.done():
                send(broker, "hello", exchange="celery.pidbox", routing_key="")
                await asyncio.sleep(0.1)
            assert received.result()[0].body == b"hello"
            await box.aclose()
            through.close()
            broker.close()

    asyncio.run(main())


def test_numbers_do_not_go_back(redis_url):
    """What a worker inherits may overtake what it has adopted before: a reaper must look at both."""
    broker = broker_at(redis_url)
    keys, client = broker.keys, broker.client
    record, pending = keys.worker("one"), keys.pending("one", "work")
    client.call("HSET", record, "next", 12)
    raw = messages.pack(outgoing("a"))
    client.call("LPUSH", pending, raw)
    client.call("LPUSH", "work", "b")
    lists = [record, keys.unacked, keys.index, pending, "work"]
    call = lists, ["one:", 10, raw, messages.suffix("work")]
    assert client.run(scripts.ADOPT, *call) == [1, 1]  # ours, and one more waits
    assert client.call("HGET", record, "next") == b"12"
    assert client.run(scripts.ADOPT, *call) == [1, 1]  # said again
    broker.close()


def test_what_ends_while_a_worker_leaves_has_no_record(redis_url):
    """The last write before its lease ends says it: nobody is left to say it later."""

    async def main():
        broker = broker_at(redis_url)
        worker = await started(broker)
        consumer = worker.consumer
        send(broker, "a")
        (first,) = await worker.seen.count(1)
        assert await consumer.begin([first]) == [first]
        consumer.tidy_soon = lambda: None
        flush = consumer.flush

        async def flushed():
            await flush()
            consumer.ack(first)

        consumer.flush = flushed
        await consumer.stop()
        assert broker.client.call("HLEN", broker.keys.unacked) == 0
        broker.close()

    asyncio.run(main())
