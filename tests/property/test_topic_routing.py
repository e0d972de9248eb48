"""Topic keys match as AMQP says: `*` is one word, `#` any number of them."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from celery.brokers.virtual import matches, route

words = st.lists(
    st.sampled_from(["a", "b", "stock", "*not", "x+y", string.punctuation.replace(".", "")]), max_size=5
)
patterns = st.lists(st.sampled_from(["a", "b", "stock", "x+y", "*", "#"]), max_size=5)


def reference(pattern: list[str], key: list[str]) -> bool:
    """Word by word, straight from the definition."""
    if not pattern:
        return not key
    if pattern[0] == "#":
        return any(reference(pattern[1:], key[index:]) for index in range(len(key) + 1))
    return bool(key) and pattern[0] in ("*", key[0]) and reference(pattern[1:], key[1:])


def split(text: str) -> list[str]:
    return text.split(".") if text else []


@given(patterns, words)
def test_topics(pattern, key):
    assert matches("topic", ".".join(pattern), ".".join(key)) == reference(pattern, key)


@given(words, words)
def test_direct_is_equality_and_fanout_is_everything(one, two):
    assert matches("direct", ".".join(one), ".".join(two)) == (".".join(one) == ".".join(two))
    assert matches("fanout", ".".join(one), ".".join(two))


@given(st.lists(st.tuples(patterns.map(".".join), st.integers(0, 3))), words.map(".".join))
def test_each_target_once_in_order(bindings, key):
    found = route("topic", bindings, key)
    assert len(found) == len(set(found))
    expected = [target for pattern, target in bindings if reference(split(pattern), split(key))]
    assert found == list(dict.fromkeys(expected))
