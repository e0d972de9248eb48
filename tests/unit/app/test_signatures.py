"""Signatures: what they hold, how calls are merged, their dict form."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from celery import Celery, signature
from celery.canvas import Signature, maybe_signature
from celery.exceptions import NotRegistered


@pytest.fixture
def app():
    return Celery("proj", broker="memory://", set_as_current=False)


@pytest.fixture
def add(app):
    @app.task
    def add(x, y=1):
        return x + y

    return add


PLAIN = {"kwargs": {}, "options": {}, "subtask_type": None, "immutable": False}


def test_is_a_dict_of_six_keys(add):
    sig = add.s(1, 2)
    assert dict(sig) == {"task": add.name, "args": (1, 2), **PLAIN}
    assert repr(sig) == "test_signatures.add(1, 2)" or repr(sig).endswith("add(1, 2)")
    assert sig.name == add.name
    assert sig.id is None
    assert json.loads(json.dumps(sig))["args"] == [1, 2]


def test_options_given_in_any_way(add):
    assert add.signature((1,), {"y": 2}, {"queue": "q"}, countdown=3).options == {
        "queue": "q",
        "countdown": 3,
    }
    assert add.subtask((1,)).args == (1,)
    assert signature("x", args=(1,), foo=3).options == {"foo": 3}
    assert signature("x", (1,), {"a": 1}, {"queue": "q"}, immutable=True).immutable


def test_partial_arguments_are_prepended_and_merged(add):
    sig = add.s(1, y=3).set(queue="q", countdown=3).clone((5,), {"z": 1}, foo=1)
    assert (sig.args, sig.kwargs) == ((5, 1), {"y": 3, "z": 1})
    assert sig.options == {"queue": "q", "countdown": 3, "foo": 1}


def test_an_immutable_signature_takes_options_only(add):
    sig = add.si(1).clone((2,), {"q": 1}, retry=3)
    assert (sig.args, sig.kwargs, sig.options) == ((1,), {}, {"retry": 3})


def test_stamps_and_group_cannot_be_replaced(add):
    sig = add.s(1).set(stamped_headers=["a"], a=3, group_id="g")
    options = sig.clone(stamped_headers=["b"], b=4, a=5, group_id="other").options
    assert options == {"stamped_headers": ["a"], "a": 3, "b": 4, "group_id": "g"}


def test_clone_shares_nothing_that_changes(add):
    sig = add.s(1)
    sig.link(add.s(2))
    cloned = sig.clone()
    cloned.link(add.s(3))
    assert len(sig.options["link"]) == 1
    assert isinstance(cloned.options["link"][0], Signature)
    assert isinstance(copy.deepcopy(sig), Signature)


def test_link_appends_once(add):
    sig = add.s(1)
    assert sig.link(add.s(2)) == add.s(2)
    sig.link(add.s(2))
    assert sig.options["link"] == [add.s(2)]
    assert sig.on_error(add.s(4)) is sig
    assert sig.options["link_error"] == [add.s(4)]
    assert sig.flatten_links() == [sig, add.s(2)]


def test_link_accepts_an_option_that_is_no_list(add):
    sig = add.signature((1,), link=add.s(1))
    sig.link(add.s(2))
    assert sig.options["link"] == [add.s(1), add.s(2)]


def test_freeze_chooses_an_id_once(add, app):
    sig = add.s(1)
    result = sig.freeze("abc", group_id="g", chord="c", root_id="r", parent_id="p", group_index=3)
    assert result.id == "abc" == sig.id
    assert sig.options == {
        "task_id": "abc",
        "root_id": "r",
        "parent_id": "p",
        "reply_to": app.thread_oid,
        "group_id": "g",
        "chord": "c",
        "group_index": 3,
    }
    assert sig.freeze("other").id == "abc"


def test_replace(add):
    sig = add.s(1).replace(args=(9,), kwargs={}, options={"q": 1})
    assert (sig.args, sig.kwargs, sig.options) == ((9,), {}, {"q": 1})


def test_from_dict_with_missing_keys(app):
    sig = signature({"task": "x"}, app=app)
    assert (sig.args, sig.kwargs, sig.options, sig.immutable) == ((), {}, {}, False)
    assert sig.clone((1,)).args == (1,)


def test_signature_of_a_signature_is_a_copy(add):
    sig = add.s(1)
    assert signature(sig) == sig
    assert signature(sig) is not sig
    assert maybe_signature(sig) is sig
    assert maybe_signature(sig, clone=True) is not sig
    assert maybe_signature(None) is None


def test_maybe_signature_binds_the_app(app, add):
    sig = maybe_signature(dict(add.s(1)), app=app)
    assert sig.app is app
    assert sig.type.name == add.name


def test_an_unknown_task_has_no_type(app):
    sig = signature("nope", app=app)
    with pytest.raises(NotRegistered):
        _ = sig.type
    assert sig.freeze().id == sig.id


def test_pickles_by_the_public_function(add):
    sig = add.s(1, y=2)
    restored = pickle.loads(pickle.dumps(sig))
    assert restored == sig
    assert b"celery.canvas" in pickle.dumps(sig)
    assert Signature.__module__ == "celery.canvas"


def test_calls_in_process(add):
    assert add.s(1)(y=5) == 6
    assert add.s(2).apply((1,)).get() == 3


def test_no_dict_union(add):
    with pytest.raises(TypeError):
        _ = add.s(1) | 3


def test_register_type(add):
    @Signature.register_type("mine-for-this-test")
    class Mine(Signature):
        @classmethod
        def from_dict(cls, d, app=None):
            return cls(d, app=app)

    try:
        assert type(signature({"task": "x", "subtask_type": "mine-for-this-test"})) is Mine
    finally:
        del Signature.TYPES["mine-for-this-test"]


def test_none_options_mean_as_the_signature_says(app, add):
    seen = {}
    app.send_task = lambda *args, **options: seen.update(options)
    add.s(1).set(queue="q").apply_async(queue=None)
    assert seen["queue"] == "q"
    add.s(1).apply_async(route_name="r")
    assert seen["route_name"] == "r"
    signature("unknown", (1,), app=app).apply_async((2,), priority=3)
    assert seen["priority"] == 3
