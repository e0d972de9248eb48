"""What a worker and its tasks say, on every broker, as a receiver hears it."""

from __future__ import annotations

import datetime
import os
import time

import pytest
from tests.listening import listening
from tests.support import wait_until

from celery import Celery, signals
from celery.contrib.testing.worker import start_worker
from celery.exceptions import Ignore, Reject
from celery.utils.nodenames import anon_nodename
from celery.worker import state as worker_state


@pytest.fixture(params=["memory", "sqlite", "redis", "rabbitmq"])
def url(request, tmp_path):
    if request.param in ("redis", "rabbitmq"):
        return request.getfixturevalue({"redis": "redis_url", "rabbitmq": "amqp_url"}[request.param])
    return {
        "memory": f"memory://{tmp_path.name}",
        "sqlite": f"sqlite:///{tmp_path}/store.db",
    }[request.param]


def shop(url):
    app = Celery("shop", broker=url, backend="cache+memory://", set_as_current=False)
    app.conf.broker_connection_timeout = 10

    @app.task(name="add")
    def add(x, y):
        return x + y

    @app.task(name="fail")
    def fail():
        raise ValueError("boom", 7)

    @app.task(name="again", bind=True, max_retries=1)
    def again(self):
        raise self.retry(exc=KeyError("k"), countdown=0)

    @app.task(name="reject", bind=True, acks_late=True)
    def reject(self):
        if self.request.delivery_info["redelivered"]:
            raise Reject("enough", requeue=False)
        raise Reject("again", requeue=True)

    @app.task(name="ignored")
    def ignored():
        raise Ignore

    @app.task(name="says", bind=True)
    def says(self, percent):
        self.send_event("task-progress", percent=percent)

    @app.task(name="silent", send_events=False)
    def silent():
        return 1

    return app


@pytest.fixture
def app(url):
    made = shop(url)
    yield made
    made.close()


def worker(app, **options):
    return start_worker(
        app, pool="threads", concurrency=2, perform_ping_check=False, **{"task_events": True} | options
    )


COMMON = ["hostname", "utcoffset", "pid", "clock"]


def test_the_life_of_tasks(app):
    with listening(app) as ear, worker(app, hostname="w1@h"):
        done = app.tasks["add"].apply_async((2, 2), shadow="plus")
        failed, twice = app.tasks["fail"].delay(), app.tasks["again"].delay()
        silent = app.tasks["silent"].delay()
        assert done.get(timeout=20) == 4
        ear.wait_for("task-succeeded", done.id)
        ear.wait_for("task-failed", failed.id)
        ear.wait_for("task-failed", twice.id)
        assert silent.get(timeout=20) == 1
        last = app.tasks["add"].delay(1, 1)
        ear.wait_for("task-succeeded", last.id)
    assert ear.story(done.id) == ["received", "started", "succeeded"]
    assert ear.story(failed.id) == ["received", "started", "failed"]
    # It may come in again before its worker hears that it is to be run again.
    assert sorted(ear.story(twice.id)) == sorted(
        ["received", "started", "retried", "received", "started", "failed"]
    )
    assert ear.story(silent.id) == []
    (received,) = ear.of("task-received", done.id)
    assert list(received)[:13] == [
        *COMMON,
        *("uuid", "name", "args", "kwargs", "root_id", "parent_id", "retries", "eta", "expires"),
    ]
    assert received["name"] == "plus"
    assert (received["args"], received["kwargs"]) == ("(2, 2)", "{}")
    assert received["root_id"] == done.id
    assert received["hostname"] == "w1@h"
    assert received["pid"] == os.getpid()
    (succeeded,) = ear.of("task-succeeded", done.id)
    assert succeeded["result"] == "4"
    assert succeeded["runtime"] >= 0
    (failure,) = ear.of("task-failed", failed.id)
    assert failure["exception"] == "ValueError('boom', 7)"
    assert "Traceback" in failure["traceback"]
    (retried,) = ear.of("task-retried", twice.id)
    assert retried["exception"] == "KeyError('k')"
    clocks = [event["clock"] for event in ear.heard if event["hostname"] == "w1@h"]
    assert clocks == sorted(clocks)
    assert [event["type"] for event in ear.heard if event["type"].startswith("worker")][
        :: len(ear.of("worker-heartbeat")) + 1
    ] == [
        "worker-online",
        "worker-offline",
    ]


def test_other_fates(app):
    with listening(app) as ear, worker(app):
        rejected, ignored = app.tasks["reject"].delay(), app.tasks["ignored"].delay()
        worker_state.revoked.add("gone")
        late = app.tasks["add"].apply_async((1, 1), task_id="gone")
        unknown = app.send_task("nobody.knows")
        own = app.tasks["says"].delay(40)
        ear.wait_for("task-rejected", rejected.id, 2)
        ear.wait_for("task-started", ignored.id)
        ear.wait_for("task-revoked", late.id)
        ear.wait_for("task-failed", unknown.id)
        ear.wait_for("task-succeeded", own.id)
        (progress,) = ear.wait_for("task-progress", own.id)
    assert ear.story(rejected.id) == ["received", "started", "rejected", "received", "started", "rejected"]
    assert [event["requeue"] for event in ear.of("task-rejected")] == [True, False]
    assert [event["requeued"] for event in ear.of("task-rejected")] == [True, False]
    assert ear.story(ignored.id) == ["received", "started"]
    (revoked,) = ear.of("task-revoked")
    worker_state.revoked.discard("gone")
    assert (revoked["terminated"], revoked["signum"], revoked["expired"]) == (False, None, False)
    assert ear.story(late.id) == ["revoked"]
    (failed,) = ear.of("task-failed", unknown.id)
    assert failed["exception"] == "NotRegistered('nobody.knows')"
    assert progress["percent"] == 40


def test_signs_of_life_and_nothing_else(app):
    beats = []

    def note(sender, **kwargs):
        beats.append(sender)

    signals.heartbeat_sent.connect(note)
    try:
        with listening(app) as ear, worker(app, task_events=False, heartbeat_interval=0.2, hostname="w1@h"):
            app.tasks["add"].delay(1, 1).get(timeout=20)
            ear.wait_for("worker-heartbeat", count=3)
            wait_until(lambda: beats)
    finally:
        signals.heartbeat_sent.disconnect(note)
    assert {event["type"] for event in ear.heard} == {"worker-online", "worker-heartbeat", "worker-offline"}
    beat = ear.of("worker-heartbeat")[-1]
    told = [
        *COMMON,
        "freq",
        "active",
        "processed",
        "loadavg",
        "sw_ident",
        "sw_ver",
        "sw_sys",
        "timestamp",
        "type",
    ]
    assert list(beat)[: len(told)] == told
    assert (beat["freq"], beat["sw_ident"], beat["sw_ver"]) == (0.2, "py-celery", "5.7.0")
    assert beats[0].interval == 0.2


def test_a_worker_may_be_silent(app):
    with listening(app) as ear, worker(app, without_heartbeat=True):
        done = app.tasks["add"].delay(1, 1)
        ear.wait_for("task-succeeded", done.id)
    assert not [event for event in ear.heard if event["type"].startswith("worker")]


def test_events_are_switched_on_and_off_while_it_works(app):
    with listening(app) as ear, worker(app, task_events=False) as running:
        before = app.tasks["add"].delay(1, 1)
        wait_until(lambda: running.info()["total"] == {"add": 1})
        assert before.get(timeout=20) == 2
        assert running.events.enable()
        assert not running.events.enable()
        during = app.tasks["add"].delay(2, 2)
        ear.wait_for("task-succeeded", during.id)
        assert running.events.disable()
        assert not running.events.disable()
        after = app.tasks["add"].delay(3, 3)
        wait_until(lambda: running.info()["total"] == {"add": 3})
        running.events.answer()
        wait_until(lambda: [event for event in ear.of("worker-heartbeat") if event["freq"] == 5])
    assert ear.story(during.id) == ["received", "started", "succeeded"]
    assert ear.story(before.id) == []
    assert ear.story(after.id) == []


def test_extensions_send_their_own(app):
    with listening(app) as ear, worker(app) as running:
        running.consumer.event_dispatcher.send("my-event", what=[1, {"a": "b"}])
        (event,) = ear.wait_for("my-event")
    assert event["what"] == [1, {"a": "b"}]
    assert event["hostname"] == running.hostname


def test_senders_say_what_they_sent(app):
    app.conf.task_send_sent_event = True
    with listening(app) as ear:
        one = app.tasks["add"].apply_async((2, 3), queue="other", expires=60)
        many = app.send_many("add", [((n, n), {}) for n in range(3)])
        (sent,) = ear.wait_for("task-sent", one.id)
        for result in many:
            ear.wait_for("task-sent", result.id)
        with app.events.default_dispatcher(hostname="me@h") as dispatcher:
            dispatcher.send("my-event", when=datetime.date(2026, 1, 2))
        (event,) = ear.wait_for("my-event")
    assert list(sent)[:16] == [
        *COMMON,
        *("uuid", "root_id", "parent_id", "name", "args", "kwargs", "retries", "eta", "expires"),
        *("queue", "exchange", "routing_key"),
    ]
    assert (sent["name"], sent["args"], sent["queue"]) == ("add", "(2, 3)", "other")
    assert sent["hostname"] == anon_nodename()
    assert sent["expires"].startswith("20")
    assert event["hostname"] == "me@h"
    assert event["when"] == datetime.date(2026, 1, 2)


@pytest.mark.parametrize("own", [True, False], ids=["ours", "kombu's"])
def test_dispatchers_hold_back_and_collect(app, own):
    with listening(app) as ear, app.connection() as connection:
        calls = []
        dispatcher = app.events.Dispatcher(
            None if own else connection,
            groups={"task", "mine"},
            buffer_group={"task"},
            buffer_limit=3,
            on_send_buffered=lambda: calls.append(1),
            enabled=False,
        )
        dispatcher.on_enabled.add(lambda: calls.append("on"))
        dispatcher.on_disabled.add(lambda: calls.append("off"))
        dispatcher.send("mine-lost")
        dispatcher.enable()
        for number in range(4):
            dispatcher.send("task-x", uuid=str(number))
        dispatcher.send("other-group")
        dispatcher.send("mine-blind", blind=True)
        ear.wait_for("mine-blind")
        assert [event["uuid"] for event in ear.of("task-x")] == ["0", "1", "2"]
        dispatcher.disable()
        ear.wait_for("task-x", "3")
        assert calls == ["on", 1, 1, 1, "off"]
    assert {event["type"] for event in ear.heard} == {"task-x", "mine-blind"}


def test_receivers_hear_what_they_ask_for(app):
    with listening(app, routing_key="mine.#") as ear, app.events.default_dispatcher() as dispatcher:
        dispatcher.send("other-thing")
        dispatcher.send("mine-too")
        ear.wait_for("mine-too")
        with pytest.raises(TimeoutError), app.connection() as connection:
            app.events.Receiver(connection).capture(timeout=1, wakeup=False)
    assert not ear.of("other-thing")
    assert ear.heard[0]["local_received"] == pytest.approx(time.time(), abs=60)
