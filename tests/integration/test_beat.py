"""`celery beat` as a user runs it: what it sends and says, what it remembers, how it ends."""

from __future__ import annotations

import os
import pickle
import re
import shelve
import signal
import sys

import pytest
from tests.servers.process import free_port
from tests.support import wait_until

from celery.beat import PersistentScheduler

TASKS = """
    import os
    from celery import Celery

    app = Celery("tasks", broker=os.environ.get("BROKER"))
    app.conf.timezone = os.environ.get("ZONE", "UTC")

    @app.on_after_configure.connect
    def setup_periodic_tasks(sender, **kwargs):
        sender.add_periodic_task(0.2, say.s("hello"), name="greet")
        sender.add_periodic_task(3600, say.s("later"), expires=10)

    @app.task
    def say(word):
        print("said", word)
    """


@pytest.fixture
def tasks(project):
    project.write("tasks.py", TASKS)
    return project


def times(project, name="greet"):
    """How often the entry was sent, by what beat has remembered."""
    with shelve.open(str(project.path / "celerybeat-schedule"), "r") as store:
        return store["entries"][name].total_run_count


def test_what_is_due_is_sent_and_run(tasks):
    with tasks.worker() as worker, tasks.beat() as beat:
        worker.wait_for(r"(?s)(said hello.*){3}")
        beat.wait_for(r"Scheduler: Sending due task greet \(tasks\.say\)")
        assert beat.stop() == 0
        assert "celery beat v5.7.0 (collider) is starting." in beat.output
        assert re.search(
            r"^ {4}\. scheduler -> celery\.beat\.PersistentScheduler\n {4}\. db -> celerybeat-schedule",
            beat.output,
            re.MULTILINE,
        )
        assert "beat: Shutting down..." in beat.output
        assert "said later" not in worker.output
    assert times(tasks) >= 3


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_what_was_sent_is_remembered(tasks, signum):
    with tasks.beat("-s", "celerybeat-schedule") as beat:
        beat.wait_for("Sending due task greet")
        beat.send(signum)
        assert beat.wait() == 0
    before = times(tasks)
    with tasks.beat() as beat:
        beat.wait_for("Sending due task greet")
    assert times(tasks) > before


def test_a_worker_with_a_beat_of_its_own(tasks):
    with tasks.worker("-B", "-s", "own-schedule") as worker:
        worker.wait_for(r"(?s)(said hello.*){3}")
        assert worker.stop() == 0
    assert list(tasks.path.glob("own-schedule*"))


def test_a_worker_goes_on_although_its_beat_cannot(tasks):
    with tasks.worker("-B", "-s", "nowhere/schedule") as worker:
        worker.wait_for("Cannot keep beat's schedule in .*nowhere/schedule: there is no folder")
        tasks.run(sys.executable, "-c", "from tasks import say; say.delay('yes')")
        worker.wait_for("said yes")


def test_killed_and_started_again(tasks):
    """Nothing is in the way of the next one, and the lock of the dead one is not."""
    for _ in range(3):
        with tasks.beat() as beat:
            beat.wait_for("Sending due task greet")
            beat.process.kill()
            beat.process.wait()
    with tasks.beat() as beat:
        beat.wait_for("Sending due task greet")


def test_two_on_one_schedule(tasks):
    with tasks.beat() as first:
        done = tasks.celery("-A", "tasks", "beat", check=False)
        assert done.returncode == 1
        assert "Another beat uses the schedule" in done.stderr
        assert "Traceback" not in done.stderr
        first.wait_for("Sending due task greet")


@pytest.mark.parametrize("name", ["celerybeat-schedule", "celerybeat-schedule.dat"])
def test_a_broken_file_is_replaced(tasks, name):
    with tasks.beat() as beat:
        beat.wait_for("Sending due task greet")
    for path in tasks.path.glob("celerybeat-schedule*"):
        if path.suffix != ".lock":
            path.write_bytes(b"\0noise" * 100)
    (tasks.path / name).write_bytes(b"noise")
    with tasks.beat() as beat:
        beat.wait_for("Removing corrupted schedule file 'celerybeat-schedule'")
        beat.wait_for("Sending due task greet")
    assert "Traceback" not in beat.output


def test_entries_whose_class_is_gone(tasks):
    with shelve.open(str(tasks.path / "celerybeat-schedule")) as store:
        store["entries"] = {}
        store.dict[b"entries"] = pickle.dumps({"greet": 1}).replace(b"greet", b"\x80\x80\x80\x80\x80")
    with tasks.beat() as beat:
        beat.wait_for("Removing corrupted schedule file")
        beat.wait_for("Sending due task greet")


def test_another_time_zone_begins_anew(tasks):
    with tasks.beat() as beat:
        beat.wait_for("Sending due task greet")
    with tasks.beat(ZONE="Europe/Oslo") as beat:
        beat.wait_for("Reset: Timezone changed from 'UTC' to 'Europe/Oslo'")
        beat.wait_for("Sending due task greet")


def test_a_store_of_another_version_begins_anew(tasks):
    with shelve.open(str(tasks.path / "celerybeat-schedule")) as store:
        store["entries"] = {}
    with tasks.beat() as beat:
        beat.wait_for("DB Reset: Account for new __version__ field")


def test_the_broker_comes_later(tasks, private_redis):
    url = private_redis.url
    private_redis.kill()
    with tasks.beat(BROKER=url) as beat:
        beat.wait_for("Message Error: .*Trying again in")
        private_redis.start()
        with tasks.worker(BROKER=url) as worker:
            worker.wait_for("said hello")


def test_it_ends_although_the_broker_is_away(tasks):
    with tasks.beat(BROKER=f"redis://127.0.0.1:{free_port()}/0") as beat:
        beat.wait_for("Message Error: .*Trying again in")
        assert beat.stop() == 0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["-S", "nowhere:Scheduler"], "There is no scheduler 'nowhere:Scheduler'"),
        (["-s", "nowhere/file"], "there is no folder"),
        (["--max-interval", "-1"], "-1.0 is not in the range"),
    ],
)
def test_mistakes(tasks, args, said):
    done = tasks.celery("-A", "tasks", "beat", *args, check=False)
    assert done.returncode in (1, 2)
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_typo_in_an_entry(project):
    project.write(
        "tasks.py",
        """
        from celery import Celery
        app = Celery("tasks")
        app.conf.beat_schedule = {"greet": {"task": "tasks.say", "shedule": 1}}
        """,
    )
    done = project.celery("-A", "tasks", "beat", check=False)
    assert done.returncode == 1
    assert "beat_schedule['greet']" in done.stderr
    assert "shedule" in done.stderr
    assert "Traceback" not in done.stderr


def test_own_schedulers_are_named_by_their_path(project):
    project.write("tasks.py", TASKS)
    project.write(
        "own.py",
        """
        from celery.beat import Scheduler

        class Shouting(Scheduler):
            max_interval = 5

            def apply_entry(self, entry, producer=None):
                print("OWN", entry.name, flush=True)

            @property
            def info(self):
                return "    . nothing -> kept"
        """,
    )
    with project.beat("-S", "own:Shouting", "-l", "WARNING", ready=False) as beat:
        beat.wait_for("OWN greet")
        assert "    . nothing -> kept" in beat.output
        assert "maxinterval -> 5.00 seconds (5s)" in beat.output
    assert not list(project.path.glob("celerybeat-schedule*"))


def test_it_answers_ping(tasks, redis_url):
    with tasks.beat("--enable-remote-control", "-n", "timer@here", BROKER=redis_url) as beat:
        beat.wait_for("Sending due task greet")
        done = tasks.celery("-A", "tasks", "inspect", "ping", "-t", "5", "-d", "timer@here", BROKER=redis_url)
        assert "timer@here: OK" in done.stdout
        done = tasks.celery("-A", "tasks", "inspect", "stats", "-t", "1", check=False, BROKER=redis_url)
        assert done.returncode == 69


@pytest.mark.parametrize("how", ["options", "settings"])
def test_in_the_background(tasks, how):
    """As a daemon, with files for its log and its process id."""
    env, options = {}, ["--logfile", "beat.log", "--pidfile", "beat.pid"]
    if how == "settings":
        env, options = {"CELERY_BEAT_LOGFILE": "beat.log", "CELERY_BEAT_PIDFILE": "beat.pid"}, []
    tasks.celery("-A", "tasks", "beat", "--detach", "-l", "INFO", *options, **env)
    log, pidfile = tasks.path / "beat.log", tasks.path / "beat.pid"
    wait_until(lambda: log.exists() and "Sending due task greet" in log.read_text())
    os.kill(int(pidfile.read_text()), signal.SIGTERM)
    wait_until(lambda: not pidfile.exists())


def test_the_store_can_be_read_without_a_program(tasks):
    with tasks.beat() as beat:
        beat.wait_for("Sending due task greet")
    from celery import Celery

    app = Celery("reader", broker="memory://", set_as_current=False)
    app.conf.timezone = "UTC"
    scheduler = PersistentScheduler(app, schedule_filename=str(tasks.path / "celerybeat-schedule"), lazy=True)
    assert scheduler.info.endswith("celerybeat-schedule")
