"""`task_routes` in all its forms, and who wins."""

from __future__ import annotations

import re
import sys
import types

import pytest

from celery import Celery
from celery.app.routes import MapRoute, Router, expand_router_string, prepare
from celery.exceptions import ImproperlyConfigured, QueueNotFound


@pytest.fixture
def app():
    app = Celery("routes", broker="memory://", set_as_current=False)
    yield app
    app.close()


class OldRouter:
    def route_for_task(self, task, args=None, kwargs=None):
        return {"queue": "old"} if task == "old.task" else None


def by_function(name, args, kwargs, options, task=None, **kw):
    return {"queue": "mine", "priority": 3} if name == "fun" else None


def where(app, name, **options):
    routed = app.amqp.router.route(options, name)
    return {key: getattr(value, "name", value) for key, value in routed.items()}


class TestMapRoute:
    def test_exact_names_come_before_patterns(self):
        route = MapRoute({"a.*": "glob", "a.b": "exact"})
        assert route("a.b") == {"queue": "exact"}
        assert route("a.c") == {"queue": "glob"}
        assert route("b") is None

    def test_patterns_are_tried_in_their_order(self):
        route = MapRoute([("feed.*", {"queue": "feeds"}), (re.compile(r"(feed|web)\..*"), {"queue": "both"})])
        assert route("feed.x") == {"queue": "feeds"}
        assert route("web.x") == {"queue": "both"}

    def test_what_it_gives_may_be_changed(self):
        route = MapRoute({"a": {"queue": "q"}})
        route("a").clear()
        assert route("a") == {"queue": "q"}

    def test_glob_is_anchored(self):
        assert MapRoute({"feed.*": "q"})("my.feed.x") is None


@pytest.mark.parametrize(
    ("routes", "count"),
    [
        (None, 0),
        ({}, 1),
        ({"a": "q"}, 1),
        ([{"a": "q"}], 1),
        (([("a.*", "q")],), 1),
        (by_function, 1),
        ([by_function, OldRouter()], 2),
        ("celery.app.routes:prepare", 1),
    ],
)
def test_prepare(routes, count):
    assert len(prepare(routes)) == count


def test_dotted_name_of_an_old_class_is_instantiated(monkeypatch):
    module = types.ModuleType("their_routers")
    module.OldRouter, module.by_function = OldRouter, by_function
    monkeypatch.setitem(sys.modules, "their_routers", module)
    assert isinstance(expand_router_string("their_routers:OldRouter"), OldRouter)
    assert isinstance(expand_router_string("their_routers.OldRouter"), OldRouter)
    assert expand_router_string("their_routers:by_function") is by_function


def test_unknown_dotted_name():
    with pytest.raises(ImportError):
        prepare("no.such.module:router")


@pytest.mark.parametrize(
    "routes", [5, [5], True, {3: "q"}, {"t.f": 5}, [("t.f",)], [[("t.f", ["q"])]]], ids=repr
)
def test_what_is_no_router_is_refused_at_the_call(app, routes):
    app.conf.task_routes = routes
    with pytest.raises(ImproperlyConfigured, match=r"\Atask_routes[^\n]*\Z"):
        app.send_task("t.f")


class TestRouting:
    def test_default_queue(self, app):
        assert where(app, "x") == {"queue": "celery"}

    @pytest.mark.parametrize(
        ("name", "queue"), [("fun", "mine"), ("old.task", "old"), ("feed.a", "feeds"), ("other", "celery")]
    )
    def test_first_answer_counts(self, app, name, queue):
        app.conf.task_routes = [by_function, {"feed.*": "feeds", "fun": "late"}, OldRouter()]
        assert where(app, name)["queue"] == queue

    def test_call_options_win_key_by_key(self, app):
        app.conf.task_routes = {"k": {"queue": "kq", "routing_key": "rk", "priority": 5}}
        assert where(app, "k", routing_key="mine", priority=None) == {
            "queue": "kq",
            "routing_key": "mine",
            "priority": 5,
        }
        assert where(app, "k", queue="other")["queue"] == "other"

    def test_a_route_without_queue_leaves_it_open(self, app):
        app.conf.task_routes = {"k": {"routing_key": "rr"}}
        assert where(app, "k") == {"routing_key": "rr"}

    def test_an_empty_route_is_no_route(self, app):
        app.conf.task_routes = [lambda *a, **k: {}]
        assert where(app, "k") == {"queue": "celery"}

    @pytest.mark.parametrize(
        "change", [lambda c, v: setattr(c, "task_routes", v), lambda c, v: c.update(task_routes=v)]
    )
    def test_a_change_is_seen(self, app, change):
        change(app.conf, {"k": "first"})
        assert where(app, "k")["queue"] == "first"
        change(app.conf, {"k": "second"})
        assert where(app, "k")["queue"] == "second"

    def test_what_routers_get(self, app):
        seen = []
        app.conf.task_routes = [lambda *args, **kw: seen.append((args, kw))]
        app.amqp.router.route({"queue": "q", "priority": 1}, "n", (1,), {"a": 2}, "task")
        (name, args, kwargs, options), kw = seen[0]
        assert (name, args, kwargs, kw) == ("n", (1,), {"a": 2}, {"task": "task"})
        assert options["queue"].name == "q"
        assert options["priority"] == 1

    def test_nonsense_is_named(self, app):
        app.conf.task_routes = [lambda *a, **k: 5]
        with pytest.raises(TypeError, match="answered 5 for task k"):
            app.amqp.router.route({}, "k")

    def test_queue_not_found(self, app):
        app.conf.update(task_create_missing_queues=False, task_routes={"k": "nope"})
        with pytest.raises(QueueNotFound, match="Queue 'nope' missing from task_queues"):
            app.amqp.router.route({}, "k")
        with pytest.raises(QueueNotFound):
            app.amqp.router.route({"queue": "nope"}, "other")

    def test_router_by_itself(self):
        assert Router().route({}, "x") == {}
        assert Router([MapRoute({"x": {"a": 1}})]).route({"b": 2}, "x") == {"a": 1, "b": 2}
