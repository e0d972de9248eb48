import collections
import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery.utils import saferepr as saferepr_module
from celery.utils.saferepr import reprstream, saferepr


class Point(collections.namedtuple("Point", "x y")):
    __slots__ = ()


class Broken:
    def __repr__(self):
        raise ValueError("no")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (None, "None"),
        ("it's", r"'it\'s'"),
        ("x\ny", "'x\ny'"),
        (b"abc", "b'abc'"),
        (b"\xff\xff", "b'ffff'"),
        ((1,), "(1,)"),
        ((), "()"),
        (set(), "set()"),
        (frozenset(), "frozenset()"),
        (frozenset({1}), "frozenset({1})"),
        ({1, 2}, "{1, 2}"),
        ({"a": 1, "b": [1, 2, {"c": 3}]}, "{'a': 1, 'b': [1, 2, {'c': 3}]}"),
        (collections.OrderedDict(a=1), "{'a': 1}"),
        (Point(1, 2), "(1, 2)"),
        (datetime.date(2026, 1, 1), "datetime.date(2026, 1, 1)"),
        ([[[[[1]]]]], "[[[[...]]]]"),
        (((((((1,),),),),),), "((((...,),),),)"),
        (range(3), "range(0, 3)"),
    ],
)
def test_text(value, text):
    assert saferepr(value) == text


@pytest.mark.parametrize(
    ("value", "maxlen", "text"),
    [
        ("x" * 20, 10, "'xxxxxxxxxx...'"),
        (["x" * 10] * 3, 20, "['xxxxxxxxxx', 'xxxxx...', ...]"),
        ({"a": "x" * 100, "b": 1}, 30, "{'a': 'xxxxxxxxxxxxxxxxxxxxxxxx...', ...}"),
        (datetime.datetime(2026, 1, 1), 10, "datetime.d..."),
        (int, 10, "<class..."),
    ],
)
def test_long_values_are_cut(value, maxlen, text):
    assert saferepr(value, maxlen) == text


def test_depth_can_be_chosen():
    assert saferepr([[[[1]]]], maxlevels=1) == "[[...]]"
    assert saferepr({"a": [[1]]}, maxlevels=1) == "{'a': [...]}"


def test_recursion_is_named():
    loop = [1]
    loop.append(loop)
    assert saferepr(loop) == f"[1, <Recursion on list with id={id(loop)}>]"
    same = [1]
    assert saferepr([same, same]) == "[[1], [1]]"


def test_a_broken_repr_does_no_harm():
    assert saferepr([Broken()]).startswith("[<Unrepresentable <class")
    assert "ValueError('no')" in saferepr(Broken())


def test_an_int_too_long_to_print():
    assert saferepr(10**5000, 20).startswith("0x")


def test_pieces_can_be_had():
    assert "".join(reprstream([[1, "a"]])) == "[1, 'a']"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner) | st.tuples(inner, inner)
    ),
    max_leaves=40,
)


@given(VALUES, st.integers(min_value=1, max_value=300))
def test_length_is_bounded(value, maxlen):
    # Four levels of brackets, ellipses and commas, and a backslash for each quote.
    assert len(saferepr(value, maxlen)) <= 2 * maxlen + 4 * len("frozenset({, ...})") + 8


def test_time_is_bounded_too():
    assert len(saferepr("x" * 10**7, 100)) < 120
    assert len(saferepr(b"x" * 10**7, 100)) < 120
    assert len(saferepr(list(range(10**6)), 100)) < 120


@given(VALUES, st.integers(min_value=1, max_value=300))
def test_the_short_cut_writes_the_same(value, maxlen):
    whole = saferepr_module._Writer(maxlen, 3, set())
    whole.write(value, 0)
    assert saferepr(value, maxlen) == "".join(whole.out)
