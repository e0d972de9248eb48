import base64
import datetime
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery.utils import serialization as s


class NeedsTwo(Exception):
    def __init__(self, a, b):
        super().__init__("only")


class Derived(KeyError):
    def __init__(self, a, b):
        super().__init__("kept")


class HoldsFunction(Exception):
    pass


def test_what_pickles_stays_what_it_is():
    error = KeyError("x")
    assert s.get_pickleable_exception(error) is error
    assert s.get_pickled_exception(error) is error


def test_a_base_class_stands_in():
    found = s.get_pickleable_exception(Derived(1, 2))
    assert type(found) is KeyError
    assert found.args == ("kept",)
    assert type(s.find_pickleable_exception(Derived(1, 2))) is KeyError


def test_else_a_wrapper_does():
    wrapper = s.get_pickleable_exception(NeedsTwo(1, 2))
    assert isinstance(wrapper, s.UnpickleableExceptionWrapper)
    assert str(wrapper) == "NeedsTwo('only')"
    back = pickle.loads(pickle.dumps(wrapper))
    assert (back.exc_module, back.exc_cls_name, back.exc_args) == (__name__, "NeedsTwo", ("only",))
    restored = s.get_pickled_exception(back)
    assert (type(restored).__name__, type(restored).__module__, restored.args) == (
        "NeedsTwo",
        __name__,
        ("only",),
    )
    assert s.find_pickleable_exception(NeedsTwo(1, 2)) is None


def test_arguments_that_do_not_pickle_become_text():
    wrapper = s.get_pickleable_exception(HoldsFunction(lambda: 1))
    assert wrapper.exc_args[0].startswith("<function")


def test_a_wrapper_of_celery_is_read():
    data = base64.b64decode(
        "gAJjY2VsZXJ5LnV0aWxzLnNlcmlhbGl6YXRpb24KVW5waWNrbGVhYmxlRXhjZXB0aW9uV3JhcHBlcgpxAChYAQAAAG1xAVgBAAAARXECWAEAAABh"
        "cQOFcQRYBAAAAHRleHRxBXRxBlJxB31xCChYCgAAAGV4Y19tb2R1bGVxCWgBWAwAAABleGNfY2xzX25hbWVxCmgCWAgAAABleGNfYXJnc3ELaARo"
        "BWgFdWIu"
    )
    assert repr(pickle.loads(data)) == "UnpickleableExceptionWrapper('m', 'E', ('a',), 'text')"


def test_classes():
    made = s.create_exception_cls("Foo", "mod", ValueError)
    assert (made.__name__, made.__module__, made.__bases__) == ("Foo", "mod", (ValueError,))
    assert s.create_exception_cls("Foo", "mod").__bases__ == (Exception,)
    assert s.get_pickleable_etype(KeyError) is KeyError
    assert s.get_pickleable_etype(type("Local", (Exception,), {})) is Exception
    assert list(s.itermro(KeyError, s.unwanted_base_classes)) == [KeyError, LookupError]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("true", True),
        ("ON", True),
        ("1", True),
        ("yes", True),
        ("no", False),
        ("off", False),
        ("0", False),
        (True, True),
    ],
)
def test_strtobool(word, value):
    assert s.strtobool(word) is value


def test_strtobool_refuses_other_words():
    with pytest.raises(TypeError, match="Cannot coerce 'x'"):
        s.strtobool("x")
    assert s.strtobool("x", {"x": True}) is True
    assert s.strtobool(None) is None
    assert s.strtobool(5) == 5


def test_jsonify():
    moment = datetime.datetime(2026, 1, 1, 1, 1, 1, 5999)
    assert s.jsonify({"a": moment, "b": (1, [None, 2.5]), "c": datetime.timedelta(1)}) == {
        "a": "2026-01-01T01:01:01.005",
        "b": [1, [None, 2.5]],
        "c": "1 day, 0:00:00",
    }
    assert s.jsonify(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)) == "2026-01-01T00:00:00Z"
    assert s.jsonify(datetime.date(2026, 1, 1)) == "2026-01-01"
    assert s.jsonify({"a": 1, "b": 2}, keyfilter=lambda key: key == "a") == {"a": 1}
    assert s.jsonify({1, 2}, unknown_type_filter=sorted) == [1, 2]
    with pytest.raises(ValueError, match="Unsupported type"):
        s.jsonify({"a": {1, 2}})


@given(st.binary())
def test_base64(data):
    assert s.b64decode(s.b64encode(data)) == data


def test_base64_of_text():
    assert s.b64encode("é") == "w6k="


def raise_while_handling(handled, raised):
    try:
        raise handled
    except KeyError:
        s.raise_with_context(raised)


def test_raise_with_context():
    cause = KeyError("a")
    with pytest.raises(ValueError, match="b") as caught:
        raise_while_handling(cause, ValueError("b"))
    assert caught.value.__cause__ is cause
    with pytest.raises(ValueError, match="alone"):
        s.raise_with_context(ValueError("alone"))
    with pytest.raises(KeyError) as same:
        raise_while_handling(cause, cause)
    assert same.value is cause
