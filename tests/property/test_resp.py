"""Redis' protocol: what is packed is read, however the bytes come in pieces."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery.wire.resp import ErrorReply, Parser, ProtocolError, Push, pack, pack_all

arguments = st.lists(st.binary() | st.text() | st.integers(), min_size=1, max_size=5)


def feed(data: bytes, cuts: list[int]) -> list[object]:
    parser = Parser()
    found: list[object] = []
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(places):
        parser.feed(data[start:end])
        found += parser.replies()
    return found


def as_bytes(argument: object) -> bytes:
    return argument if isinstance(argument, bytes) else str(argument).encode()


@given(st.lists(arguments, max_size=5), st.lists(st.integers(0, 10**6), max_size=20))
def test_commands_are_arrays_of_bytes(commands, cuts):
    data = pack_all(commands)
    assert data == b"".join(pack(*command) for command in commands)
    assert feed(data, cuts) == [[as_bytes(argument) for argument in command] for command in commands]


@given(st.lists(st.integers(0, 10**6), max_size=20))
def test_every_kind_of_reply(cuts):
    data = b"+OK\r\n:5\r\n$-1\r\n_\r\n#f\r\n#t\r\n,1.5\r\n%1\r\n+a\r\n:1\r\n*1\r\n$0\r\n\r\n$3\r\nxyz\r\n"
    assert feed(data, cuts) == [b"OK", 5, None, None, False, True, 1.5, {b"a": 1}, [b""], b"xyz"]


def test_errors_are_values_and_pushes_are_told_apart():
    error, push, plain = feed(b"-OOM command not allowed\r\n>2\r\n+message\r\n+x\r\n*1\r\n+y\r\n", [])
    assert isinstance(error, ErrorReply)
    assert (error.code, str(error)) == ("OOM", "OOM command not allowed")
    assert type(push) is Push
    assert type(plain) is list


@pytest.mark.parametrize("code", ["OOM", "READONLY", "MISCONF", "NOREPLICAS"])
def test_what_failed_in_a_script_of_redis_6(code):
    script = "ERR Error running script (call to f_6b1bf486c81ceb7edf3c093f4c48582e38c0e791): @user_script:9: "
    assert ErrorReply(f"{script}@user_script: 9: -{code} no\n").code == code
    assert ErrorReply(f"{code} no script: 6b1b, on @user_script:9.").code == code
    assert ErrorReply(f"{script}user_script:9: attempt to index a nil value").code == "ERR"


def test_nonsense_is_an_error():
    with pytest.raises(ProtocolError):
        feed(b"HTTP/1.1 400 Bad Request\r\n\r\n", [])
