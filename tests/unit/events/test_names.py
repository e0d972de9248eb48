"""Names, settings and small functions of `celery.events`."""

from __future__ import annotations

import pytest

import celery.events
from celery import Celery
from celery.events import Event, get_exchange, group_from
from celery.events.event import EVENT_EXCHANGE_NAME
from celery.events.receiver import CLIENT_CLOCK_SKEW, EventReceiver
from celery.exceptions import ImproperlyConfigured


@pytest.fixture
def app(request):
    made = Celery("names", broker=f"memory://{request.node.name}", set_as_current=False)
    yield made
    made.close()


def test_names():
    for name in celery.events.__all__:
        assert getattr(celery.events, name) is not None
    assert celery.events.event_exchange.name == EVENT_EXCHANGE_NAME == "celeryev"
    assert celery.events.event_exchange.type == "topic"
    with pytest.raises(AttributeError, match="nonsense"):
        celery.events.nonsense  # noqa: B018


def test_events_are_dicts():
    event = Event("task-sent", {"a": 1}, b=2)
    assert {key: event[key] for key in ("a", "b", "type")} == {"a": 1, "b": 2, "type": "task-sent"}
    assert event["timestamp"] > 1e9
    assert Event("x", timestamp=5) == {"type": "x", "timestamp": 5}
    assert group_from("worker-heartbeat") == "worker"


def test_settings(app):
    app.conf.update(
        event_exchange="evs",
        event_queue_prefix="mine",
        event_queue_ttl=7.0,
        event_queue_expires=30.0,
        event_queue_exclusive=False,
        event_queue_durable=True,
        event_serializer="yaml",
        worker_send_task_events=True,
    )
    with app.connection() as connection:
        receiver = app.events.Receiver(connection, node_id="n1")
        queue = receiver.queue
        assert (queue.name, queue.exchange.name, queue.exchange.type) == ("mine.n1", "evs", "topic")
        assert (queue.message_ttl, queue.expires, queue.durable, queue.exclusive) == (7.0, 30.0, True, False)
        assert queue.auto_delete
        assert receiver.accept == {"yaml", "json"}
        with pytest.raises(ImproperlyConfigured, match="exclusive and"):
            app.events.Receiver(connection, queue_exclusive=True)
        assert app.events.Receiver(connection, queue_ttl=1, queue_durable=False).queue.message_ttl == 1
        assert get_exchange(connection, "evs").name == "evs"
    assert app.events.Dispatcher().serializer == "yaml"
    worker = app.WorkController(pool="solo")
    assert worker.task_events
    assert worker.heartbeat_interval == 2.0
    assert app.WorkController(pool="solo", without_heartbeat=True).heartbeat_interval is None


def test_what_a_receiver_makes_of_a_message(app):
    with app.connection() as connection:
        receiver = app.events.Receiver(connection)
        kind, event = receiver.event_from_message(
            {"type": "task-received", "clock": 40, "timestamp": 1000.0, "utcoffset": 1}, now=lambda: 5.0
        )
        assert (kind, event["local_received"]) == ("task-received", 5.0)
        assert event["timestamp"] == pytest.approx(1000.0 - (1 - _offset()) * 3600)
        assert app.clock.value == 41
        _, event = receiver.event_from_message({"type": "task-sent", "clock": 1, "timestamp": 1.0})
        assert event["clock"] == 41 + CLIENT_CLOCK_SKEW
        _, event = receiver.event_from_message({"type": "odd"}, localize=False)
        assert event["clock"] == app.clock.value


def _offset():
    from celery.utils.time import utcoffset

    return utcoffset()


def test_handlers_by_type_or_for_all(app):
    heard = []
    with app.connection() as connection:
        receiver = EventReceiver(
            connection,
            {"a-b": lambda event: heard.append("a-b"), "*": lambda event: heard.append("*")},
            app=app,
        )
        receiver.process("a-b", {})
        receiver.process("x-y", {})
    assert heard == ["a-b", "*"]
