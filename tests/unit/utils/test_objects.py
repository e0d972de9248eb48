import contextlib

import pytest

from celery.utils.objects import Bunch, FallbackContext, cached_property, getitem_property, mro_lookup


class Base:
    x = 1


class Derived(Base):
    pass


def test_cached_property_is_computed_once():
    calls = []

    class Thing:
        @cached_property
        def value(self):
            """What it is."""
            calls.append(1)
            return 5

    thing = Thing()
    assert (thing.value, thing.value, calls) == (5, 5, [1])
    del thing.value
    assert thing.value == 5
    assert len(calls) == 2
    thing.value = 7
    assert thing.value == 7
    assert Thing.value.__doc__ == "What it is."


def test_cached_property_with_setter_and_deleter():
    gone = []

    class Thing:
        @cached_property
        def value(self):
            return 5

        @value.setter
        def value(self, new):
            return new * 2

        @value.deleter
        def value(self, old):
            gone.append(old)

    thing = Thing()
    thing.value = 4
    assert thing.value == 8
    del thing.value
    del thing.value
    assert gone == [8]
    assert thing.value == 5
    thing.__dict__["value"] = 9
    assert thing.value == 9


def test_cached_property_needs_a_getter():
    class Thing:
        value = cached_property()

    with pytest.raises(AttributeError, match="value"):
        Thing().value  # noqa: B018


def test_bunch():
    assert Bunch(a=1).a == 1


def test_mro_lookup():
    assert mro_lookup(Derived, "x") is Base
    assert mro_lookup(Derived, "x", stop={Base}) is None
    assert mro_lookup(Derived, "nope") is None


def test_mro_lookup_tells_patches_from_originals():
    def method(self):
        pass

    class Patched:
        f = method

    assert mro_lookup(Patched, "f", {Patched}, [__name__]) is None
    assert mro_lookup(Patched, "f", {Patched}, ["other"]) is Patched


def test_fallback_context():
    events = []

    @contextlib.contextmanager
    def make(x):
        events.append("open")
        yield x
        events.append("close")

    with FallbackContext(None, make, 3) as value:
        assert value == 3
    assert events == ["open", "close"]
    with FallbackContext(9, make, 3) as value:
        assert value == 9
    assert len(events) == 2


def test_getitem_property():
    class Options(dict):
        deep = getitem_property("opt.a", "documented")
        flat = getitem_property("b")

    options = Options(opt={"a": 1})
    options.deep = 5
    assert options == {"opt": {"a": 5}}
    assert options.deep == 5
    assert options.flat is None
    assert vars(Options)["deep"].__doc__ == "documented"
