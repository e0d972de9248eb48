"""Rare settings that no other test sets: each does what its name says."""

from __future__ import annotations

import asyncio
import logging
import sqlite3

import pytest

from celery import Celery
from celery.app.amqp import Queues
from celery.app.links import broker_options
from celery.backends.cache import CacheBackend
from celery.brokers.publishing import RetryPolicy
from celery.exceptions import ContentDisallowed, ImproperlyConfigured, OperationalError
from celery.signals import before_task_publish
from celery.worker import WorkController


def make(**conf):
    return Celery("x", set_as_current=False, fixups=[], **{"broker": "memory://", **conf})


OPTIONS_OF_A_WORKER = [
    ("broker_connection_retry", False, "connection_retry", False),
    ("broker_connection_retry", False, "connection_retry_on_startup", False),
    ("broker_connection_retry_on_startup", False, "connection_retry_on_startup", False),
    ("broker_connection_max_retries", 7, "connection_max_retries", 7),
    ("task_max_deliveries", 9, "max_deliveries", 9),
    ("task_time_limit", 30, "time_limit", 30),
    ("task_soft_time_limit", 20, "soft_time_limit", 20),
    ("task_unknown", "park", "park_unknown", True),
    ("worker_concurrency", 3, "concurrency", 3),
    ("worker_deduplicate_successful_tasks", True, "deduplicate", True),
    ("worker_disable_prefetch", True, "fetch_ahead", False),
    ("worker_enable_soft_shutdown_on_idle", True, "soft_shutdown_on_idle", True),
    ("worker_soft_shutdown_timeout", 6.0, "soft_shutdown_timeout", 6.0),
    ("worker_shutdown_grace", 5.0, "shutdown_grace", 5.0),
]
OPTIONS_OF_A_POOL = [
    ("task_soft_time_limit", 20, "soft_time_limit", 20),
    ("task_time_limit", 30, "time_limit", 30),
    ("worker_max_memory_per_child", 50_000, "max_memory_per_child", 50_000),
    ("worker_max_tasks_per_child", 11, "max_tasks_per_child", 11),
    ("worker_pool_start_method", "spawn", "start_method", "spawn"),
    ("worker_proc_alive_timeout", 8.0, "alive_timeout", 8.0),
]


@pytest.mark.parametrize(("setting", "value", "option", "expected"), OPTIONS_OF_A_WORKER + OPTIONS_OF_A_POOL)
def test_a_worker_reads_it(setting, value, option, expected):
    controller = WorkController(app=make(**{setting: value}))
    controller._build()
    row = (setting, value, option, expected)
    read = controller._core_options() if row in OPTIONS_OF_A_WORKER else controller._pool_options()
    assert getattr(read, option) == expected


def test_the_pool_of_a_worker():
    assert WorkController(app=make(worker_pool="threads")).pool_name == "threads"


@pytest.mark.parametrize(
    ("setting", "record_of"), [("worker_log_datefmt", "main"), ("worker_task_log_datefmt", "task")]
)
def test_dates_in_the_log(setting, record_of, tmp_path):
    app = make(**{setting: "the year %Y"})
    logger = logging.getLogger(f"dates.{record_of}")
    setup = {"main": app.log.datefmt, "task": app.log.task_datefmt}
    app.log.setup_handlers(
        logger, str(tmp_path / "log"), "%(asctime)s %(message)s", False, datefmt=setup[record_of]
    )
    logger.warning("said")
    for handler in logger.handlers:
        handler.close()
    logger.handlers.clear()
    assert (tmp_path / "log").read_text().startswith("the year 2")


def test_what_brokers_are_told(tmp_path):
    told = broker_options(
        make(
            broker_connection_timeout=1.5,
            broker_heartbeat=20,
            broker_heartbeat_checkrate=4,
            broker_login_method="EXTERNAL",
            broker_pool_limit=0,
            broker_channel_error_retry=True,
            broker_failover_strategy="shuffle",
            broker_native_delayed_delivery_queue_type="classic",
            fleet="celeriac",
            task_publish_timeout=7,
            worker_detect_quorum_queues=False,
            broker_use_ssl={"keyfile": "k"},
            broker_transport_options={"a": 1},
            broker_dead_letter_limit=3,
            broker_dead_letter_ttl=60.0,
            embedded_store_synchronous="FULL",
        ).conf
    )
    assert (told.connect_timeout, told.heartbeat, told.ssl) == (1.5, 20, {"keyfile": "k"})
    assert (told.transport_options, told.synchronous) == ({"a": 1}, "FULL")
    assert (told.dead_letter_limit, told.dead_letter_ttl) == (3, 60.0)
    assert (told.heartbeat_rate, told.login_method, told.pool_limit) == (4, "EXTERNAL", 0)
    assert (told.retry_channel_errors, told.failover_strategy) == (True, "shuffle")
    assert (told.fleet, told.delayed_queue_type, told.detect_quorum_queues) == ("celeriac", "classic", False)
    assert told.publish_timeout == 7


@pytest.mark.parametrize("name", ["fleet", "broker_native_delayed_delivery_queue_type"])
def test_settings_that_are_one_of_two_words(name):
    with pytest.raises(ImproperlyConfigured, match=f"{name} is 'other': expected '"):
        broker_options(make(**{name: "other"}).conf)


@pytest.mark.parametrize("url", ["memory://limited", "sqlite"])
def test_dead_letters_are_bounded(url, tmp_path):
    app = make(
        broker=f"sqlite:///{tmp_path}/store.db" if url == "sqlite" else url, broker_dead_letter_limit=2
    )
    for number in range(4):
        app.send_task("x", (number,), queue="q")
    broker = app.broker_for_read()

    async def bury():
        consumer = broker.consumer("undertaker")
        seen = _Intake()
        await consumer.start([app.amqp.queues.topology("q")], seen)
        consumer.allow(4)
        async with asyncio.timeout(20):
            await seen.all_there.wait()
        for number, delivery in enumerate(seen.batch):
            consumer.bury(delivery, f"reason {number}")
            await consumer.flush()
        await consumer.stop()

    asyncio.run(bury())
    assert [letter.reason for letter in broker.dead("q")] == ["reason 2", "reason 3"]
    broker.close()


class _Intake:
    def __init__(self):
        self.batch = []
        self.all_there = asyncio.Event()

    def delivered(self, batch):
        self.batch += batch
        if len(self.batch) == 4:
            self.all_there.set()

    def orphaned(self, batch): ...

    def fenced(self, reason, **more): ...

    def connected(self): ...

    def disconnected(self, error): ...


@pytest.mark.parametrize(("value", "level"), [("NORMAL", 1), ("FULL", 2)])
def test_how_safe_the_store_is(value, level, tmp_path, monkeypatch):
    statements = []
    connect = sqlite3.connect

    def spying(*args, **kwargs):
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", spying)
    app = make(broker=f"sqlite:///{tmp_path}/store.db", embedded_store_synchronous=value)
    app.send_task("x")
    app.broker_for_write().close()
    said = [line for line in statements if "synchronous" in line.lower()]
    assert said, level
    assert any(value in line.upper() for line in said)


def test_pools_of_connections():
    app = make(broker_pool_limit=1, broker_pool_acquire_timeout=0.01)
    assert app.pool.limit == 1
    none_free = pytest.raises(OperationalError, match="broker_pool_acquire_timeout")
    with app.connection_or_acquire(), none_free, app.connection_or_acquire():
        pass


def test_transport_by_setting(monkeypatch):
    app = make(broker="localhost", broker_transport="filesystem")
    assert app.connection_for_write().transport_cls == "filesystem"


def test_cache_backend():
    app = make(cache_backend="memory://", cache_backend_options={})
    assert CacheBackend(app).url == "memory://"


def test_content_of_results():
    settings = {
        "result_backend": "cache+memory://",
        "result_serializer": "pickle",
        "accept_content": ["pickle"],
    }
    app = make(**settings)
    app.backend.store_result("pickled", {1}, "SUCCESS")
    assert app.AsyncResult("pickled").get() == {1}
    with pytest.raises(ContentDisallowed):
        make(**settings, result_accept_content=["json"]).AsyncResult("pickled").get()


def test_longest_pause_between_tries():
    app = make(result_backend="cache+memory://", result_backend_max_sleep_between_retries_ms=7)
    assert app.backend.max_sleep_between_retries_ms == 7


def test_depth_of_reprs():
    app = make(broker="memory://depth", task_repr_maxlevels=1)
    sent = {}

    @app.task
    def take(x): ...

    def look(headers, **kwargs):
        sent.update(headers)

    before_task_publish.connect(look)
    try:
        take.delay([[1]])
    finally:
        before_task_publish.disconnect(look)
    assert sent["argsrepr"] == "([...],)"


def test_priorities_of_all_queues():
    queues = make(task_queue_max_priority=10).amqp.queues
    assert isinstance(queues, Queues)
    assert queues["celery"].queue_arguments == {"x-max-priority": 10}


def test_retry_policy():
    app = make(task_publish_retry_policy={"max_retries": 1, "interval_start": 2})
    assert RetryPolicy.read(app.conf.task_publish_retry_policy) == RetryPolicy(1, 2)
    app.conf.task_publish_retry_policy = {"retries": 1}
    with pytest.raises(TypeError, match="unknown key 'retries'"):
        app.send_task("x")


def test_remote_tracebacks_need_a_library():
    app = make(result_backend="cache+memory://", task_remote_tracebacks=True)
    app.backend.mark_as_failure("remote", KeyError("x"), traceback="Traceback (most recent call last):\n")
    try:
        import tblib  # noqa: F401
    except ImportError:
        with pytest.raises(ImproperlyConfigured, match="tblib"):
            app.AsyncResult("remote").get()
    else:
        with pytest.raises(KeyError):
            app.AsyncResult("remote").get()
