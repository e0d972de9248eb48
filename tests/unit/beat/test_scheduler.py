"""`Scheduler`: which entry is next, what is sent, and what a clock that is set does."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from celery import Celery
from celery.beat import BeatLazyFunc, ScheduleEntry, Scheduler, SchedulingError
from celery.exceptions import OperationalError
from celery.schedules import crontab, schedstate, schedule


@pytest.fixture
def app():
    app = Celery("beats", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.broker_connection_retry = False
    return app


class Notes(Scheduler):
    """Notes what it would send."""

    def __init__(self, *args, **kwargs):
        self.sent = []
        super().__init__(*args, **kwargs)

    def send_task(self, name, args=(), kwargs=None, **options):
        self.sent.append((name, list(args), kwargs, options))


def scheduler_of(app, **entries):
    app.conf.beat_schedule = entries
    app.conf.result_expires = None
    return Notes(app)


def overdue(scheduler, *names):
    """Make these due."""
    for name in names or scheduler.schedule:
        scheduler.schedule[name].last_run_at -= timedelta(days=1)
    return scheduler


def names_sent(scheduler):
    return [name for name, *_ in scheduler.sent]


def test_nothing_to_do(app):
    assert scheduler_of(app).tick() == 300


def test_what_is_not_due_is_waited_for(app):
    scheduler = scheduler_of(app, e={"task": "t", "schedule": 20.0})
    assert 19 < scheduler.tick() <= 20
    assert scheduler.sent == []


def test_nobody_waits_longer_than_the_interval(app):
    scheduler = scheduler_of(app, e={"task": "t", "schedule": 10_000})
    scheduler.max_interval = 7
    assert scheduler.tick() == 7


def test_one_due_task_a_tick_with_all_that_the_entry_says(app):
    scheduler = overdue(
        scheduler_of(
            app,
            one={
                "task": "t1",
                "schedule": 60,
                "args": (1, BeatLazyFunc(lambda: "now")),
                "kwargs": {"k": BeatLazyFunc(lambda: "later")},
                "options": {"queue": "q", "headers": {"own": 1}},
            },
            two={"task": "t2", "schedule": 60},
        )
    )
    assert [scheduler.tick(), scheduler.tick()] == [0, 0]
    assert 50 < scheduler.tick() <= 60
    sent = {name: rest for name, *rest in scheduler.sent}
    args, kwargs, options = sent["t1"]
    assert (args, kwargs) == ([1, "now"], {"k": "later"})
    assert options["queue"] == "q"
    assert options["headers"] == {"own": 1, "celery_beat_task": True}
    assert set(sent) == {"t1", "t2"}
    assert scheduler.schedule["one"].options["headers"] == {"own": 1}
    assert scheduler.schedule["one"].total_run_count == 1


def test_registered_tasks_are_sent_with_their_own_options(app):
    @app.task(name="mine")
    def mine(): ...

    seen = []
    mine.apply_async = lambda args, kwargs, **options: seen.append((args, kwargs, options))
    overdue(scheduler_of(app, e={"task": "mine", "schedule": 60})).tick()
    assert len(seen) == 1


def test_an_entry_that_cannot_be_sent_does_not_stop_the_others(app, caplog):
    scheduler = scheduler_of(app, bad={"task": "bad", "schedule": 60}, good={"task": "good", "schedule": 60})

    def send(name, *args, **kwargs):
        if name == "bad":
            raise ValueError("no such thing")
        scheduler.sent.append((name,))

    scheduler.send_task = send
    overdue(scheduler)
    assert [scheduler.tick(), scheduler.tick()] == [0, 0]
    assert names_sent(scheduler) == ["good"]
    assert "Message Error: Couldn't apply scheduled task bad: no such thing" in caplog.text
    assert scheduler.tick() > 50


def test_while_the_broker_is_away_it_is_tried_again(app, monkeypatch, caplog):
    app.conf.broker_connection_retry = True
    scheduler = overdue(scheduler_of(app, e={"task": "t", "schedule": 60}))
    waited = []
    monkeypatch.setattr(scheduler.stopping, "wait", lambda seconds: waited.append(seconds))
    failures = iter([OperationalError("gone"), OperationalError("gone"), None])

    def send(name, *args, **kwargs):
        failure = next(failures)
        if failure:
            raise failure
        scheduler.sent.append((name,))

    scheduler.send_task = send
    assert scheduler.tick() == 0
    assert names_sent(scheduler) == ["t"]
    assert waited == [1, 2]
    assert "Trying again in 1.00 second" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_beat_that_ends_does_not_wait_for_the_broker(app):
    app.conf.broker_connection_retry = True
    scheduler = overdue(scheduler_of(app, e={"task": "t", "schedule": 60}))

    def send(name, *args, **kwargs):
        scheduler.stopping.set()
        raise OperationalError("gone")

    scheduler.send_task = send
    assert scheduler.tick() == 0


def test_apply_async_raises(app):
    scheduler = scheduler_of(app, e={"task": "t", "schedule": 60})

    def send(*args, **kwargs):
        raise OperationalError("gone")

    scheduler.send_task = send
    with pytest.raises(SchedulingError, match="Couldn't apply scheduled task e: gone"):
        scheduler.apply_async(scheduler.schedule["e"])
    assert scheduler.schedule["e"].total_run_count == 1


class Broken(schedule):
    def is_due(self, last_run_at):
        raise RuntimeError("which day is it?")


def test_a_schedule_that_fails_is_asked_again_later(app, caplog):
    scheduler = scheduler_of(app, e={"task": "t", "schedule": Broken(1)}, f={"task": "u", "schedule": 60})
    overdue(scheduler, "f")
    scheduler.tick()
    assert names_sent(scheduler) == ["u"]
    assert "which day is it?" in caplog.text


def test_schedules_without_a_next_time(app):
    class Never(schedule):
        def is_due(self, last_run_at):
            return schedstate(False, None)

    assert scheduler_of(app, e={"task": "t", "schedule": Never(1)}).tick() > 290


def test_entries_come_go_and_change_while_it_runs(app):
    scheduler = scheduler_of(app, e={"task": "t", "schedule": 20.0})
    assert scheduler.tick() > 19
    scheduler.add(name="f", task="u", schedule=schedule(5))
    assert scheduler.tick() <= 5
    del scheduler.schedule["f"]
    assert scheduler.tick() > 15
    scheduler.schedule["e"].schedule = schedule(3)
    scheduler.schedule = dict(scheduler.schedule, g=ScheduleEntry("g", "t", schedule=1, app=app))
    assert scheduler.tick() <= 1


def test_merging_keeps_when_entries_were_sent(app):
    scheduler = overdue(
        scheduler_of(app, stays={"task": "t", "schedule": 20}, goes={"task": "t", "schedule": 20})
    )
    before = scheduler.schedule["stays"].last_run_at
    scheduler.merge_inplace({"stays": {"task": "new", "schedule": 30}, "comes": {"task": "t", "schedule": 1}})
    assert set(scheduler.schedule) == {"stays", "comes"}
    stays = scheduler.schedule["stays"]
    assert (stays.task, stays.schedule, stays.last_run_at) == ("new", schedule(30), before)


def test_fields_that_do_not_exist(app):
    with pytest.raises(TypeError, match=r"beat_schedule\['e'\]: .*'scedule'"):
        scheduler_of(app, e={"task": "t", "scedule": 1})


@pytest.mark.parametrize(("backend", "there"), [("cache+memory://", False), ("db+sqlite://", True)])
def test_results_are_cleaned_up_where_the_store_does_not(backend, there):
    app = Celery("beats", broker="memory://", backend=backend, set_as_current=False)
    entry = Scheduler(app).schedule.get("celery.backend_cleanup")
    assert (entry is not None) is there
    if entry is not None:
        assert entry.schedule == crontab("0", "4", "*")
        assert entry.options == {"expires": 12 * 3600}


def test_the_users_own_clean_up_wins():
    app = Celery("beats", broker="memory://", backend="db+sqlite://", set_as_current=False)
    app.conf.beat_schedule = {"celery.backend_cleanup": {"task": "celery.backend_cleanup", "schedule": 60}}
    assert Scheduler(app).schedule["celery.backend_cleanup"].schedule == schedule(60)


def test_the_state_is_written_after_so_many_tasks(app):
    app.conf.beat_sync_every = 2
    scheduler = scheduler_of(app, **{name: {"task": name, "schedule": 60} for name in "abcde"})
    scheduler._do_sync()
    written = []
    scheduler.sync = lambda: written.append(len(scheduler.sent))
    overdue(scheduler)
    for _ in range(5):
        scheduler.tick()
    assert written == [2, 4]


@pytest.mark.parametrize("hours", [-9, 9])
def test_the_clock_of_an_entry_is_its_own(app, hours):
    def elsewhere():
        return datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=hours)

    scheduler = scheduler_of(app, e={"task": "t", "schedule": schedule(0.05, nowfun=elsewhere, app=app)})
    until = time.monotonic() + 20
    while not scheduler.sent and time.monotonic() < until:
        assert scheduler.tick() <= 0.05
    assert names_sent(scheduler) == ["t"]


# -- the clock is set


@pytest.fixture
def clock(monkeypatch):
    """Sets the clock, for beat and for the app."""

    class Clock:
        ahead = 0.0

    real = time.time
    monkeypatch.setattr("celery.beat.clock.time.time", lambda: real() + Clock.ahead)
    return Clock


def set_clock(app, clock, seconds):
    clock.ahead += seconds
    usual = type(app).now.__get__(app)
    app.now = lambda: usual() + timedelta(seconds=clock.ahead)


def test_an_interval_goes_on_when_the_clock_goes_back(app, clock):
    scheduler = scheduler_of(app, e={"task": "t", "schedule": 20.0})
    scheduler.tick()
    set_clock(app, clock, -3600)
    assert scheduler.tick() <= 20


def test_times_without_a_zone_do_not_end_beat_when_the_clock_is_set(app, clock):
    entry = {"task": "t", "schedule": 20.0, "last_run_at": datetime.now(UTC).replace(tzinfo=None)}
    scheduler = scheduler_of(app, e=entry)
    scheduler.tick()
    set_clock(app, clock, -3600)
    assert scheduler.tick() <= 20
    assert scheduler.schedule["e"].last_run_at.tzinfo is not None


def test_a_fixed_hour_is_not_sent_twice_when_the_clock_goes_back(app, clock):
    hour = app.now().hour
    scheduler = scheduler_of(app, e={"task": "t", "schedule": crontab("*", str(hour))})
    scheduler.tick()
    before = scheduler.schedule["e"].last_run_at
    set_clock(app, clock, -3600)
    scheduler.tick()
    assert scheduler.schedule["e"].last_run_at == before


def test_what_is_due_after_the_clock_went_forward_is_sent_at_once(app, clock, caplog):
    scheduler = scheduler_of(app, e={"task": "t", "schedule": 1800.0})
    assert scheduler.tick() == 300
    set_clock(app, clock, 3600)
    assert scheduler.tick() == 0
    assert names_sent(scheduler) == ["t"]
    assert "the clock was set forward by 1.00 hour" in caplog.text
