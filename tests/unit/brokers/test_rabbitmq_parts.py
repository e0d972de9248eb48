"""The pure parts of the RabbitMQ driver: grants, acknowledgements, delay keys, URLs, headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery.brokers.base import BrokerOptions, BrokerRefused, Outgoing
from celery.brokers.rabbitmq import delays
from celery.brokers.rabbitmq.acks import Acks
from celery.brokers.rabbitmq.endpoint import endpoint
from celery.brokers.rabbitmq.flow import MOST_GRANTS, Tap, plan
from celery.brokers.rabbitmq.messages import DELIVERIES, Table, encoded, with_headers
from celery.brokers.topology import Exchange, Queue
from celery.message.headers import LazyObject
from celery.wire.amqp.frames import Reader
from celery.wire.amqp.values import read_properties, read_table, table


def deliver(tap, count):
    """The broker delivers as much of `count` as the grants allow; return how many that were."""
    sent = 0
    for grant in tap.live:
        room = min(max(grant.limit - grant.out, 0), count - sent)
        grant.out += room
        tap.out += room
        sent += room
    return sent


def test_a_window_becomes_one_grant():
    tap = Tap("q")
    made = plan([tap], 10)
    assert [(g.limit, t.name) for t, g in made.grant] == [(10, "q")]
    assert not made.cancel
    assert plan([tap], 10).grant == []


def test_a_wider_window_adds_what_is_missing_and_a_narrower_one_takes_the_newest():
    tap = Tap("q")
    plan([tap], 2)
    (_, second), *_ = plan([tap], 6).grant
    assert second.limit == 4
    made = plan([tap], 2)
    assert made.cancel == [second]
    assert tap.potential == 2


def test_a_closed_window_stops_everything():
    tap = Tap("q")
    plan([tap], 5)
    assert deliver(tap, 3) == 3
    plan([tap], 0)
    assert (tap.live, tap.out, tap.potential) == ([], 3, 3)
    assert plan([tap], 3).grant == []
    assert plan([tap], 4).grant[0][1].limit == 1


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("window"), st.integers(0, 12)), st.tuples(st.just("settle"), st.integers(1, 5))
        ),
        max_size=60,
    )
)
def test_a_small_window_is_never_exceeded_by_much(steps):
    """Whatever happens, no more are out than the widest window since those were granted; and what may flow, flows."""
    tap, window, widest = Tap("q"), 0, 0
    for what, number in steps:
        if what == "window":
            window = number
        else:
            for grant in list(tap.live):
                done = min(grant.out, number)
                grant.out -= done
                tap.out -= done
        plan([tap], window)
        widest = max(window + window // 2, tap.out)
        deliver(tap, 100)
        assert tap.out <= widest
        assert tap.out >= window - window // 4
        assert len(tap.live) <= MOST_GRANTS


def test_a_busy_queue_gets_what_idle_ones_do_not_need():
    busy, idle, other = Tap("busy"), Tap("idle"), Tap("other")
    taps = [busy, idle, other]
    plan(taps, 9)
    assert [tap.potential for tap in taps] == [3, 3, 3]
    deliver(busy, 100)
    plan(taps, 9)
    deliver(busy, 100)
    assert busy.out >= 6
    assert idle.potential >= 1
    assert other.potential >= 1


def test_with_one_free_slot_every_queue_is_still_heard():
    taps = [Tap(name) for name in "abc"]
    plan(taps, 1)
    assert [tap.potential for tap in taps] == [1, 1, 1]
    deliver(taps[0], 1)
    plan(taps, 1)
    assert [tap.potential for tap in taps] == [1, 0, 0]


def frames(acks):
    return [
        (e.name, e.values["delivery_tag"], e.values.get("multiple", False))
        for e in Reader().feed(acks.flush())
    ]


def test_acknowledgements_are_put_together():
    acks = Acks(1)
    for tag in range(1, 8):
        acks.received(tag)
    for tag in (2, 1, 3, 6):
        acks.ack(tag)
    acks.give_back(5)
    assert frames(acks) == [("basic.nack", 5, False), ("basic.ack", 3, True), ("basic.ack", 6, False)]
    acks.ack(4)
    acks.ack(4)
    assert frames(acks) == [("basic.ack", 4, False)]
    acks.ack(99)
    acks.ack(7)
    assert frames(acks) == [("basic.ack", 7, False)]
    assert len(acks) == 0


def test_delay_keys():
    exchange, key = delays.entry(5, "a.b")
    assert exchange == "celery_delayed_27"
    assert key == "0." * 25 + "1.0.1.a.b"
    assert delays.without_digits(key) == "a.b"
    assert delays.without_digits("a.b") == "a.b"
    assert delays.entry(2**40, "k")[1].startswith("1.1.1.")
    assert "." not in delays.home("a.b%c")


def test_what_is_declared_for_delays():
    requests = list(delays.ladder("quorum"))
    queues = [r.values for r in requests if r.method == "queue.declare"]
    assert len(queues) == 28
    assert queues[3]["arguments"] == {
        "x-queue-type": "quorum",
        "x-overflow": "reject-publish",
        "x-message-ttl": 8000,
        "x-dead-letter-exchange": "celery_delayed_2",
        "x-dead-letter-strategy": "at-least-once",
    }
    assert queues[0]["arguments"]["x-dead-letter-exchange"] == "celery_delayed_delivery"
    binds = {
        (r.values.get("queue") or r.values["destination"], r.values["routing_key"])
        for r in requests
        if "bind" in r.method
    }
    assert ("celery_delayed_27", "1.#") in binds
    assert ("celery_delayed_26", "0.#") in binds
    assert ("celery_delayed_delivery", "*." * 27 + "0.#") in binds
    assert list(delays.way_out(Queue("q", Exchange("q"), "q"))) == []
    assert [r.values["routing_key"] for r in delays.way_out(Queue("q", Exchange("e", "topic"), "k"))] == [
        "#.k",
        "#.k",
    ]


@pytest.mark.parametrize(
    ("url", "host", "port", "vhost", "user"),
    [
        ("amqp://", "localhost", 5672, "/", "guest"),
        ("pyamqp", "localhost", 5672, "/", "guest"),
        ("amqp://h", "h", 5672, "/", "guest"),
        ("amqp://me:pw@h:1//", "h", 1, "/", "me"),
        ("amqp://me:pw@h:1/v", "h", 1, "v", "me"),
        ("amqp://h/%2Fv", "h", 5672, "/v", "guest"),
        ("amqps://h", "h", 5671, "/", "guest"),
    ],
)
def test_urls(url, host, port, vhost, user):
    found = endpoint(url, BrokerOptions())
    assert (found.place.host, found.place.port, found.login.vhost, found.login.user) == (
        host,
        port,
        vhost,
        user,
    )
    assert (found.place.tls is not None) == url.startswith("amqps")
    assert "pw" not in found.name


def test_a_url_that_makes_no_sense_is_refused():
    with pytest.raises(BrokerRefused, match="port"):
        endpoint("amqp://h:port/", BrokerOptions())


def test_client_properties_and_login_method():
    found = endpoint(
        "amqp://h",
        BrokerOptions(login_method="AMQPLAIN", transport_options={"client_properties": {"team": "x"}}),
    )
    assert found.login.mechanism == "AMQPLAIN"
    assert found.login.client["team"] == "x"


def test_headers_on_the_wire_and_back():
    headers = {"task": "t", "id": "1", "timelimit": [None, 3.5], "stamps": {"a": ["b"]}, "eta": None}
    out = Outgoing(
        b"", LazyObject(value=headers), LazyObject(value={"correlation_id": "c", "unknown": 1}), priority=12
    )
    found = read_properties(encoded(out))
    assert found.values == {"correlation_id": "c", "delivery_mode": 2, "priority": 12}
    assert Table(found.headers).value == headers
    assert LazyObject(raw=Table(found.headers).raw).value == headers


def test_our_own_headers_are_not_shown():
    changed = with_headers(
        encoded(
            Outgoing(b"", LazyObject(value={"id": "1", "x-death": []}), LazyObject(value={"expiration": "5"}))
        ),
        drop=frozenset({"x-death"}),
        headers={DELIVERIES: 3},
        expiration=None,
    )
    found = read_properties(changed)
    assert "expiration" not in found.values
    assert read_table(found.headers, 0, len(found.headers))[0] == {"id": "1", DELIVERIES: 3}
    assert Table(found.headers).value == {"id": "1"}


def test_values_without_a_form_become_text():
    found = read_properties(
        encoded(Outgoing(b"", LazyObject(value={"x": {"y": [object]}}), LazyObject(value={})))
    )
    assert Table(found.headers).value == {"x": {"y": ["<class 'object'>"]}}


def test_broken_tables_are_found_out_when_they_are_looked_at():
    with pytest.raises(ValueError, match="type"):
        Table(table({"a": 1})[:-5] + b"?" + b"1234").value  # noqa: B018
