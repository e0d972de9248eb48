import copy
import math
import pickle

import pytest

from celery.local import PromiseProxy, Proxy, class_property, maybe_evaluate, reclassmethod, try_import


class Thing:
    """A thing."""

    def __init__(self):
        self.items = {}

    def __getitem__(self, key):
        return self.items[key]

    def __setitem__(self, key, value):
        self.items[key] = value

    def __delitem__(self, key):
        del self.items[key]

    def __contains__(self, key):
        return key in self.items

    def __enter__(self):
        return "entered"

    def __exit__(self, *exc_info):
        return True

    def __call__(self, *args, **kwargs):
        return args, kwargs


def test_a_proxy_is_its_object_in_every_way():
    thing = Thing()
    proxy = Proxy(lambda: thing)
    proxy.x = 1
    assert thing.x == proxy.x == 1
    del proxy.x
    assert not hasattr(thing, "x")
    proxy["a"] = 2
    assert "a" in proxy
    assert proxy["a"] == 2
    del proxy["a"]
    assert thing.items == {}
    assert proxy(1, b=2) == ((1,), {"b": 2})
    with proxy as value:
        assert value == "entered"
        raise KeyError
    assert isinstance(proxy, Thing)
    assert proxy.__class__ is Thing
    assert proxy.__doc__ == "A thing."
    assert proxy.__dict__ is thing.__dict__
    assert proxy._get_current_object() is thing
    assert dir(proxy) == dir(thing)
    assert hash(proxy) == hash(thing)
    assert proxy == thing
    assert repr(proxy) == repr(thing)
    assert str(proxy) == str(thing)


def test_arithmetic_goes_through():
    six = Proxy(lambda: 6)
    assert (six + 1, 1 + six, six - 1, 7 - six, six * 2, six / 4, 12 / six) == (7, 7, 5, 1, 12, 1.5, 2)
    assert (six // 4, six % 4, divmod(six, 4), six**2, 2**six) == (1, 2, (1, 2), 36, 64)
    assert (six << 1, six >> 1, six & 2, six | 1, six ^ 2, -six, +six, abs(six), ~six) == (
        12,
        3,
        2,
        7,
        4,
        -6,
        6,
        6,
        -7,
    )
    assert (int(six), float(six), complex(six), math.floor(six)) == (6, 6.0, 6 + 0j, 6)
    assert [*range(1)] * (six + 1) == [0] * 7
    assert (six < 7, six <= 6, six > 5, six >= 7, six != 6) == (True, True, True, False, False)
    assert list(Proxy(lambda: [1, 2])) == [1, 2]
    assert len(Proxy(lambda: [1, 2])) == 2
    assert "abcdefgh"[six] == "g"


def test_an_object_that_is_not_there():
    def find():
        raise RuntimeError("unbound")

    proxy = Proxy(find)
    assert not proxy
    assert repr(proxy) == "<Proxy unbound>"
    assert dir(proxy) == []
    with pytest.raises(RuntimeError):
        proxy.x  # noqa: B018


def test_names_and_documentation_can_be_given():
    proxy = Proxy(lambda: Thing, name="nm", __doc__="dd")
    assert (proxy.__name__, proxy.__doc__) == ("nm", "dd")
    assert Proxy(lambda: Thing).__name__ == "Thing"
    assert Proxy(lambda: Thing).__module__ == __name__
    assert Proxy.__name__ == "Proxy"
    assert Proxy.__module__ == "celery.local"
    assert "Behaves as" in Proxy.__doc__


def test_a_proxy_pickles_as_its_object():
    value = {"a": [1]}
    proxy = Proxy(lambda: value)
    assert pickle.loads(pickle.dumps(proxy)) == value
    assert type(copy.deepcopy(proxy)) is dict


def test_a_promise_is_kept_once():
    calls = []
    proxy = PromiseProxy(lambda x: calls.append(x) or {"a": 1}, (5,))
    then = []
    proxy.__then__(then.append, "now")
    assert not proxy.__evaluated__()
    assert proxy["a"] == 1
    assert proxy["a"] == 1
    assert proxy.__evaluated__()
    assert calls == [5]
    assert then == ["now"]
    proxy.__then__(then.append, "later")
    assert then == ["now", "later"]
    assert maybe_evaluate(proxy) is proxy._get_current_object()
    assert maybe_evaluate(3) == 3


def test_a_promise_that_failed_is_tried_again():
    answers = [KeyError("x"), 5]

    def make():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    proxy = PromiseProxy(make)
    with pytest.raises(KeyError):
        proxy + 1
    assert proxy + 1 == 6


def test_class_property():
    class Base:
        @class_property
        def label(cls):  # noqa: N805, RUF100
            """What it is called."""
            return cls.__name__

        @class_property
        def value(cls):  # noqa: N805, RUF100
            return cls._value

        @value.setter
        def value(cls, new):  # noqa: N805, RUF100
            cls._value = new

    class Derived(Base):
        pass

    assert (Base.label, Derived.label, Derived().label) == ("Base", "Derived", "Derived")
    Derived().value = 3
    assert Derived.value == 3
    assert not hasattr(Base, "_value")
    with pytest.raises(AttributeError, match="label"):
        Base().label = "x"


def test_reclassmethod():
    class Source:
        @classmethod
        def who(cls):
            return cls

    class Target:
        who = reclassmethod(Source.who)

    assert Target.who() is Target


def test_try_import():
    assert try_import("math") is math
    assert try_import("no_such_module", 5) == 5
