"""kombu's own objects over our brokers, next to native publishers and workers."""

from __future__ import annotations

import socket

import kombu
import pytest
from kombu.pools import ProducerPool
from kombu.simple import SimpleQueue

from celery.brokers.kombu import objects

from .tools import send

assert objects


@pytest.fixture(autouse=True)
def _direct(broker):
    if not hasattr(broker, "fetcher"):
        pytest.skip("kombu has a transport of its own for this broker")


@pytest.fixture
def connection(site):
    if not hasattr(site.broker, "fetcher"):
        pytest.skip("kombu has a transport of its own for this broker")
    with kombu.Connection(site.url) as made:
        yield made


@pytest.fixture
def work_queue():
    return kombu.Queue("work", kombu.Exchange("work"), "work")


def test_kombu_sends_a_worker_receives(connection, work_queue, broker, queue, work):
    async def test(hire):
        with connection.Producer() as producer:
            producer.publish(
                {"x": 1},
                exchange="work",
                routing_key="work",
                declare=[work_queue],
                priority=7,
                correlation_id="c",
            )
            producer.publish("text", routing_key="work", headers={"h": 1}, compression="zlib")
        worker = await hire(queue)
        first, second = await worker.take(2)
        assert (first.body, first.priority) == (b'{"x": 1}', 7)
        assert first.properties.value["content_type"] == "application/json"
        assert first.properties.value["correlation_id"] == "c"
        assert (first.exchange, first.routing_key) == ("work", "work")
        assert second.headers.value["h"] == 1
        assert second.headers.value["compression"] == "application/x-gzip"

    work(test)


def test_native_sends_kombu_receives(connection, work_queue, broker, queue):
    send(broker, '{"y": 2}', routing_key="work", priority=5)
    got = []

    def receive(body, message):
        got.append((body, message.properties["correlation_id"], message.delivery_info["routing_key"]))
        message.ack()

    with connection.Consumer(work_queue, callbacks=[receive], accept=None) as consumer:
        consumer.qos(prefetch_count=1)
        connection.drain_events(timeout=5)
    assert got[0][1:] == ('{"y": 2}', "work")
    assert broker.size("work") == 0


def test_unacknowledged_goes_back(site, work_queue, broker, queue):
    send(broker, "a")
    with kombu.Connection(site.url) as connection:
        message = work_queue(connection.default_channel).get()
        assert broker.size("work") == 0
        message.requeue()
        assert broker.size("work") == 1
        message = work_queue(connection.default_channel).get()
        assert message.delivery_info["redelivered"] is True
        assert work_queue(connection.default_channel).get() is None
    assert broker.size("work") == 1
    with kombu.Connection(site.url) as connection:
        work_queue(connection.default_channel).get().reject()
    assert broker.size("work") == 0


def test_simple_queue_purge_and_timeout(connection, broker):
    simple = SimpleQueue(connection, "simple")
    simple.put({"n": 1})
    assert simple.qsize() == 1
    message = simple.get(timeout=5)
    assert message.payload == {"n": 1}
    message.ack()
    simple.put(1)
    assert simple.clear() == 1
    with pytest.raises(simple.Empty):
        simple.get(block=False)
    simple.close()
    with pytest.raises(socket.timeout), connection.Consumer(kombu.Queue("none")):
        connection.drain_events(timeout=0.05)


def test_fanout_topic_and_auto_delete(connection, broker):
    exchange = kombu.Exchange("fan", "fanout")
    got = []
    queues = [kombu.Queue(name, exchange, auto_delete=True) for name in ("f1", "f2")]
    with connection.Consumer(queues, callbacks=[lambda body, message: got.append(body)], no_ack=True):
        with connection.Producer() as producer:
            producer.publish("news", exchange=exchange)
        connection.drain_events(timeout=5)
        connection.drain_events(timeout=5)
    assert got == ["news", "news"]
    assert not broker.has_queue("f1")
    topic = kombu.Exchange("topics", "topic")
    bound = kombu.Queue("t", topic, "a.#")(connection.default_channel)
    bound.declare()
    with connection.Producer() as producer:
        producer.publish("x", exchange=topic, routing_key="a.b.c")
        producer.publish("x", exchange=topic, routing_key="b")
    assert broker.size("t") == 1
    bound.unbind_from(topic, "a.#")
    bound.delete()
    assert not broker.has_queue("t")


def test_pools(connection, broker, queue):
    pool = ProducerPool(connection.Pool(limit=2), limit=2)
    for _ in range(3):
        with pool.acquire(block=True) as producer:
            producer.publish("x", routing_key="work")
    assert broker.size("work") == 3
    pool.force_close_all()
