"""Reaching RabbitMQ: TLS, ways to log in, failover; and what the driver does with its features."""

from __future__ import annotations

import asyncio
import subprocess
import time

import pytest
from tests.conformance.brokers.tools import Recorder, outgoing, send, sized
from tests.servers.process import accepts, free_port
from tests.servers.rabbitmq import RabbitServer
from tests.support import wait_until

from celery.brokers.base import BrokerError, BrokerOptions, BrokerRefused, Unroutable
from celery.brokers.registry import open_broker
from celery.brokers.topology import Exchange, Queue

pytestmark = pytest.mark.timeout(90)

WORK = Queue("work", Exchange("work"), "work")


def round_trip(broker, *, guarded=False):
    """Publish, consume, acknowledge, ask."""

    async def main():
        broker.declare([WORK])
        send(broker, "a")
        consumer, seen = broker.consumer("w", guarded=guarded), Recorder()
        await consumer.start([WORK], seen)
        consumer.allow(1)
        (delivery,) = await seen.count(1)
        assert await consumer.begin([delivery]) == [delivery]
        consumer.ack(delivery)
        await consumer.flush()
        await sized(broker, "work", 0)
        await consumer.stop()

    asyncio.run(main())
    broker.close()


def test_tls(tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = [
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
    ]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, *names], check=True, capture_output=True)
    with RabbitServer(tmp_path / "r", tls=(cert, key, cert)) as server:
        wait_until(lambda: accepts(server.tls_port))
        url = f"amqps://guest:guest@127.0.0.1:{server.tls_port}//"
        round_trip(open_broker(url, BrokerOptions(ssl={"ca_certs": str(cert), "cert_reqs": "required"})))
        round_trip(open_broker(f"{url}?ssl_cert_reqs=none", BrokerOptions()), guarded=True)
        plain = url.replace("amqps", "amqp")
        round_trip(open_broker(plain, BrokerOptions(ssl={"ca_certs": str(cert)})))
        with pytest.raises(BrokerError, match="certificate"):
            open_broker(url, BrokerOptions()).size("work")


@pytest.mark.parametrize("method", ["PLAIN", "AMQPLAIN"])
def test_ways_to_log_in(amqp_url, method):
    round_trip(open_broker(amqp_url, BrokerOptions(login_method=method)))


def test_a_way_to_log_in_that_the_broker_does_not_offer(amqp_url):
    with pytest.raises(BrokerRefused, match=r"does not offer the login method EXTERNAL.*broker_login_method"):
        open_broker(amqp_url, BrokerOptions(login_method="EXTERNAL")).size("work")


def test_failover_goes_on_to_a_node_that_answers(amqp_url):
    away = f"amqp://guest:guest@127.0.0.1:{free_port()}//"
    round_trip(open_broker([away, amqp_url], BrokerOptions()))


def test_without_confirms(amqp_url):
    broker = open_broker(amqp_url, BrokerOptions(transport_options={"confirm_publish": False}))
    broker.declare([WORK])
    assert (
        broker.publisher().publish([outgoing(n) for n in range(50)], deadline=time.monotonic() + 5)
        == [None] * 50
    )
    asyncio.run(sized(broker, "work", 50))
    broker.close()


def test_other_properties_of_a_queue_are_refused_in_words(amqp_url):
    broker = open_broker(amqp_url)
    broker.declare([WORK])
    other = Queue("work", Exchange("work"), "work", arguments={"x-max-priority": 5})
    with pytest.raises(BrokerRefused, match=r"x-max-priority.*It exists with other properties"):
        broker.declare([other])
    outcomes = broker.publisher().publish(
        [outgoing(1, declare=[other]), outgoing(2)], deadline=time.monotonic() + 5
    )
    assert isinstance(outcomes[0], BrokerRefused)
    assert outcomes[1] is None
    broker.close()


def test_a_full_queue_refuses_and_a_deleted_one_is_made_again(amqp_url):
    broker = open_broker(amqp_url)
    small = Queue("small", arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    publisher = broker.publisher()
    batch = [outgoing(n, queue="small", declare=[small]) for n in range(4)]
    outcomes = publisher.publish(batch, deadline=time.monotonic() + 5)
    assert [type(outcome) for outcome in outcomes].count(BrokerRefused) >= 1
    assert "it is full" in str(next(filter(None, outcomes)))
    assert broker.delete("small") == 2
    assert publisher.publish(batch[:1], deadline=time.monotonic() + 5) == [None]
    (outcome,) = publisher.publish([outgoing(1, queue="gone")], deadline=time.monotonic() + 5)
    assert isinstance(outcome, Unroutable)
    broker.close()


def test_dead_letters_go_to_the_exchange_that_the_queue_names(amqp_url):
    async def main():
        broker = open_broker(amqp_url)
        graves = Queue("graves", Exchange("dlx", "fanout"))
        work = Queue("work", Exchange("work"), "work", arguments={"x-dead-letter-exchange": "dlx"})
        broker.declare([graves, work])
        send(broker, "a", declare=[work])
        consumer, seen = broker.consumer("w"), Recorder()
        await consumer.start([work], seen)
        consumer.allow(1)
        (delivery,) = await seen.count(1)
        consumer.bury(delivery, "no good")
        await consumer.flush()
        await sized(broker, "graves", 1)
        await sized(broker, "work", 0)
        assert broker.dead("work") == []
        await consumer.stop()
        broker.close()

    asyncio.run(main())


def test_many_queues_share_a_window(amqp_url):
    async def main():
        broker = open_broker(amqp_url)
        queues = [Queue(f"q{number}") for number in range(5)]
        broker.declare(queues)
        for queue in queues:
            send(broker, *range(20), queue=queue.name)
        consumer, seen = broker.consumer("w"), Recorder()
        await consumer.start(queues, seen)
        consumer.allow(10)
        done = 0
        while done < 100:
            await seen.until(lambda: seen.deliveries)
            assert len(seen.deliveries) <= 10
            batch, seen.deliveries = seen.deliveries, []
            for delivery in batch:
                consumer.ack(delivery)
            done += len(batch)
        await consumer.flush()
        await consumer.stop()
        broker.close()

    asyncio.run(main())


def test_only_what_is_said_is_left_in_the_broker(amqp_url, rabbitmq_server):
    """A worker that ends in order leaves its queue, and the one for what dead workers lose."""
    round_trip(open_broker(amqp_url))
    left = rabbitmq_server.ctl("-p", amqp_url.rpartition("/")[2], "list_queues", "name").split()
    assert sorted(name for name in left if name != "name") == ["celeriac.lost.work", "work"]
