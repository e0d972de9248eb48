"""What an app gives those who ask for kombu's objects, on real brokers: they and our own publishers write the same."""

from __future__ import annotations

import json
import socket

import kombu
import pytest

from celery import Celery
from celery.exceptions import ImproperlyConfigured, OperationalError


@pytest.fixture(params=["redis", "rabbitmq"])
def url(request):
    return request.getfixturevalue({"redis": "redis_url", "rabbitmq": "amqp_url"}[request.param])


@pytest.fixture
def app(url):
    made = Celery("objects", broker=url, set_as_current=False, broker_pool_limit=2)

    @made.task(name="note")
    def note(number, **kwargs): ...

    yield made
    made.close()


OPTIONS = {"task_id": "an-id", "expires": 600, "priority": 3, "headers": {"x": "y"}}


def receive(app, count=1):
    """Take messages with kombu's own consumer."""
    got = []

    def take(body, message):
        got.append((body, message))
        message.ack()

    with app.connection_for_read() as connection, app.amqp.TaskConsumer(connection, callbacks=[take]):
        while len(got) < count:
            connection.drain_events(timeout=10)
    return got


_OF_ONE_SENDING = ("reply_to", "delivery_tag", "application_headers")


def comparable(message):
    """All of a message that two sendings have in common."""
    headers = {k: v for k, v in message.headers.items() if k not in ("origin", "expires")}
    properties = {k: v for k, v in message.properties.items() if k not in _OF_ONE_SENDING}
    where = (message.delivery_info["exchange"], message.delivery_info["routing_key"])
    return headers, properties, message.content_type, message.content_encoding, where


def test_what_tools_ask(app, url):
    scheme = url.partition(":")[0]
    for connection in (app.connection(), app.connection_for_read(), app.connection_for_write()):
        assert isinstance(connection, kombu.Connection)
        assert connection.transport.driver_type == {"redis": "redis", "amqp": "amqp"}[scheme]
        assert connection.as_uri().startswith(scheme)
        assert not connection.heartbeat


def test_three_ways_of_sending_write_the_same(app):
    task = app.tasks["note"]
    task.apply_async((1,), {"a": [2]}, **OPTIONS)
    with app.producer_pool.acquire(block=True) as producer:
        task.apply_async((1,), {"a": [2]}, producer=producer, **OPTIONS)
    with app.connection_for_write() as connection:
        app.send_task("note", (1,), {"a": [2]}, connection=connection, **OPTIONS)
    got = receive(app, 3)
    assert [body for body, _ in got] == [
        [[1], {"a": [2]}, dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))]
    ] * 3
    first, second, third = (comparable(message) for _, message in got)
    assert first == second
    third[0]["ignore_result"] = False  # unknown to whoever sends by name
    assert first == third


def test_a_worker_takes_what_a_producer_sent(app, url, project):
    project.write(
        "tasks.py",
        f"""
        from celery import Celery
        app = Celery("tasks", broker={url!r})

        @app.task
        def note(number):
            with open("ledger.txt", "a") as ledger:
                ledger.write(f"{{number}}\\n")
        """,
    )
    from tests.support import wait_until

    send = """
    from tasks import *
    with app.producer_or_acquire() as producer:
        for number in range(5):
            note.apply_async((number,), producer=producer)
    with app.connection_or_acquire() as connection:
        note.apply_async((5,), connection=connection, countdown=0.2)
    """
    project.python(send)
    ledger = project.path / "ledger.txt"
    with project.worker("-P", "threads"):
        wait_until(lambda: ledger.exists() and len(ledger.read_text().split()) >= 6)
    assert sorted(map(int, ledger.read_text().split())) == list(range(6))


def test_simple_queues_and_counting(app):
    with app.connection() as connection:
        simple = connection.SimpleQueue("plain")
        simple.put({"n": 1})
        message = simple.get(timeout=10)
        assert message.payload == {"n": 1}
        message.ack()
        simple.close()
        app.send_task("note", (1,))
        _, count, _ = connection.default_channel.queue_declare("celery", passive=True)
        assert count == 1
        with pytest.raises(socket.timeout), connection.Consumer(kombu.Queue("none", auto_delete=True)):
            connection.drain_events(timeout=0.05)


def test_pool_is_bounded(app):
    app.conf.broker_pool_acquire_timeout = 0.05
    with app.pool.acquire(), app.pool.acquire(), pytest.raises(OperationalError), app.connection_or_acquire():
        pass


def test_failover_reaches_the_second(app, url):
    dead = url.partition("://")[0] + "://127.0.0.1:1"
    app.conf.broker_url = [dead, url]
    with app.connection() as connection:
        connection.ensure_connection(max_retries=3, interval_start=0)
        assert connection.connected
    app.send_task("note", (7,))
    with app.connection(url) as connection:
        message = connection.default_channel.basic_get("celery")
    assert json.loads(message.body)[0] == [7]


def test_a_broker_that_kombu_does_not_know():
    app = Celery(broker="redis+cluster://127.0.0.1:1", set_as_current=False)
    with pytest.raises(ImproperlyConfigured, match="kombu has no transport for redis"):
        app.connection()


def test_explicit_parts_win():
    app = Celery(broker="h", broker_user="me", broker_password="p", set_as_current=False)
    assert app.connection().as_uri(include_password=True) == "amqp://me:p@h:5672//"
    connection = app.connection(hostname="other", userid="you", virtual_host="v", port=99)
    assert connection.as_uri(include_password=True) == "amqp://you:p@other:99/v"


def test_a_c_library_that_is_gone():
    app = Celery(broker="librabbitmq://h//", set_as_current=False)
    assert app.connection().transport.driver_type == "amqp"
