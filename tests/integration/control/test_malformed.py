"""Commands that make no sense: they are refused, and neither remote control nor tasks suffer."""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.integration.control.conftest import Started

from celery.app.broadcasts import packed, request_exchange
from celery.worker import state
from celery.worker.control import Panel
from celery.worker.statedb import Persistent

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


def test_a_neighbour_that_answers_nonsense(app, add, monkeypatch, caplog):
    nonsense = {"revoked": 5, "clock": "x"}
    with Started(app, "w1@here", pool="threads", concurrency=1):
        app.control.ping(timeout=10, limit=1)  # its commands are loaded
        monkeypatch.setitem(Panel.data, "hello", lambda state, **_: nonsense)
        with Started(app, "w2@here", pool="threads", concurrency=1):
            assert add.delay(2, 3).get(timeout=10) == 5
    assert "mingle: an answer cannot be understood" in caplog.text


def test_what_nobody_waits_for_any_more_is_not_done(app, monkeypatch, caplog):
    monkeypatch.setattr("celery.worker.loops.ANSWER", 0.01)
    done, goes_on = [], threading.Event()
    with Started(app, pool="threads", concurrency=1) as worker:
        worker.core.call_soon(goes_on.wait, 20)
        with pytest.raises(RuntimeError, match="does not get to it"):
            worker.core.ask(done.append, 1)
        goes_on.set()
        monkeypatch.setattr("celery.worker.loops.ANSWER", 20)
        worker.core.ask(done.append, 2)
    assert done == [2]
    assert "Internal error" not in caplog.text


def test_a_file_is_written_by_one_thread_at_a_time(tmp_path):
    kept = Persistent(state, str(tmp_path / "kept.state"))
    with ThreadPoolExecutor(8) as threads:
        for written in [threads.submit(kept.save) for _ in range(40)]:
            written.result()


def test_a_file_that_cannot_be_written(tmp_path, caplog):
    folder = tmp_path / "folder"
    folder.mkdir()
    kept = Persistent(state, str(folder / "kept.state"))
    shutil.rmtree(folder)
    kept.keep()
    assert "What is revoked could not be kept" in caplog.text
