"""The broker's driver: its wire form beside kombu's own transport, and every way to reach a server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import subprocess
import time

import kombu
import pytest
from tests.conformance.brokers.tools import Recorder, Worker, outgoing, send
from tests.servers.redis import RedisCluster, RedisServer
from tests.support import wait_until

from celery.brokers import publishing
from celery.brokers.base import BrokerOptions, BrokerRefused, BrokerUnavailable, Outgoing
from celery.brokers.publishing import RetryPolicy
from celery.brokers.redis import keeper
from celery.brokers.redis.lease import entry_of
from celery.brokers.registry import open_broker
from celery.brokers.topology import Exchange, Queue
from celery.message.headers import LazyObject
from celery.message.template import Template

QUEUE = Queue("work", Exchange("work"), "work")


@contextlib.contextmanager
def broker_at(url, ssl=None, fleet="mixed", **options):
    made = open_broker(url, BrokerOptions(ssl=ssl, fleet=fleet, transport_options={"lease": 1.0, **options}))
    try:
        yield made
    finally:
        made.close()


@contextlib.asynccontextmanager
async def worker_of(broker, *queues, window=10, guarded=False):
    worker = Worker(broker.consumer("w", guarded=guarded), Recorder())
    await worker.consumer.start(list(queues or (QUEUE,)), worker.seen)
    worker.consumer.allow(window)
    try:
        yield worker
    finally:
        await worker.consumer.stop()


def round_trip(broker):
    """Everything that takes another script."""

    async def main():
        async with worker_of(broker) as worker:
            send(broker, "a", priority=9)
            send(broker, "b", exchange="work", routing_key="work")
            await worker.seen.count(2)
            first, second = worker.seen.deliveries
            assert await worker.consumer.begin([first]) == [first]
            worker.consumer.ack(first)
            worker.consumer.park(second, time.time() + 0.1)
            third = (await worker.seen.count(3))[2]
            worker.consumer.requeue(third)
            fourth = (await worker.seen.count(4))[3]
            worker.consumer.bury(fourth, "enough")
            await worker.consumer.flush()
        (letter,) = broker.dead()
        assert letter.reason == "enough"
        assert broker.revive([letter.id]) == 1
        assert (broker.size("work"), broker.purge("work"), broker.delete("work")) == (1, 1, 0)

    asyncio.run(main())


# -- the wire


def test_the_envelope_is_celerys(redis_url, redis_server):
    with broker_at(redis_url) as broker:
        template = Template("tasks.add")
        message = Outgoing(
            b"[[2, 2], {}, {}]",
            template.headers("id-1", "(2, 2)", "{}"),
            template.properties("id-1"),
            routing_key="celery",
            priority=5,
        )
        assert broker.publisher().publish([message], deadline=time.monotonic() + 5) == [None]
        raw = json.loads(_cli(redis_server, redis_url, "RPOP", "celery\x06\x163"))
    assert list(raw) == ["body", "content-encoding", "content-type", "headers", "properties"]
    assert (raw["content-encoding"], raw["content-type"]) == ("utf-8", "application/json")
    tag = raw["properties"].pop("delivery_tag")
    assert len(tag) == 36
    assert raw["properties"] == {
        "correlation_id": "id-1",
        "reply_to": "",
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": "celery"},
        "priority": 5,
        "body_encoding": "base64",
    }


OPTIONS = [{}, {"global_keyprefix": "app-", "sep": ":", "priority_steps": [0, 5]}]


@pytest.mark.parametrize("options", OPTIONS)
def test_kombu_sends_and_we_receive(redis_url, options):
    async def main():
        with (
            broker_at(redis_url, **options) as broker,
            kombu.Connection(redis_url, transport_options=options) as connection,
        ):
            async with worker_of(broker) as worker:
                queue = kombu.Queue("work", kombu.Exchange("work"), "work")
                with connection.Producer() as producer:
                    for priority in (0, 7):
                        producer.publish(
                            {"x": priority},
                            exchange="work",
                            routing_key="work",
                            declare=[queue],
                            priority=priority,
                            headers={"h": 1},
                        )
                found = await worker.seen.count(2)
                assert sorted((one.priority, one.body) for one in found) == [
                    (0, b'{"x": 0}'),
                    (7, b'{"x": 7}'),
                ]
                assert found[0].headers.value == {"h": 1}
                assert found[0].properties.value["content_type"] == "application/json"
                assert (found[0].exchange, found[0].routing_key) == ("work", "work")
                for one in found:
                    worker.consumer.ack(one)

    asyncio.run(main())


@pytest.mark.parametrize("options", OPTIONS)
def test_we_send_and_kombu_receives(redis_url, options):
    with (
        broker_at(redis_url, **options) as broker,
        kombu.Connection(redis_url, transport_options=options) as connection,
    ):
        topic = Exchange("news", "topic")
        broker.declare([QUEUE, Queue("news", topic, "eu.#")])
        properties = {"content_type": "application/json", "content_encoding": "utf-8", "correlation_id": "c"}
        batch = [
            Outgoing(
                b'{"x": 1}',
                LazyObject(value={}),
                LazyObject(value=properties),
                routing_key="work",
                priority=6,
            ),
            Outgoing(b'{"x": 2}', LazyObject(value={}), LazyObject(value=properties), "work", "work"),
        ]
        assert broker.publisher().publish(batch, deadline=time.monotonic() + 5) == [None, None]
        got = []
        news = kombu.Queue("news", kombu.Exchange("news", "topic"), "eu.#")
        work = kombu.Queue("work", kombu.Exchange("work"), "work")
        with connection.Producer(exchange=kombu.Exchange("news", "topic")) as producer:
            producer.publish({"x": 3}, routing_key="eu.de")  # by a binding that we have written
        with connection.Consumer(
            [work, news], callbacks=[lambda body, message: (got.append(body["x"]), message.ack())]
        ):
            while len(got) < 3:
                connection.drain_events(timeout=5)
        assert sorted(got) == [1, 2, 3]


def test_kombu_restores_what_we_left(redis_url, redis_server):
    """All workers of ours are gone for good: what they held and what they had parked is in kombu's hands."""

    async def leave():
        with broker_at(redis_url, visibility_timeout=1) as broker:
            send(broker, "held", "parked", declare=[QUEUE])
            worker = Worker(broker.consumer("w"), Recorder())
            await worker.consumer.start([QUEUE], worker.seen)
            held, parked = await worker.take(2)
            assert held.body == b"held"
            worker.consumer.park(parked, time.time() + 1.5)
            await worker.consumer.flush()
            worker.consumer.stopped = True  # as if killed: nothing is given back
            worker.consumer.session.close()

    asyncio.run(leave())
    got = []
    options = {"visibility_timeout": 1, "unacked_restore_interval": 1}
    with kombu.Connection(redis_url, transport_options=options) as connection:
        channel = connection.channel()

        def restored():
            channel.qos.restore_visible(num=100)
            return int(_cli(redis_server, redis_url, "LLEN", "work")) == 2

        wait_until(restored, 15)
        with connection.Consumer(
            [kombu.Queue("work", kombu.Exchange("work"), "work")],
            callbacks=[lambda body, message: (got.append(bytes(message.body)), message.ack())],
            on_message=lambda message: (got.append(message.body), message.ack()),
        ):
            while len(got) < 2:
                connection.drain_events(timeout=5)
    assert sorted(str(one) for one in got) == ["b'held'", "b'parked'"]


# -- what may happen to keys


def test_bindings_that_vanish_are_made_again(redis_url, redis_server):
    async def main():
        with broker_at(redis_url) as broker:
            send(broker, 1, exchange="work", routing_key="work", declare=[QUEUE])
            _cli(redis_server, redis_url, "DEL", "_kombu.binding.work", "_kombu.binding_permanent.work")
            send(broker, 2, exchange="work", routing_key="work")
            assert _cli(redis_server, redis_url, "SCARD", "_kombu.binding.work") == "1"
            async with worker_of(broker) as worker:
                await worker.seen.count(2)

    asyncio.run(main())


def test_scripts_and_data_that_vanish(redis_url, redis_server):
    async def main():
        with broker_at(redis_url) as broker:
            async with worker_of(broker) as worker:
                redis_server.cli("SCRIPT", "FLUSH")
                send(broker, "a")
                await worker.seen.count(1)
                _cli(redis_server, redis_url, "FLUSHDB")
                await worker.seen.until(lambda: worker.seen.errors)
                await worker.seen.until(lambda: len(worker.seen.errors) == worker.seen.connects)
                send(broker, "b")
                await worker.seen.count(2)
                assert worker.seen.fences == []

    asyncio.run(main())


def test_a_queue_that_expires(redis_url, redis_server):
    with broker_at(redis_url) as broker:
        brief = Queue("brief", Exchange("brief"), "brief", expires=60)
        send(broker, 1, queue="brief", declare=[brief])
        assert 50_000 < int(_cli(redis_server, redis_url, "PTTL", "brief")) <= 60_000
        assert _cli(redis_server, redis_url, "EXISTS", "_kombu.binding_permanent.brief") == "0"
        assert _cli(redis_server, redis_url, "ZSCORE", "_kombu.binding_deadlines", "brief")


def test_dead_letters_are_bounded(redis_url):
    async def main():
        made = BrokerOptions(transport_options={"lease": 1.0}, dead_letter_limit=3)
        broker = open_broker(redis_url, made)
        async with worker_of(broker) as worker:
            send(broker, *range(5))
            for delivery in await worker.seen.count(5):
                worker.consumer.bury(delivery, "why")
            await worker.consumer.flush()
        assert [letter.body for letter in broker.dead("work")] == [b"2", b"3", b"4"]
        broker.close()

    asyncio.run(main())


def test_dead_letters_are_forgotten(redis_url):
    """By the workers of their queue, when they are as old as `dead_letter_ttl`."""

    async def main(ttl):
        made = BrokerOptions(transport_options={"lease": 1.0}, dead_letter_ttl=ttl)
        broker = open_broker(redis_url, made)
        async with worker_of(broker) as worker:
            await worker.consumer.flush()
            if ttl:
                send(broker, *range(3))
                for delivery in await worker.seen.count(3):
                    worker.consumer.bury(delivery, "why")
                await worker.consumer.flush()
                assert len(broker.dead("work")) == 3
            else:
                await asyncio.to_thread(wait_until, lambda: broker.dead() == [])
                assert broker.client.call("SMEMBERS", broker.keys.dead_queues) == []
        broker.close()

    asyncio.run(main(3600))
    asyncio.run(main(0))


# -- places


def test_unix_socket(tmp_path):
    with RedisServer(tmp_path, unix_socket=True) as server:
        with broker_at(f"redis+socket://{server.socket_path}?virtual_host=2") as broker:
            round_trip(broker)
        assert server.cli("KEYS", "*") == ""


def test_tls(tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            key,
            "-out",
            cert,
            "-days",
            "2",
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    with RedisServer(tmp_path / "r", tls=(cert, key, cert)) as server:
        with broker_at(server.url, ssl={"ssl_cert_reqs": "required", "ssl_ca_certs": str(cert)}) as broker:
            round_trip(broker)
        with broker_at(f"{server.url}?ssl_cert_reqs=none") as broker:
            round_trip(broker)
        for data in (cert.read_text(), ssl.PEM_cert_to_DER_cert(cert.read_text())):
            with broker_at(server.url, ssl={"ssl_ca_data": data}) as broker:
                round_trip(broker)
                # A keeper makes the context again from values that go through JSON.
                said = json.loads(json.dumps(entry_of(broker.settings.targets[0]) | {"renew": ["PING"]}))
                with contextlib.closing(keeper.Line()) as line:
                    line.renew(said, 10.0)
        with (
            broker_at(server.url) as broker,
            pytest.raises(BrokerRefused, match="certificate is not accepted"),
        ):
            broker.size("work")


def test_of_several_servers_one_is_used_by_all(tmp_path):
    """Every connection goes to the first one, until it is gone; then all go to the second."""

    async def main(first, second):
        with broker_at(f"redis://127.0.0.1:1;{first.url};{second.url}") as broker:
            async with worker_of(broker) as worker:
                send(broker, "a")
                await worker.seen.count(1)
                assert len(second.cli("CLIENT", "LIST").splitlines()) == 1  # the one that asks
                first.kill()
                await worker.seen.until(lambda: worker.seen.connects)
                with contextlib.suppress(BrokerUnavailable):
                    broker.size("work")
                send(broker, "b")
                await worker.seen.count(2)

    with RedisServer(tmp_path / "1") as first, RedisServer(tmp_path / "2") as second:
        asyncio.run(main(first, second))


def test_a_silent_server_leaves_time_for_another(tmp_path):
    """One frozen server of several does not use up the whole deadline of a publish."""

    def publish(broker):
        return publishing.publish(
            broker.publisher(), [outgoing("b")], RetryPolicy(max_retries=5), time.monotonic() + 4
        )

    async def apublish(broker):
        await broker.publisher().apublish([outgoing("a")], deadline=time.monotonic() + 10)
        first.freeze()
        return await publishing.apublish(
            broker.publisher(), [outgoing("b")], RetryPolicy(max_retries=5), time.monotonic() + 4
        )

    with RedisServer(tmp_path / "1") as first, RedisServer(tmp_path / "2") as second:
        for number in (1, 2):
            with broker_at(f"{first.url};{second.url}", socket_connect_timeout=0.5) as broker:
                if number == 1:
                    send(broker, "a")
                    first.freeze()
                    assert publish(broker) == [None]
                else:
                    assert asyncio.run(apublish(broker)) == [None]
                assert int(second.cli("LLEN", "work")) == number
                first.thaw()


def test_cluster(tmp_path):
    with RedisCluster(tmp_path) as cluster:
        with broker_at(f"{cluster.url}?cluster=1") as broker:
            round_trip(broker)
        with broker_at(
            cluster.url.replace("redis://", "redis+cluster://"), global_keyprefix="mine"
        ) as broker:
            round_trip(broker)
            assert broker.keys.prefix == "{mine}"


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("redis://h/x", {}, "Database is int"),
        ("redis://:secret@h/0?ssl_cert_reqs=none", {}, "not rediss"),
        ("sentinel://h:26379", {}, "master_name"),
        ("redis://h", {"visibility_timeout": "long"}, "visibility_timeout"),
        ("redis://h", {"priority_steps": "abc"}, "priority_steps"),
        ("redis+cluster://h/3", {}, "only database 0"),
    ],
)
def test_urls_and_options_that_make_no_sense(url, options, said):
    with pytest.raises(BrokerRefused, match=said) as caught:
        open_broker(url, BrokerOptions(transport_options=options))
    assert "secret" not in str(caught.value)


def _cli(server, url, *words):
    return server.cli(*words, database=int(url.rpartition("/")[2]))
