"""AMQP without a broker: methods, frames, content, the states of a connection, confirmations."""

from __future__ import annotations

import pytest

from celery.wire.amqp import spec
from celery.wire.amqp.confirms import Confirms
from celery.wire.amqp.connection import Connection, Login, State
from celery.wire.amqp.errors import ConnectionClosed, ProtocolError
from celery.wire.amqp.frames import (
    FRAME_MAX,
    HEARTBEAT,
    Command,
    Message,
    Reader,
    acknowledgement,
    content,
    frame,
    method,
)
from celery.wire.amqp.values import properties, read_properties


def delivered(tag, body, channel=1, **values):
    return method(
        channel,
        "basic.deliver",
        consumer_tag="c",
        delivery_tag=tag,
        exchange="x",
        routing_key="k",
        **values,
    ) + content(channel, properties({"priority": 3}), body, FRAME_MAX)


def test_bits_are_packed_in_order():
    packed = spec.pack("queue.declare", queue="q", durable=True, auto_delete=True, nowait=True)
    assert packed[8:9] == bytes((0b11010,))
    called, values = spec.unpack(packed)
    assert called.name == "queue.declare"
    assert values == {
        "queue": "q",
        "passive": False,
        "durable": True,
        "exclusive": False,
        "auto_delete": True,
        "nowait": True,
        "arguments": {},
    }


def test_a_field_that_does_not_fit_or_exist_is_named():
    with pytest.raises(ValueError, match="prefetch_count=65536"):
        spec.pack("basic.qos", prefetch_count=65536)
    with pytest.raises(TypeError, match="tranquil"):
        spec.pack("basic.qos", tranquil=1)
    with pytest.raises(ValueError, match="255"):
        spec.pack("queue.delete", queue="q" * 256)


def test_deliveries_are_put_together_however_they_are_cut():
    wire = b"".join(
        (delivered(1, b"one"), HEARTBEAT, delivered(2, b"", redelivered=True), delivered(3, b"x" * 300_000))
    )
    whole = Reader().feed(wire)
    assert [(m.delivery_tag, m.redelivered, len(m.body)) for m in whole] == [
        (1, 0, 3),
        (2, 1, 0),
        (3, 0, 300_000),
    ]
    assert {(m.consumer_tag, m.exchange, m.routing_key) for m in whole} == {(b"c", b"x", b"k")}
    assert read_properties(whole[0].properties).values == {"priority": 3}
    for size in (1, 7, 4096):
        reader, found = Reader(), []
        for start in range(0, min(len(wire), 500 * size), size):
            found += reader.feed(wire[start : start + size])
        assert [m.body for m in found] == [m.body for m in whole][: len(found)]
        assert found


def test_messages_of_two_channels_may_be_interleaved():
    one, two = delivered(1, b"one", 1), delivered(2, b"two", 2)
    cut = len(method(1, "basic.deliver", consumer_tag="c", exchange="x", routing_key="k"))
    found = Reader().feed(one[:cut] + two[:cut] + one[cut:] + two[cut:])
    assert [(m.channel, m.body) for m in found] == [(1, b"one"), (2, b"two")]


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        frame(1, 0, b"\x00\x0a"),
        frame(1, 0, b"\x00\x63\x00\x01"),
        frame(4, 0, b""),
        frame(8, 0, b"x"),
        frame(1, 0, spec.pack("connection.tune"))[:-1] + b"\x00",
        frame(2, 1, bytes(14)),
        frame(3, 1, b"body"),
        method(1, "basic.deliver") + method(1, "basic.deliver"),
        method(1, "basic.deliver") + frame(3, 1, b"body"),
        method(1, "basic.deliver") + content(1, properties({}), b"ab", FRAME_MAX)[:22] + frame(3, 1, b"abc"),
        b"\x01\x00\x00\xff\xff\xff\xff" + bytes(20),
        frame(1, 1, spec.pack("basic.deliver", consumer_tag="abc")[:12]),
    ],
)
def test_what_is_no_amqp_is_one_kind_of_error(wire):
    with pytest.raises(ProtocolError):
        Reader().feed(wire)


def test_an_acknowledgement_is_what_the_table_says():
    assert acknowledgement(3, 2**40, True) == method(3, "basic.ack", delivery_tag=2**40, multiple=True)


def start(**changes):
    return method(
        0,
        "connection.start",
        minor=9,
        server_properties={"product": "RabbitMQ"},
        mechanisms=b"PLAIN AMQPLAIN EXTERNAL",
        locales=b"en_US",
        **changes,
    )


def tune(**changes):
    return method(0, "connection.tune", **{"channel_max": 100, "frame_max": 65536, "heartbeat": 60} | changes)


def reply(machine):
    return [(event.name, event.values) for event in Reader().feed(machine.reply())]


def test_the_handshake():
    machine = Connection(Login("me", "secret", "v"), heartbeat=10)
    assert machine.begin() == b"AMQP\x00\x00\x09\x01"
    assert machine.receive(start()) == []
    ((name, values),) = reply(machine)
    assert (name, values["mechanism"], values["response"]) == (
        "connection.start-ok",
        "PLAIN",
        b"\0me\0secret",
    )
    assert values["client_properties"]["capabilities"]["connection.blocked"] is True
    machine.receive(tune())
    (_, tuned), (_, opened) = reply(machine)
    assert tuned == {"channel_max": 100, "frame_max": 65536, "heartbeat": 10}
    assert opened["virtual_host"] == "v"
    assert not machine.open
    machine.receive(method(0, "connection.open-ok"))
    assert machine.open
    assert (machine.heartbeat, machine.frame_max, machine.server["product"]) == (10, 65536, "RabbitMQ")


@pytest.mark.parametrize(("ours", "theirs", "agreed"), [(10, 0, 10), (0, 60, 0), (60, 10, 10)])
def test_heartbeats_are_agreed_upon(ours, theirs, agreed):
    machine = Connection(Login(), heartbeat=ours)
    machine.receive(start() + tune(heartbeat=theirs))
    assert machine.heartbeat == agreed


def opened():
    machine = Connection(Login())
    machine.receive(start() + tune() + method(0, "connection.open-ok"))
    machine.reply()
    return machine


def test_amqplain_and_external_and_unknown_ways_to_log_in():
    machine = Connection(Login("me", "pw", mechanism="AMQPLAIN"))
    machine.receive(start())
    assert reply(machine)[0][1]["response"] == b"\x05LOGINS\x00\x00\x00\x02me\x08PASSWORDS\x00\x00\x00\x02pw"
    machine = Connection(Login(mechanism="EXTERNAL"))
    machine.receive(start())
    assert reply(machine)[0][1]["response"] == b""
    with pytest.raises(ValueError, match="SCRAM"):
        Connection(Login(mechanism="SCRAM")).receive(start())


def test_the_broker_closes_the_connection():
    machine = opened()
    assert machine.receive(method(0, "connection.close", code=320, text="shutdown") + delivered(1, b"")) == []
    assert machine.state is State.CLOSED
    assert isinstance(machine.close_error, ConnectionClosed)
    assert "shutdown" in str(machine.close_error)
    assert reply(machine)[0][0] == "connection.close-ok"


def test_a_closed_channel_is_answered_and_told():
    machine = opened()
    half = delivered(1, b"half")
    machine.receive(half[:-9])
    (event,) = machine.receive(half[-9:])
    (event,) = machine.receive(
        method(1, "channel.close", code=404, text="no queue", class_id=50, method_id=10)
    )
    assert isinstance(event, Command)
    assert reply(machine) == [("channel.close-ok", {})]


def test_blocked_and_unblocked():
    machine = opened()
    machine.receive(method(0, "connection.blocked", reason="memory"))
    assert machine.blocked == "memory"
    machine.receive(method(0, "connection.unblocked"))
    assert machine.blocked is None


def test_our_goodbye():
    machine = opened()
    assert Reader().feed(machine.close())[0].name == "connection.close"
    assert machine.close() == b""
    # What was on its way is still taken.
    (message,) = machine.receive(delivered(1, b"late"))
    assert isinstance(message, Message)
    machine.receive(method(0, "connection.close-ok"))
    assert machine.state is State.CLOSED


@pytest.mark.parametrize(
    "wire", [b"AMQP\x00\x01\x00\x00", delivered(1, b"x"), method(0, "connection.open-ok"), tune()]
)
def test_what_comes_too_early_is_an_error(wire):
    with pytest.raises(ProtocolError):
        Connection(Login()).receive(wire)


def test_confirmations_one_by_one_and_together():
    confirms = Confirms[str]()
    assert [confirms.sent(word) for word in "abcdef"] == [1, 2, 3, 4, 5, 6]
    assert confirms.settle(2, False) == ["b"]
    assert confirms.settle(2, False) == []
    assert confirms.settle(4, True) == ["a", "c", "d"]
    assert confirms.waiting() == ["e", "f"]
    assert confirms.settle(0, True) == ["e", "f"]
    assert len(confirms) == 0
