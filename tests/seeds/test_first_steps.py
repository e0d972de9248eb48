"""Seed documents, 'First steps' and 'Next steps': what a beginner types, on the embedded store."""

from __future__ import annotations

import re
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Project, WorkerProcess

TASKS = """
    from celery import Celery
    app = Celery('tasks')

    @app.task
    def add(x, y): return x + y
"""
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@pytest.fixture(scope="module")
def started(module_project: Project) -> Iterator[tuple[Project, WorkerProcess]]:
    module_project.write("tasks.py", TASKS)
    with module_project.worker() as worker:
        yield module_project, worker


def test_hello_app(project: Project) -> None:  # 3-A1
    project.write(
        "hello.py",
        """
        from celery import Celery
        app = Celery('hello')

        @app.task
        def hello(): return 'hello world'
        """,
    )
    with project.worker(app="hello") as worker:
        project.python("from hello import hello; hello.delay()")
        worker.wait_for(r"succeeded in [\d.]+s: 'hello world'")


def test_first_worker(started: tuple[Project, WorkerProcess]) -> None:  # 3-A3
    _, worker = started
    assert re.search(r"\[tasks\]\n\s*\. tasks\.add\n", worker.output)
    assert "[config]" in worker.output
    assert "[queues]" in worker.output
    assert "store.db" in worker.output


@pytest.mark.parametrize(
    "args", [("worker", "--help"), ("help",), ("call", "--help"), ("help", "worker"), ("--help",)]
)
def test_help(project: Project, args: tuple[str, ...]) -> None:  # 3-A4
    assert "worker" in project.celery(*args).stdout or "call" in args


def test_first_call(started: tuple[Project, WorkerProcess]) -> None:  # 3-A5
    project, worker = started
    assert re.fullmatch(
        rf"<AsyncResult: {UUID}>",
        project.python("from tasks import add; print(repr(add.delay(4, 4)))").strip(),
    )
    worker.wait_for(r"Task tasks\.add\[.*\] received")
    worker.wait_for(r"Task tasks\.add\[.*\] succeeded in [\d.]+s: 8")


def test_results(started: tuple[Project, WorkerProcess]) -> None:  # 3-A6, A13, A19
    project, _ = started
    printed = project.python("""
        from tasks import add
        result = add.delay(4, 4)
        assert result.ready() in (True, False)
        print(result.get(timeout=10), result.get(propagate=False), result.traceback, len(result.id))
        print(type(result.backend).__name__)
        bad = add.app.send_task('tasks.add', (2,))
        try:
            bad.get(timeout=10)
        except TypeError as exc:
            print(exc)
        print(repr(bad.get(propagate=False)))
        print(bad.failed(), bad.successful(), bad.state)
        print(add.app.AsyncResult('this-id-does-not-exist').state)
        """).splitlines()
    assert printed[0] == "8 8 None 36"
    assert "Backend" in printed[1]
    assert "missing 1 required positional argument: 'y'" in printed[2]
    assert printed[3].startswith("TypeError(")
    assert printed[4:] == ["True False FAILURE", "PENDING"]


def test_configuration(project: Project) -> None:  # 3-A8, A9, A21
    project.write(
        "celeryconfig.py",
        """
        broker_url = 'memory://'
        result_backend = 'cache+memory://'
        task_serializer = 'json'
        result_serializer = 'json'
        accept_content = ['json']
        timezone = 'Europe/Oslo'
        enable_utc = True
        """,
    )
    project.run(sys.executable, "-m", "celeryconfig")
    assert project.python("""
        from celery import Celery
        app = Celery('tasks')
        app.conf.task_serializer = 'json'
        app.conf.update(task_serializer='json', accept_content=['json'], result_serializer='json',
                        timezone='Europe/Oslo', enable_utc=True)
        print(app.conf.task_serializer, app.conf.accept_content, app.conf.timezone, app.timezone)
        other = Celery()
        other.config_from_object('celeryconfig')
        print(other.conf.broker_url, other.conf.timezone, other.conf.enable_utc)
        """).splitlines() == ["json ['json'] Europe/Oslo Europe/Oslo", "memory:// Europe/Oslo True"]


def test_route_to_another_queue(project: Project) -> None:  # 3-A10
    project.write("tasks.py", TASKS + "\n    app.conf.task_routes = {'tasks.add': 'low-priority'}\n")
    project.python("from tasks import add; add.delay(1, 2)")
    with project.worker("-Q", "low-priority") as worker:
        worker.wait_for(r"succeeded in [\d.]+s: 3")


def test_project_layout(project: Project) -> None:  # 3-A14, A15, A17
    project.write("proj/__init__.py", "")
    project.write(
        "proj/celery.py",
        """
        from celery import Celery
        app = Celery('proj', include=['proj.tasks'])
        app.conf.update(result_expires=3600)
        if __name__ == '__main__':
            app.start()
        """,
    )
    project.write(
        "proj/tasks.py",
        """
        from .celery import app

        @app.task
        def add(x, y): return x + y

        @app.task
        def mul(x, y): return x * y
        """,
    )
    with project.worker(app="proj") as worker:
        for expected in (
            r"\. proj\.tasks\.add",
            r"\. proj\.tasks\.mul",
            r"proj:0x[0-9a-f]+",
            r"2 \(prefork\)",
        ):
            assert re.search(expected, worker.output), worker.output
        assert re.search(r"celery +exchange=celery\(direct\) key=celery", worker.output)
        assert (
            project.python("from proj.tasks import mul; print(mul.delay(3, 4).get(timeout=10))").strip()
            == "12"
        )
    for where in ("proj", "proj.celery", "proj.celery:app"):
        assert "result_expires: 3600" in project.celery("-A", where, "report").stdout


def test_stop(project: Project) -> None:  # 3-A16
    project.write(
        "tasks.py",
        TASKS
        + """
    @app.task
    def slow(path):
        import time
        open(path + '.began', 'w').close()
        time.sleep(1)
        open(path, 'w').close()
    """,
    )
    for signum, code in ((signal.SIGTERM, 0), (signal.SIGINT, 1)):
        done = project.path / f"done{signum}"
        with project.worker() as worker:
            project.python(f"from tasks import slow; slow.delay({str(done)!r})")
            worker.wait_for(r"Task tasks\.slow\[.*\] received")
            began = done.with_name(done.name + ".began")
            wait_until(began.exists)
            worker.send(signum)
            assert worker.wait() == code
        assert done.exists()
        assert "Warm shutdown" in worker.output


def test_ways_to_call(started: tuple[Project, WorkerProcess]) -> None:  # 3-A18
    project, _ = started
    project.python("""
        from tasks import add, app
        assert add.delay(2, 2).get(timeout=10) == 4
        assert add.apply_async((2, 2)).get(timeout=10) == 4
        assert add(2, 2) == 4
        result = add.apply_async((2, 2), queue='lopri', countdown=10)
        assert result.state == 'PENDING'
        """)
    with project.worker("-Q", "lopri") as other:
        assert "lopri" in other.output


def test_states(project: Project) -> None:  # 3-A20
    project.write(
        "tasks.py",
        """
        import time
        from celery import Celery
        app = Celery('tasks')

        @app.task(bind=True, track_started=True)
        def flaky(self):
            time.sleep(0.3)
            if self.request.retries < 2:
                raise self.retry(countdown=0.3, exc=ValueError('again'))
            return 'done'
        """,
    )
    with project.worker():
        printed = project.python("""
            import time
            from tasks import flaky
            result = flaky.delay()
            seen = []
            while not seen or seen[-1] != 'SUCCESS':
                state = result.state
                if not seen or seen[-1] != state:
                    seen.append(state)
                time.sleep(0.01)
            print('->'.join(s for s in seen if s != 'PENDING'))
            """).strip()
    assert printed == "STARTED->RETRY->STARTED->RETRY->STARTED->SUCCESS"


@pytest.mark.parametrize("flag", [("--version",)])
def test_version(project: Project, flag: tuple[str, ...]) -> None:  # 0-1
    lines = project.celery(*flag).stdout.splitlines()
    assert lines[0].startswith("5.7.0 (collider)")
    assert "0.1.0" in "\n".join(lines)
    assert "kombu" in lines[1].lower()


def test_hello_world_of_the_guide(project: Project) -> None:  # 0-4
    project.write(
        "demo.py",
        '''
        from celery import Celery
        from celery.exceptions import TimeoutError
        app = Celery("demo", broker="memory://", backend="cache+memory://")
        app.conf.update(task_always_eager=True, task_eager_propagates=True)
        @app.task(name="demo.add")
        def add(x, y):
            """Add two numbers and return the result."""
            return x + y
        if __name__ == "__main__":
            try:
                result = add.delay(4, 6)
                print("Task submitted, waiting for result...")
                value = result.get(timeout=5)
                print(f"Task result: {value}")
            except TimeoutError:
                print("The task did not complete within the timeout.")
            except Exception as e:
                print(f"Task failed with exception: {e}")
        ''',
    )
    printed = project.python("import runpy; runpy.run_path('demo.py', run_name='__main__')")
    assert printed == "Task submitted, waiting for result...\nTask result: 10\n"


def test_no_result_backend(project: Project) -> None:  # 0-5
    printed = project.python("""
        from celery import Celery
        app = Celery('analysis', broker='memory://')

        @app.task(name='analysis.process_data')
        def process_data(data): return sum(data) / len(data)

        result = process_data.delay([1, 2, 3, 4, 5])
        try:
            result.get(timeout=1)
        except NotImplementedError as exc:
            print(exc)
        """)
    assert "No result backend is configured." in printed
