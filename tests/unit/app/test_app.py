"""The application object: construction, laziness, configuration, identity, forks."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from datetime import UTC

import pytest

from celery import Celery, Task, _state, bugreport, current_app, shared_task
from celery.app import app_or_default, wiring
from celery.app.base import _unpickle_appattr
from celery.app.options import origin
from celery.exceptions import AlwaysEagerIgnored, ImproperlyConfigured


@pytest.fixture
def app(tmp_path):
    return Celery("proj", broker="memory://", backend=f"sqlite:///{tmp_path}/r.db", set_as_current=False)


class TestConstruction:
    def test_reads_nothing(self):
        app = Celery("proj", config_source="no.such.module", broker="memory://")
        assert not app.configured
        assert repr(app) == f"<Celery proj at {id(app):#x}>"
        with pytest.raises(ImportError):
            _ = app.conf.timezone

    def test_becomes_current(self):
        app = Celery("proj")
        assert current_app._get_current_object() is app
        other = Celery("other", set_as_current=False)
        assert current_app.main == "proj"
        other.set_current()
        assert current_app.main == "other"

    def test_other_threads_use_the_default_app(self, app):
        app.set_default()
        seen = []
        thread = threading.Thread(target=lambda: seen.append(_state.get_current_app()))
        thread.start()
        thread.join()
        assert seen == [app]
        assert app_or_default() is not None
        assert app_or_default(app) is app

    def test_settings_as_keywords(self):
        app = Celery(
            broker="memory://",
            backend="rpc://",
            task_protocol=1,
            result_expires=60,
            changes={"timezone": "UTC"},
        )
        conf = app.conf
        assert (conf.broker_url, conf.result_backend, conf.task_protocol) == ("memory://", "rpc://", 1)
        assert (conf.result_expires, conf.timezone) == (60, "UTC")

    def test_subclass_hooks(self):
        calls = []

        class Mine(Celery):
            def on_init(self):
                calls.append("init")

            def on_configure(self):
                calls.append("configure")

            def prepare_config(self, c):
                calls.append("prepare")
                return c

        app = Mine(set_as_current=False)
        assert calls == ["init"]
        app.conf.finalize()
        assert calls == ["init", "configure", "prepare"]

    def test_signals(self, app):
        calls = []

        @app.on_configure.connect
        def configuring(sender, **_):
            calls.append(("configure", sender))

        @app.on_after_configure.connect
        def configured(sender, source, **_):
            calls.append(("after_configure", sender, source))

        @app.on_after_finalize.connect
        def finalized(sender, **_):
            calls.append(("after_finalize", sender))

        _ = app.conf.timezone
        app.finalize()
        app.finalize()
        assert calls == [("configure", app), ("after_configure", app, app.conf), ("after_finalize", app)]

    def test_is_quick_to_import(self):
        code = (
            "import sys, celery; celery.Celery(); "
            "heavy = {'kombu', 'billiard', 'click', 'sqlite3', 'asyncio', 'logging.config'}; "
            "print(sorted(heavy & sys.modules.keys()))"
        )
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert out.stdout.strip() == "[]"


class TestConfiguration:
    def test_from_an_object(self, app):
        class Config:
            task_serializer = "yaml"
            broker_url = "redis://"

        assert app.config_from_object(Config) is None
        assert app.conf.task_serializer == "yaml"
        assert app.conf.broker_url == "memory://"
        app.config_from_object({"task_serializer": "pickle"})
        assert app.conf.task_serializer == "pickle"
        assert app.config_from_object({"task_serializer": "json"}, force=True) is app.conf

    def test_namespace(self, app):
        app.config_from_object(
            {"CELERY_TASK_SERIALIZER": "yaml", "task_serializer": "no"}, namespace="CELERY"
        )
        assert app.conf.task_serializer == "yaml"
        assert app.namespace == "CELERY"

    def test_from_a_variable(self, app, monkeypatch):
        with pytest.raises(ImproperlyConfigured, match="'NO_SUCH_VARIABLE' is not set"):
            app.config_from_envvar("NO_SUCH_VARIABLE")
        assert app.config_from_envvar("NO_SUCH_VARIABLE", silent=True) is False
        monkeypatch.setenv("CONFIG_MODULE", "no.such.module")
        with pytest.raises(ImportError):
            app.config_from_envvar("CONFIG_MODULE", force=True)

    def test_from_the_command_line(self, app):
        app.config_from_cmdline(["worker.prefetch_multiplier=7"], namespace="worker")
        assert app.conf.worker_prefetch_multiplier == 7

    def test_added_defaults(self, app):
        app.config_from_object({"task_serializer": "yaml", "result_serializer": "yaml"})
        app.add_defaults({"task_serializer": "pickle"})
        app.add_defaults(lambda: {"result_serializer": "pickle"})
        assert (app.conf.task_serializer, app.conf.result_serializer) == ("pickle", "pickle")

    def test_either(self, app):
        assert app.either("task_serializer", None, "x") == "x"
        assert app.either("task_serializer", None) == "json"

    def test_periodic_tasks(self, app):
        @app.task(name="t")
        def fun(x): ...

        key = app.add_periodic_task(10.0, fun.s(1), name="every ten", expires=5)
        app.add_periodic_task(20.0, fun.s(2))
        schedule = app.conf.beat_schedule
        assert schedule[key] == {
            "schedule": 10.0, "task": "t", "args": (1,), "kwargs": {}, "options": {"expires": 5},
        }  # fmt: skip
        assert schedule["t(2)"]["schedule"] == 20.0
        assert app.add_periodic_task(30.0, fun.s(3)) in app.conf.beat_schedule

    @pytest.mark.parametrize("signal", ["on_configure", "on_after_configure"])
    def test_periodic_tasks_by_handler(self, app, signal):
        """Added while the configuration is being read."""

        @app.task(name="t")
        def fun(x): ...

        def handler(sender, **_):
            sender.add_periodic_task(10.0, fun.s(1), name="every ten")

        getattr(app, signal).connect(handler)
        assert app.conf.beat_schedule["every ten"]["args"] == (1,)

    def test_bugreport(self, app):
        assert "software -> celery:" in app.bugreport()
        assert "memory" in bugreport(app)

    def test_time(self, app):
        assert app.now().tzinfo is not None
        assert app.uses_utc_timezone()
        other = Celery(timezone="Europe/Vienna", set_as_current=False)
        assert str(other.timezone) == "Europe/Vienna"
        assert not other.uses_utc_timezone()
        assert abs((other.now() - app.now().astimezone(UTC)).total_seconds()) < 60


class TestParts:
    def test_pickling(self):
        app = Celery("pp", broker="memory://", task_serializer="yaml", set_as_current=False)
        app.conf.result_expires = 5
        again = pickle.loads(pickle.dumps(app))
        assert again.main == "pp"
        assert (again.conf.broker_url, again.conf.task_serializer, again.conf.result_expires) == (
            "memory://",
            "yaml",
            5,
        )
        assert _state._tls.current_app is not again

    def test_bound_classes(self, app):
        assert app.AsyncResult("i").app is app
        assert app.Task.app is app
        assert issubclass(app.Task, Task)

        class Thing:
            app = None

            def __init__(self, a):
                self.a = a

            def __reduce_args__(self):
                return (self.a,)

        bound = app.subclass_with_self(Thing)
        assert (bound.app, bound.__name__, bound(3).a) == (app, "Thing", 3)
        assert bound(3).__reduce__() == (_unpickle_appattr, ("Thing", (3,)))

    def test_ids(self, app):
        mine = app.oid, app.thread_oid
        assert (app.oid, app.thread_oid) == mine
        seen = []
        thread = threading.Thread(target=lambda: seen.append((app.oid, app.thread_oid)))
        thread.start()
        thread.join()
        assert seen[0][0] == mine[0]
        assert seen[0][1] != mine[1]

    def test_clock(self, app):
        assert (int(app.clock), app.clock.forward(), app.clock.adjust(10), str(app.clock)) == (0, 1, 11, "11")

    def test_backend_per_thread(self, app):
        mine = app.backend
        seen = []
        thread = threading.Thread(target=lambda: seen.append(app.backend))
        thread.start()
        thread.join()
        assert seen[0] is not mine
        assert app.backend is mine

    def test_backend_shared_by_threads(self, tmp_path):
        app = Celery(
            backend=f"sqlite:///{tmp_path}/r.db", broker="memory://", result_backend_thread_safe=True
        )
        seen = [app.backend]
        thread = threading.Thread(target=lambda: seen.append(app.backend))
        thread.start()
        thread.join()
        assert seen[0] is seen[1]

    def test_brokers_are_kept(self, app):
        assert app.broker_for_write() is app.broker_for_read() is app.broker_for_write()
        with app:
            kept = app.broker_for_write()
        assert app.broker_for_write() is not kept
        app.close()

    def test_builtin_tasks(self, app):
        assert "celery.backend_cleanup" in app.tasks
        assert app.tasks["celery.backend_cleanup"].apply().state == "SUCCESS"

    def test_wiring_is_right(self):
        missing = []
        for name in wiring.TABLE:
            try:
                wiring.resolve(name)
            except (ImportError, AttributeError) as exc:
                missing.append((name, str(exc)))
        assert missing == []

    def test_send_task_by_name(self, app):
        result = app.send_task("not.known.here", (1,), {"a": 2}, queue="q", countdown=0)
        assert result.id
        assert app.broker_for_read().size("q") == 1
        app.conf.task_always_eager = True
        with pytest.warns(AlwaysEagerIgnored):
            app.send_task("x", queue="q")

    def test_bulk(self, app):
        @app.task
        def fun(x, y=0): ...

        results = app.send_many(fun, [(1,), (2,), {"x": 3, "y": 4}], queue="bulk")
        assert len({result.id for result in results}) == 3
        assert app.broker_for_read().size("bulk") == 3

    def test_bulk_remembers_its_results_if_asked(self, app):
        @app.task
        def fun(x): ...

        @app.task(bind=True)
        def outer(self, **options):
            results = app.send_many(fun, [(1,), (2,)], **options)
            return [child in self.request.children for child in results]

        assert outer.apply().get() == [False, False]
        assert outer.apply(kwargs={"add_to_parent": True}).get() == [True, True]

    def test_bulk_in_place(self, app):
        @app.task
        def fun(x, y=0):
            return x + y

        app.conf.task_always_eager = True
        assert [r.get() for r in app.send_many(fun, [(1,), {"x": 3, "y": 4}])] == [1, 7]
        with pytest.warns(AlwaysEagerIgnored) as caught:
            app.send_many("x", [(1,)], queue="q")
        assert [w.filename for w in caught] == [__file__]

    def test_signature(self, app):
        assert app.signature("x", (1,)).app is app

    def test_worker_main_needs_no_word(self, app, monkeypatch):
        seen = []
        monkeypatch.setattr(app, "start", lambda argv: seen.append(argv))
        app.worker_main(["-l", "INFO"])
        app.worker_main(["worker"])
        assert seen == [["worker", "-l", "INFO"], ["worker"]]


class TestDiscovery:
    @pytest.fixture
    def packages(self, tmp_path, monkeypatch):
        names = [f"{kind}_{tmp_path.name}" for kind in ("shop", "empty")]
        for name in names:
            (tmp_path / name).mkdir()
            (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / names[0] / "tasks.py").write_text(
            f"from celery import shared_task\n@shared_task(name='{names[0]}')\ndef fun(): pass\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        return names

    def test_is_lazy(self, app, packages):
        app.autodiscover_tasks(lambda: packages)
        assert f"{packages[0]}.tasks" not in sys.modules
        app.loader.import_default_modules()
        assert packages[0] in app.tasks

    def test_forced(self, app, packages):
        app.autodiscover_tasks(packages, force=True)
        assert f"{packages[0]}.tasks" in sys.modules


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_opens_its_own(app):
    app.on_after_fork.connect(lambda sender, **_: forks.append(sender), weak=False)
    forks = []
    broker, backend = app.broker_for_write(), app.backend
    names = app.oid, app.thread_oid, origin()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        fresh = (
            app.broker_for_write() is not broker,
            app.backend is not backend,
            not {app.oid, app.thread_oid, origin()} & {*names},
            forks == [app],
        )
        os.write(writer, repr(fresh).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reader, 100) == b"(True, True, True, True)"
    os.close(reader)
    os.close(writer)
    assert app.broker_for_write() is broker


def test_shared_task_without_any_app():
    code = (
        "from celery import shared_task, current_app\n"
        "@shared_task\ndef add(x, y): return x + y\n"
        "assert add(1, 2) == 3\nprint(add.name, current_app.main)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["default.add", "default"]
    assert shared_task
