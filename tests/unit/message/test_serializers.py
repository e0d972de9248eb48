"""Serializers and compression by name, and what is refused."""

from __future__ import annotations

import kombu.compression
import kombu.serialization
import pytest

from celery.exceptions import ContentDisallowed, DecodeError, EncodeError, SoftTimeLimitExceeded
from celery.message import compression, serializers

TYPES = {
    "json": ("application/json", "utf-8"),
    "pickle": ("application/x-python-serialize", "binary"),
    "yaml": ("application/x-yaml", "utf-8"),
    "msgpack": ("application/x-msgpack", "binary"),
}


@pytest.mark.parametrize("name", TYPES)
def test_round_trip(name):
    content_type, content_encoding, body = serializers.dumps({"a": [1, "é", None]}, name)
    assert (content_type, content_encoding) == TYPES[name]
    assert isinstance(body, bytes)
    accept = serializers.prepare_accept_content([name])
    assert serializers.loads(body, content_type, content_encoding, accept) == {"a": [1, "é", None]}


@pytest.mark.parametrize("name", TYPES)
def test_kombu_reads_it_and_the_other_way_round(name):
    data = {"a": [1, "é", None]}
    content_type, content_encoding, body = serializers.dumps(data, name)
    assert kombu.serialization.loads(body, content_type, content_encoding, accept={content_type}) == data
    content_type, content_encoding, theirs = kombu.serialization.dumps(data, name)
    assert serializers.loads(theirs, content_type, content_encoding, {content_type}) == data


@pytest.mark.parametrize(
    ("data", "name", "expected"),
    [
        (b"x", None, ("application/data", "binary", b"x")),
        ("é", None, ("text/plain", "utf-8", "é".encode())),
        (1, None, ("application/json", "utf-8", b"1")),
        (b"x", "raw", ("application/data", "binary", b"x")),
        ("x", "raw", ("application/data", "utf-8", b"x")),
    ],
)
def test_raw(data, name, expected):
    assert serializers.dumps(data, name) == expected


def test_raw_of_something_else():
    with pytest.raises(EncodeError, match="raw writes bytes and text, not int"):
        serializers.dumps(1, "raw")


def test_unknown_names():
    with pytest.raises(EncodeError, match="No encoder installed for nope: the serializers are json, "):
        serializers.dumps([], "nope")
    with pytest.raises(EncodeError):
        serializers.prepare_accept_content(["nope"])


def test_accept_content():
    assert serializers.prepare_accept_content(None) is None
    assert serializers.prepare_accept_content(["json", "application/x-yaml", "nope/x"]) == {
        "application/json",
        "application/x-yaml",
        "nope/x",
    }
    assert serializers.prepare_accept_content(["a"], {"a": "x/a"}) == {"x/a"}


@pytest.mark.parametrize("accept", [set(), {"application/x-yaml"}])
def test_only_what_is_accepted(accept):
    with pytest.raises(ContentDisallowed, match="Refusing to deserialize untrusted content of type json"):
        serializers.loads(b"[1]", "application/json", "utf-8", accept)


@pytest.mark.parametrize("name", ["pickle", "yaml", "msgpack"])
def test_unsafe_content_needs_permission(name):
    content_type, content_encoding, body = serializers.dumps([1], name)
    with pytest.raises(ContentDisallowed):
        serializers.loads(body, content_type, content_encoding)


def test_raw_content_is_always_readable():
    assert serializers.loads(b"[1]", "application/data", "binary", set()) == b"[1]"
    assert serializers.loads(b"[1]", None, None, set()) == "[1]"
    assert serializers.loads("é".encode("latin-1"), "application/data", "latin-1") == "é"


def test_empty_body_is_itself():
    assert serializers.loads(b"", "application/json", "utf-8") == b""


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"[1", "application/json"), (b"\x80\x04", "application/x-python-serialize"), (b"\xc1", "application/x-msgpack"),
     (b"a: [", "application/x-yaml")],
)  # fmt: skip
def test_undecodable(body, content_type):
    with pytest.raises(DecodeError):
        serializers.loads(body, content_type, None, {content_type})


def test_own_serializer():
    serializers.register("upper", str.upper, str.lower, "application/x-upper", "utf-8")
    try:
        assert serializers.dumps("abc", "upper") == ("application/x-upper", "utf-8", b"ABC")
        assert serializers.loads(b"ABC", "application/x-upper", "utf-8", {"application/x-upper"}) == "abc"
    finally:
        serializers.unregister("upper")
    with pytest.raises(EncodeError):
        serializers.dumps("abc", "upper")


def test_json_may_be_replaced():
    builtin = serializers._by_name["json"]
    serializers.register("json", lambda value: "[]", lambda text: ["mine"], "application/json", "utf-8")
    try:
        assert not serializers.json_is_ours()
        assert serializers.dumps({"a": 1}, "json")[2] == b"[]"
        assert serializers.loads(b"[]", "application/json", "utf-8") == ["mine"]
    finally:
        serializers._by_name["json"] = serializers._by_type["application/json"] = builtin


def test_registered_with_kombu():
    kombu.serialization.register(
        "celeriac-rev", lambda v: v[::-1], lambda v: v.decode()[::-1], "application/x-rev", "utf-8"
    )
    try:
        content_type, content_encoding, body = serializers.dumps("abc", "celeriac-rev")
        assert (content_type, content_encoding, body) == ("application/x-rev", "utf-8", b"cba")
        accept = serializers.prepare_accept_content(["celeriac-rev"])
        assert serializers.loads(body, content_type, content_encoding, accept) == "abc"
    finally:
        kombu.serialization.unregister("celeriac-rev")


@pytest.mark.parametrize(
    ("name", "content_type"),
    [("zlib", "application/x-gzip"), ("gzip", "application/x-gzip"), ("bzip2", "application/x-bz2"),
     ("bzip", "application/x-bz2"), ("lzma", "application/x-lzma"), ("xz", "application/x-lzma"),
     ("application/x-gzip", "application/x-gzip")],
)  # fmt: skip
def test_compression(name, content_type):
    packed, said = compression.compress(b"abc" * 100, name)
    assert said == content_type
    assert compression.decompress(packed, content_type) == b"abc" * 100
    assert kombu.compression.decompress(packed, content_type) == b"abc" * 100


def test_unknown_compression():
    with pytest.raises(KeyError, match="no compression called 'nope': there are brotli, bzip"):
        compression.compress(b"", "nope")
    with pytest.raises(KeyError, match="no compression of type 'x/nope'"):
        compression.decompress(b"", "x/nope")


def test_missing_library(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "brotli", None)
    with pytest.raises(KeyError, match=r"brotli compression needs a library: pip install 'celery\[brotli\]'"):
        compression.compress(b"", "brotli")


def test_own_compression():
    compression.register(bytes.upper, bytes.lower, "application/x-loud", ["loud"])
    packed, content_type = compression.compress(b"abc", "loud")
    assert (packed, content_type) == (b"ABC", "application/x-loud")
    assert compression.decompress(packed, content_type) == b"abc"


def test_compression_registered_with_kombu():
    kombu.compression.register(bytes.swapcase, bytes.swapcase, "application/x-swap", aliases=["swap"])
    assert compression.compress(b"aB", "swap") == (b"Ab", "application/x-swap")
    assert compression.decompress(b"Ab", "application/x-swap") == b"aB"


def test_a_time_limit_that_comes_in_the_middle_is_what_it_is():
    def over(_):
        raise SoftTimeLimitExceeded

    serializers.register("slow", over, over, "application/x-slow", "utf-8")
    try:
        with pytest.raises(SoftTimeLimitExceeded):
            serializers.dumps({}, "slow")
        with pytest.raises(SoftTimeLimitExceeded):
            serializers.loads(b"x", "application/x-slow", "utf-8", ["application/x-slow"])
    finally:
        serializers.unregister("slow")
