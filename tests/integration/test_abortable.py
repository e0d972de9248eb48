"""`celery.contrib.abortable`: a task that is asked to end, and looks."""

from __future__ import annotations

import threading

import pytest

from celery import Celery
from celery.contrib.abortable import ABORTED, AbortableAsyncResult, AbortableTask
from celery.contrib.testing.worker import start_worker


@pytest.fixture
def app():
    return Celery("abortable", broker="memory://", backend="cache+memory://", set_as_current=False)


def test_a_task_that_looks_ends(app):
    running, go_on = threading.Event(), threading.Event()

    @app.task(bind=True, base=AbortableTask)
    def count(self):
        before = self.is_aborted()
        running.set()
        assert go_on.wait(10)
        return [before, self.is_aborted(), self.is_aborted(task_id="another")]

    with start_worker(app, pool="threads", perform_ping_check=False):
        result = count.delay()
        assert isinstance(result, AbortableAsyncResult)
        assert running.wait(10)
        assert not result.is_aborted()
        result.abort()
        assert result.is_aborted()
        assert result.state == ABORTED
        assert count.AsyncResult(result.id).is_aborted()
        go_on.set()
        assert result.get(timeout=10) == [False, True, False]
    assert not result.is_aborted()


def test_results_of_another_class_have_no_mark(app):
    class Plain(AbortableTask):
        abstract = True

        def AsyncResult(self, task_id):
            return app.AsyncResult(task_id)

    @app.task(base=Plain)
    def work(): ...

    assert not work.is_aborted(task_id="some")


def test_it_is_a_base():
    assert AbortableTask.abstract
    assert not AbortableTask.name
