"""The publish pipeline: options, message, signals, broker. Expected messages were captured from Celery 5.7."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
import logging
import os
import socket
import uuid

import kombu
import kombu.exceptions
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celery import Celery, Task, signals
from celery.app import bulk, messages
from celery.app.sending import Call, compose, send_options
from celery.brokers import patience
from celery.brokers.base import BrokerUnavailable, Unroutable
from celery.brokers.topology import Queue
from celery.exceptions import EncodeError, OperationalError, QueueNotFound
from celery.message import compression, serializers
from celery.message.body import decode_body
from celery.message.protocol1 import normalize
from celery.message.task import decode_headers

ID = "11111111-1111-1111-1111-111111111111"
NO_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
HEADERS = {
    "lang": "py",
    "task": "tasks.add",
    "id": ID,
    "shadow": None,
    "eta": None,
    "expires": None,
    "group": None,
    "group_index": None,
    "retries": 0,
    "timelimit": [None, None],
    "root_id": ID,
    "parent_id": None,
    "argsrepr": "(2, 2)",
    "kwargsrepr": "{}",
    "origin": f"gen{os.getpid()}@{socket.gethostname()}",
    "ignore_result": None,
    "replaced_task_nesting": 0,
    "stamped_headers": None,
    "stamps": {},
}
_numbers = itertools.count()


def make_app(**conf):
    return Celery("tasks", broker=f"memory://sending-{next(_numbers)}", set_as_current=False, changes=conf)


@pytest.mark.parametrize("send", ["send_task", "send_many"])
def test_results_that_cannot_be_kept_are_said_before_anything_is_sent(send):
    app = make_app(result_backend="nosuch://")
    with pytest.raises(ImportError, match="nosuch"):
        app.send_task("t") if send == "send_task" else app.send_many("t", [()])
    assert app.broker_for_write().size("celery") == 0


@pytest.fixture
def app():
    app = make_app()
    yield app
    app.close()


def composed(app, args=(2, 2), kwargs=None, name="tasks.add", **options):
    options.setdefault("task_id", ID)
    return compose(app, name, args, kwargs, send_options(app, name, args, kwargs, **options))


def sent(app, queue="celery"):
    """Messages that wait in a queue, oldest first; they are taken away."""

    async def main():
        broker = app.broker_for_write()
        got, enough = [], asyncio.Event()
        size = broker.size(queue)

        class Intake:
            def delivered(self, batch):
                got.extend(batch)
                if len(got) >= size:
                    enough.set()

            def orphaned(self, batch): ...
            def fenced(self, reason, **more): ...
            def disconnected(self, error): ...
            def connected(self): ...

        consumer = broker.consumer("test")
        await consumer.start([Queue(queue, routing_key=queue)], Intake())
        consumer.allow(10_000)
        if size:
            await enough.wait()
        for delivery in got:
            consumer.ack(delivery)
        await consumer.flush()
        await consumer.stop()
        return got

    return asyncio.run(main())


class TestCaptures:
    def test_plain(self, app):
        message = composed(app)
        assert message.headers.value == HEADERS
        assert list(message.headers.value) == list(HEADERS)
        assert message.properties.value == {
            "correlation_id": ID,
            "reply_to": app.thread_oid,
            "delivery_mode": 2,
            "content_type": "application/json",
            "content_encoding": "utf-8",
        }
        assert serializers.loads(message.body, "application/json", "utf-8") == [[2, 2], {}, NO_EMBED]
        assert (message.exchange, message.routing_key, message.priority, message.due) == (
            "",
            "celery",
            0,
            None,
        )
        assert [queue.name for queue in message.declare] == ["celery"]

    def test_list_and_kwargs(self, app):
        message = composed(app, [2, 2], {"z": "x"})
        assert message.headers.value == {**HEADERS, "argsrepr": "[2, 2]", "kwargsrepr": "{'z': 'x'}"}

    def test_no_arguments(self, app):
        message = composed(app, None)
        assert message.headers.value["argsrepr"] == "()"
        assert serializers.loads(message.body, "application/json", "utf-8") == [[], {}, NO_EMBED]

    def test_texts_of_arguments_are_as_short_as_wanted(self, app):
        app.amqp.argsrepr_maxsize = app.amqp.kwargsrepr_maxsize = 8
        for message in (
            composed(app, (1000, 2000, 3000), {"z": 4}),
            composed(app, (1000, 2000, 3000), {"z": 4}, headers={"x": 1}),
        ):
            headers = message.headers.value
            assert headers["argsrepr"].startswith("(1000,")
            assert "3000" not in headers["argsrepr"]
            assert headers["kwargsrepr"] == "{'z': 4}"

    def test_many_options(self, app):
        before = dt.datetime.now(dt.UTC)
        message = composed(
            app,
            priority=5,
            countdown=10,
            expires=60,
            compression="zlib",
            headers={"x-trace": "a"},
            time_limit=20,
            soft_time_limit=10,
            shadow="sh",
        )
        headers = message.headers.value
        eta, expires = (dt.datetime.fromisoformat(headers[key]) for key in ("eta", "expires"))
        assert dt.timedelta(seconds=10) <= eta - before < dt.timedelta(seconds=20)
        assert expires - eta == dt.timedelta(seconds=50)
        assert headers == {
            **HEADERS,
            "shadow": "sh",
            "eta": headers["eta"],
            "expires": headers["expires"],
            "timelimit": [20, 10],
            "x-trace": "a",
            "compression": "application/x-gzip",
        }
        assert list(headers)[-2:] == ["x-trace", "compression"]
        assert message.properties.value["expiration"] == "60000"
        assert message.properties.value["priority"] == message.priority == 5
        assert message.due == eta.timestamp()
        body = compression.decompress(message.body, "application/x-gzip")
        assert serializers.loads(body, "application/json", "utf-8") == [[2, 2], {}, NO_EMBED]

    def test_links(self, app):
        @app.task(name="tasks.other")
        def other(*args): ...

        message = composed(app, (1,), link=other.s(3), link_error=[other.si(1, 2)])
        embed = serializers.loads(message.body, "application/json", "utf-8")[2]
        assert embed == {
            "callbacks": [
                {"task": "tasks.other", "args": [3], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": False}
            ],
            "errbacks": [
                {"task": "tasks.other", "args": [1, 2], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": True}
            ],
            "chain": None,
            "chord": None,
        }  # fmt: skip

    def test_canvas_internals(self, app):
        message = composed(
            app,
            (1,),
            group_id="g",
            group_index=3,
            retries=2,
            root_id="r",
            parent_id="p",
            replaced_task_nesting=2,
            chord={"task": "c"},
            chain=[{"task": "n"}],
        )
        assert message.headers.value == {
            **HEADERS,
            "argsrepr": "(1,)",
            "group": "g",
            "group_index": 3,
            "retries": 2,
            "root_id": "r",
            "parent_id": "p",
            "replaced_task_nesting": 2,
        }
        embed = serializers.loads(message.body, "application/json", "utf-8")[2]
        assert (embed["chord"], embed["chain"]) == ({"task": "c"}, [{"task": "n"}])

    def test_unknown_options_are_properties(self, app):
        message = composed(app, foo="bar", message_id="mm", timestamp=5, user_id="u", reply_to="me")
        assert message.properties.value == {
            "content_type": "application/json",
            "content_encoding": "utf-8",
            "correlation_id": ID,
            "reply_to": "me",
            "foo": "bar",
            "message_id": "mm",
            "timestamp": 5,
            "user_id": "u",
            "delivery_mode": 2,
        }

    def test_custom_headers_win_and_are_extended_json(self, app):
        headers = composed(app, headers={"task": "zz", "u": uuid.UUID(int=1), "n": None}).headers.value
        assert (headers["task"], headers["id"], headers["n"]) == ("zz", ID, None)
        assert headers["u"] == {"__type__": "uuid", "__value__": {"hex": "0" * 31 + "1"}} or headers[
            "u"
        ] == uuid.UUID(int=1)

    def test_stamps(self, app):
        message = composed(app, stamped_headers=["k"], k="v")
        assert message.headers.value["stamped_headers"] == ["k"]
        assert message.headers.value["stamps"] == {"k": "v"}
        assert "k" not in message.properties.value

    def test_stamp_without_value(self, app):
        with pytest.raises(KeyError, match="stamped_headers names j"):
            composed(app, stamped_headers=["k", "j"], k="v")

    def test_reprs(self, app):
        headers = composed(app, ("x" * 3000, [1] * 500), {"k": {"a": {"b": {"c": {"d": 1}}}}}).headers.value
        assert headers["argsrepr"].startswith("('xxx")
        assert len(headers["argsrepr"]) < 1100
        assert headers["kwargsrepr"] == "{'k': {'a': {'b': {...}}}}"
        own = composed(app, argsrepr="secret", kwargsrepr="hidden").headers.value
        assert (own["argsrepr"], own["kwargsrepr"]) == ("secret", "hidden")

    def test_protocol_1(self):
        app = make_app(task_protocol=1)
        message = composed(
            app, (1, 2), {"z": 1}, headers={"h": 1}, priority=3, expires=4, foo="x", group_id="g"
        )
        assert message.headers.value == {"h": 1}
        body = serializers.loads(message.body, "application/json", "utf-8")
        assert body == {
            "task": "tasks.add",
            "id": ID,
            "args": [1, 2],
            "kwargs": {"z": 1},
            "group": "g",
            "group_index": None,
            "retries": 0,
            "eta": None,
            "expires": body["expires"],
            "utc": True,
            "callbacks": None,
            "errbacks": None,
            "timelimit": [None, None],
            "taskset": "g",
            "chord": None,
        }
        assert list(body)[:5] == ["task", "id", "args", "kwargs", "group"]
        assert message.properties.value["expiration"] == "4000"

    @pytest.mark.parametrize("name", ["pickle", "yaml", "msgpack"])
    def test_serializers(self, app, name):
        message = composed(app, [1], serializer=name)
        said = message.properties.value
        accept = serializers.prepare_accept_content([name])
        if name == "yaml":  # a tuple has no safe form in YAML: Celery refuses too
            return
        back = decode_body(message.body, said["content_type"], said["content_encoding"], None, accept)
        assert back == ([1], {}, NO_EMBED)


class TestDates:
    def test_none_and_zero(self, app):
        assert composed(app, countdown=0).headers.value["eta"] is None
        assert composed(app, countdown=None, eta=None, expires=None).headers.value["expires"] is None

    def test_negative_countdown_is_past(self, app):
        message = composed(app, countdown=-5)
        assert message.due < dt.datetime.now(dt.UTC).timestamp()

    @pytest.mark.parametrize(
        ("eta", "text"),
        [
            (dt.datetime(2030, 1, 1, 12), "2030-01-01T12:00:00"),
            ("2030-01-01T12:00:00", "2030-01-01T12:00:00"),
            (
                dt.datetime(2030, 1, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2))),
                "2030-01-01T12:00:00+02:00",
            ),
        ],
    )
    def test_eta(self, app, eta, text):
        assert composed(app, eta=eta).headers.value["eta"] == text

    def test_naive_is_utc(self, app):
        assert (
            composed(app, eta="2030-01-01T12:00:00").due
            == dt.datetime(2030, 1, 1, 12, tzinfo=dt.UTC).timestamp()
        )

    def test_naive_is_local_without_utc(self):
        app = make_app(enable_utc=False, timezone="Europe/Paris")
        assert (
            composed(app, eta="2030-01-01T12:00:00").due
            == dt.datetime(2030, 1, 1, 11, tzinfo=dt.UTC).timestamp()
        )
        assert composed(app, countdown=5).headers.value["eta"].endswith(("+01:00", "+02:00"))

    def test_utc_whatever_the_zone(self):
        app = make_app(timezone="Europe/Paris")
        assert composed(app, countdown=5).headers.value["eta"].endswith("+00:00")

    def test_expires_at_a_date(self, app):
        message = composed(app, expires=dt.datetime.now(dt.UTC) + dt.timedelta(seconds=100))
        assert 90_000 < int(message.properties.value["expiration"]) <= 100_000

    def test_past_expiry_warns(self, app, caplog):
        with caplog.at_level(logging.WARNING):
            message = composed(app, expires=-5)
        assert message.properties.value["expiration"] == "0"
        assert f"{ID} has an expiration date in the past (5s ago)." in caplog.text
        assert composed(app, expires=0).properties.value["expiration"] == "0"

    def test_fractions(self, app):
        assert composed(app, expires=1.5).properties.value["expiration"] == "1500"

    @pytest.mark.parametrize(
        ("option", "value", "error", "text"),
        [
            ("countdown", -(2**31) - 10, ValueError, "countdown is out of range: -2147483658"),
            ("countdown", 1e12, ValueError, "countdown is out of range"),
            ("countdown", float("inf"), ValueError, "countdown is out of range"),
            ("countdown", float("nan"), ValueError, "countdown is out of range"),
            ("countdown", "5", TypeError, "countdown must be a number of seconds, got '5'"),
            ("expires", 1e12, ValueError, "expires is out of range"),
            ("expires", "abc", ValueError, "expires is no ISO-8601 date: 'abc'"),
            ("expires", dt.timedelta(1), TypeError, "expires must be a number"),
            ("eta", "garbage", ValueError, "eta is no ISO-8601 date: 'garbage'"),
            ("eta", 5, TypeError, "eta must be a datetime or an ISO-8601 string, got 5"),
        ],
    )
    def test_nonsense(self, app, option, value, error, text):
        with pytest.raises(error, match=text.replace("(", r"\(")):
            send_options(app, "t", **{option: value})

    def test_a_priority_that_is_no_number(self, app):
        with pytest.raises(TypeError, match="priority must be a whole number, got 'high'"):
            app.send_task("t", priority="high")


class TestOptions:
    def test_unregistered_name_has_no_ignore_result(self, app):
        assert composed(app).headers.value["ignore_result"] is None

    def test_registered_name_gives_its_options(self, app):
        @app.task(name="tasks.pri", time_limit=9, soft_time_limit=4, serializer="pickle", expires=100)
        def pri(): ...

        app.finalize()
        message = composed(app, (), name="tasks.pri")

        assert message.headers.value["timelimit"] == [9, 4]
        assert message.properties.value["content_type"] == "application/x-python-serialize"
        assert message.properties.value["expiration"] == "100000"
        assert composed(app, (), name="tasks.pri", expires=None).headers.value["expires"] is None

    def test_settings(self):
        app = make_app(
            task_serializer="pickle",
            task_compression="bzip2",
            task_publish_timeout=3,
            task_publish_retry=False,
        )
        options = send_options(app, "t")
        assert (options.serializer, options.compression, options.timeout, options.retry) == (
            "pickle",
            "bzip2",
            3,
            False,
        )
        app.conf.task_serializer = "json"
        assert send_options(app, "t").serializer == "json"

    def test_timeouts(self, app):
        assert send_options(app, "t").timeout == 10
        assert send_options(app, "t", timeout=2).timeout == 2
        assert send_options(app, "t", timeout=20, confirm_timeout=1).timeout == 1
        app.conf.task_publish_timeout = None
        assert send_options(app, "t").timeout is None

    def test_immediate(self, app):
        with pytest.raises(ValueError, match="immediate=True: no broker offers it"):
            send_options(app, "t", immediate=True)
        assert send_options(app, "t", immediate=None, mandatory=False).mandatory is False

    def test_unknown_queue(self):
        with pytest.raises(QueueNotFound, match="Queue 'x' missing from task_queues"):
            send_options(make_app(task_create_missing_queues=False), "t", queue="x")

    def test_inherited_from_the_running_task(self, app):
        app.conf.task_inherit_parent_priority = True

        @app.task(name="tasks.parent")
        def parent():
            own = send_options(app, "t"), send_options(app, "t", priority=1, root_id="r", parent_id="p")
            return [(o.root_id, o.parent_id, o.priority) for o in own]

        parent.push_request(id="me", root_id="top", called_directly=False, delivery_info={"priority": 7})
        from celery import _state

        _state.push_current_task(parent)
        try:
            assert parent.run() == [("top", "me", 7), ("r", "p", 1)]
        finally:
            _state.pop_current_task()
            parent.pop_request()

    def test_origin_names_this_process(self, app):
        assert send_options(app, "t").origin == HEADERS["origin"]

    def test_a_changed_queue_is_seen(self, app):
        assert send_options(app, "t", queue="q").destination.exchange == ""
        app.amqp.queues.add("q", exchange="media", exchange_type="topic", routing_key="k")
        assert send_options(app, "t", queue="q").destination[:2] == ("media", "k")

    def test_plain_calls_share_what_is_decided_but_not_their_id(self, app):
        first, second = send_options(app, "t", priority=3), send_options(app, "t", priority=3)
        assert first.task_id != second.task_id
        assert first.destination is second.destination
        assert send_options(app, "t", priority=4).priority == 4
        assert send_options(app, "t", priority=3, task_id="mine").task_id == "mine"

    def test_content_type_is_the_serializers(self, app):
        with pytest.raises(TypeError, match="content_type is what the serializer says"):
            send_options(app, "t", content_type="x/y")

    def test_frozen(self, app):
        with pytest.raises(AttributeError):
            send_options(app, "t").retries = 1


class TestErrors:
    def test_arguments(self, app):
        with pytest.raises(TypeError, match="task args must be a list or tuple"):
            composed(app, "ab")
        with pytest.raises(TypeError, match="task keyword arguments must be a mapping"):
            composed(app, (), [1])

    @pytest.mark.parametrize("serializer", ["json", "msgpack", "nope"])
    def test_unserializable(self, app, serializer):
        with pytest.raises(EncodeError) as caught:
            composed(app, ({1},), serializer=serializer)
        assert isinstance(caught.value, kombu.exceptions.EncodeError)

    def test_text_of_an_unserializable(self, app):
        with pytest.raises(EncodeError, match="Object of type set is not JSON serializable"):
            composed(app, ({1},))

    def test_unknown_compression(self, app):
        with pytest.raises(KeyError, match="no compression called 'nope'"):
            composed(app, compression="nope")

    def test_unroutable(self, app):
        with pytest.raises(OperationalError, match="no queue is bound to exchange 'nope'"):
            app.send_task("t", exchange="nope", routing_key="x")

    def test_operational_error_is_kombus_too(self, app):
        with pytest.raises(kombu.exceptions.OperationalError):
            app.send_task("t", exchange="nope", routing_key="x")


class TestPublishing:
    def test_arrives(self, app):
        result = app.send_task("tasks.add", (1, 2), queue="q")
        [delivery] = sent(app, "q")
        lazy, body, props = normalize(delivery)
        assert decode_headers(lazy).id == result.id
        assert decode_body(body, props.value["content_type"], "utf-8") == ([1, 2], {}, NO_EMBED)

    def test_awaited(self, app):
        asyncio.run(app.asend_task("tasks.add", (1, 2)))
        assert len(sent(app)) == 1

    def test_awaited_takes_no_producer(self, app):
        with pytest.raises(TypeError, match="producer= and connection= block"):
            asyncio.run(app.asend_task("t", producer=object()))

    def test_message_made_by_the_caller(self, app):
        message = app.amqp.create_task_message(ID, "tasks.add", (2, 2), {}, countdown=3)
        app.amqp.send_task_message(None, "tasks.add", message, queue="q", priority=4, headers={"h": 1})
        [delivery] = sent(app, "q")
        assert delivery.headers.value["h"] == 1
        assert delivery.properties.value["priority"] == 4
        assert delivery.headers.value["id"] == ID

    def test_as_task_v2_says_the_same(self, app):
        message = app.amqp.as_task_v2(ID, "tasks.add", (2, 2), {}, ignore_result=None)
        assert message.headers == HEADERS
        assert message.properties == {"correlation_id": ID, "reply_to": ""}
        assert message.body == ((2, 2), {}, NO_EMBED)
        assert message.sent_event is None
        event = app.amqp.as_task_v2(ID, "tasks.add", (2, 2), {}, create_sent_event=True).sent_event
        assert list(event) == [
            "uuid",
            "root_id",
            "parent_id",
            "name",
            "args",
            "kwargs",
            "retries",
            "eta",
            "expires",
        ]


class TestSignals:
    @pytest.fixture
    def seen(self):
        seen = {}

        def before(sender=None, **kw):
            seen["before"] = (sender, kw)
            kw["headers"]["traceparent"] = "00-1"
            kw["properties"]["x-prop"] = 1
            kw["body"][1]["injected"] = True

        def after(sender=None, **kw):
            seen["after"] = (sender, kw)

        def old(sender=None, **kw):
            seen["sent"] = (sender, kw)

        signals.before_task_publish.connect(before, weak=False)
        signals.after_task_publish.connect(after, weak=False)
        signals.task_sent.connect(old, weak=False)
        yield seen
        signals.before_task_publish.disconnect(before)
        signals.after_task_publish.disconnect(after)
        signals.task_sent.disconnect(old)

    def test_what_receivers_get(self, app, seen):
        app.send_task(
            "tasks.add", (1,), {"b": 2}, task_id=ID, headers={"h": 1}, expires=4, priority=3,
            retry_policy={"max_retries": 1}, compression="zlib",
        )  # fmt: skip
        sender, kw = seen["before"]
        assert sender == "tasks.add"
        assert set(kw) == {
            "signal", "body", "exchange", "routing_key", "declare", "headers", "properties", "retry_policy"
        }  # fmt: skip
        assert (kw["exchange"], kw["routing_key"]) == ("", "celery")
        assert [queue.name for queue in kw["declare"]] == ["celery"]
        assert kw["headers"]["h"] == 1
        assert kw["properties"]["priority"] == 3
        assert kw["properties"]["expiration"] == 4
        assert kw["retry_policy"] == {
            "max_retries": 1,
            "interval_start": 0,
            "interval_max": 1,
            "interval_step": 0.2,
        }
        sender, kw = seen["after"]
        assert sender == "tasks.add"
        assert set(kw) == {"signal", "body", "headers", "exchange", "routing_key"}
        assert kw["headers"]["compression"] == "application/x-gzip"
        assert seen["sent"][1]["task_id"] == ID

    def test_changes_are_sent(self, app, seen):
        app.send_task("tasks.add", (1,), {"b": 2})
        [delivery] = sent(app)
        assert delivery.headers.value["traceparent"] == "00-1"
        assert delivery.properties.value["x-prop"] == 1
        assert decode_body(delivery.body, "application/json", "utf-8").kwargs == {"b": 2, "injected": True}

    def test_bulk_too(self, app, seen):
        app.send_many("tasks.add", [(1,), (2,)])
        assert all("traceparent" in delivery.headers.value for delivery in sent(app))

    def test_protocol_1(self, seen):
        app = make_app(task_protocol=1)
        signals.before_task_publish.receivers.clear()
        app.send_task("tasks.add", (1,), task_id=ID)
        assert seen["after"][1]["body"]["task"] == "tasks.add"
        assert seen["sent"][1]["args"] == (1,)


@pytest.mark.parametrize("queue", [3, ["q"], {"name": "q"}])
def test_a_queue_is_a_name_or_a_queue(app, queue):
    with pytest.raises(TypeError, match="queue must be a name or a Queue, got"):
        app.send_task("t", queue=queue)


def test_what_is_remembered_of_calls_does_not_grow_with_their_routing_keys():
    app = make_app(
        broker_url="pyamqp://", task_queues=[kombu.Queue("q", kombu.Exchange("e", "topic"), "tenant.#")]
    )
    for number in range(1200):
        composed(app, queue="q", routing_key=f"tenant.{number}")
        app.amqp.delays_natively("e", f"tenant.{number}")
    snapshot = app.amqp.snapshot
    kept = (snapshot.destinations, snapshot.plans, snapshot.templates, snapshot.delays)
    assert max(map(len, kept)) <= 1001


class TestMany:
    def test_forms_of_calls(self, app):
        ids = bulk.send_many(
            app,
            "tasks.add",
            [(1, 2), [3, 4], {"x": 5, "y": 6}, Call((7,), {"y": 8}, {"priority": 4, "task_id": ID}), Call()],
            countdown=None,
        )
        messages = {d.headers.value["id"]: d for d in sent(app)}
        assert list(messages) != []
        bodies = [decode_body(messages[i].body, "application/json", "utf-8")[:2] for i in ids]
        assert bodies == [([1, 2], {}), ([3, 4], {}), ([], {"x": 5, "y": 6}), ([7], {"y": 8}), ([], {})]
        assert ids[3] == ID
        assert messages[ID].priority == 4

    def test_of_a_task_count_as_its_own_calls(self, app):
        class Shadowed(Task):
            def shadow_name(self, args, kwargs, options):
                return f"fun {args[0]}"

        @app.task(base=Shadowed, serializer="yaml", ignore_result=True)
        def fun(x): ...

        ignored, wanted = app.send_many(fun, [(1,), Call((2,), None, {"ignore_result": False})], queue="own")
        assert ignored.ignored
        assert ignored.get() is None
        assert not wanted.ignored
        got = sent(app, "own")
        assert {d.properties.value["content_type"] for d in got} == {"application/x-yaml"}
        assert [d.headers.value["shadow"] for d in got] == ["fun 1", "fun 2"]
        assert [d.headers.value["ignore_result"] for d in got] == [True, False]

    @pytest.mark.parametrize("wrong", [(1, 2), {"y": 1}, ()])
    def test_arguments_of_a_task_are_checked(self, app, wrong):
        @app.task
        def fun(x): ...

        with pytest.raises(TypeError, match="fun"):
            app.send_many(fun, [wrong])
        with pytest.raises(TypeError, match="fun"):
            asyncio.run(app.asend_many(fun, [wrong]))
        assert app.broker_for_write().size("celery") == 0

    def test_many_of_a_generator(self, app):
        ids = bulk.send_many(app, "tasks.add", ((i,) for i in range(1234)), priority=2)
        assert len(set(ids)) == 1234
        got = sent(app)
        assert [d.headers.value["id"] for d in got] == ids
        assert {d.priority for d in got} == {2}

    def test_same_as_one_by_one(self, app):
        bulk.send_many(app, "tasks.add", [(2, 2)], ignore_result=True, shadow="s", time_limit=3)
        one = composed(app, ignore_result=True, shadow="s", time_limit=3)
        [many] = sent(app)
        ours = {**many.headers.value, "id": ID, "root_id": ID}
        assert ours == one.headers.value
        assert many.body == one.body

    def test_routed_by_arguments(self, app):
        app.conf.task_routes = [lambda name, args, kwargs, options, task=None, **kw: f"q{args[0]}"]
        bulk.send_many(app, "t", [(1,), (2,), (1,)])
        assert (len(sent(app, "q1")), len(sent(app, "q2"))) == (2, 1)

    def test_large_ones_are_not_held_by_the_hundred(self, app):
        held = []

        def calls():
            for number in range(20):
                held.append(number)
                yield (bytes(600_000).hex(),)

        publisher = app.broker_for_write().publisher()
        publish, seen = publisher.publish, []

        def counted(batch, *, deadline):
            seen.append((len(batch), len(held)))
            return publish(batch, deadline=deadline)

        publisher.publish = counted
        app.broker_for_write().publisher = lambda: publisher
        assert len(bulk.send_many(app, "t", calls())) == 20
        assert seen == [(4, 4), (4, 8), (4, 12), (4, 16), (4, 20)]

    def test_awaited(self, app):
        ids = asyncio.run(bulk.asend_many(app, "t", [(1,), (2,)]))
        assert len(ids) == len(sent(app)) == 2

    def test_none(self, app):
        assert bulk.send_many(app, "t", []) == []

    @pytest.mark.parametrize("option", ["task_id", "producer", "connection"])
    def test_not_for_all(self, app, option):
        with pytest.raises(TypeError, match=f"send_many: {option} cannot be the same"):
            bulk.send_many(app, "t", [(1,)], **{option: "x"})

    def test_no_call(self, app):
        with pytest.raises(TypeError, match="a call is a list, a tuple, a mapping or a Call, got 5"):
            bulk.send_many(app, "t", [5])

    def test_partly_sent(self, app):
        with pytest.raises(OperationalError) as caught:
            bulk.send_many(
                app,
                "t",
                [
                    Call((1,), None, {"task_id": "a"}),
                    Call((2,), None, {"exchange": "nope", "routing_key": "x"}),
                ],
            )
        assert caught.value.accepted == ["a"]
        assert caught.value.sent == 1
        assert len(sent(app)) == 1

    @pytest.mark.parametrize("patient", [True, False])
    def test_partly_sent_while_the_broker_comes_and_goes(self, app, monkeypatch, patient):
        """What a broker has refused before it went away is told when the rest was sent."""
        down, no_queue = BrokerUnavailable("connection refused"), Unroutable("no queue")

        script = [[None, down, no_queue, down], down, down, down, [None, down], down, down, [None]]

        class Publisher:
            def publish(self, batch, *, deadline):
                step = script.pop(0)
                if step is down:
                    raise down
                assert len(batch) == len(step)
                return step

        publisher = Publisher()
        monkeypatch.setattr(app.broker_for_write(), "publisher", lambda: publisher)
        monkeypatch.setattr(patience, "PAUSE", 0)
        with (
            patience.patiently() if patient else contextlib.nullcontext(),
            pytest.raises(OperationalError, match="no queue" if patient else "connection refused") as caught,
        ):
            bulk.send_many(app, "t", [Call((), None, {"task_id": name}) for name in "abcd"])
        assert caught.value.accepted == (["a", "b", "d"] if patient else ["a"])
        assert caught.value.sent == len(caught.value.accepted)


class TestThroughKombu:
    """`producer=` and `connection=`: the caller's own kombu objects."""

    def take(self, connection, queue):
        with connection.SimpleQueue(queue) as simple:
            message = simple.get(timeout=5)
            message.ack()
            return message

    @pytest.mark.parametrize("by", ["producer", "connection"])
    def test_is_used(self, app, by):
        name = f"kombu-{by}"
        with kombu.Connection("memory://") as connection:
            given = {by: connection.Producer() if by == "producer" else connection}
            app.send_task(
                "tasks.add", (2, 2), task_id=ID, queue=name, headers={"h": 1}, priority=3, expires=9, **given
            )
            message = self.take(connection, name)
        assert message.payload == [[2, 2], {}, NO_EMBED]
        assert message.headers["task"] == "tasks.add"
        assert message.headers["h"] == 1
        assert message.properties["priority"] == 3
        assert message.properties["expiration"] == "9000"
        assert sent(app) == []

    def test_compressed(self, app):
        with kombu.Connection("memory://") as connection:
            app.send_task(
                "tasks.add", (2, 2), queue="kombu-zip", compression="zlib", producer=connection.Producer()
            )
            message = self.take(connection, "kombu-zip")
        assert message.headers["compression"] == "application/x-gzip"
        assert message.payload == [[2, 2], {}, NO_EMBED]


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30)
arguments = st.lists(plain | st.lists(plain, max_size=3) | st.binary(max_size=5), max_size=10)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    args=arguments | arguments.map(tuple),
    kwargs=st.dictionaries(st.text(max_size=5), plain, max_size=3),
    options=st.fixed_dictionaries(
        {},
        optional={
            "priority": st.integers(0, 9),
            "compression": st.sampled_from(["zlib", "bzip2"]),
            "serializer": st.sampled_from(["json", "pickle"]),
            "shadow": st.text(max_size=5),
            "ignore_result": st.booleans(),
            "time_limit": st.integers(1, 99),
            "eta": st.just("2030-01-01T00:00:00"),
            "expires": st.just("2031-01-01T00:00:00"),
            "retries": st.integers(0, 9),
            "root_id": st.text(min_size=1, max_size=5),
            "parent_id": st.text(min_size=1, max_size=5),
            "group_id": st.text(min_size=1, max_size=5),
            "group_index": st.integers(0, 9),
            "link": st.just({"task": "x"}),
            "queue": st.sampled_from(["a", "b"]),
            "delivery_mode": st.sampled_from([1, 2]),
        },
    ),
)
def test_template_and_values_make_the_same_message(app, args, kwargs, options):
    settled = send_options(app, "tasks.add", args, kwargs, task_id=ID, **options)
    assert messages._is_ordinary(settled)
    quick = compose(app, "tasks.add", args, kwargs, settled)
    full = messages.outgoing(app, messages._values(app, "tasks.add", args, kwargs, settled), settled)
    assert quick.headers.raw == full.headers.raw
    assert quick.properties.value == full.properties.value
    assert (quick.exchange, quick.routing_key, quick.priority, quick.due, quick.declare) == (
        full.exchange, full.routing_key, full.priority, full.due, full.declare,
    )  # fmt: skip
    said = quick.properties.value
    accept = serializers.prepare_accept_content(["json", "pickle"])
    packed = quick.headers.value.get("compression")
    read = [
        decode_body(m.body, said["content_type"], said["content_encoding"], packed, accept)
        for m in (quick, full)
    ]
    assert read[0] == read[1]
