"""`app.amqp.queues`, with values of ours and objects of kombu."""

from __future__ import annotations

import pytest
from kombu import Exchange as KombuExchange
from kombu import Queue as KombuQueue
from kombu import binding
from kombu.common import Broadcast

from celery import Celery
from celery.app.amqp import Queues, utf8dict
from celery.app.options import send_options
from celery.brokers import topology
from celery.brokers.rabbitmq.requests import queue_itself
from celery.brokers.topology import Exchange, Queue


def app_with(**conf):
    return Celery("queues", broker="memory://", set_as_current=False, changes=conf)


def said(queue):
    return (queue.name, queue.exchange.name, queue.exchange.type, queue.routing_key)


class TestDefault:
    def test_nothing_configured_is_the_default_queue(self):
        app = app_with()
        assert list(app.amqp.queues) == ["celery"]
        assert said(app.amqp.default_queue) == ("celery", "celery", "direct", "celery")
        assert app.amqp.queues.consume_from == app.amqp.queues

    def test_settings_of_the_default_queue(self):
        app = app_with(
            task_default_queue="dq",
            task_default_queue_type="quorum",
            task_default_exchange_type="topic",
            task_default_routing_key="rr",
        )
        assert said(app.amqp.queues["dq"]) == ("dq", "dq", "topic", "rr")
        assert app.amqp.queues["dq"].queue_arguments == {"x-queue-type": "quorum"}

    def test_unknown_names_make_queues_that_are_not_consumed(self):
        queues = app_with(task_default_exchange_type="topic").amqp.queues
        queues.select(["celery"])
        assert said(queues["new"]) == ("new", "new", "topic", "new")
        assert list(queues.consume_from) == ["celery"]

    def test_type_of_what_is_made(self):
        conf = {
            "task_create_missing_queue_type": "quorum",
            "task_create_missing_queue_exchange_type": "topic",
        }
        queue = app_with(**conf).amqp.queues["new"]
        assert said(queue) == ("new", "new", "topic", "new")
        assert queue.queue_arguments == {"x-queue-type": "quorum"}

    def test_not_made_if_not_wanted(self):
        with pytest.raises(KeyError):
            app_with(task_create_missing_queues=False).amqp.queues["new"]

    def test_autoexchange(self):
        app = app_with()
        app.amqp.autoexchange = lambda name: Exchange(f"auto.{name}", "topic")
        assert said(app.amqp.queues["new"]) == ("new", "auto.new", "topic", "new")

    def test_queues_cls(self):
        class Mine(Queues):
            pass

        app = app_with()
        app.amqp.queues_cls = Mine
        assert type(app.amqp.queues) is Mine


@pytest.mark.parametrize(("make", "exchange"), [(Queue, Exchange), (KombuQueue, KombuExchange)])
class TestGivenQueues:
    def test_blanks_are_filled(self, make, exchange):
        queues = Queues(
            [make("a"), make("b", exchange("bb")), make("c", routing_key="k")],
            default_exchange=Exchange("def"),
            default_routing_key="drk",
        )
        assert [said(queues[name]) for name in "abc"] == [
            ("a", "def", "direct", "drk"),
            ("b", "bb", "direct", "drk"),
            ("c", "def", "direct", "k"),
        ]

    def test_max_priority(self, make, exchange):
        key = "arguments" if make is Queue else "queue_arguments"
        queues = Queues([make("a"), make("d", **{key: {"x-max-priority": 3}})], max_priority=10)
        assert queues["a"].queue_arguments == {"x-max-priority": 10}
        assert queues["d"].queue_arguments == {"x-max-priority": 3}
        assert queues["made"].queue_arguments == {"x-max-priority": 10}

    def test_alias(self, make, exchange):
        queues = Queues([make("al", exchange("ee"), routing_key="rk", alias="ali"), make("b")])
        assert queues["ali"] is queues["al"]
        queues.select(["ali", "b"])
        assert set(queues.consume_from) == {"ali", "b"}
        queues.deselect("al")
        assert set(queues.consume_from) == {"b"}

    def test_topology(self, make, exchange):
        queues = Queues([make("a", exchange("e", "topic"), routing_key="k.#")])
        value = queues.topology("a")
        assert isinstance(value, topology.Queue)
        assert said(value) == ("a", "e", "topic", "k.#")
        assert queues.topology(queues["a"]) is value

    def test_in_settings(self, make, exchange):
        app = app_with(task_queues=[make("a"), make("b", exchange("media"), routing_key="m")])
        assert said(app.amqp.queues["a"]) == ("a", "celery", "direct", "celery")
        assert said(app.amqp.queues["b"]) == ("b", "media", "direct", "m")
        assert "celery" not in app.amqp.queues


def test_what_kombus_queues_say_apart_are_arguments():
    given = KombuQueue(
        "a",
        queue_arguments={"x-max-length": 9, "x-mine": 1},
        message_ttl=60.5,
        max_length=5,
        max_length_bytes=1000,
        max_priority=7,
        expires=300,
    )
    value = Queues([given]).topology("a")
    assert value.arguments == {
        "x-mine": 1,
        "x-message-ttl": 60500,
        "x-max-length": 5,
        "x-max-length-bytes": 1000,
        "x-max-priority": 7,
    }
    assert value.expires == 300
    assert value.arguments | {"x-expires": 300_000} == queue_itself(value).values["arguments"]


class TestByOptions:
    def test_dict_form(self):
        queues = Queues(
            {
                "a": {"exchange": "x", "exchange_type": "topic", "binding_key": "b.#"},
                "b": {},
                "c": {"routing_key": "cc", "queue_arguments": {"x-max-priority": 3}},
            },
            default_exchange=Exchange("def"),
            default_routing_key="drk",
        )
        assert [said(queues[name]) for name in "abc"] == [
            ("a", "x", "topic", "b.#"),
            ("b", "def", "direct", "b"),
            ("c", "def", "direct", "cc"),
        ]
        assert queues["c"].queue_arguments == {"x-max-priority": 3}

    def test_add(self):
        queues = Queues(default_exchange=Exchange("celery"))
        assert said(queues.add("bar", exchange="ex", exchange_type="topic", routing_key="a.#")) == (
            "bar",
            "ex",
            "topic",
            "a.#",
        )
        assert said(queues.add("noex")) == ("noex", "celery", "direct", "noex")
        assert queues["bar"].name == "bar"

    def test_unknown_option(self):
        with pytest.raises(TypeError, match="queue 'x': unknown option exchnage"):
            Queues().add("x", exchnage="y")


class TestSelection:
    def test_select_deselect(self):
        queues = Queues([Queue("a"), Queue("b"), Queue("c")])
        queues.select(None)
        assert set(queues.consume_from) == {"a", "b", "c"}
        queues.deselect("a")
        assert set(queues.consume_from) == {"b", "c"}
        queues.select(["a", "new"])
        assert set(queues.consume_from) == {"a", "new"}
        queues.select_add("more", routing_key="z")
        assert set(queues.consume_from) == {"a", "new", "more"}

    def test_select_unknown(self):
        with pytest.raises(KeyError):
            Queues([Queue("a")], create_missing=False).select(["nope"])

    def test_format(self):
        queues = Queues([Queue("b", Exchange("x", "topic"), "k"), Queue("a", Exchange("a"), "a")])
        assert queues.format() == (
            ".> a                exchange=a(direct) key=a\n.> b                exchange=x(topic) key=k"
        )
        assert queues.format(indent=2).startswith("  .> a")
        assert queues.format(indent=2, indent_first=False).startswith(".> a")
        assert Queues().format() == ""


class TestDestinations:
    """Where a message goes, given queue, exchange and key (as captured from Celery 5.7)."""

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, ("", "celery")),
            ({"queue": "qq"}, ("", "qq")),
            ({"queue": "qq", "routing_key": "rk"}, ("", "qq")),
            ({"exchange": "ex"}, ("", "celery")),
            ({"routing_key": "rk"}, ("", "celery")),
            ({"exchange": "ex", "routing_key": "rk"}, ("ex", "rk")),
            ({"exchange": KombuExchange("eo", "direct"), "routing_key": "r"}, ("eo", "r")),
            ({"queue": "celery", "exchange_type": "topic"}, ("celery", "celery")),
            ({"queue": KombuQueue("zz", KombuExchange("zx", "topic"), routing_key="a.b")}, ("zx", "a.b")),
            ({"queue": Queue("zz", Exchange("zx", "topic"), "a.b"), "routing_key": "c"}, ("zx", "c")),
        ],
    )
    def test_publishing_rule(self, options, expected):
        where = send_options(app_with(), "t", **options).destination
        assert (where.exchange, where.routing_key) == expected
        assert len(where.declare) == 1

    @pytest.mark.parametrize(
        ("options", "mode"),
        [
            ({}, 2),
            ({"delivery_mode": 1}, 1),
            ({"delivery_mode": "transient"}, 1),
            ({"queue": Queue("q", Exchange("e", delivery_mode=1), "q")}, 1),
            ({"queue": Queue("q", Exchange("e", delivery_mode=1), "q"), "delivery_mode": "persistent"}, 2),
        ],
    )
    def test_delivery_mode(self, options, mode):
        assert send_options(app_with(), "t", **options).destination.delivery_mode == mode

    def test_default_delivery_mode(self):
        assert (
            send_options(app_with(task_default_delivery_mode="transient"), "t").destination.delivery_mode == 1
        )

    def test_wrong_delivery_mode(self):
        with pytest.raises(ValueError, match="delivery_mode must be"):
            send_options(app_with(), "t", delivery_mode="often")

    def test_broadcast_is_not_declared_by_senders(self):
        app = app_with(task_queues=[Broadcast("all")])
        where = send_options(app, "t", queue="all").destination
        assert (where.exchange, where.declare, where.mandatory) == ("all", (), False)

    def test_queues_of_a_named_exchange_are_declared(self):
        media = KombuExchange("media", type="direct")
        queues = [
            KombuQueue("default"),
            KombuQueue("media", [binding(media, routing_key="video"), binding(media, routing_key="image")]),
            Queue("files", Exchange("files"), "file"),
        ]
        app = app_with(task_queues=queues, task_default_queue="default")
        declared = {
            name: {
                queue.name
                for queue in send_options(app, "t", exchange=name, routing_key="k").destination.declare
            }
            for name in ("media", "files")
        }
        assert declared == {"media": {"default", "media"}, "files": {"default", "files"}}

    def test_declare_as_the_caller_says(self):
        where = send_options(app_with(), "t", declare=[KombuQueue("other")]).destination
        assert [queue.name for queue in where.declare] == ["other"]


def test_utf8dict():
    assert utf8dict({b"a": 1, "b": 2}) == {"a": 1, "b": 2}
