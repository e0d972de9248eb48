"""What follows in a chain stays text from one message to the next."""

from __future__ import annotations

import pytest

from celery.app.context import Context
from celery.message import json
from celery.message.body import decode_body
from celery.message.steps import Steps, as_list, chained_arguments
from celery.message.template import json_body

STEPS = [{"task": "t.last", "args": ["\u00fc", 1.5, None], "kwargs": {}}, {"task": "t.next", "args": []}]
EMBED = {"callbacks": None, "errbacks": [{"task": "t.err"}], "chain": STEPS, "chord": {"task": "t.body"}}


def body(**changes):
    return json.dumps(([1, "a"], {"x": 2}, {**EMBED, **changes}))


def test_what_came_as_text_reads_as_anything_else():
    args, kwargs, embed = chained_arguments(body())
    long_way = decode_body(body(), "application/json", "utf-8")
    assert (args, kwargs) == (long_way.args, long_way.kwargs)
    assert {**embed, "chain": as_list(embed["chain"])} == long_way.embed


def test_what_follows_is_written_as_it_came():
    *_, embed = chained_arguments(body())
    step, rest = embed["chain"].next()
    assert step == STEPS[1]
    assert len(rest) == 1
    written = json_body([3], {}, {**EMBED, "chain": rest})
    assert written == json.dumps(([3], {}, {**EMBED, "chain": STEPS[:1]}))


def test_text_that_is_not_ascii_is_passed_on():
    raw = body().decode().replace("\\u00fc", "\u00fc").encode()
    *_, embed = chained_arguments(raw)
    written = json_body([], {}, {**EMBED, "chain": embed["chain"]})
    assert decode_body(written, "application/json", "utf-8").embed["chain"] == STEPS


@pytest.mark.parametrize(
    "changes",
    [
        {"chain": [1]},
        {"chain": ["{"]},
        {"chain": {"task": "t"}},
        {"more": 1},
        {"errbacks": [3]},
        {"chain": [{"task": "t", "args": [{"__type__": "bytes", "__value__": "x"}]}]},
    ],
)
def test_anything_unusual_goes_the_long_way(changes):
    assert chained_arguments(body(**changes)) is None


@pytest.mark.parametrize("changes", [{"chain": None}, {"chain": []}, {"chain": None, "chord": None}])
def test_what_is_no_step_is_read_as_ever(changes):
    raw = body(**changes)
    args, kwargs, embed = decode_body(raw, "application/json", "utf-8")
    assert chained_arguments(raw) == (args, kwargs, embed)


def test_text_that_is_none_is_found_before_any_step_has_run():
    assert chained_arguments(body().replace(b"t.last", b"t\xff\xfe")) is None


def context() -> Context:
    *_, embed = chained_arguments(body())
    return Context.of_message({"id": "i", **embed}, b'{"task":"t.this"}', b"{}")


def test_a_request_gives_a_list_that_may_be_changed():
    request = context()
    assert type(request._following()) is Steps
    assert request.chain == STEPS
    request.chain[0]["args"].append("more")
    assert request._following()[0]["args"][-1] == "more"
    request.chain = None
    assert request._following() is None
    assert request.get("chain") is None


def test_a_request_is_copied_with_what_follows():
    request = context()
    assert request.__getstate__()["chain"] == STEPS
    assert repr(STEPS[1]) in repr(context())
    assert context().as_execution_options()["chain"] == STEPS
    assert Context(context().__getstate__()).chain == STEPS
    assert Context().chain is None
