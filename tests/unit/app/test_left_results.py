"""A success that a task leaves to whoever runs it: what the task, and what comes after it, see of that."""

from __future__ import annotations

import asyncio
import threading

import pytest
from tests.unit.app.test_trace import job_of

from celery import Celery, Task, signals
from celery.app.jobs import Job, Verdict
from celery.app.trace import JobRunner


@pytest.fixture
def app(tmp_path):
    return Celery(
        "proj", broker="memory://", backend=f"sqlite:///{tmp_path}/results.db", set_as_current=False
    )


def run(app, job: Job):
    return JobRunner(app, "h").run(job, leave=1000)


def test_what_a_task_stores_itself_is_stored_at_once(app):
    @app.task(bind=True)
    def fun(self):
        self.update_state(state="SUCCESS", meta="its own")
        return app.backend.get_state(self.request.id)

    outcome = run(app, job_of(fun))
    assert outcome.detail == "'SUCCESS'"
    if outcome.row is not None:
        app.backend._rows.store([outcome.row])
    assert app.backend.get_result("i") == "its own", "the first success counts, as without leaving"


def test_a_handler_that_reads_the_result_finds_it(app):
    class Reading(Task):
        def after_return(self, status, retval, task_id, *rest):
            read.append(self.AsyncResult(task_id).get(timeout=5, disable_sync_subtasks=False))

    read = []

    @app.task(base=Reading)
    def fun():
        return 7

    outcome = run(app, job_of(fun))
    assert read == [7]
    assert (outcome.verdict, outcome.row) == (Verdict.SUCCESS, None)


def test_a_receiver_that_reads_the_result_finds_it(app):
    read = []

    def receiver(task_id, **_):
        read.append(app.backend.get_task_meta(task_id)["result"])

    @app.task
    async def fun():
        return 7

    signals.task_postrun.connect(receiver)
    try:
        outcome = asyncio.run(JobRunner(app, "h").arun(job_of(fun)))
    finally:
        signals.task_postrun.disconnect(receiver)
    assert (read, outcome.row) == ([7], None)


def test_what_a_handler_could_not_have_stored_stays_left(app, monkeypatch):
    """Whoever runs the task tries again, or tells."""

    class Reading(Task):
        def after_return(self, *args):
            monkeypatch.setattr(app.backend._rows, "_write", refuse)
            app.backend.flush()

    def refuse(rows):
        return list(rows)

    @app.task(base=Reading)
    def fun():
        return 7

    assert run(app, job_of(fun)).row is not None


def test_the_end_of_a_chords_member_is_stored_where_it_ran(tmp_path):
    """Also where chords look at the members: a store that counts by itself finds the result."""
    app, other = (
        Celery("proj", broker="memory://", backend=f"db+sqlite:///{tmp_path}/r.db", set_as_current=False)
        for _ in range(2)
    )
    seen = []
    app.backend.on_chord_part_return = lambda request, *rest: seen.append(other.backend.get_state(request.id))

    @app.task
    def fun():
        return 7

    job = job_of(fun, group_id="g", chord=fun.si())
    assert run(app, job).row is None
    assert seen == ["SUCCESS"]


def test_a_value_that_cannot_be_encoded_is_told_in_a_thread(app, monkeypatch):
    """Storing the failure may take long, and must not stop the loop on which other tasks run."""

    @app.task
    async def fun():
        return object()

    threads = []
    store = type(app.backend)._store_result

    def storing(self, *args, **kwargs):
        found = store(self, *args, **kwargs)
        threads.append(threading.get_ident())
        return found

    monkeypatch.setattr(type(app.backend), "_store_result", storing)
    outcome = asyncio.run(JobRunner(app, "h").arun(job_of(fun)))
    assert outcome.verdict is Verdict.FAILURE
    assert app.backend.get_state("i") == "FAILURE"
    assert threads
    assert threading.get_ident() not in threads
