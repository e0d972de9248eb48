"""Commands that make no sense: they are refused, and neither remote control nor tasks suffer."""

from __future__ import annotations

import time
import uuid

import pytest
from tests.integration.control.conftest import Started

from celery.app.broadcasts import packed, request_exchange

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def app(make_app):
    return make_app(f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def add(app):
    return app.task(name="add")(lambda x, y: x + y)


def test_a_message_that_is_no_command(app):
    bodies = [5, [], {"method": 5}, {"method": "ping", "destination": 5}, {"method": "ping", "reply_to": "x"}]
    with Started(app, pool="threads", concurrency=1):
        for body in bodies:
            message = packed(body, {"clock": "x"} if body == 5 else {}, request_exchange("celery").name)
            app.broker_for_write().publisher().publish([message], deadline=time.monotonic() + 5)
        assert app.control.ping(timeout=10, limit=1) == [{"w@here": {"ok": "pong"}}]


@pytest.mark.parametrize(
    ("method", "limits"),
    [
        ("time_limit", {"soft": "1m"}),
        ("time_limit", {"soft": -1}),
        ("time_limit", {"soft": [1]}),
        ("rate_limit", {"rate_limit": [5]}),
        ("rate_limit", {"rate_limit": "nan"}),
        ("rate_limit", {"rate_limit": "-5/s"}),
    ],
)
def test_limits_that_are_none(app, add, method, limits):
    with Started(app, pool="threads", concurrency=1):
        arguments = {"task_name": "add", **limits}
        (reply,) = app.control.broadcast(method, arguments, reply=True, timeout=10, limit=1)
        assert "Invalid" in reply["w@here"]["error"]
        assert add.delay(2, 3).get(timeout=10) == 5
