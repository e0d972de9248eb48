import pickle
import time
from queue import Empty

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from celery.utils import collections as c


class Obj:
    pass


def test_attribute_dict():
    d = c.AttributeDict(a=1)
    d.b = 2
    assert (d.a, d["b"]) == (1, 2)
    with pytest.raises(AttributeError, match="zz"):
        d.zz  # noqa: B018


def test_dict_attribute():
    obj = Obj()
    obj.x = 1
    d = c.DictAttribute(obj)
    d["y"] = 2
    d.z = 3
    assert (d["x"], obj.y, obj.z, d.x, d.get("q", 4)) == (1, 2, 3, 1, 4)
    assert "x" in d
    assert "q" not in d
    assert d.setdefault("q", 5) == 5
    assert {"x", "y", "z"} <= set(d)
    assert ("x", 1) in d.items()
    assert 1 in d.values()
    with pytest.raises(KeyError):
        d["nope"]


def test_force_mapping():
    class LazySettings:
        _wrapped = Obj()

    LazySettings._wrapped.x = 1
    assert c.force_mapping(LazySettings())["x"] == 1
    d = {}
    assert c.force_mapping(d) is d
    assert c.lpmerge({"a": 1}, {"a": None, "b": 2}) == {"a": 1, "b": 2}


def test_chain_map_reads_all_and_writes_the_first():
    chain = c.ChainMap({"a": 1}, {"a": 2, "b": 3})
    chain["n"] = 4
    assert (chain["a"], chain["b"], len(chain), sorted(chain)) == (1, 3, 3, ["a", "b", "n"])
    assert chain.maps == [{"a": 1, "n": 4}, {"a": 2, "b": 3}]
    assert sorted(chain.items()) == [("a", 1), ("b", 3), ("n", 4)]
    assert sorted(chain.values()) == [1, 3, 4]
    assert chain.get("z") is None
    assert chain.pop("n") == 4
    with pytest.raises(KeyError, match="first mapping"):
        chain.pop("b")
    with pytest.raises(KeyError, match="first mapping"):
        del chain["b"]
    with pytest.raises(KeyError):
        chain["zz"]
    chain.setdefault("b", 9)
    chain.setdefault("h", 9)
    assert chain.changes == {"a": 1, "h": 9}
    chain.add_defaults({"b": 5})
    assert chain["b"] == 5
    assert repr(chain) == "ChainMap({'a': 1, 'h': 9}, {'b': 5}, {'a': 2, 'b': 3})"
    copy = chain.copy()
    copy["a"] = 100
    assert chain["a"] == 1
    chain.clear()
    assert chain["a"] == 2
    assert c.ChainMap.fromkeys("ab", 1)["b"] == 1
    assert not c.ChainMap()
    assert c.ChainMap({"a": 1}, key_t=str.lower)["A"] == 1


def test_chain_map_tells_of_updates():
    chain = c.ChainMap({})
    seen = []
    chain.bind_to(lambda **kwargs: seen.append(kwargs))
    chain.update(a=1)
    assert seen == [{"a": 1}]


def test_configuration_view():
    view = c.ConfigurationView({"a": 1}, [{"b": 2, "a": 0}])
    view.c = 3
    assert (view.a, view.b, view["c"], view.first("z", "b"), view.get("q", 7)) == (1, 2, 3, 2, 7)
    assert view.changes == {"a": 1, "c": 3}
    assert "b" in view
    assert "q" not in view
    assert set(view) == {"a", "b", "c"}
    with pytest.raises(AttributeError, match="nope"):
        view.nope  # noqa: B018
    with pytest.raises(KeyError):
        view["nope"]
    copy = view.copy()
    copy.a = 9
    assert view.a == 1
    other = c.ConfigurationView({"k": 1}, [{}])
    view.swap_with(other)
    assert view.changes is other.changes
    view.clear()
    assert view.changes == {}


def test_configuration_view_knows_other_names():
    view = c.ConfigurationView({"OLD": 1}, [{"new": 5}], keys=(lambda key: {"new": "OLD"}.get(key, key),))
    assert view["new"] == 1
    prefixed = c.ConfigurationView({"ns_a": 1}, [{}], prefix="ns_")
    assert prefixed["a"] == prefixed["ns_a"] == 1


def test_limited_set_drops_the_oldest():
    items = c.LimitedSet(maxlen=3)
    for n in range(5):
        items.add(n, now=n)
    assert list(items) == [2, 3, 4]
    assert items.as_dict() == {2: 2.0, 3: 3.0, 4: 4.0}
    items.discard(3)
    items.discard("never there")
    assert [items.pop(), items.pop(), items.pop("d")] == [2, 4, "d"]
    assert not items
    assert repr(items) == "<LimitedSet(0): maxlen=3, expires=0, minlen=0>"


def test_limited_set_drops_the_old_but_keeps_some():
    items = c.LimitedSet(maxlen=10, expires=10, minlen=1)
    items.add("a", now=time.monotonic() - 20)
    items.add("b", now=time.monotonic() - 15)
    items.purge()
    assert list(items) == ["b"]


def test_limited_set_merges():
    first = c.LimitedSet(data={"x": 1.0, "y": 2.0})
    second = c.LimitedSet()
    second.add("x", now=5)
    first.update(second)
    first.update({"y": 1.0})
    first.update(["z"])
    assert first.as_dict()["x"] == 5.0
    assert first.as_dict()["y"] == 2.0
    assert "z" in first
    assert pickle.loads(pickle.dumps(first)) == first
    with pytest.raises(ValueError, match="Expecting float"):
        first.update({"q": 1})


@pytest.mark.parametrize("limits", [{"maxlen": 2, "minlen": 3}, {"minlen": 3}, {"expires": -1}])
def test_limited_set_refuses_contradictions(limits):
    with pytest.raises(ValueError, match=r"minlen|expires"):
        c.LimitedSet(**limits)


class LimitedSetMachine(RuleBasedStateMachine):
    """Against a dictionary of times."""

    def __init__(self):
        super().__init__()
        self.items = c.LimitedSet(maxlen=4)
        self.model = {}
        self.now = 0.0

    @rule(item=st.integers(0, 8))
    def add(self, item):
        self.now += 1
        self.items.add(item, now=self.now)
        self.model.pop(item, None)
        self.model[item] = self.now
        while len(self.model) > 4:
            del self.model[min(self.model, key=self.model.get)]

    @rule(item=st.integers(0, 8))
    def discard(self, item):
        self.items.discard(item)
        self.model.pop(item, None)

    @precondition(lambda self: self.model)
    @rule()
    def pop(self):
        oldest = min(self.model, key=self.model.get)
        assert self.items.pop() == oldest
        del self.model[oldest]

    @invariant()
    def same(self):
        assert self.items.as_dict() == self.model
        assert list(self.items) == sorted(self.model, key=self.model.get)
        assert len(self.items._heap) <= 2 * len(self.model) + 4


TestLimitedSet = LimitedSetMachine.TestCase


@given(st.lists(st.integers()), st.integers(1, 5))
def test_a_buffer_keeps_the_latest(items, size):
    buffer = c.Messagebuffer(size)
    for item in items:
        buffer.put(item)
    assert list(buffer.data) == items[-size:]
    other = c.Messagebuffer(size)
    other.extend(items)
    assert list(other) == items[-size:]
    assert len(other) == 0


def test_buffer_is_a_queue():
    buffer = c.Messagebuffer(3, [1, 2])
    assert 1 in buffer
    assert buffer[0] == 1
    assert list(reversed(buffer)) == [2, 1]
    assert repr(buffer) == "<Messagebuffer: 2/3>"
    assert [buffer.take(), buffer.take(), buffer.take(None)] == [1, 2, None]
    with pytest.raises(Empty):
        buffer.take()


def test_buffer_map_shares_its_room():
    buffers = c.BufferMap(3, bufmaxsize=2)
    for key, item in [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2)]:
        buffers.put(key, item)
    assert repr(buffers) == "<BufferMap: 3/3>"
    assert buffers.take("a") == 3
    assert buffers.total == 2
    assert buffers.take("a", None) is None
    with pytest.raises(Empty):
        buffers.take("zz")
    buffers.extend("c", [1, 2, 3])
    assert buffers.total == sum(len(buffer) for buffer in buffers.values()) == 3


def test_ordered_dict():
    d = c.OrderedDict(a=1, b=2)
    d.move_to_end("a")
    assert list(d) == ["b", "a"]
    assert d._LRUkey() == "b"
