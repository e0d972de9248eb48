"""The fixtures and helpers for tests, used by the tests of a project as pytest runs them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support import Project

SWITCHED_ON = 'pytest_plugins = ("celery.contrib.pytest",)\n'


@pytest.fixture
def suite(project: Project) -> Suite:
    project.write("conftest.py", SWITCHED_ON)
    return Suite(project)


class Suite:
    """A project's tests."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.write = project.write

    def run(self, text: str, *options: str, check: bool = True, **env: str) -> str:
        """Run this test module; warnings are errors. Returns what pytest printed."""
        self.write("test_project.py", text)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-W",
            "error",
            "--strict-markers",
        ]
        done = self.project.run(*command, *options, check=check, **env)
        return done.stdout + done.stderr

    def fail(self, text: str, *options: str) -> str:
        """Run tests of which some fail."""
        printed = self.run(text, *options, check=False)
        assert " error" in printed or " failed" in printed, printed
        return printed


MUL = """
    def test_create_task(celery_app, celery_worker):
        @celery_app.task
        def mul(x, y):
            return x * y

        celery_worker.reload()
        assert mul.delay(4, 4).get(timeout=10) == 16
    """


def test_worker_runs_tasks(suite: Suite) -> None:  # 0-22
    suite.run(MUL)


@pytest.mark.parametrize("how", ["option", "environment"])
def test_other_ways_to_switch_it_on(suite: Suite, how: str) -> None:
    suite.write("conftest.py", "")
    if how == "option":
        suite.run(MUL, "-p", "celery.contrib.pytest")
    else:
        suite.run(MUL, PYTEST_PLUGINS="celery.contrib.pytest")


def test_fixtures_cost_nothing_to_those_who_use_none(suite: Suite) -> None:
    suite.run("""
        import sys

        def test_nothing():
            assert not [name for name in sys.modules if name.startswith(("celery.app.base", "celery.worker", "kombu"))]
        """)


def test_app(suite: Suite) -> None:
    suite.run("""
        import pytest
        from celery import _state, current_app
        from celery.contrib.testing.app import UnitLogging

        def test_defaults(celery_app):
            assert celery_app.main == "celery.tests"
            assert celery_app.conf.broker_url == "memory://"
            assert celery_app.conf.result_backend == "cache+memory://"
            assert celery_app.conf.accept_content == {"json"}
            assert isinstance(celery_app.log, UnitLogging)
            assert current_app != celery_app

        def test_current(celery_app, depends_on_current_app):
            assert current_app == celery_app

        def test_back_to_normal():
            assert current_app.main == "default"

        @pytest.mark.celery(task_default_queue="mine", task_always_eager=True)
        def test_marker(celery_app):
            assert celery_app.conf.task_default_queue == "mine"

            @celery_app.task
            def boom():
                raise ValueError

            with pytest.raises(ValueError):
                boom.apply(throw=True)
            assert boom.delay().state == "FAILURE"
        """)
    assert "@pytest.mark.celery(**settings)" in suite.run("", "--markers")


def test_configuration(suite: Suite) -> None:
    suite.write("more.py", "from celery import shared_task\n@shared_task\ndef half(x):\n    return x / 2\n")
    suite.run("""
        import logging
        import threading
        import pytest
        from celery import shared_task

        @shared_task
        def thread():
            return threading.current_thread().name

        @pytest.fixture(scope="session")
        def celery_config():
            return {"task_default_queue": "mine"}

        @pytest.fixture(scope="session")
        def celery_parameters():
            return {"strict_typing": False}

        @pytest.fixture(scope="session")
        def celery_includes():
            return ["more"]

        @pytest.fixture(scope="session")
        def celery_worker_pool():
            return "threads"

        @pytest.fixture(scope="session")
        def celery_worker_parameters():
            return {"queues": ("mine", "other"), "concurrency": 3, "hostname": "me@test", "shutdown_timeout": 5.0}

        def test_all(celery_app, celery_worker):
            assert celery_app.strict_typing is False
            assert celery_app.tasks["more.half"].delay(3).get(timeout=10) == 1.5
            assert thread.apply_async(queue="other").get(timeout=10)
            assert celery_worker.hostname == "me@test"
            assert celery_worker.concurrency == 3
            assert celery_worker.pool_name == "threads"
            assert [queue.name for queue in celery_worker.consumed_queues()] == ["mine", "other"]
        """)


def test_session(suite: Suite) -> None:
    suite.run("""
        import pytest
        from celery import Task, current_app, shared_task

        class Report(Task):
            name = "report"

            def run(self):
                return "done"

        @shared_task
        def double(x):
            return 2 * x

        @pytest.fixture(scope="session")
        def celery_class_tasks():
            return [Report]

        workers = []

        @pytest.mark.parametrize("time", [1, 2])
        def test_one_worker(time, celery_session_app, celery_session_worker):
            workers.append(celery_session_worker)
            assert len(set(workers)) == 1
            assert celery_session_worker.app is celery_session_app
            assert current_app == celery_session_app
            assert double.delay(4).get(timeout=10) == 8
            assert celery_session_app.tasks["report"].delay().get(timeout=10) == "done"
        """)


def test_trap(suite: Suite) -> None:
    suite.run("""
        import threading
        import pytest
        from celery import current_app

        @pytest.fixture(scope="session")
        def use_celery_app_trap():
            return True

        def test_trapped(celery_app):
            with pytest.raises(RuntimeError, match="Test depends on current_app"):
                current_app.tasks
            seen = []

            def elsewhere():
                try:
                    current_app.tasks
                except RuntimeError as error:
                    seen.append(str(error))

            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
            assert seen == ["Test depends on current_app"]

        def test_allowed(celery_app, depends_on_current_app):
            assert current_app.main == "celery.tests"

        def test_worker(celery_app, celery_worker):
            @celery_app.task
            def current():
                return current_app.main

            assert current.delay().get(timeout=10) == "celery.tests"

        def test_untrapped():
            assert current_app.main == "default"
        """)


def test_no_worker(suite: Suite) -> None:
    suite.run(
        "def test_none(celery_worker, celery_session_worker):\n    assert celery_worker is celery_session_worker is None\n",
        NO_WORKER="1",
    )


@pytest.mark.parametrize("enabled", [True, False])
def test_logging(suite: Suite, enabled: bool) -> None:
    suite.run(f"""
        import logging
        import pytest
        from celery import shared_task
        from celery.utils.log import get_task_logger

        before = logging.getLogger().handlers[:]

        @shared_task
        def speak():
            get_task_logger(__name__).error("hello")
            logging.getLogger("other").error("you")

        @pytest.fixture(scope="session")
        def celery_enable_logging():
            return {enabled}

        def test_heard(celery_worker, caplog):
            speak.delay().get(timeout=10)
            assert "you" in caplog.messages
            assert {enabled} or "hello" in caplog.messages

        def test_put_back():
            assert not any(type(handler) is logging.StreamHandler for handler in logging.getLogger().handlers)
            handlers = logging.getLogger("celery.task").handlers
            assert all(type(handler) is logging.NullHandler for handler in handlers)
            assert logging.getLogger("celery.task").propagate
        """)


@pytest.mark.parametrize("pool", ["solo", "threads", "asyncio", "prefork"])
def test_start_worker(suite: Suite, pool: str) -> None:
    suite.write(
        "tasks.py",
        """
        from pathlib import Path
        from celery import Celery

        store = f"sqlite:///{Path(__file__).with_name('store.db')}"
        app = Celery("tasks", broker=store, backend=store)

        @app.task
        def add(x, y):
            return x + y
        """,
    )
    suite.run(f"""
        import logging, os, threading
        from celery.contrib.testing import worker
        from celery.contrib.testing.worker import TestWorkController, start_worker
        from tasks import add, app

        heard = []

        def test_it():
            connections = [
                signal.connect(lambda sender, signal, **told: heard.append((signal.name, sorted(told))), weak=False)
                for signal in (worker.test_worker_starting, worker.test_worker_started, worker.test_worker_stopped)
            ]
            environment = dict(os.environ)
            with start_worker(app, pool="{pool}", concurrency=2) as running:
                assert isinstance(running, TestWorkController)
                assert running.ensure_started() is None
                assert [add.delay(n, n).get(timeout=10) for n in range(5)] == [0, 2, 4, 6, 8]
            assert running.exitcode == 0
            assert heard == [
                ("test_worker_starting", []),
                ("test_worker_started", ["consumer", "worker"]),
                ("test_worker_stopped", ["worker"]),
            ]
            assert not [thread for thread in threading.enumerate() if thread.name.startswith(("worker ", "celery"))]
            assert {{**environment, "PYTEST_CURRENT_TEST": ""}} == {{**os.environ, "PYTEST_CURRENT_TEST": ""}}

        def test_again():
            with start_worker(app, pool="{pool}", perform_ping_check=False, logfile="worker.log"):
                assert add.delay(1, 1).get(timeout=10) == 2
        """)


def test_start_fails(suite: Suite) -> None:
    suite.run("""
        import contextlib
        import sqlite3
        import pytest
        from celery.contrib.testing.app import TestApp
        from celery.contrib.testing.worker import start_worker
        from celery.exceptions import ImproperlyConfigured, TimeoutError

        def start(app, **options):
            with start_worker(app, **options):
                raise AssertionError("it has started")

        def test_unknown_queue():
            app = TestApp(config={"task_create_missing_queues": False})
            with pytest.raises(ImproperlyConfigured, match="'nope' isn't defined"):
                start(app, queues=["nope"])

        def test_unknown_pool():
            with pytest.raises(RuntimeError, match="ended before it took tasks: Setting 'worker_pool': There is no pool 'nope'") as caught:
                start(TestApp(), pool="nope")
            assert isinstance(caught.value.__cause__, ImproperlyConfigured)

        def test_time_limit_that_cannot_be_kept():
            with pytest.raises(RuntimeError, match="the solo pool cannot enforce it"):
                start(TestApp(), pool="solo", time_limit=3)

        def test_broker_says_no(tmp_path):
            tmp_path.joinpath("file").touch()
            with pytest.raises(RuntimeError, match="ended before it took tasks: .*Cannot connect to sqlite"):
                start(TestApp(broker=f"sqlite:///{tmp_path}/file/store.db"))

        @pytest.fixture
        def busy(tmp_path):
            with contextlib.closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as connection:
                connection.execute("BEGIN EXCLUSIVE")
                yield f"sqlite:///{tmp_path}/store.db"

        def test_no_broker(busy):
            with pytest.raises(TimeoutError, match="did not start within 1 s. Its broker: sqlite"):
                start(TestApp(broker=busy), startup_timeout=1.0)

        def test_results_that_nobody_sees():
            with pytest.raises(TimeoutError, match="did not answer celery.ping within 0.5 s.*\\n.*a child of the pool"):
                start(TestApp(), pool="prefork", ping_task_timeout=0.5)

        def test_no_results():
            with pytest.raises(RuntimeError, match="needs results: No result backend is configured"):
                start(TestApp(backend="disabled://"))
        """)


def test_failing_fixture_is_an_error_of_the_test(suite: Suite) -> None:
    printed = suite.fail("""
        import pytest

        @pytest.fixture
        def celery_worker_pool():
            return "nope"

        def test_it(celery_worker):
            pass

        def test_other(celery_app):
            pass
        """)
    assert "RuntimeError: The worker gen" in printed
    assert "1 passed, 1 error" in printed


def test_queues_other_than_the_default(suite: Suite) -> None:
    suite.run("""
        from celery.contrib.testing.app import TestApp
        from celery.contrib.testing.worker import start_worker

        def test_it():
            app = TestApp()

            app.conf.task_routes = {"*": "other"}

            @app.task
            def add(x, y):
                return x + y

            with start_worker(app, queues=["other"], ping_task_timeout=5):
                assert add.delay(1, 1).get(timeout=10) == 2
        """)


def test_a_task_that_does_not_end(suite: Suite) -> None:
    suite.run("""
        import threading
        import pytest
        from celery.contrib.testing.app import TestApp
        from celery.contrib.testing.worker import start_worker

        def test_it():
            app, entered, gate = TestApp(), threading.Event(), threading.Event()

            @app.task
            def hold():
                entered.set()
                gate.wait(20)

            with pytest.raises(RuntimeError, match="failed to exit within the allocated timeout.*shutdown_timeout"):
                with start_worker(app, pool="threads", shutdown_timeout=0.1) as worker:
                    hold.delay()
                    assert entered.wait(10)
            assert worker.join(10)
            gate.set()
        """)


def test_errors_of_the_test_come_through(suite: Suite) -> None:
    suite.run("""
        import pytest
        from celery.contrib.testing.app import TestApp
        from celery.contrib.testing.worker import start_worker

        def test_it():
            with pytest.raises(KeyError), start_worker(TestApp()) as worker:
                raise KeyError
            assert worker.exitcode == 0
        """)


def test_prefork_cannot_reload(suite: Suite) -> None:
    suite.run("""
        import pytest
        from celery.contrib.testing.app import TestApp
        from celery.contrib.testing.worker import start_worker

        def test_it():
            with start_worker(TestApp(), pool="prefork", perform_ping_check=False) as worker:
                with pytest.raises(RuntimeError, match="Define tasks before the worker starts"):
                    worker.reload()
        """)


def test_unittest(suite: Suite) -> None:
    suite.run("""
        import unittest
        from celery.contrib.testing.app import TestApp
        from celery.contrib.testing.worker import start_worker

        app = TestApp()

        @app.task
        def add(x, y):
            return x + y

        class TestIt(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                cls.worker = start_worker(app)
                cls.worker.__enter__()

            @classmethod
            def tearDownClass(cls):
                cls.worker.__exit__(None, None, None)

            def test_add(self):
                assert add.delay(2, 2).get(timeout=10) == 4
        """)
