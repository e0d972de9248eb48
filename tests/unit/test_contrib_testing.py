"""`celery.contrib.testing`: test apps, the trap and mock messages."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timedelta

import pytest

from celery import Celery, _state
from celery.contrib.testing.app import DEFAULT_TEST_CONFIG, TestApp, UnitLogging, set_trap, setup_default_app
from celery.contrib.testing.mocks import ContextMock, TaskMessage, TaskMessage1, task_message_from_sig


def test_settings_by_strength():
    app = TestApp(
        "x", config={"broker_url": "memory://c", "result_backend": "disabled://"}, broker="memory://b"
    )
    assert (app.main, app.conf.broker_url, app.conf.result_backend) == ("x", "memory://b", "disabled://")
    assert app.conf.worker_hijack_root_logger is False
    assert DEFAULT_TEST_CONFIG["broker_url"] == "memory://"


def test_defaults_are_not_shared():
    TestApp().conf.accept_content.add("pickle")
    assert TestApp().conf.accept_content == {"json"}


def test_logging_is_left_alone():
    before = logging.getLogger().handlers[:]
    app = TestApp()
    assert isinstance(app.log, UnitLogging)
    type(app.log).already_setup = False
    assert app.log.setup_logging_subsystem("INFO") is None
    assert logging.getLogger().handlers == before
    assert type(TestApp(enable_logging=True).log) is not UnitLogging


def test_default_app_is_put_back():
    before = _state._tls.current_app, _state.default_app
    with setup_default_app(TestApp()):
        other = Celery("other", set_as_current=True)
        other.set_default()
    assert (_state._tls.current_app, _state.default_app) == before


def use_the_current_app_in(block, app):
    with block(app):
        with pytest.raises(RuntimeError, match="Test depends on current_app"):
            _ = _state.current_app.tasks
        app.set_current()
        assert _state.current_app.main == "celery.tests"
        raise ZeroDivisionError


@pytest.mark.parametrize("trap", [set_trap, lambda app: setup_default_app(app, use_trap=True)])
def test_trap(trap):
    before = _state._tls
    with pytest.raises(ZeroDivisionError):
        use_the_current_app_in(trap, TestApp())
    assert _state._tls is before


def test_message():
    message = TaskMessage(
        "t.add", id="i", args=(1,), kwargs={"y": 2}, callbacks=[{"task": "x"}], eta="2020", foo=3
    )
    assert message.headers == {"id": "i", "task": "t.add", "shadow": None, "eta": "2020", "foo": 3}
    assert message.payload == (
        (1,),
        {"y": 2},
        {"callbacks": [{"task": "x"}], "errbacks": None, "chain": None},
    )
    assert json.loads(message.body) == [[1], {"y": 2}, message.payload[2]]
    assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")
    assert TaskMessage("t.add").headers["id"]


def test_message_of_protocol_1():
    message = TaskMessage1("t.add", id="i", args=(1,), kwargs={"y": 2}, eta=None)
    assert message.headers == {}
    assert json.loads(message.body) == {
        "task": "t.add",
        "id": "i",
        "args": [1],
        "kwargs": {"y": 2},
        "callbacks": None,
        "errbacks": None,
        "eta": None,
    }


@pytest.mark.parametrize("protocol", [TaskMessage, TaskMessage1])
def test_message_of_a_signature(protocol):
    app = TestApp()

    @app.task(name="t.add")
    def add(x, y):
        return x + y

    sig = add.s(1, 2).set(task_id="q", countdown=3, link=[add.s(3)], expires=5, queue="qq")
    message = task_message_from_sig(app, sig, TaskMessage=protocol)
    told = message.headers or message.payload
    assert (told["id"], told["task"], told["queue"]) == ("q", "t.add", "qq")
    assert datetime.fromisoformat(told["expires"]) - datetime.fromisoformat(told["eta"]) < timedelta(
        seconds=3
    )
    embed = message.payload[2] if protocol is TaskMessage else message.payload
    assert embed["callbacks"][0]["args"] == [3] or embed["callbacks"][0]["args"] == (3,)
    plain = add.s(1, 2)
    assert task_message_from_sig(app, plain).headers["id"] == plain.options["task_id"]


def test_context_mock():
    mock = ContextMock(a=3)
    with mock as got:
        assert got is mock
        assert got.a == 3
    with pytest.raises(ZeroDivisionError), mock:
        raise ZeroDivisionError
