"""The worker's options, its queues, and how it is told to stop and restart."""

from __future__ import annotations

import json
import os
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Project, WorkerProcess

TASKS = """
    import os, time
    from celery import Celery, Task
    from celery.worker.request import Request
    from kombu import Exchange, Queue

    app = Celery('options')
    app.conf.task_queues = [
        Queue('celery'), Queue('a'), Queue('left'),
        Queue('topic', Exchange('news', type='topic'), routing_key='x.#'),
        Queue('fan', Exchange('all', type='fanout')),
    ]

    class Noting(Request):
        def on_success(self, failed__retval__runtime, **kwargs):
            with open('requests', 'a') as notes: notes.write('success ' + self.task_name + '\\n')
            return super().on_success(failed__retval__runtime, **kwargs)

        def on_failure(self, exc_info, send_failed_event=True, return_ok=False):
            with open('requests', 'a') as notes: notes.write('failure ' + self.task_name + '\\n')
            return super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)

    class Noted(Task):
        abstract = True
        Request = Noting

    @app.task(base=Noted)
    def noted(fail):
        if fail: raise ValueError(fail)

    @app.task
    def pid(): return os.getpid()

    @app.task(rate_limit='4/s')
    def limited(): return time.time()

    @app.task(bind=True)
    def settings(self): return [app.conf.worker_prefetch_multiplier, self.request.hostname]

    @app.task
    def endless(): time.sleep(30)
"""

CLIENT = """
    import json, warnings
    from celery.exceptions import TimeoutError
    from tasks import *
    warnings.simplefilter('ignore')
    heard = {name: bool(pid.apply_async(**where).get(timeout=20)) for name, where in {
        'celery': {'queue': 'celery'},
        'a': {'queue': 'a'},
        'topic': {'exchange': 'news', 'routing_key': 'x.y.z'},
        'fan': {'exchange': 'all', 'routing_key': ''},
    }.items()}
    left = pid.apply_async(queue='left')
    heard['settings'] = settings.delay().get(timeout=20)
    heard['hard'] = repr(endless.delay().get(timeout=20, propagate=False))
    noted.delay('').get(timeout=20)
    noted.delay('no').get(timeout=20, propagate=False)
    times = [result.get(timeout=20) for result in [limited.delay() for _ in range(5)]]
    heard['spread'] = max(times) - min(times)
    heard['pids'] = len({result.get(timeout=20) for result in [pid.delay() for _ in range(20)]})
    heard['left'] = left.state
    print(json.dumps(heard))
"""

Run = tuple[dict[str, Any], "WorkerProcess", "Project"]


@pytest.fixture(scope="module")
def run(module_project: Project) -> Iterator[Run]:
    """What was heard of the worker, the worker, its project."""
    module_project.write("tasks.py", TASKS)
    options = "-n my@%h -X left --pidfile %n.pid -f %n%I.log --max-tasks-per-child 5 --time-limit 2"
    with module_project.worker(*options.split(), "worker.prefetch_multiplier=7", ready=False) as worker:
        log = module_project.path / "my.log"
        wait_until(lambda: log.exists() and "ready." in log.read_text(), message=lambda: worker.output)
        yield json.loads(module_project.python(CLIENT)), worker, module_project


@pytest.mark.parametrize("queue", ["celery", "a", "topic", "fan"])
def test_consumes(run: Run, queue: str) -> None:
    assert run[0][queue] is True


def test_excluded_queue_is_left_alone(run: Run) -> None:
    assert run[0]["left"] == "PENDING"
    assert not re.search(r"\.> left\b", run[1].output)


def test_settings_on_the_command_line(run: Run) -> None:
    multiplier, hostname = run[0]["settings"]
    assert multiplier == 7
    assert hostname == f"my@{os.uname().nodename}"


def test_time_limit(run: Run) -> None:
    assert run[0]["hard"] == "TimeLimitExceeded(2)"


def test_rate_limit_is_a_token_bucket_of_one(run: Run) -> None:
    assert run[0]["spread"] > 0.95  # five starts, a quarter of a second between


def test_children_are_replaced(run: Run) -> None:
    assert run[0]["pids"] >= 4


def test_own_request_class(run: Run) -> None:
    notes = run[2].path / "requests"
    wait_until(lambda: notes.exists() and notes.read_text().count("\n") == 2, message=lambda: run[1].output)
    assert sorted(notes.read_text().splitlines()) == ["failure tasks.noted", "success tasks.noted"]


def test_a_log_file_for_each_process(run: Run) -> None:
    folder = run[2].path
    assert "succeeded in" in (folder / "my-1.log").read_text()
    assert "succeeded in" not in (folder / "my.log").read_text()
    assert " received" in (folder / "my.log").read_text()


def test_pidfile(run: Run) -> None:
    _, worker, project = run
    assert (project.path / "my.pid").read_text() == f"{worker.pid}\n"
    second = project.celery("-A", "tasks", "worker", "--pidfile", "my.pid", check=False)
    assert second.returncode == 73
    assert "ERROR: Pidfile (my.pid) already exists." in second.stderr
    assert f"Seems we're already running? (pid: {worker.pid})" in second.stderr


def test_usr1_shows_the_threads(run: Run) -> None:
    run[1].send(signal.SIGUSR1)
    log = run[2].path / "my.log"
    wait_until(lambda: "MainThread" in log.read_text() + run[1].output, message=log.read_text)


def test_hup_restarts_and_term_ends(run: Run) -> None:
    """Last: the same process starts again, with the same options."""
    _, worker, project = run
    log = project.path / "my.log"
    worker.send(signal.SIGHUP)
    wait_until(lambda: log.read_text().count(" ready.") == 2, message=log.read_text)
    assert "Restarting celery worker (" in worker.output
    assert worker.stop() == 0
    assert not (project.path / "my.pid").exists()


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_hard_limits_are_refused_where_nothing_enforces_them(project: Project, pool: str) -> None:
    project.write("tasks.py", TASKS)
    done = project.celery("-A", "tasks", "worker", "-P", pool, "--time-limit", "5", check=False)
    assert done.returncode != 0
    assert f"the {pool} pool cannot enforce it" in done.stderr
    assert "Traceback" not in done.stderr


def test_purge_at_start(project: Project) -> None:
    project.write("tasks.py", TASKS)
    project.python("from tasks import pid\nfor _ in range(3): pid.delay()")
    with project.worker("--purge") as worker:
        assert worker.stop() == 0
    assert "3 messages" in worker.output
    assert " received" not in worker.output


def test_stale_pidfile_is_replaced(project: Project) -> None:
    project.write("tasks.py", TASKS)
    (project.path / "w.pid").write_text("999999999\n")
    with project.worker("--pidfile", "w.pid") as worker:
        assert (project.path / "w.pid").read_text() == f"{worker.pid}\n"
        assert worker.stop() == 0
    assert "Stale pidfile exists - Removing it." in worker.output
