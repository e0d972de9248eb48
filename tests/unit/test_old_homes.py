"""Modules of Celery 3 that old programs import."""

from __future__ import annotations

import importlib
import sys

import pytest

from celery import Celery
from celery.exceptions import CDeprecationWarning, NotRegistered


def old(name):
    sys.modules.pop(name, None)
    with pytest.warns(CDeprecationWarning) as caught:
        module = importlib.import_module(name)
    assert len(caught) == 1
    return module


@pytest.fixture
def app():
    app = Celery("proj", broker="memory://", backend="cache+memory://", task_always_eager=True)
    app.set_current()
    return app


@pytest.mark.parametrize("home", ["celery.task", "celery.decorators"])
def test_decorators(app, home):
    module = old(home)

    @module.task
    def plain(x):
        return x

    @module.task(name="named.by.us", ignore_result=True)
    def named(x):
        return x

    assert plain.delay(3).get() == 3
    assert "named.by.us" in app.tasks


def test_the_module_is_a_decorator(app):
    module = old("celery.task")

    @module
    def plain(x):
        return x

    @module(name="called")
    def called(x):
        return x

    assert plain.app is app
    assert called.name == "called"


def test_classes_register_themselves(app):
    module = old("celery.task")

    class Base(module.Task):
        abstract = True

    class Hello(Base):
        def run(self, to):
            return f"hello {to}"

    assert Hello.delay("world").get() == "hello world"
    assert Hello.apply_async(("you",)).get() == "hello you"
    assert Hello.s("me").apply().get() == "hello me"
    assert Hello().name in app.tasks
    assert not any("Base" in name for name in app.tasks)


def test_periodic(app):
    module = old("celery.task")

    @module.periodic_task(run_every=10, name="tick")
    def tick(): ...

    class Tock(module.PeriodicTask):
        run_every = 20
        name = "tock"

        def run(self): ...

    schedule = app.conf.beat_schedule
    assert {name: entry["schedule"] for name, entry in schedule.items()} == {"tick": 10, "tock": 20}
    with pytest.raises(NotImplementedError, match="run_every"):

        class Never(module.PeriodicTask):
            def run(self): ...


def test_registry_and_execute(app):
    registry, execute = old("celery.registry"), old("celery.execute")

    @app.task(name="t")
    def fun(x):
        return x

    assert registry.tasks["t"] is app.tasks["t"]
    assert execute.apply_async(fun, (3,)).get() == 3
    assert execute.apply(fun, (3,)).get() == 3
    assert execute.delay_task("t", 3).get() == 3
    with pytest.raises(NotRegistered):
        execute.delay_task("nope")
    with pytest.raises(TypeError, match="decorate it"):
        execute.apply_async(lambda: None)
    app.conf.task_always_eager = False
    assert execute.send_task("t", (1,)).id


def test_log_and_messaging(app):
    assert old("celery.log").get_default_logger().name == "celery"
    messaging = old("celery.messaging")
    with messaging.establish_connection() as connection, connection.channel() as channel:
        assert messaging.get_consumer_set(channel).queues


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_remote_control():
    import celery.task.control as control

    for name in control.__all__:
        assert callable(getattr(control, name)), name
    assert not hasattr(control, "nosuch")
