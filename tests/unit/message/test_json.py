"""Celery's JSON: texts as kombu writes them."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import uuid

import pytest

from celery.message import json


class JsonAware:
    def __json__(self):
        return {"x": 1}


class Int(enum.IntEnum):
    A = 1


class Word(str, enum.Enum):  # noqa: UP042 - the older kind
    A = "a"


Pair = collections.namedtuple("Pair", "a b")


class MyDate(dt.datetime):
    pass


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (
            dt.datetime(2020, 1, 2, 3, 4, 5, 6),
            '{"__type__":"datetime","__value__":"2020-01-02T03:04:05.000006"}',
        ),
        (
            dt.datetime(2020, 1, 2, tzinfo=dt.UTC),
            '{"__type__":"datetime","__value__":"2020-01-02T00:00:00+00:00"}',
        ),
        (MyDate(2020, 1, 1), '{"__type__":"datetime","__value__":"2020-01-01T00:00:00"}'),
        (dt.date(2020, 1, 2), '{"__type__":"date","__value__":"2020-01-02"}'),
        (dt.time(1, 2, 3), '{"__type__":"time","__value__":"01:02:03"}'),
        (decimal.Decimal("1.50"), '{"__type__":"decimal","__value__":"1.50"}'),
        (uuid.UUID(int=1), '{"__type__":"uuid","__value__":{"hex":"00000000000000000000000000000001"}}'),
        (b"abc", '{"__type__":"bytes","__value__":"abc"}'),
        (b"\xff\xfe", '{"__type__":"base64","__value__":"//4="}'),
        (JsonAware(), '{"x":1}'),
        (Int.A, "1"),
        (Word.A, '"a"'),
        (Pair(1, 2), "[1,2]"),
        ({1: 2, None: 3, 1.5: 6, Word.A: 7}, '{"1":2,"null":3,"1.5":6,"a":7}'),
        ("é\u2028\ud800", '"\\u00e9\\u2028\\ud800"'),
        (2**80, "1208925819614629174706176"),
        (range(3), "[0,1,2]"),
        ({"a": 1}.keys(), '["a"]'),
        ({"a": 1}.values(), "[1]"),
        ({"a": 1}.items(), '[["a",1]]'),
        (float("inf"), "Infinity"),
    ],
)
def test_text(value, text):
    assert json.text(value) == text


@pytest.mark.parametrize(
    "value",
    [{1}, frozenset(), object(), dt.timedelta(1), bytearray(b"x"), {b"a": 1}, {(1, 2): 1}, {dt.date(2020, 1, 1): 1},
     iter([]), collections.deque([1]), ValueError("x")],
)  # fmt: skip
def test_has_no_form(value):
    with pytest.raises(TypeError):
        json.text(value)


def test_circle():
    loop = []
    loop.append(loop)
    with pytest.raises(ValueError, match="Circular reference"):
        json.text(loop)


def test_deep():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="too deeply"):
        json.text(deep)
    with pytest.raises(ValueError, match="too deeply"):
        json.loads(b'{"__type__":' + b"[" * 100_000)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"__type__":"uuid","__value__":{"hex":"12345678123456781234567812345678","version":4}}',
         uuid.UUID("12345678-1234-4678-9234-567812345678")),
        ('{"__type__":"datetime"}', {"__type__": "datetime"}),
        ('{"__type__":"datetime","__value__":"2020-01-01","x":1}',
         {"__type__": "datetime", "__value__": "2020-01-01", "x": 1}),
        ('{"a":1,"a":2}', {"a": 2}),
        ('"\\ud800"', "\ud800"),
        ("18446744073709551616", 2**64),
        ("1e400", float("inf")),
    ],
)  # fmt: skip
def test_read(text, value):
    assert json.loads(text) == value


@pytest.mark.parametrize(
    "text",
    ['{"__type__":"nope","__value__":1}', '{"__type__":"datetime","__value__":"garbage"}',
     '{"__type__":"datetime","__value__":5}', '{"__type__":["a"],"__value__":1}', '{"__type__":"decimal","__value__":"x"}',
     '{"__type__":"uuid","__value__":{"nope":1}}', "[1", "", "[1] x", "\ufeff[1]", b"\xff"],
)  # fmt: skip
def test_unreadable(text):
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own text
        json.loads(text)


class Money:
    def __init__(self, cents):
        self.cents = cents

    def __eq__(self, other):
        return self.cents == other.cents

    __hash__ = None


def test_register_type(monkeypatch):
    monkeypatch.setattr(json, "_encoders", dict(json._encoders))
    monkeypatch.setattr(json, "_decoders", dict(json._decoders))
    json.register_type(Money, "money", lambda m: m.cents, Money)
    json.register_type(set, None, sorted)
    assert json.loads(json.dumps([Money(5)])) == [Money(5)]
    assert json.text({2, 1}) == "[1,2]"


def test_types_registered_with_kombu_are_known():
    from kombu.utils import json as theirs

    class Mine:
        pass

    theirs.register_type(Mine, "celeriac-test", lambda _: "x", lambda _: "back")
    assert json.loads(json.dumps(Mine())) == "back"
