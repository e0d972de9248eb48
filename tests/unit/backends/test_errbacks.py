"""Which errbacks are called here, and which are sent."""

from __future__ import annotations

import json
import logging

import pytest

from celery import Celery, Task, chain
from celery.app.context import Context
from celery.signals import before_task_publish


class Errbacks:
    def __init__(self):
        self.called, self.sent = [], []
        self.app = app = Celery("t", broker="memory://", backend="cache+memory://", set_as_current=False)
        called = self.called

        class OfAClass(Task):
            name = "of_a_class"

            def run(self, request, exc, tb):
                called.append("of_a_class")

        app.register_task(OfAClass())

        @app.task(name="new")
        def new(request, exc, traceback):
            called.append(("new", request.id, exc, traceback))

        @app.task(name="new_with")
        def new_with(request, exc, traceback, extra):
            called.append(("new_with", extra, exc))

        @app.task(name="old")
        def old(uuid):
            called.append("old")

        @app.task(name="bound", bind=True)
        def bound(self, uuid, more=None):
            called.append("bound")

        @app.task(name="star")
        def star(*args):
            called.append(("star", len(args)))

        @app.task(name="keywords")
        def keywords(a, *, b=None):
            called.append("keywords")

        @app.task(name="given")
        def given(a, b, c=1):
            called.append("given")

        @app.task(name="breaks")
        def breaks(request, exc, traceback):
            raise KeyError("from the errback")

        before_task_publish.connect(self._on_publish, weak=False)

    def _on_publish(self, sender=None, body=None, headers=None, **_):
        self.sent.append((sender, list(body[0]), headers["parent_id"], headers["root_id"]))

    def fail(self, *errbacks, **more):
        request = Context(
            id="id", root_id="root", task="t", args=(), kwargs={}, delivery_info={}, errbacks=list(errbacks)
        )
        self.exc = ValueError("x")
        self.app.backend.mark_as_failure("id", self.exc, traceback="tb", request=request, **more)

    def s(self, name, *args, **kwargs):
        return self.app.tasks[name].s(*args, **kwargs)


@pytest.fixture
def errbacks():
    made = Errbacks()
    yield made
    before_task_publish.disconnect(made._on_publish)


def test_new_style_is_called_here(errbacks):
    errbacks.fail(errbacks.s("new"), dict(errbacks.s("new_with", 7)), errbacks.s("star"))
    exc = errbacks.exc
    assert errbacks.called == [("new", "id", exc, "tb"), ("new_with", 7, exc), ("star", 3)]
    assert errbacks.sent == []


@pytest.mark.parametrize("name", ["old", "bound", "of_a_class", "keywords"])
def test_old_style_is_sent(errbacks, name):
    errbacks.fail(errbacks.s(name))
    assert errbacks.called == []
    assert errbacks.sent == [(name, ["id"], "id", "root")]


def test_arguments_that_are_given_do_not_count(errbacks):
    errbacks.fail(errbacks.s("given", b=1, c=2))
    assert errbacks.sent == [("given", ["id"], "id", "root")]


def test_a_task_not_known_here_is_sent(errbacks):
    errbacks.fail(dict(errbacks.app.signature("elsewhere", args=(3,))))
    assert errbacks.sent == [("elsewhere", ["id", 3], "id", "root")]


def test_what_an_errback_raises_is_logged_and_goes_no_further(errbacks, caplog):
    with caplog.at_level(logging.ERROR, logger="celery.backends.base"):
        errbacks.fail(errbacks.s("breaks"), errbacks.s("new"))
    assert "Errback 'breaks' raised an exception" in caplog.text
    assert len(errbacks.called) == 1


def test_a_chain_that_was_to_be_the_body_of_a_chord(errbacks):
    steps = [errbacks.s(name).set(task_id=name) for name in ("old", "bound")]
    steps[0].link_error(errbacks.s("new"))
    body = chain(*steps, app=errbacks.app).set(task_id="bound", link_error=[errbacks.s("new_with", 7)])
    exc = ValueError("x")
    errbacks.app.backend.fail_signature(json.loads(json.dumps(body)), exc, traceback="tb")
    assert errbacks.called == [("new_with", 7, exc), ("new", "old", exc, "tb")]
    assert errbacks.app.backend.get_state("bound") == "FAILURE"


def test_not_for_retries_revokes_or_when_told_not_to(errbacks):
    errbacks.fail(errbacks.s("new"), call_errbacks=False)
    request = Context(id="id", errbacks=[errbacks.s("new")])
    errbacks.app.backend.mark_as_retry("id", ValueError(), request=request)
    errbacks.app.backend.mark_as_revoked("id", "revoked", request=request)
    assert errbacks.called == errbacks.sent == []
