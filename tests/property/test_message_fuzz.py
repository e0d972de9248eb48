"""Whatever the bytes, reading a message gives a task or MalformedMessage."""

from __future__ import annotations

import json
import pickle
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celery.brokers.base import Delivery
from celery.message import envelope, serializers
from celery.message.body import decode_body
from celery.message.errors import MalformedMessage
from celery.message.headers import LazyObject
from celery.message.protocol1 import normalize
from celery.message.task import decode_headers, decode_properties

ACCEPT = serializers.prepare_accept_content(["json", "pickle", "yaml", "msgpack"])

GOOD_HEADERS = {
    "lang": "py",
    "task": "tasks.add",
    "id": "11111111-1111-1111-1111-111111111111",
    "shadow": None,
    "eta": None,
    "expires": None,
    "group": None,
    "group_index": None,
    "retries": 0,
    "timelimit": [None, None],
    "root_id": "11111111-1111-1111-1111-111111111111",
    "parent_id": None,
    "argsrepr": "(2, 2)",
    "kwargsrepr": "{}",
    "origin": "gen9891@vm",
    "ignore_result": False,
    "replaced_task_nesting": 0,
    "stamped_headers": None,
    "stamps": {},
}
GOOD_BODY = b'[[2, 2], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'
GOOD_PROPERTIES = {"content_type": "application/json", "content_encoding": "utf-8", "correlation_id": "x"}

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)


def is_one_line(exc: MalformedMessage) -> bool:
    assert exc.reason
    assert "\n" not in exc.reason
    assert len(exc.reason) < 500
    return False


def read(headers: bytes, body: bytes, properties: bytes) -> bool:
    """Read as a worker does; True if it was a task."""
    delivery = Delivery(body, LazyObject(raw=headers), LazyObject(raw=properties), "celery", None)
    try:
        lazy, body, props = normalize(delivery, ACCEPT)
        decoded = decode_headers(lazy)
        said = decode_properties(props)
        parts = decode_body(body, said.content_type, said.content_encoding, decoded.compression, ACCEPT)
    except MalformedMessage as exc:
        return is_one_line(exc)
    assert isinstance(decoded.task, str)
    assert isinstance(decoded.id, str)
    assert isinstance(parts.args, list)
    assert isinstance(parts.kwargs, dict)
    assert set(parts.embed) >= {"callbacks", "errbacks", "chain", "chord"}
    return True


def dumped(value: object) -> bytes:
    return json.dumps(value).encode()


def test_the_good_message_is_read():
    assert read(dumped(GOOD_HEADERS), GOOD_BODY, dumped(GOOD_PROPERTIES))


@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=200))
def test_random_bytes(headers, body, properties):
    read(headers, body, properties)


@given(st.binary(max_size=300))
def test_random_body(body):
    read(dumped(GOOD_HEADERS), body, dumped(GOOD_PROPERTIES))


@given(st.dictionaries(st.sampled_from(sorted(GOOD_HEADERS)), values, min_size=1, max_size=3))
def test_wrong_header_values(wrong):
    read(dumped({**GOOD_HEADERS, **wrong}), GOOD_BODY, dumped(GOOD_PROPERTIES))


@given(st.sets(st.sampled_from(sorted(GOOD_HEADERS)), min_size=1))
def test_missing_headers(missing):
    ok = read(
        dumped({k: v for k, v in GOOD_HEADERS.items() if k not in missing}),
        GOOD_BODY,
        dumped(GOOD_PROPERTIES),
    )
    assert ok is (not missing & {"task", "id"})


@given(values)
def test_any_json_body(value):
    read(dumped(GOOD_HEADERS), dumped(value), dumped(GOOD_PROPERTIES))
    read(b"{}", dumped(value), dumped(GOOD_PROPERTIES))


@given(values, values, values)
def test_any_triple(args, kwargs, embed):
    read(dumped(GOOD_HEADERS), dumped([args, kwargs, embed]), dumped(GOOD_PROPERTIES))


@given(
    st.dictionaries(
        st.sampled_from(
            ["task", "id", "args", "kwargs", "eta", "expires", "utc", "timelimit", "callbacks", "chord"]
        ),
        values,
    )
)
def test_protocol_1_with_wrong_values(wrong):
    good = {"task": "t", "id": "i", "args": [1], "kwargs": {}}
    read(b"{}", dumped({**good, **wrong}), dumped(GOOD_PROPERTIES))


@given(st.dictionaries(st.sampled_from([*GOOD_PROPERTIES, "priority", "expiration", "reply_to"]), values))
def test_wrong_properties(wrong):
    read(dumped(GOOD_HEADERS), GOOD_BODY, dumped({**GOOD_PROPERTIES, **wrong}))


@given(
    st.sampled_from(
        ["application/json", "application/x-python-serialize", "application/x-yaml", "application/x-msgpack",
         "application/data", "text/plain", "x/unknown"]
    ),
    st.sampled_from(["utf-8", "binary", "latin-1", "nonsense", "", None]),
    st.binary(max_size=100),
)  # fmt: skip
def test_other_content_types(content_type, content_encoding, body):
    read(
        dumped(GOOD_HEADERS),
        body,
        dumped({"content_type": content_type, "content_encoding": content_encoding}),
    )


class _Bomb:
    def __reduce__(self):
        return (exec, ("raise RuntimeError('unpickled')",))


KINDS = {
    "headers a list": (b"[]", GOOD_BODY),
    "headers null": (b"null", GOOD_BODY),
    "headers empty text": (b"", GOOD_BODY),
    "headers deep": (
        b'{"task":"t","id":"i","stamps":' + b'{"a":' * 20000 + b"1" + b"}" * 20000 + b"}",
        GOOD_BODY,
    ),
    "custom header deep": (
        b'{"task":"t","id":"i","x":' + b"[" * 100000 + b"]" * 100000 + b"}",
        b"[[" * 3,
    ),
    "task a number": (dumped({**GOOD_HEADERS, "task": 5}), GOOD_BODY),
    "task empty": (dumped({**GOOD_HEADERS, "task": ""}), GOOD_BODY),
    "task null": (dumped({**GOOD_HEADERS, "task": None}), GOOD_BODY),
    "id null": (dumped({**GOOD_HEADERS, "id": None}), GOOD_BODY),
    "id empty": (dumped({**GOOD_HEADERS, "id": ""}), GOOD_BODY),
    "id a list": (dumped({**GOOD_HEADERS, "id": [1]}), GOOD_BODY),
    "eta garbage": (dumped({**GOOD_HEADERS, "eta": "garbage"}), GOOD_BODY),
    "eta a list": (dumped({**GOOD_HEADERS, "eta": [1]}), GOOD_BODY),
    "eta a number": (dumped({**GOOD_HEADERS, "eta": 1e30}), GOOD_BODY),
    "eta month 13": (dumped({**GOOD_HEADERS, "eta": "2026-13-01T00:00:00"}), GOOD_BODY),
    "expires garbage": (dumped({**GOOD_HEADERS, "expires": "tomorrow"}), GOOD_BODY),
    "expires a dict": (dumped({**GOOD_HEADERS, "expires": {"a": 1}}), GOOD_BODY),
    "timelimit a word": (dumped({**GOOD_HEADERS, "timelimit": "soon"}), GOOD_BODY),
    "timelimit of one": (dumped({**GOOD_HEADERS, "timelimit": [1]}), GOOD_BODY),
    "timelimit of three": (dumped({**GOOD_HEADERS, "timelimit": [1, 2, 3]}), GOOD_BODY),
    "timelimit of words": (dumped({**GOOD_HEADERS, "timelimit": ["a", "b"]}), GOOD_BODY),
    "timelimit negative": (dumped({**GOOD_HEADERS, "timelimit": [-1, None]}), GOOD_BODY),
    "timelimit huge": (dumped({**GOOD_HEADERS, "timelimit": [1e300, None]}), GOOD_BODY),
    "timelimit a huge integer": (dumped({**GOOD_HEADERS, "timelimit": [10**400, None]}), GOOD_BODY),
    "retries a word": (dumped({**GOOD_HEADERS, "retries": "many"}), GOOD_BODY),
    "retries negative": (dumped({**GOOD_HEADERS, "retries": -1}), GOOD_BODY),
    "retries huge": (dumped({**GOOD_HEADERS, "retries": 10**30}), GOOD_BODY),
    "group a number": (dumped({**GOOD_HEADERS, "group": 5}), GOOD_BODY),
    "stamps a list": (dumped({**GOOD_HEADERS, "stamps": [1]}), GOOD_BODY),
    "compression unknown": (dumped({**GOOD_HEADERS, "compression": "application/x-nope"}), GOOD_BODY),
    "compression wrong": (dumped({**GOOD_HEADERS, "compression": "application/x-gzip"}), GOOD_BODY),
    "compression cut": (
        dumped({**GOOD_HEADERS, "compression": "application/x-gzip"}),
        zlib.compress(GOOD_BODY)[:-5],
    ),
    "compression a number": (dumped({**GOOD_HEADERS, "compression": 5}), GOOD_BODY),
    "body empty": (dumped(GOOD_HEADERS), b""),
    "body null": (dumped(GOOD_HEADERS), b"null"),
    "body a word": (dumped(GOOD_HEADERS), b'"abc"'),
    "body cut": (dumped(GOOD_HEADERS), GOOD_BODY[:-3]),
    "body of two": (dumped(GOOD_HEADERS), b"[[], {}]"),
    "body of four": (dumped(GOOD_HEADERS), b"[[], {}, {}, {}]"),
    "body an object": (dumped(GOOD_HEADERS), b'{"a": 1}'),
    "body not utf-8": (dumped(GOOD_HEADERS), b'[["\xff"], {}, {}]'),
    "args a word": (dumped(GOOD_HEADERS), b'["abc", {}, {}]'),
    "args null": (dumped(GOOD_HEADERS), b"[null, {}, {}]"),
    "kwargs a list": (dumped(GOOD_HEADERS), b"[[], [], {}]"),
    "kwargs null": (dumped(GOOD_HEADERS), b"[[], null, {}]"),
    "embed a list": (dumped(GOOD_HEADERS), b"[[], {}, [1]]"),
    "callbacks a word": (dumped(GOOD_HEADERS), b'[[], {}, {"callbacks": "x"}]'),
    "chain of words": (dumped(GOOD_HEADERS), b'[[], {}, {"chain": ["x"]}]'),
    "chord a list": (dumped(GOOD_HEADERS), b'[[], {}, {"chord": [1]}]'),
    "deep nesting": (dumped(GOOD_HEADERS), b"[" * 100_000 + b"]" * 100_000),
    "deep arguments": (dumped(GOOD_HEADERS), b"[[" + b"[" * 50_000 + b"]" * 50_000 + b"], {}, {}]"),
    "unknown extended type": (dumped(GOOD_HEADERS), b'[[{"__type__": "nope", "__value__": 1}], {}, {}]'),
    "wrong extended value": (dumped(GOOD_HEADERS), b'[[{"__type__": "datetime", "__value__": "x"}], {}, {}]'),
    "a huge number": (dumped(GOOD_HEADERS), b"[[" + b"9" * 100_000 + b"], {}, {}]"),
    "protocol 1 without id": (b"{}", b'{"task": "t", "args": []}'),
    "protocol 1 with wrong args": (b"{}", b'{"task": "t", "id": "i", "args": "abc"}'),
    "protocol 1 with wrong kwargs": (b"{}", b'{"task": "t", "id": "i", "args": [], "kwargs": [1]}'),
    "no protocol at all": (b'{"hello": 1}', b'{"hello": 1}'),
    "50 MB of nothing": (dumped(GOOD_HEADERS), b"x" * 50_000_000),
    "50 MB, not a triple": (dumped(GOOD_HEADERS), b'["' + b"x" * 50_000_000 + b'"]'),
    "50 MB without headers": (b"{}", b"[" + b"1," * 25_000_000 + b"1]"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_malformed(kind):
    headers, body = KINDS[kind]
    assert not read(headers, body, dumped(GOOD_PROPERTIES))


def test_malformed_in_other_serializers():
    def as_type(content_type: str) -> bytes:
        return dumped({"content_type": content_type, "content_encoding": "binary"})

    pickled = as_type("application/x-python-serialize")
    assert not read(dumped(GOOD_HEADERS), pickle.dumps(_Bomb()), pickled)
    assert not read(dumped(GOOD_HEADERS), pickle.dumps(([], {1: 2}, {})), pickled)
    assert not read(dumped(GOOD_HEADERS), b"\x80\x04", pickled)
    assert not read(dumped(GOOD_HEADERS), b"\xc1", as_type("application/x-msgpack"))
    assert not read(dumped(GOOD_HEADERS), b"a: [", as_type("application/x-yaml"))
    assert not read(dumped(GOOD_HEADERS), GOOD_BODY, as_type("application/x-nope"))


def test_a_large_good_message_is_read():
    body = dumped([["x" * 50_000_000], {}, {}])
    assert read(dumped(GOOD_HEADERS), body, dumped(GOOD_PROPERTIES))


@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_random_envelopes(data):
    try:
        envelope.decode(data)
    except MalformedMessage as exc:
        is_one_line(exc)


@given(values)
def test_any_json_envelope(value):
    wire = {"body": "e30=", "headers": {}, "properties": {"body_encoding": "base64"}}
    for key in (*wire, "content-type"):
        try:
            envelope.decode(dumped({**wire, key: value}))
        except MalformedMessage as exc:
            is_one_line(exc)
