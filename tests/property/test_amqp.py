"""AMQP's values and frames over all inputs: they come back as they went, and garbage is one kind of error."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from celery.brokers.rabbitmq import shapes
from celery.brokers.rabbitmq.moulds import Castings, Moulds
from celery.message.headers import LazyObject
from celery.wire.amqp import spec
from celery.wire.amqp.connection import Connection, Login
from celery.wire.amqp.errors import ProtocolError
from celery.wire.amqp.frames import Message, Reader, content, method
from celery.wire.amqp.values import NAMES, find_headers, properties, read_properties, read_table, table

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        words,
        st.binary(max_size=40),
        st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)).map(
            lambda when: when.replace(microsecond=0, tzinfo=UTC)
        ),
        st.decimals(0, 1000, places=3),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(words, inner, max_size=4)),
    max_leaves=20,
)
tables = st.dictionaries(words, values, max_size=8)


@given(tables)
def test_tables_come_back(given_table):
    encoded = table(given_table)
    assert read_table(encoded, 0, len(encoded)) == (given_table, len(encoded))


@given(
    st.dictionaries(
        st.sampled_from(sorted(NAMES - {"headers", "delivery_mode", "priority", "timestamp"})), words
    ),
    tables,
    st.integers(0, 255),
)
def test_properties_come_back(given_values, headers, number):
    given_values["priority"] = given_values["delivery_mode"] = number
    found = read_properties(properties(given_values, table(headers)))
    assert found.values == given_values
    assert read_table(found.headers, 0, len(found.headers))[0] == headers


@given(st.lists(st.tuples(st.binary(max_size=9000), st.integers(1, 3)), max_size=6), st.integers(1, 5000))
def test_messages_come_back_however_they_are_cut(bodies, size):
    wire = b"".join(
        method(channel, "basic.deliver", consumer_tag="t", delivery_tag=number)
        + content(channel, properties({}), body, 4096)
        for number, (body, channel) in enumerate(bodies)
    )
    reader, found = Reader(), []
    for start in range(0, len(wire), size):
        found += reader.feed(wire[start : start + size])
    assert [(message.body, message.channel) for message in found] == bodies


@given(st.binary(max_size=200))
def test_garbage_is_one_kind_of_error(data):
    for read in (
        lambda: Reader().feed(data),
        lambda: spec.unpack(data),
        lambda: read_properties(data),
        lambda: find_headers(data),
        lambda: read_table(data, 0, len(data)),
        lambda: Connection(Login()).receive(data),
    ):
        with contextlib.suppress(ProtocolError):
            read()


@given(st.data())
def test_a_flipped_byte_is_an_error_or_a_meaning(data):
    wire = bytearray(
        method(1, "basic.deliver", consumer_tag="t", exchange="e", routing_key="k")
        + content(1, properties({"priority": 1}, table({"a": [1, {"b": None}]})), b"body", 4096)
        + method(1, "channel.close", code=1, text="x")
    )
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ProtocolError):
        for event in Reader().feed(bytes(wire)):
            if isinstance(event, Message):
                found = read_properties(event.properties)
                read_table(found.headers, 0, len(found.headers))


def test_deep_nesting_is_refused():
    deep: list[object] = []
    for _ in range(300):
        deep = [deep]
    encoded = table({"deep": deep})
    with contextlib.suppress(ProtocolError):
        read_table(encoded, 0, len(encoded))
        raise AssertionError("it was read")
    assert table({"decimal": Decimal("-1.5")})


FIRST = ["lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit"]
THEN = ["root_id", "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting"]
ORDER = [*FIRST, *THEN, "stamped_headers", "stamps"]
maybe = st.one_of(st.none(), words)
small = st.integers(0, 10**6)


@given(
    st.fixed_dictionaries(
        {
            "lang": st.just("py"),
            "task": words,
            "id": words,
            "shadow": maybe,
            "eta": maybe,
            "expires": maybe,
            "group": maybe,
            "group_index": st.one_of(st.none(), small),
            "retries": small,
            "timelimit": st.sampled_from([[None, None], [None, 5], [1.5, None]]),
            "root_id": words,
            "parent_id": maybe,
            "argsrepr": st.one_of(words, st.just("\x02idS\x00\x00\x00\x01x")),
            "kwargsrepr": words,
            "origin": words,
            "ignore_result": st.sampled_from([None, True, False]),
            "replaced_task_nesting": small,
            "stamped_headers": st.none(),
            "stamps": st.sampled_from([{}, {"a": "b"}]),
        }
    )
)
def test_the_short_ways_say_what_the_long_ones_say(headers):
    """Headers of the usual shape are turned from JSON to table and back by regular expressions."""
    headers = {name: headers[name] for name in ORDER}
    raw = LazyObject(value=headers).raw
    encoded = table(headers)
    short = shapes.table_of_json(raw)
    assert short is None or short == encoded
    text = shapes.json_of_table(encoded)
    assert text is None or LazyObject(raw=text).value == headers
    if headers["timelimit"] == [None, None] and not headers["stamps"] and raw.isascii() and b"\\" not in raw:
        assert short is not None
        assert text is not None


@given(
    st.fixed_dictionaries(
        {
            "content_type": words,
            "content_encoding": words,
            "correlation_id": words,
            "reply_to": words,
            "delivery_mode": st.sampled_from([1, 2]),
        },
        optional={"priority": st.integers(0, 255), "expiration": st.integers(0, 10**9).map(str)},
    ),
    st.integers(0, 9),
)
def test_the_short_way_of_properties(given_values, priority):
    short = shapes.properties_of_json(LazyObject(value=given_values).raw, table({"a": 1}), priority)
    expected = {"priority": priority or None, **given_values}
    assert short is None or short == properties(expected, table({"a": 1}))
    encoded = properties(expected, table({"a": 1}))
    assert find_headers(encoded) == (table({"a": 1}), expected["priority"])
    text = shapes.json_of_properties(encoded)
    assert text is None or LazyObject(raw=text).value == read_properties(encoded).values
    assert text is not None or "expiration" in given_values


LABEL = "\x08argsreprS\x00\x00\x00\x01x\x0akwargsreprS\x00\x00\x00\x01y"
IDS = st.one_of(
    st.uuids().map(str),
    st.sampled_from(
        ["a" * 36, '"' * 36, "\\" + "b" * 35, "é" * 18, "00000000-0000-0000-0000-000000000000", "short"]
    ),
)


alike = st.lists(
    st.fixed_dictionaries(
        {
            "task": st.sampled_from(["t", "u", "a" * 40]),
            "id": IDS,
            "group": st.sampled_from([None, "a" * 36, LABEL, LABEL[:11] + "\x00\x00\x00"]),
            "argsrepr": st.one_of(st.sampled_from(["()", "", "a" * 97, LABEL, 'é"', "x" * 300]), words),
            "kwargsrepr": st.sampled_from(["{}", LABEL, ',"origin":"']),
            "origin": st.sampled_from(["o", "a" * 36]),
            "child": st.booleans(),
            "about": st.booleans(),
        }
    ),
    max_size=12,
)


def headers_of(one):
    own = one["id"]
    return {
        "lang": "py",
        "task": one["task"],
        "id": own,
        "shadow": None,
        "eta": None,
        "expires": None,
        "group": one["group"],
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": "r" if one["child"] else own,
        "parent_id": own if one["child"] else None,
        "argsrepr": f"('{own}',)" if one["about"] else one["argsrepr"],
        "kwargsrepr": one["kwargsrepr"],
        "origin": one["origin"],
        "ignore_result": None,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }


@given(alike)
def test_messages_that_are_alike_say_what_each_of_them_says(drawn):
    moulds = Moulds()
    for one in drawn:
        encoded = table(headers_of(one))
        assert moulds.json(encoded) == shapes.json_of_table(encoded)
        assert moulds.json(encoded[:-1]) is None


@given(alike, st.sampled_from([0, 5]), st.sampled_from([None, 3]), st.sampled_from(["r", "a" * 36]))
def test_messages_that_are_alike_are_sent_as_each_of_them_is(drawn, priority, named, reply_to):
    castings = Castings()
    for one in drawn:
        headers = headers_of(one)
        given_values = {
            "content_type": "application/json",
            "content_encoding": "utf-8",
            "correlation_id": one["id"],
            "reply_to": reply_to,
            "delivery_mode": 2,
        }
        if named is not None:
            given_values["priority"] = named
        made = castings.properties(
            LazyObject(value=headers).raw, LazyObject(value=given_values).raw, priority
        )
        expected = {"priority": priority or None, **given_values}
        assert made is None or made == properties(expected, table(headers))


def test_nothing_is_kept_of_messages_of_other_shapes():
    """They may be large, and are never sent the short way."""
    castings, own = Castings(), str(uuid4())
    properties_of = LazyObject(value={"delivery_mode": 2, "correlation_id": own}).raw
    usual = dict.fromkeys(ORDER, "x") | {"id": own}
    for number in range(3):
        headers = LazyObject(value={**usual, "own": f"{number}" * 1000}).raw
        assert castings.properties(headers, properties_of, 0) is None
    assert not castings._seen


@given(st.binary(max_size=100))
def test_strange_tables_have_no_shape(data):
    usual = table(
        {
            "lang": "py",
            "task": "t",
            "id": "i",
            "shadow": None,
            "eta": None,
            "expires": None,
            "group": None,
            "group_index": None,
            "retries": 0,
            "timelimit": [None, None],
            "root_id": "i",
            "parent_id": None,
            "argsrepr": data,
            "kwargsrepr": "{}",
            "origin": "o",
            "ignore_result": None,
            "replaced_task_nesting": 0,
            "stamped_headers": None,
            "stamps": {},
        }
    )
    assert shapes.json_of_table(usual) is None  # bytes are no text
    assert shapes.json_of_table(data) is None
    assert Moulds().json(data) is None
