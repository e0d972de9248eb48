"""What is written is read back, the same as kombu reads and writes it."""

from __future__ import annotations

import datetime as dt
import json as stdlib_json
import math

import kombu.serialization
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery.brokers.base import Delivery
from celery.message import compression, envelope, json, serializers
from celery.message.body import decode_body
from celery.message.headers import LazyObject
from celery.message.protocol1 import normalize
from celery.message.task import decode_headers
from celery.message.template import NO_EMBED, Template, json_body
from celery.message.writing import build_v1, build_v2

JSON = frozenset({"application/json"})

texts = st.text(max_size=20)
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
finite = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
extended = (
    plain
    | st.datetimes()
    | st.datetimes(timezones=st.just(dt.UTC))
    | st.dates()
    | st.times()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.binary(max_size=20)
)


def nested(leaves):
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=12,
    )


def fits(value) -> bool:
    """False for a dict that looks like an extended type."""
    if isinstance(value, dict):
        return "__type__" not in value and all(fits(v) for v in value.values())
    return not isinstance(value, list) or all(fits(v) for v in value)


@given(nested(extended).filter(fits))
def test_json_round_trip(value):
    assert json.loads(json.dumps(value)) == value


@given(nested(extended).filter(fits))
def test_json_is_kombus(value):
    ours = json.dumps(value)
    theirs = kombu.serialization.dumps(value, "json")[2]
    assert stdlib_json.loads(ours) == stdlib_json.loads(theirs)
    assert kombu.serialization.loads(ours, "application/json", "utf-8", accept=JSON) == value
    assert json.loads(theirs) == value


def test_headers_are_json_whatever_is_in_them():
    made = LazyObject(value={"task": "t", "id": "i", "odd": math.inf, "none": math.nan, "thing": object})
    assert decode_headers(LazyObject(raw=made.raw)).id == "i"
    assert LazyObject(raw=made.raw).value["odd"] is None


def test_json_of_special_floats():
    assert math.isnan(json.loads(json.dumps(math.nan)))
    assert json.loads(json.dumps([math.inf, -math.inf])) == [math.inf, -math.inf]


@given(texts | st.just("\ud800") | st.just("\\u005f_type__"))
def test_json_text(value):
    assert json.loads(json.dumps(value)) == value


def test_hidden_extended_type_is_seen():
    assert json.loads(b'{"\\u005f_type__": "date", "__value__": "2026-01-02"}') == dt.date(2026, 1, 2)


@given(st.lists(nested(plain), max_size=4), st.dictionaries(texts, nested(plain), max_size=3))
@pytest.mark.parametrize("name", ["json", "pickle", "yaml", "msgpack"])
def test_serializers_round_trip(name, args, kwargs):
    accept = serializers.prepare_accept_content([name])
    try:
        content_type, content_encoding, body = serializers.dumps(
            (args, kwargs, NO_EMBED), "pickle" if name == "yaml" else name
        )
    except serializers.EncodeError:  # integers that msgpack cannot hold
        return
    if name == "yaml":
        content_type, content_encoding, body = serializers.dumps([args, kwargs, NO_EMBED], "yaml")
    assert decode_body(body, content_type, content_encoding, None, accept) == (args, kwargs, NO_EMBED)


@given(st.binary(max_size=500))
@pytest.mark.parametrize("name", ["zlib", "gzip", "bzip2", "bzip", "lzma", "xz"])
def test_compression_round_trip(name, data):
    packed, content_type = compression.compress(data, name)
    assert compression.decompress(packed, content_type) == data


ids = st.uuids().map(str) | texts.filter(bool)
maybe_id = st.none() | ids
iso = st.none() | st.datetimes(timezones=st.just(dt.UTC)).map(dt.datetime.isoformat)
limits = st.none() | st.integers(0, 10**6) | st.floats(0, 10**6)


@given(
    task_id=ids,
    name=texts,
    shadow=st.none() | texts,
    timelimit=st.tuples(limits, limits),
    ignore_result=st.none() | st.booleans(),
    reply_to=texts,
    priority=st.none() | st.integers(0, 9),
    delivery_mode=st.sampled_from([1, 2]),
    packed=st.none() | st.just("application/x-gzip"),
    origin=texts,
    expiration=st.none() | st.integers(0, 10**9).map(str),
    varying=st.fixed_dictionaries(
        {},
        optional={
            "eta": iso,
            "expires": iso,
            "group_id": maybe_id,
            "group_index": st.none() | st.integers(0, 10**6),
            "retries": st.integers(0, 100),
            "root_id": maybe_id,
            "parent_id": maybe_id,
            "replaced_task_nesting": st.integers(0, 9),
        },
    ),
    argsrepr=texts,
    kwargsrepr=texts,
)
def test_template_says_what_build_v2_says(
    task_id, name, shadow, timelimit, ignore_result, reply_to, priority, delivery_mode, packed, origin, expiration,
    varying, argsrepr, kwargsrepr,
):  # fmt: skip
    template = Template(
        name,
        shadow=shadow,
        timelimit=timelimit,
        origin=origin,
        ignore_result=ignore_result,
        reply_to=reply_to,
        delivery_mode=delivery_mode,
        compression=packed,
        priority=priority,
    )
    full = build_v2(
        task_id,
        name,
        (),
        {},
        shadow=shadow,
        time_limit=timelimit[0],
        soft_time_limit=timelimit[1],
        origin=origin,
        ignore_result=ignore_result,
        reply_to=reply_to,
        argsrepr=argsrepr,
        kwargsrepr=kwargsrepr,
        **varying,
    )
    headers = dict(full.headers)
    if packed:
        headers["compression"] = packed
    made = template.headers(task_id, argsrepr, kwargsrepr, **varying)
    assert made.raw == LazyObject(value=headers).raw
    properties = {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        **full.properties,
        "delivery_mode": delivery_mode,
    }
    if priority is not None:
        properties["priority"] = priority
    if expiration is not None:
        properties["expiration"] = expiration
    assert template.properties(task_id, expiration).raw == LazyObject(value=properties).raw


@given(st.lists(nested(extended), max_size=4), st.dictionaries(texts, nested(extended), max_size=3))
def test_json_body_is_the_triple(args, kwargs):
    assert json_body(args, kwargs) == json.dumps((args, kwargs, NO_EMBED))
    assert json_body(args, kwargs, {"callbacks": [{}]}) == json.dumps((args, kwargs, {"callbacks": [{}]}))


@given(
    task_id=ids,
    retries=st.integers(0, 100),
    eta=iso,
    expires=iso,
    group=maybe_id,
    timelimit=st.tuples(limits, limits),
    args=st.lists(nested(plain), max_size=3),
    kwargs=st.dictionaries(texts, nested(plain), max_size=3),
)
@pytest.mark.parametrize("serializer", ["json", "pickle", "msgpack"])
@pytest.mark.parametrize("packed", [None, "zlib"])
def test_protocol_1_becomes_protocol_2(
    serializer, packed, task_id, retries, eta, expires, group, timelimit, args, kwargs
):
    message = build_v1(
        task_id,
        "tasks.add",
        args,
        kwargs,
        eta=eta,
        expires=expires,
        group_id=group,
        retries=retries,
        time_limit=timelimit[0],
        soft_time_limit=timelimit[1],
    )
    accept = serializers.prepare_accept_content([serializer])
    try:
        content_type, content_encoding, body = serializers.dumps(message.body, serializer)
    except serializers.EncodeError:
        return
    headers = {"x-trace": "a"}
    if packed:
        body, headers["compression"] = compression.compress(body, packed)
    properties = {"content_type": content_type, "content_encoding": content_encoding}
    delivery = Delivery(body, LazyObject(value=headers), LazyObject(value=properties), "celery", None)
    lazy, body, props = normalize(delivery, accept)
    assert props.value == properties
    assert lazy.value["x-trace"] == "a"
    decoded = decode_headers(lazy)
    assert (decoded.task, decoded.id, decoded.root_id) == ("tasks.add", task_id, task_id)
    assert (decoded.retries, decoded.group, decoded.timelimit) == (retries, group, timelimit)
    assert decoded.eta_at() == (None if eta is None else dt.datetime.fromisoformat(eta))
    assert decoded.expires_at() == (None if expires is None else dt.datetime.fromisoformat(expires))
    assert decode_body(body, content_type, content_encoding, decoded.compression, accept) == (
        args,
        kwargs,
        NO_EMBED,
    )


@given(
    body=st.binary(max_size=100),
    headers=st.dictionaries(texts, nested(finite), max_size=3),
    properties=st.dictionaries(
        st.sampled_from(
            ["content_type", "content_encoding", "correlation_id", "reply_to", "expiration", "x"]
        ),
        texts,
    ),
    exchange=texts,
    routing_key=texts,
    priority=st.integers(0, 9),
)
def test_envelope_round_trip(body, headers, properties, exchange, routing_key, priority):
    data = envelope.encode(
        body,
        LazyObject(value=headers),
        LazyObject(value=properties),
        exchange=exchange,
        routing_key=routing_key,
        delivery_tag="tag",
        priority=priority,
    )
    back = envelope.decode(data)
    assert (back.body, back.exchange, back.routing_key, back.priority) == (
        body,
        exchange,
        routing_key,
        priority,
    )
    assert (back.delivery_tag, back.redelivered) == ("tag", False)
    assert back.headers.value == msgspec.json.decode(json.dumps(headers))
    kept = {k: v for k, v in back.properties.value.items() if k in properties}
    assert kept == properties
