"""`EagerResult`."""

from __future__ import annotations

import asyncio
import copy
import pickle

import pytest

from celery import _state
from celery.exceptions import TaskRevokedError
from celery.result import EagerResult


def test_a_value():
    result = EagerResult("i", 5, "SUCCESS", name="n")
    assert repr(result) == "<EagerResult: i>"
    assert (result.get(), result.wait(), result.result, result.info, result.state, result.status) == (
        5, 5, 5, 5, "SUCCESS", "SUCCESS",
    )  # fmt: skip
    assert result.ready()
    assert result.successful()
    assert not result.failed()
    assert (result.name, result.traceback, result.children, result.args) == ("n", None, None, None)
    assert result.as_tuple() == (("i", None), None)
    assert not result.ignored
    assert not result.supports_native_join
    assert asyncio.run(result.aget()) == 5

    async def wait():
        return await result

    assert asyncio.run(wait()) == 5
    result.forget()
    assert result.exists()


def test_a_failure():
    result = EagerResult("i", KeyError("k"), "FAILURE", "tb")
    with pytest.raises(KeyError):
        result.get()
    assert isinstance(result.get(propagate=False), KeyError)
    assert isinstance(result.get(throw=False), KeyError)
    assert result.failed()
    assert result.traceback == "tb"
    with pytest.raises(Exception, match="text"):
        EagerResult("i", "text", "FAILURE").get()
    assert EagerResult("i", KeyError("k"), "RETRY").get() is None
    with pytest.raises(KeyError):
        result.maybe_throw()


def test_revoke():
    result = EagerResult("i", 5, "SUCCESS")
    result.revoke()
    assert result.state == "REVOKED"
    with pytest.raises(TaskRevokedError, match="revoked"):
        result.get()


def test_then():
    seen = []
    EagerResult("i", 5, "SUCCESS").then(lambda r: seen.append(r.result), seen.append)
    EagerResult("i", KeyError("k"), "FAILURE").then(seen.append, lambda e: seen.append(type(e)))
    assert seen == [5, KeyError]


def test_copies():
    result = EagerResult("i", 5, "SUCCESS", None, "n")
    for made in (copy.copy(result), pickle.loads(pickle.dumps(result))):
        assert type(made) is EagerResult
        assert (made.id, made.get(), made.name) == ("i", 5, "n")


def test_it_never_blocks_a_task():
    _state._set_task_join_will_block(True)
    try:
        assert EagerResult("i", 5, "SUCCESS").get() == 5
    finally:
        _state._set_task_join_will_block(False)
