"""Settings of remote control."""

from __future__ import annotations

import logging
import uuid

import pytest
from tests.support import wait_until

from celery.exceptions import ImproperlyConfigured, OperationalError
from celery.worker import WorkController

from .conftest import Started

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def broker_url():
    return f"memory://{uuid.uuid4().hex}"


def test_switched_off(app):
    app.conf.worker_enable_remote_control = False
    with Started(app, pool="threads"):
        assert app.control.ping(timeout=0.1) == []


def test_two_namespaces_do_not_hear_one_another(app, make_app, broker_url):
    other = make_app(broker_url, control_exchange="other")
    with Started(app, "w1@here", pool="threads"), Started(other, "w2@here", pool="threads"):
        assert app.control.ping(timeout=0.3) == [{"w1@here": {"ok": "pong"}}]
        assert other.control.ping(timeout=0.3) == [{"w2@here": {"ok": "pong"}}]


def test_queues_are_declared_as_wanted(make_app, rabbitmq_server, amqp_url):
    app = make_app(
        amqp_url,
        control_queue_durable=True,
        control_queue_exclusive=False,
        control_queue_expires=77.0,
        control_queue_ttl=66.0,
    )
    with Started(app, pool="threads"):
        assert app.control.ping(timeout=10, limit=1) == [{"w@here": {"ok": "pong"}}]
        listed = rabbitmq_server.ctl(
            "-q", "list_queues", "-p", amqp_url.rpartition("/")[2], "name", "durable", "arguments"
        )
        (line,) = [line for line in listed.splitlines() if line.startswith("w@here.celery.pidbox")]
        assert "true" in line
        assert "77000" in line
        assert "66000" in line


def test_durable_and_exclusive_exclude_one_another(app):
    app.conf.control_queue_durable = True
    with pytest.raises(ImproperlyConfigured, match="control_queue_exclusive"):
        WorkController(app=app, pool="threads").start()


def test_state_of_a_setting(app, tmp_path):
    app.conf.worker_state_db = str(tmp_path / "worker.state")
    with Started(app, pool="threads"):
        app.control.revoke("abc", reply=True, limit=1, timeout=10)
    assert list(tmp_path.glob("worker.state*"))


def test_the_pool_is_restarted(app):
    app.conf.worker_pool_restarts = True
    with Started(app, pool="prefork", concurrency=2):
        ask = app.control.inspect(["w@here"], timeout=10)
        before = set(ask.stats()["w@here"]["pool"]["processes"])
        assert app.control.pool_restart(reply=True, limit=1, timeout=10) == [
            {"w@here": {"ok": "reload started"}}
        ]
        wait_until(
            lambda: len(now := set(ask.stats()["w@here"]["pool"]["processes"])) == 2 and not now & before
        )
        said = app.control.pool_restart(["tasks"], reply=True, limit=1, timeout=10)
        assert "restart the worker" in said[0]["w@here"]["error"]


@pytest.mark.parametrize("pool", ["threads", "asyncio", "prefork"])
def test_pools_grow_and_shrink(app, pool):
    tell = {"reply": True, "limit": 1, "timeout": 10}
    with Started(app, pool=pool, concurrency=2) as worker:
        assert app.control.pool_grow(2, **tell) == [{"w@here": {"ok": "pool will grow"}}]
        ask = app.control.inspect(["w@here"], timeout=10)
        assert ask.stats()["w@here"]["pool"]["max-concurrency"] == 4
        assert app.control.pool_shrink(3, **tell) == [{"w@here": {"ok": "pool will shrink"}}]
        assert ask.stats()["w@here"]["pool"]["max-concurrency"] == 1 == worker.concurrency
        assert "cannot shrink" in app.control.pool_shrink(1, **tell)[0]["w@here"]["error"]


def test_a_broker_without_fanout(make_app, caplog):
    app = make_app("sqla+sqlite://")
    app.conf.broker_transport_options = {}
    broker = app.broker_for_write()
    if broker.capabilities.fanout:
        pytest.skip("this kombu's SQLAlchemy transport has a fanout")
    with pytest.raises(OperationalError, match="no fanout"):
        app.control.ping()
    with caplog.at_level(logging.WARNING), Started(app, pool="threads"):
        assert "remote control of this worker" in caplog.text


def test_a_dead_broker(make_app):
    app = make_app("redis://127.0.0.1:1/0", task_publish_timeout=0.3)
    with pytest.raises(OperationalError, match=r"127\.0\.0\.1:1"):
        app.control.ping(timeout=0.1)
    with pytest.raises(OperationalError, match=r"127\.0\.0\.1:1"):
        app.control.revoke("abc")
