"""URLs of brokers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery.net.address import Address, BadAddress, mask, parse, parse_all, split


def test_a_full_url():
    found = parse("rediss://me:p%40s%2Fs@host:6380/2?ssl_cert_reqs=none&client_name=x")
    assert found == Address(
        "rediss", "host", 6380, "me", "p@s/s", "/2", {"ssl_cert_reqs": "none", "client_name": "x"}
    )
    assert str(found) == "rediss://me:**@host:6380/2?ssl_cert_reqs=none&client_name=x"


@pytest.mark.parametrize(
    ("url", "host", "port", "vhost"),
    [
        ("redis://", "", None, ""),
        ("redis://localhost", "localhost", None, ""),
        ("redis://[::1]:6379/1", "::1", 6379, "1"),
        ("amqp://guest@localhost//", "localhost", None, "/"),
        ("amqp://localhost/my%2Fhost", "localhost", None, "my/host"),
        ("redis+socket:///run/redis.sock?virtual_host=3", "", None, "run/redis.sock"),
        ("redis://:@host", "host", None, ""),
    ],
)
def test_parts(url, host, port, vhost):
    found = parse(url)
    assert (found.host, found.port, found.virtual_host) == (host, port, vhost)


def test_no_password_is_not_an_empty_one():
    assert parse("redis://host").password is None
    assert parse("redis://:@host").password == ""
    assert parse("redis://me@host").password is None


@pytest.mark.parametrize(
    "url", ["host:6379", "redis://:pa/ss@host", "redis://host:port/0", "redis://[::1", ""]
)
def test_nonsense_is_refused_without_showing_the_password(url):
    with pytest.raises(BadAddress) as caught:
        parse(url)
    assert "pa/ss" not in str(caught.value)


def test_lists():
    assert split(["redis://a", "redis://b;c:1"]) == ["redis://a", "redis://b", "redis://c:1"]
    assert [one.host for one in parse_all("sentinel://a:1;sentinel://b:2;")] == ["a", "b"]
    with pytest.raises(BadAddress):
        parse_all([])


def test_mask():
    assert mask("Error 1 at amqp://u:secret@h//") == "Error 1 at amqp://u:**@h//"
    assert mask("redis://host:6379/0?a=b@c") == "redis://host:6379/0?a=b@c"


@given(st.text(min_size=1), st.text(), st.integers(0, 65535))
def test_what_is_written_is_read(username, password, port):
    made = Address("redis", "host", port, username, password, "/1")
    assert parse(made.as_url()) == made
    assert password not in str(made).split("@")[0].split(":")[-1] or password in ("", "*", "**")
