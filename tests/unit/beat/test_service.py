"""`Service`: what it reads from settings, how it ticks and ends; `BeatPidbox`: when it answers."""

from __future__ import annotations

import threading
import time

import pytest

from celery import Celery, signals
from celery.app.broadcasts import packed, request_exchange
from celery.beat import BeatPidbox, EmbeddedService, PersistentScheduler, Scheduler, Service, beat_nodename


@pytest.fixture
def app(tmp_path):
    app = Celery("beats", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.beat_schedule_filename = str(tmp_path / "celerybeat-schedule")
    return app


def test_settings(app, tmp_path):
    app.conf.update(
        beat_max_loop_interval=7,
        beat_enable_remote_control=True,
        beat_scheduler="celery.beat:Scheduler",
        beat_schedule_filename="elsewhere",
    )
    service = Service(app)
    assert (service.max_interval, service.remote_control, service.schedule_filename) == (7, True, "elsewhere")
    assert type(service.scheduler) is Scheduler
    assert service.scheduler.max_interval == 7
    given = Service(app, 3, str(tmp_path / "given"), PersistentScheduler, remote_control=False)
    assert (given.scheduler.max_interval, given.remote_control) == (3, False)
    assert list(tmp_path.glob("given*"))
    given.sync()


class Ticking:
    """A scheduler that derives from nothing of ours."""

    max_interval = 5

    def __init__(self, *args, **kwargs):
        self.ticks = threading.Semaphore(0)
        self.closed = False

    def tick(self):
        self.ticks.release()
        return 0.001

    def should_sync(self):
        return False

    def close(self):
        self.closed = True


def test_it_ticks_until_it_is_stopped(app):
    began = []
    service = Service(app, scheduler_cls=Ticking)

    def note(sender, **_):
        began.append(sender)

    signals.beat_init.connect(note)
    try:
        thread = threading.Thread(target=service.start)
        thread.start()
        for _ in range(3):
            assert service.scheduler.ticks.acquire(timeout=10)
        service.stop(wait=True)
        thread.join(10)
    finally:
        signals.beat_init.disconnect(note)
    assert service.scheduler.closed
    assert began == [service]


def test_a_workers_own(app):
    embedded = EmbeddedService(app, scheduler_cls=Ticking)
    embedded.start()
    assert embedded.service.scheduler.ticks.acquire(timeout=10)
    embedded.stop()
    assert not embedded.is_alive()
    assert embedded.service.scheduler.closed


def test_none_is_made_to_be_stopped(app):
    begun, goes_on, made = threading.Event(), threading.Event(), []

    class Slow(Ticking):
        def __init__(self, *args, **kwargs):
            super().__init__()
            made.append(self)
            begun.set()
            goes_on.wait(20)

    embedded = EmbeddedService(app, scheduler_cls=Slow)
    embedded.start()
    assert begun.wait(10)
    ending = threading.Thread(target=embedded.stop)
    ending.start()
    assert embedded.service._is_shutdown.wait(10)
    goes_on.set()
    ending.join(10)
    assert len(made) == 1
    assert made[0].closed


def test_one_that_hangs_is_left_behind(app, monkeypatch, caplog):
    monkeypatch.setattr("celery.beat.service._ENDS_WITHIN", 0.01)
    hangs, goes_on = threading.Event(), threading.Event()

    class Hanging(Ticking):
        def tick(self):
            hangs.set()
            goes_on.wait(20)
            return 0.001

    embedded = EmbeddedService(app, scheduler_cls=Hanging)
    embedded.start()
    assert hangs.wait(10)
    embedded.stop()
    assert "left behind" in caplog.text
    goes_on.set()
    embedded.join(10)


def test_messages_that_make_no_sense(app):
    service = Service(app, scheduler_cls=Ticking, remote_control=True, hostname="b@here")
    thread = threading.Thread(target=service.start)
    thread.start()
    try:
        assert service.scheduler.ticks.acquire(timeout=10)
        while not app.control.ping(timeout=0.2, limit=1):
            pass  # it is not there yet
        for fields in ({"destination": 5}, {"pattern": 5}, {"reply_to": "x"}, {"reply_to": {"exchange": 5}}):
            body = {"method": "ping", "reply_to": {"exchange": "x", "routing_key": "y"}, **fields}
            message = packed(body, {}, request_exchange("celery").name)
            app.broker_for_write().publisher().publish([message], deadline=time.monotonic() + 5)
        assert app.control.ping(timeout=20, limit=1) == [{"b@here": {"ok": "pong"}}]
    finally:
        service.stop(wait=True)
        thread.join(10)


@pytest.mark.parametrize(
    ("given", "name"), [("foo", "celerybeat@foo"), ("foo@bar", "foo@bar"), ("x@%n", "x@")]
)
def test_names(given, name):
    assert beat_nodename(given).startswith(name)
    assert beat_nodename().startswith("celerybeat@")


def test_a_beat_that_hangs_is_silent(app):
    service = Service(app, scheduler_cls=Ticking)
    pidbox = BeatPidbox(service)
    assert pidbox.max_tick_age == 60
    service.scheduler.max_interval = 100
    assert pidbox.max_tick_age == 200
    app.conf.beat_remote_control_max_tick_age = 10
    assert pidbox.max_tick_age == 10
    assert not pidbox.is_stale()
    service.last_tick = time.monotonic() - 11
    assert pidbox.is_stale()
