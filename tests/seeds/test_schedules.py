"""Seed documents, periodic tasks: the entries and schedules that they show."""

from __future__ import annotations

import shelve
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from celery import Celery
from celery.beat import PersistentScheduler, Scheduler
from celery.schedules import crontab, schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support import Project

START = datetime(2026, 2, 26, 22, 7, 30, tzinfo=UTC)


@pytest.fixture
def app() -> Celery:
    app = Celery("seeds", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.timezone = "UTC"
    return app


def firings(found: Any, count: int = 20) -> list[datetime]:
    """The next times of a schedule."""
    times, last = [], START
    for _ in range(count):
        found.nowfun = lambda now=last: now
        last = last + found.remaining_estimate(last)
        times.append(last)
    return times


def by_force(wanted: Callable[[datetime], bool], count: int = 20) -> list[datetime]:
    """The same by looking at every minute."""
    times, moment = [], START.replace(second=0)
    while len(times) < count:
        moment += timedelta(minutes=1)
        if wanted(moment):
            times.append(moment)
    return times


def midnight(moment: datetime) -> bool:
    return (moment.hour, moment.minute) == (0, 0)


TABLE: list[tuple[dict[str, Any], Callable[[datetime], bool]]] = [
    ({}, lambda t: True),
    ({"minute": 0, "hour": 0}, midnight),
    ({"minute": 0, "hour": "*/3"}, lambda t: t.minute == 0 and t.hour % 3 == 0),
    ({"minute": 0, "hour": "0,3,6,9,12,15,18,21"}, lambda t: t.minute == 0 and t.hour % 3 == 0),
    ({"minute": "*/15"}, lambda t: t.minute % 15 == 0),
    ({"day_of_week": "sunday"}, lambda t: t.weekday() == 6),
    ({"minute": "*", "hour": "*", "day_of_week": "sun"}, lambda t: t.weekday() == 6),
    (
        {"minute": "*/10", "hour": "3,17,22", "day_of_week": "thu,fri"},
        lambda t: t.minute % 10 == 0 and t.hour in (3, 17, 22) and t.weekday() in (3, 4),
    ),
    ({"minute": 0, "hour": "*/2,*/3"}, lambda t: t.minute == 0 and (t.hour % 2 == 0 or t.hour % 3 == 0)),
    ({"minute": 0, "hour": "*/5"}, lambda t: t.minute == 0 and t.hour % 5 == 0),
    ({"minute": 0, "hour": "*/3,8-17"}, lambda t: t.minute == 0 and (t.hour % 3 == 0 or 8 <= t.hour <= 17)),
    ({"minute": 0, "hour": 0, "day_of_month": "2"}, lambda t: midnight(t) and t.day == 2),
    ({"minute": 0, "hour": 0, "day_of_month": "2-30/2"}, lambda t: midnight(t) and t.day % 2 == 0),
    (
        {"minute": 0, "hour": 0, "day_of_month": "1-7,15-21"},
        lambda t: midnight(t) and (t.day <= 7 or 15 <= t.day <= 21),
    ),
    (
        {"minute": 0, "hour": 0, "day_of_month": "11", "month_of_year": "5"},
        lambda t: midnight(t) and (t.day, t.month) == (11, 5),
    ),
    ({"minute": 0, "hour": 0, "month_of_year": "*/3"}, lambda t: midnight(t) and t.month % 3 == 1),
]


@pytest.mark.parametrize(("fields", "wanted"), TABLE)
def test_the_table_of_crontabs(
    app: Celery, fields: dict[str, Any], wanted: Callable[..., bool]
) -> None:  # 3-S3
    count = 2 if "month_of_year" in fields and "day_of_month" in fields else 20
    assert firings(crontab(**fields, app=app), count) == by_force(wanted, count)


def test_by_a_handler(app: Celery) -> None:  # 3-S1
    @app.on_after_configure.connect
    def setup_periodic_tasks(sender: Celery, **kwargs: Any) -> None:
        sender.add_periodic_task(10.0, test.s("hello"), name="add every 10")
        sender.add_periodic_task(30.0, test.s("world"), expires=10)
        sender.add_periodic_task(crontab(hour=7, minute=30, day_of_week=1), test.s("Happy Mondays!"))

    @app.task(name="seeds.test")
    def test(arg: str) -> None:
        print(arg)

    entries = Scheduler(app).schedule
    assert len(entries) == 3
    assert entries["add every 10"].schedule == schedule(10)
    assert entries["seeds.test('world')"].options == {"expires": 10}
    assert entries["seeds.test('Happy Mondays!')"].args == ("Happy Mondays!",)


def test_by_a_handler_after_finalize(app: Celery) -> None:  # 0-8
    @app.task
    def mytask() -> None: ...

    @app.on_after_finalize.connect
    def setup_periodic_tasks(sender: Celery, **kwargs: Any) -> None:
        sender.add_periodic_task(3600.0, mytask.s(), name="Add every hour")

    app.finalize()
    assert Scheduler(app).schedule["Add every hour"].schedule == schedule(3600)


@pytest.mark.parametrize("every", [30.0, 30, timedelta(seconds=30)])
def test_by_a_setting(app: Celery, every: Any) -> None:  # 3-S2, 1-5
    app.conf.beat_schedule = {
        "add-every-30-seconds": {
            "task": "tasks.add", "schedule": every, "args": (16, 16), "kwargs": {"z": 1}, "options": {"queue": "q"},
        }
    }  # fmt: skip
    scheduler = Scheduler(app)
    assert 29 < scheduler.tick() <= 30
    entry = scheduler.schedule["add-every-30-seconds"]
    assert (entry.args, entry.kwargs, entry.options) == ((16, 16), {"z": 1}, {"queue": "q"})


def test_relative_ones_come_on_the_full_minute(app: Celery) -> None:  # 3-S2
    app.conf.beat_schedule = {"e": {"task": "t", "schedule": timedelta(minutes=5), "relative": True}}
    found = Scheduler(app).schedule["e"].schedule
    found.nowfun = lambda: START
    assert START + found.remaining_estimate(START) == datetime(2026, 2, 26, 22, 12, tzinfo=UTC)


def test_each_monday_morning(app: Celery) -> None:  # 3-S4
    app.conf.timezone = "Europe/London"
    found = crontab(hour=7, minute=30, day_of_week=1, app=app)
    assert firings(found, 1) == [datetime(2026, 3, 2, 7, 30, tzinfo=UTC)]
    assert firings(found, 5)[-1] == datetime(2026, 3, 30, 6, 30, tzinfo=UTC)  # summer time


def test_each_morning_at_eight(app: Celery) -> None:  # 0-7
    app.conf.beat_schedule = {
        "send-report-every-morning": {
            "task": "tasks.send_report",
            "schedule": crontab(hour=8, minute=0),
            "args": [],
        }
    }
    found = Scheduler(app).schedule["send-report-every-morning"].schedule
    assert firings(found, 1) == [datetime(2026, 2, 27, 8, tzinfo=UTC)]


@pytest.mark.parametrize("where", ["schedule", "entry"])
def test_the_zone_of_an_entry(app: Celery, where: str) -> None:  # 0-10
    app.conf.timezone = "Asia/Tokyo"
    own = {"timezone": "UTC"}
    app.conf.beat_schedule = {
        "e": {
            "task": "t",
            "schedule": crontab(hour=8, minute=0, **(own if where == "schedule" else {})),
            "expires": 60,
            **(own if where == "entry" else {}),
        }
    }
    entry = Scheduler(app).schedule["e"]
    assert firings(entry.schedule, 1) == [datetime(2026, 2, 27, 8, tzinfo=UTC)]
    assert entry.options == {"expires": 60}


def test_the_maintenance_app(project: Project) -> None:  # 0-9, 3-S6
    project.write(
        "maintenance.py",
        """
        from celery import Celery
        from celery.schedules import crontab
        app = Celery('maintenance')
        app.conf.timezone = 'UTC'
        app.conf.beat_schedule = {
            'clear-cache-every-10-min': {'task': 'maintenance.clear_cache', 'schedule': 0.5},
            'weekly-report': {'task': 'maintenance.weekly_report', 'schedule': 1, 'args': [42]},
        }
        @app.task(name='maintenance.clear_cache')
        def clear_cache(): print("Cache cleared.")
        @app.task(name='maintenance.weekly_report')
        def weekly_report(report_id):
            print(f"Generating weekly report {report_id}...")
            print("Report done.")
        """,
    )
    with (
        project.worker(app="maintenance") as worker,
        project.beat("--loglevel=info", "-s", "state", app="maintenance") as beat,
    ):
        beat.wait_for(r"Scheduler: Sending due task clear-cache-every-10-min \(maintenance\.clear_cache\)")
        worker.wait_for("Cache cleared.")
        worker.wait_for("Generating weekly report 42...")
    with shelve.open(str(project.path / "state"), "r") as store:
        assert set(store["entries"]) >= {"clear-cache-every-10-min", "weekly-report"}


def test_another_time_zone(app: Celery, tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:  # 3-S7
    app.conf.beat_schedule = {"e": {"task": "t", "schedule": 10}}
    file = str(tmp_path / "celerybeat-schedule")
    first = PersistentScheduler(app, schedule_filename=file)
    first.schedule["e"].total_run_count = 5
    first.close()
    app.conf.timezone = "Europe/London"
    second = PersistentScheduler(app, schedule_filename=file)
    assert second.schedule["e"].total_run_count == 0
    assert "Reset: Timezone changed from 'UTC' to 'Europe/London'" in caplog.text
    second.close()
