"""Seed documents: the remaining examples that need no more than an app, the embedded store and a worker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support import WorkerProcess, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support import Project

    Setup = tuple[Project, WorkerProcess]
    Calls = Callable[[str], list[str]]

TASKS = """
    import logging, os, sys, time
    from celery import Celery, Task, signals
    from celery.task import Task as OldTask, task as old_task
    from celery.utils.log import get_task_logger
    from celery.worker.request import Request

    app = Celery('tasks')
    logger = get_task_logger(__name__)

    class Shaky(Exception): pass

    class Hello(OldTask):
        queue = 'hipri'
        def run(self, to): return 'hello {0}'.format(to)

    @old_task
    def hello(to): return 'hello {0}'.format(to)

    @app.task(serializer='json')
    def create_user(username, password): return username

    @app.task(bind=True)
    def redirected(self):
        old_outs = sys.stdout, sys.stderr
        rlevel = self.app.conf.worker_redirect_stdouts_level
        try:
            self.app.log.redirect_stdouts_to_logger(logger, rlevel)
            print('by hand')
        finally:
            sys.stdout, sys.stderr = old_outs

    class ListHandler(logging.Handler):
        def emit(self, record):
            if 'succeeded in' in record.getMessage():
                open('root.txt', 'a').write('seen')

    @signals.after_setup_logger.connect
    def on_after_setup_logger(**kwargs):
        logging.getLogger().addHandler(ListHandler())
        logging.getLogger('celery').propagate = True
        logging.getLogger('celery.app.trace').propagate = True

    @app.task(bind=True, default_retry_delay=30 * 60)
    def waits_long(self): raise self.retry()

    @app.task(bind=True, default_retry_delay=30 * 60)
    def waits_less(self): raise self.retry(countdown=60)

    @app.task(autoretry_for=(Shaky,), retry_kwargs={'max_retries': 5}, retry_backoff=0.001, retry_backoff_max=0)
    def shaky():
        open('attempts.txt', 'a').write('x')
        raise Shaky()

    class DatabaseTask(Task):
        _db = None

        @property
        def db(self):
            if self._db is None:
                self._db = object()
                open('connects.txt', 'a').write(f'{os.getpid()} ')
            return self._db

    @app.task(base=DatabaseTask)
    def process_rows(): return process_rows.db is not None

    class MyRequest(Request):
        def on_timeout(self, soft, timeout):
            super(MyRequest, self).on_timeout(soft, timeout)
            if not soft:
                logger.warning('A hard timeout was enforced for task %s', self.task.name)

        def on_failure(self, exc_info, send_failed_event=True, return_ok=False):
            super(Request, self).on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)
            logger.warning('Failure detected for task %s', self.task.name)

    class MyTask(Task):
        Request = MyRequest

    @app.task(base=MyTask, time_limit=0.5)
    def too_long(): time.sleep(30)

    @app.task
    def spam_filter(comment_id, remote_addr=None):
        spam_filter.get_logger().info('Running spam filter for comment %s', comment_id)
        return False

    @app.task
    def add(x, y): return x + y

    @app.task
    def periodic(times=2):
        open('periodic.txt', 'a').write('x')
        if times: periodic.apply_async((times - 1,), countdown=0.05)
"""


@pytest.fixture(scope="module")
def setup(module_project: Project) -> Iterator[Setup]:
    module_project.write("tasks.py", TASKS)
    with module_project.worker("-Q", "celery,hipri") as worker:
        yield module_project, worker


@pytest.fixture
def calls(setup: Setup) -> Calls:
    """Run a script that has everything of `tasks` and returns its printed lines."""
    return lambda code: setup[0].python("from tasks import *\n" + code).splitlines()


def test_very_old_names(calls: Calls) -> None:  # 3-B11, B13
    found = calls(
        "from celery.registry import tasks\n"
        "from celery.execute import apply_async\n"
        "print(Hello.name in tasks, Hello.delay('world!').get(timeout=10), hello.delay('you').get(timeout=10))\n"
        "print(apply_async(hello, ('world!',)).get(timeout=10))"
    )
    assert found == ["True hello world! hello you", "hello world!"]


def test_options(calls: Calls) -> None:  # 3-T1
    assert calls("print(create_user.delay('george', 'secret').get(timeout=10))") == ["george"]


def test_redirected_by_hand(setup: Setup, calls: Calls) -> None:  # 3-T8
    calls("redirected.delay().get(timeout=10)")
    setup[1].wait_for(r"WARNING/ForkPoolWorker-\d+\] tasks\.redirected\[\S+\]: by hand$")


def test_root_logger(setup: Setup, calls: Calls) -> None:  # 3-T9
    calls("add.delay(1, 2).get(timeout=10)")
    wait_until(lambda: (setup[0].path / "root.txt").exists())


def test_retry_delay(setup: Setup, calls: Calls) -> None:  # 3-T13
    calls("waits_long.delay(); waits_less.delay()")
    setup[1].wait_for(r"tasks\.waits_long\[\S+\] retry: Retry in 1800s")
    setup[1].wait_for(r"tasks\.waits_less\[\S+\] retry: Retry in 60s")


def test_autoretry(setup: Setup, calls: Calls) -> None:  # 3-T14, 3-T15, 0-14, 0-16
    assert calls("print(repr(shaky.delay().get(timeout=20, propagate=False)))") == ["Shaky()"]
    assert len((setup[0].path / "attempts.txt").read_text()) == 6


def test_one_connection_a_process(setup: Setup, calls: Calls) -> None:  # 3-T25
    calls("[result.get(timeout=10) for result in [process_rows.delay() for _ in range(20)]]")
    pids = (setup[0].path / "connects.txt").read_text().split()
    assert len(pids) == len(set(pids))


def test_custom_request(setup: Setup, calls: Calls) -> None:  # 3-T27
    assert calls("print(type(too_long.delay().get(timeout=20, propagate=False)).__name__)") == [
        "TimeLimitExceeded"
    ]
    setup[1].wait_for(r"MainProcess\].*A hard timeout was enforced for task tasks\.too_long")
    setup[1].wait_for(r"MainProcess\].*Failure detected for task tasks\.too_long")


def test_spam_filter(setup: Setup, calls: Calls) -> None:  # 3-T32
    assert calls("print(spam_filter.delay(comment_id=3, remote_addr='::1').get(timeout=10))") == ["False"]
    setup[1].wait_for(r"Running spam filter for comment 3")


def test_same_message(project: Project) -> None:  # 3-K2
    found = project.python("""
        import json
        from celery import Celery, signals
        app = Celery('same', broker='memory://')
        sent = []

        @app.task
        def take(arg1, arg2, kwarg1=None, kwarg2=None): ...

        @signals.before_task_publish.connect
        def look(body, headers, **kwargs): sent.append(json.dumps(body))

        take.delay(1, 2, kwarg1='x', kwarg2='y')
        take.apply_async(args=[1, 2], kwargs={'kwarg1': 'x', 'kwarg2': 'y'})
        take.s(1, 2, kwarg1='x', kwarg2='y').apply_async()
        print(len(sent), len(set(sent)))
        """)
    assert found.split() == ["3", "1"]


def test_reschedules_itself(setup: Setup, calls: Calls) -> None:  # 0-38
    calls("periodic.delay()")
    wait_until(
        lambda: (
            (setup[0].path / "periodic.txt").exists()
            and (setup[0].path / "periodic.txt").read_text() == "xxx"
        )
    )


def test_broadcast(project: Project) -> None:  # 3-R11
    project.write(
        "tasks.py",
        """
        import os
        from celery import Celery
        from kombu.common import Broadcast
        app = Celery('tasks')
        app.conf.task_queues = (Broadcast('broadcast_tasks'),)
        app.conf.task_routes = {'tasks.reload_cache': {'queue': 'broadcast_tasks', 'exchange': 'broadcast_tasks'}}

        @app.task(ignore_result=True)
        def reload_cache(): open('reloads.txt', 'a').write(f'{os.getppid()} ')
        """,
    )
    reloads = project.path / "reloads.txt"
    with project.worker("-n", "one@%h"), project.worker("-n", "two@%h"):
        project.python("from tasks import reload_cache; reload_cache.delay()")
        wait_until(lambda: reloads.exists() and len(reloads.read_text().split()) >= 2)
    assert len(set(reloads.read_text().split())) == 2


def test_no_broker_there(project: Project) -> None:  # 0-26
    said = project.python(
        """
        from celery import Celery
        app = Celery('x', broker='nosuch://guest:secret@localhost//')
        app.send_task('y')
        """,
        check=False,
    )
    assert "No such transport: nosuch" in said
    assert "secret" not in said


def test_app_in_a_file_of_our_name(project: Project) -> None:  # 2-1, 2-4
    project.write("tasks.py", "def nothing(): ...\n")
    project.write(
        "celery.py",
        """
        from celery import Celery
        import tasks
        app = Celery('my_project')

        @app.task
        def add(x, y): return x + y

        @app.task
        def my_complex_task(): pass
        """,
    )
    program = str(Path(sys.executable).with_name("celery"))
    log = project.path / "worker.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [program, "-A", "celery:app", "worker", "--loglevel=info", "-Q", "celery"],
            cwd=project.path,
            env=project.env,
            stdout=out,
            stderr=out,
        )
    worker = WorkerProcess(process, log)
    try:
        worker.wait_for(r"\. celery\.add$")
        worker.wait_for(r"ready\.")
        sent = project.run(program, "-A", "celery:app", "call", "celery.add", "-a", "[2, 3]").stdout.strip()
        worker.wait_for(rf"Task celery\.add\[{sent}\] succeeded in \S+: 5")
        assert "is better." in worker.output
    finally:
        worker.stop()
