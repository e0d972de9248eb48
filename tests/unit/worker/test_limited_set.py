from __future__ import annotations

import pickle

import pytest

from celery.utils.collections import LimitedSet


def test_the_oldest_goes_first():
    items = LimitedSet(maxlen=2)
    for now, item in enumerate("abc"):
        items.add(item, now=now)
    assert list(items) == ["b", "c"]


def test_adding_again_makes_it_new():
    items = LimitedSet(maxlen=2)
    for now, item in enumerate("aba"):
        items.add(item, now=now)
    items.add("c", now=5)
    assert list(items) == ["a", "c"]


def test_expired_items_go_when_purged_but_not_below_minlen():
    items = LimitedSet(expires=10, minlen=1)
    items.add("old", now=0)
    items.add("older", now=-5)
    items.purge(now=100)
    assert list(items) == ["old"]


def test_merging_keeps_times():
    first, second = LimitedSet(data={"a": 1}), LimitedSet(data={"b": 0})
    first.update(second)
    assert first.as_dict() == {"b": 0, "a": 1}


def test_pickles():
    items = LimitedSet(maxlen=3, data={"a": 1.0})
    assert pickle.loads(pickle.dumps(items)) == items


def test_limits_must_make_sense():
    with pytest.raises(ValueError, match="maxlen"):
        LimitedSet(maxlen=1, minlen=2)
