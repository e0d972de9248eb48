"""Tracing: what each outcome does and in which order, and from job to outcome."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import logging
import os
import pickle
import threading
import weakref

import pytest

from celery import Celery, Task, signals
from celery.app import sending, trace
from celery.app.jobs import Job, Verdict
from celery.app.trace import JobRunner, build_tracer
from celery.backends.encoding import restore_exception
from celery.exceptions import (
    BackendStoreError,
    EncodeError,
    Ignore,
    OperationalError,
    Reject,
    Retry,
    WorkerLostError,
)


class Beyond(BaseException):
    """One that `except Exception` does not catch."""


@pytest.fixture
def app(tmp_path):
    return Celery(
        "proj", broker="memory://", backend=f"sqlite:///{tmp_path}/results.db", set_as_current=False
    )


@pytest.fixture
def sent(app):
    """What the app sent, instead of sending it."""
    calls = []
    app.send_task = lambda name, args, kwargs, **options: calls.append((name, list(args or ()), options))
    return calls


@pytest.fixture
def received():
    """Connects signals for one test: `received(name)` gives the list of what was sent."""
    undo = []

    def connect(*names):
        seen = []
        for name in names:
            signal = getattr(signals, name)

            def receive(sender=None, _name=name, **named):
                named.pop("signal")
                seen.append((_name, sender, named))

            signal.connect(receive, weak=False)
            undo.append((signal, receive))
        return seen

    yield connect
    for signal, receive in undo:
        signal.disconnect(receive)


def traced(task, *args, **request):
    tracer = build_tracer(task.name, task, app=task.app, hostname="h@x")
    return tracer("i", args, {}, {"id": "i", **request})


def job_of(task, *args, headers=None, **options):
    """A job as a worker makes it of a message that `task` was sent by."""
    app = task.app
    settled = sending.send_options(
        app, task.name, args, {}, task_type=task, task_id="i", headers=headers, **options
    )
    out = sending.compose(app, task.name, args, {}, settled)
    delivery = {"exchange": "", "routing_key": "celery", "priority": 0, "redelivered": False}
    return Job(1, "i", task.name, out.headers.raw, out.properties.raw, out.body, delivery)


class Recording(Task):
    """Notes every handler call."""

    abstract = True

    def before_start(self, *args):
        self.notes.append("before_start")

    def on_success(self, *args):
        self.notes.append(("on_success", self.app.backend.get_state(args[1]), *args))

    def on_failure(self, exc, *args):
        self.notes.append(("on_failure", self.app.backend.get_state(args[0]), repr(exc), *args[:3]))

    def on_retry(self, exc, *args):
        self.notes.append(("on_retry", repr(exc), *args[:3]))

    def after_return(self, *args):
        self.notes.append(("after_return", *args))


def recording(app, fun, **options):
    task = app.task(base=Recording, name="recording", notes=[], **options)(fun)
    app.finalize()
    return app.tasks[task.name]


class TestOutcomes:
    def test_success_in_order(self, app, received):
        task = recording(app, lambda x: x)
        seen = received("task_prerun", "task_success", "task_postrun")
        result = traced(task, 5)
        assert (result.retval, result.info, result.retstr) == (5, None, "5")
        assert result.runtime >= 0
        assert task.notes == [
            "before_start",
            ("on_success", "SUCCESS", 5, "i", (5,), {}),
            ("after_return", "SUCCESS", 5, "i", (5,), {}, None),
        ]
        assert [name for name, _, _ in seen] == ["task_prerun", "task_success", "task_postrun"]
        assert seen[0][2] == {"task_id": "i", "task": task, "args": (5,), "kwargs": {}}
        assert seen[2][2] == {**seen[0][2], "retval": 5, "state": "SUCCESS"}
        assert app.backend.get_task_meta("i")["result"] == 5

    def test_failure_in_order(self, app, received):
        def fail(x):
            raise KeyError(x)

        task = recording(app, fail)
        seen = received("task_failure", "task_postrun")
        result = traced(task, 5)
        assert result.info.state == "FAILURE"
        assert repr(result.retval.exception) == "KeyError(5)"
        assert task.notes[1:] == [
            ("on_failure", "FAILURE", "KeyError(5)", "i", (5,), {}),
            ("after_return", "FAILURE", result.info.retval, "i", (5,), {}, None),
        ]
        assert seen[0][2].keys() == {"task_id", "exception", "args", "kwargs", "traceback", "einfo"}
        assert seen[1][2]["state"] == "FAILURE"
        meta = app.backend.get_task_meta("i")
        assert meta["status"] == "FAILURE"
        assert "in fail" in meta["traceback"]

    def test_retry(self, app, sent, received):
        def again(self):
            raise self.retry(exc=KeyError(1), countdown=4)

        task = recording(app, again, bind=True)
        seen = received("task_retry", "task_postrun")
        result = traced(task)
        assert result.info.state == "RETRY"
        assert [note if isinstance(note, str) else note[0] for note in task.notes] == [
            "before_start",
            "on_retry",
        ]
        assert sent[0][2]["retries"] == 1
        assert seen[0][2].keys() == {"request", "reason", "einfo"}
        assert seen[1][2]["state"] == "RETRY"
        assert app.backend.get_state("i") == "RETRY"
        assert app.backend.get_children("i") == [[["i", None], None]]

    @pytest.mark.parametrize(
        ("exc", "state", "stored"),
        [
            (Ignore("r"), "IGNORED", "PENDING"),
            (Reject("r"), "REJECTED", "FAILURE"),
            (Reject("r", requeue=True), "REJECTED", "PENDING"),
        ],
    )
    def test_no_outcome(self, app, exc, state, stored):
        def fun():
            raise exc

        task = recording(app, fun)
        assert traced(task).info.state == state
        assert task.notes == ["before_start"]
        assert app.backend.get_state("i") == stored

    def test_a_rejection_ends_the_wait(self, app):
        @app.task
        def fun():
            raise Reject("r")

        traced(fun)
        with pytest.raises(Reject, match="'r', False"):
            app.AsyncResult("i").get(timeout=5)

    def test_a_retry_that_cannot_be_sent_ends_the_wait(self, app):
        @app.task(bind=True, typing=False)
        def fun(self):
            raise self.retry(args=(object(),), countdown=0)

        assert traced(fun, called_directly=False).info.state == "REJECTED"
        with pytest.raises(Reject, match="object"):
            app.AsyncResult("i").get(timeout=5)

    def test_before_start_may_fail_the_task(self, app):
        class Refusing(Task):
            name = "refusing"

            def before_start(self, *args):
                raise KeyError("no")

            def run(self):
                raise AssertionError

        task = app.register_task(Refusing())
        assert repr(traced(task).retval.exception) == "KeyError('no')"

    @pytest.mark.parametrize("handler", ["on_success", "after_return", "on_failure"])
    def test_errors_of_handlers_change_nothing(self, app, caplog, handler):
        def broken(self, *args):
            raise KeyError("handler")

        def run(self):
            if handler == "on_failure":
                raise ValueError
            return 3

        task = app.register_task(type("Broken", (Task,), {"name": "broken", handler: broken, "run": run})())
        wanted = "FAILURE" if handler == "on_failure" else "SUCCESS"
        result = traced(task)
        assert (result.info.state if result.info else "SUCCESS") == wanted
        assert app.backend.get_state("i") == wanted
        assert f"Task handler {handler} raised an exception" in caplog.text

    def test_a_handler_may_reject(self, app):
        class Rejecting(Task):
            name = "rejecting"

            def on_success(self, *args):
                raise Reject("late")

            def run(self): ...

        assert traced(app.register_task(Rejecting())).info.state == "REJECTED"
        assert app.backend.get_state("i") == "SUCCESS"

    @pytest.mark.parametrize("exc", [SystemExit(3), KeyboardInterrupt()])
    def test_what_would_end_a_process(self, app, exc):
        @app.task
        def fun():
            raise exc

        result = traced(fun)
        assert result.info.state == "FAILURE"
        assert isinstance(result.retval.exception, WorkerLostError)
        assert repr(exc) in str(result.retval.exception)

    @pytest.mark.parametrize("exc", [asyncio.CancelledError("x"), GeneratorExit(), Beyond(3)], ids=repr)
    def test_other_base_exceptions_are_stored_as_they_are(self, app, received, exc):
        told = []
        seen = received("task_failure", "task_postrun")

        @app.task(on_failure=lambda *args: told.append(args), after_return=lambda *args: told.append(args))
        def fun():
            raise exc

        result = traced(fun)
        stored = app.backend.get_task_meta("i")
        assert (stored["status"], type(stored["result"])) == ("FAILURE", type(exc))
        assert stored["result"].args == exc.args
        assert result.retval.exception is exc
        assert [name for name, _, _ in seen] == ["task_failure", "task_postrun"]
        assert told == []

    def test_memory_error_is_a_failure(self, app):
        @app.task
        def fun():
            raise MemoryError

        assert traced(fun).info.state == "FAILURE"

    def test_a_result_that_cannot_be_stored_as_json(self, app):
        @app.task
        def fun():
            return object()

        result = traced(fun)
        assert result.info.state == "FAILURE"
        assert isinstance(result.retval.exception, EncodeError)
        assert app.backend.get_state("i") == "FAILURE"

    def test_an_exception_that_cannot_be_pickled(self, app):
        class Odd(Exception):
            def __init__(self, a, b):
                super().__init__(a)

        @app.task
        def fun():
            raise Odd(1, 2)

        result = traced(fun)
        assert "Odd" in repr(result.retval.exception)
        assert app.backend.get_state("i") == "FAILURE"

    def test_an_exception_whose_text_raises(self, app):
        class Mute(Exception):
            def __str__(self):
                raise RuntimeError("no text")

            __repr__ = __str__

        @app.task
        def fun():
            raise Mute

        assert traced(fun).info.state == "FAILURE"

    def test_started(self, app):
        states = []

        @app.task(bind=True, track_started=True)
        def fun(self):
            meta = self.backend.get_task_meta(self.request.id, cache=False)
            states.append((meta["status"], meta["result"]))

        traced(fun, hostname="h@x")
        assert states == [("STARTED", {"pid": os.getpid(), "hostname": "h@x"})]

    @pytest.mark.parametrize(
        ("of_call", "of_task", "stored"),
        [(None, False, True), (None, True, False), (False, True, True), (True, False, False)],
    )
    def test_whether_results_are_wanted(self, app, of_call, of_task, stored):
        @app.task(ignore_result=of_task)
        def fun():
            return 1

        traced(fun, ignore_result=of_call)
        assert (app.backend.get_state("i") == "SUCCESS") == stored

    def test_failures_may_be_stored_anyway(self, app):
        @app.task(ignore_result=True, store_errors_even_if_ignored=True)
        def fun():
            raise KeyError

        traced(fun)
        assert app.backend.get_state("i") == "FAILURE"

    def test_a_success_is_not_repeated(self, app):
        app.conf.worker_deduplicate_successful_tasks = True
        runs = []

        @app.task(acks_late=True)
        def fun():
            runs.append(1)

        assert app.backend.persistent
        traced(fun, delivery_info={"redelivered": True})
        result = traced(fun, delivery_info={"redelivered": True})
        assert (len(runs), result.info) == (1, None)
        traced(fun, delivery_info={"redelivered": False})
        assert len(runs) == 2

    def test_an_error_of_ours(self, app, received, monkeypatch):
        @app.task
        def fun(): ...

        def broken(*args):
            raise RuntimeError("ours")

        tracer = build_tracer(fun.name, fun, app=app)
        monkeypatch.setattr(trace, "_log_success", broken)
        seen = received("task_internal_error")
        with pytest.warns(RuntimeWarning, match="Exception raised outside body: RuntimeError"):
            result = tracer("i", (), {}, {})
        assert result.retval.internal
        assert seen[0][2].keys() == {
            "task_id", "args", "kwargs", "request", "exception", "traceback", "einfo",
        }  # fmt: skip

    def test_nothing_is_kept(self, app):
        class Thing: ...

        things = []

        @app.task(ignore_result=True, throws=(KeyError,))
        def fun(fail):
            thing = Thing()
            things.append(weakref.ref(thing))
            if fail:
                raise KeyError(thing)

        traced(fun, False)
        traced(fun, True)
        gc.collect()
        assert [thing() for thing in things] == [None, None]

    def test_children(self, app):
        @app.task
        def child(): ...

        @app.task
        def parent():
            return child.delay().id

        @app.task(trail=False)
        def forgetful():
            child.delay()

        child_id = traced(parent).retval
        assert app.backend.get_task_meta("i")["children"][0][0][0] == child_id

        tracer = build_tracer(forgetful.name, forgetful, app=app)
        tracer("j", (), {}, {})
        assert app.backend.get_task_meta("j")["children"] == []


class TestLinks:
    def test_callbacks_come_before_the_result(self, app):
        order = []
        app.send_task = lambda name, args, kwargs, **options: order.append(
            (name, list(args), options["parent_id"], options["root_id"], app.backend.get_state("i"))
        )

        @app.task
        def fun():
            return 3

        links = [{"task": "a", "args": [1]}, {"task": "b", "immutable": True}]
        traced(fun, callbacks=links, root_id="r")
        assert order == [("a", [3, 1], "i", "r", "PENDING"), ("b", [], "i", "r", "PENDING")]

    def test_the_next_step_of_a_chain(self, app, sent):
        @app.task
        def fun():
            return 3

        traced(fun, chain=[{"task": "last"}, {"task": "next"}])
        assert (sent[0][0], sent[0][1]) == ("next", [3])
        assert sent[0][2]["chain"] == [{"task": "last"}]

    def test_a_broker_that_refuses_fails_the_task(self, app):
        def refuse(*args, **kwargs):
            raise OperationalError("no broker")

        app.send_task = refuse

        @app.task
        def fun(): ...

        assert traced(fun, callbacks=[{"task": "a"}]).info.state == "FAILURE"

    def test_priority_is_handed_on_if_configured(self, app, sent):
        app.conf.task_inherit_parent_priority = True

        @app.task
        def fun(): ...

        traced(fun, callbacks=[{"task": "a"}], delivery_info={"priority": 7})
        assert sent[0][2]["priority"] == 7

    def test_errbacks_of_both_kinds(self, app, sent):
        calls = []

        @app.task(name="new")
        def new(request, exc, traceback):
            calls.append((request.id, repr(exc), "KeyError" in traceback))

        @app.task(name="old")
        def old(task_id): ...

        @app.task
        def fun():
            raise KeyError(1)

        traced(fun, errbacks=[{"task": "new"}, {"task": "old"}, {"task": "elsewhere"}])
        assert calls == [("i", "KeyError(1)", True)]
        assert [(name, args) for name, args, _ in sent] == [("old", ["i"]), ("elsewhere", ["i"])]


class TestLogging:
    def test_lines(self, app, caplog, sent):
        caplog.set_level(logging.INFO, "celery.app.trace")

        @app.task(name="ok")
        def ok():
            return 3

        @app.task(name="bad")
        def bad():
            raise KeyError(1)

        @app.task(name="expected", throws=(KeyError,))
        def expected():
            raise KeyError(1)

        @app.task(name="again", bind=True)
        def again(self):
            raise self.retry(exc=KeyError(1), countdown=5)

        @app.task(name="odd")
        def odd(exc):
            raise exc

        traced(ok)
        traced(ok, shadow="shown")
        traced(bad)
        traced(expected)
        traced(again)
        traced(odd, Ignore("x"))
        traced(odd, Reject("x"))
        texts = [
            (r.levelname, r.getMessage().partition(" succeeded in ")[0], bool(r.exc_info))
            for r in caplog.records
        ]
        assert texts == [
            ("INFO", "Task ok[i]", False),
            ("INFO", "Task shown[i]", False),
            ("ERROR", "Task bad[i] raised unexpected: KeyError(1)", True),
            ("INFO", "Task expected[i] raised expected: KeyError(1)", False),
            ("INFO", "Task again[i] retry: Retry in 5s: KeyError(1)", False),
            ("INFO", "Task odd[i] ignored", False),
            ("WARNING", "Task odd[i] reject requeue=False: x", True),
        ]
        assert caplog.records[0].data == {
            "id": "i", "name": "ok", "return_value": "3", "args": "()", "kwargs": "{}",
            "runtime": caplog.records[0].data["runtime"],
        }  # fmt: skip
        assert caplog.records[2].data["hostname"] is None
        assert caplog.records[2].data["internal"] is False

    def test_formats_may_be_assigned(self, app, caplog, monkeypatch):
        caplog.set_level(logging.INFO, "celery.app.trace")
        monkeypatch.setattr(trace, "LOG_SUCCESS", "did %(name)s")
        monkeypatch.setattr(trace, "LOG_FAILURE", "failed %(name)s")

        @app.task(name="x")
        def fun(fail):
            return 1 / (not fail)

        traced(fun, False)
        traced(fun, True)
        assert [record.getMessage() for record in caplog.records] == ["did x", "failed x"]


class TestPatching:
    """What tools do to tasks and tracers."""

    def test_build_tracer_is_looked_up(self, app, monkeypatch):
        seen = []
        original = trace.build_tracer

        def patched(name, task, *args, **kwargs):
            tracer = original(name, task, *args, **kwargs)

            def inner(*args):
                seen.append((name, args[3].get("headers")))
                return tracer(*args)

            return inner

        monkeypatch.setattr(trace, "build_tracer", patched)

        @app.task(name="x")
        def fun():
            return 1

        outcome = JobRunner(app, "h").run(job_of(fun, headers={"trace-id": "t"}))
        assert outcome.verdict is Verdict.SUCCESS
        assert fun.apply().get() == 1
        assert seen == [("x", {"trace-id": "t"}), ("x", None)]

    def test_run_may_be_replaced(self, app):
        @app.task
        def fun():
            return 1

        fun.run = lambda: 2
        assert traced(fun).retval == 2

    def test_task_has_custom(self, app):
        class WithCall(Task):
            name = "with-call"

            def __call__(self): ...

        @app.task
        def fun(): ...

        assert trace.task_has_custom(app.register_task(WithCall()), "__call__")
        assert not trace.task_has_custom(fun, "__call__")

    def test_optimizations(self, app):
        @app.task
        def fun(): ...

        trace.setup_worker_optimizations(app, "h")
        assert fun.__trace__ is not None
        trace.reset_worker_optimizations(app)
        assert fun.__trace__ is None

    def test_trace_task_reports_errors_of_tools(self, app):
        @app.task
        def fun(): ...

        def broken(*args):
            raise RuntimeError("tool")

        fun.__trace__ = broken
        with pytest.warns(RuntimeWarning, match="outside body"):
            assert trace.trace_task(fun, "i", (), {}).info.state == "FAILURE"


class TestJobRunner:
    def test_success(self, app):
        @app.task(bind=True)
        def fun(self, x, y):
            r = self.request
            return [
                x + y, r.id, r.task, r.hostname, r.called_directly, r.is_eager, r.retries, r.delivery_info["routing_key"],
                r.correlation_id, r.reply_to, r.timelimit, r.headers, r.trace_id, r.properties["content_type"],
            ]  # fmt: skip

        job = job_of(fun, 1, 2, time_limit=9, headers={"trace_id": "t"})
        outcome = JobRunner(app, "h@x").run(job)
        assert (outcome.verdict, outcome.traceback) == (Verdict.SUCCESS, "")
        assert app.backend.get_task_meta("i")["result"] == [
            3, "i", fun.name, "h@x", False, False, 0, "celery", "i", app.thread_oid, [9, None], {"trace_id": "t"}, "t",
            "application/json",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("exc", "verdict", "detail"),
        [
            (KeyError(1), Verdict.FAILURE, "KeyError(1)"),
            (SystemExit(1), Verdict.FAILURE, "WorkerLostError('Task raised SystemExit(1)')"),
            (Ignore("x"), Verdict.IGNORE, "Ignore('x')"),
            (Reject("why"), Verdict.REJECT, "why"),
            (Reject("why", requeue=True), Verdict.REQUEUE, "why"),
            (Retry("m", KeyError(2), 3), Verdict.RETRY, "KeyError(2)"),
        ],
    )
    def test_verdicts(self, app, exc, verdict, detail):
        @app.task
        def fun():
            raise exc

        outcome = JobRunner(app, "h").run(job_of(fun))
        assert (outcome.verdict, outcome.detail) == (verdict, detail)
        assert ("Traceback" in outcome.traceback) == (verdict in (Verdict.FAILURE, Verdict.RETRY))

    def test_the_exception_is_told_only_where_a_request_class_wants_it(self, app):
        def fun():
            raise ValueError(5, object)

        plain = app.task(fun, name="plain")
        watched = app.task(fun, name="watched", Request="proj.requests:Watching")
        assert JobRunner(app, "h").run(job_of(plain)).error == ""
        error = JobRunner(app, "h").run(job_of(watched)).error
        restored = restore_exception(json.loads(error))
        assert isinstance(restored, ValueError)
        assert restored.args == (5, repr(object))

    @pytest.mark.parametrize("value", ["x" * 100_000, "\ud800"], ids=["too long", "no text"])
    def test_an_exception_that_is_too_long_or_no_text_is_not_told(self, app, value, caplog):
        caplog.set_level("CRITICAL", "celery.app.trace")  # a log with a lone surrogate cannot be passed on

        @app.task(Request="proj.requests:Watching")
        def fun():
            raise ValueError(value)

        outcome = JobRunner(app, "h").run(job_of(fun))
        assert (outcome.verdict, outcome.error) == (Verdict.FAILURE, "")

    @pytest.mark.parametrize(
        ("part", "value"),
        [
            ("headers", b'{"task": "fun", "not for the core": "\\ud8"}'),
            ("headers", b'{"not for the core": "\xff"}'),
            ("properties", b"[]"),
            ("body", b"\xff\x00"),
            ("body", b'{"no": "triple"}'),
            ("body", b"[{}, [], 1]"),
            (
                "properties",
                b'{"content_type": "application/x-python-serialize", "content_encoding": "binary"}',
            ),
            ("properties", b'{"content_type": "no/such", "content_encoding": "utf-8"}'),
            ("name", "unknown.task"),
        ],
    )
    def test_what_cannot_be_read(self, app, part, value):
        @app.task
        def fun():
            raise AssertionError

        job = job_of(fun)
        setattr(job, part, value)
        outcome = JobRunner(app, "h").run(job)
        assert outcome.verdict is Verdict.INVALID
        assert outcome.detail

    def test_the_request_is_read_when_somebody_looks(self, app):
        @app.task(bind=True)
        def fun(self):
            unread = "_unread" in vars(self.request)
            assert copy.copy(self.request).custom == 7
            assert (self.request.retries, self.request.headers, self.request.eta) == (0, {"custom": 7}, None)
            assert self.request.correlation_id == self.request.id
            assert not hasattr(self.request, "nope")
            return unread, "_unread" in vars(self.request), pickle.loads(pickle.dumps(self.request)).custom

        job = job_of(fun)
        job.headers = job.headers[:-1] + b',"custom":7}'
        assert JobRunner(app, "h").run(job).detail == "(True, False, 7)"

    def test_what_a_task_sets_on_its_request_stays(self, app):
        @app.task(bind=True)
        def fun(self):
            self.request.retries = 3
            self.request.mine = "x"
            return self.request.retries, self.request.origin is not None, self.request.headers

        assert JobRunner(app, "h").run(job_of(fun)).detail == "(3, True, None)"

    def test_a_store_that_refuses(self, app, monkeypatch):
        @app.task
        def fun(fail):
            return 1 / (not fail)

        def refuse(*args, **kwargs):
            raise BackendStoreError("full", state="SUCCESS", task_id="i")

        monkeypatch.setattr(type(app.backend), "store_result", refuse)
        runner = JobRunner(app, "h")
        assert runner.run(job_of(fun, False)).verdict is Verdict.UNSTORED
        assert runner.run(job_of(fun, True)).verdict is Verdict.UNSTORED

    @pytest.mark.filterwarnings("ignore:Exception raised outside body")
    def test_our_own_bugs(self, app, monkeypatch):
        @app.task
        def fun(): ...

        runner = JobRunner(app, "h")
        runner.run(job_of(fun))
        monkeypatch.setattr(trace, "_log_success", lambda run: 1 / 0)
        assert runner.run(job_of(fun)).verdict is Verdict.INTERNAL

    def test_a_long_detail_is_cut(self, app):
        @app.task
        def fun():
            raise KeyError("x" * 100_000)

        assert len(JobRunner(app, "h").run(job_of(fun)).detail) < 2000

    def test_deferred_results_are_there_after_flush(self, app):
        @app.task
        def fun():
            return 1

        runner = JobRunner(app, "h")
        assert runner.run(job_of(fun), defer=True).verdict is Verdict.SUCCESS
        runner.flush()
        assert app.backend.get_state("i") == "SUCCESS"

    def test_coroutines_in_run(self, app):
        loops = []

        @app.task(bind=True)
        async def fun(self, x):
            await asyncio.sleep(0)
            loops.append(asyncio.get_running_loop())
            return [x, self.request.id, app.current_task is self]

        runner = JobRunner(app, "h")
        assert runner.run(job_of(fun, 4)).verdict is Verdict.SUCCESS
        assert app.backend.get_task_meta("i")["result"] == [4, "i", True]
        runner.run(job_of(fun, 4))
        assert loops[0] is loops[1]

    def test_arun(self, app):
        threads = []

        @app.task(bind=True)
        async def native(self, x):
            threads.append(threading.get_ident())
            await asyncio.sleep(0.001)
            return [x, self.request.id]

        @app.task(bind=True)
        def plain(self):
            threads.append(threading.get_ident())
            return self.request.id

        @app.task
        async def failing():
            raise KeyError(1)

        async def main():
            runner = JobRunner(app, "h")
            outcomes = await asyncio.gather(*(runner.arun(job) for job in jobs))
            return [outcome.verdict for outcome in outcomes]

        app.finalize()
        jobs = [job_of(native, 1), job_of(plain), job_of(failing)]
        assert asyncio.run(main()) == [Verdict.SUCCESS, Verdict.SUCCESS, Verdict.FAILURE]
        assert threads[0] == threading.get_ident() != threads[1]
        assert app.current_task is None

    def test_arun_that_is_cancelled_stores_nothing(self, app):
        begun = asyncio.Event()
        postrun = []

        @app.task
        async def fun():
            begun.set()
            await asyncio.sleep(60)

        async def main():
            running = asyncio.ensure_future(JobRunner(app, "h").arun(job_of(fun)))
            await begun.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

        app.finalize()
        asyncio.run(main())
        assert app.backend.get_state("i") == "PENDING"
        assert postrun == []

    def test_a_coroutine_that_cancels_itself_has_failed(self, app):
        @app.task
        async def fun():
            raise asyncio.CancelledError

        async def main():
            return await JobRunner(app, "h").arun(job_of(fun))

        app.finalize()
        assert asyncio.run(main()).verdict is Verdict.FAILURE

    def test_many_threads(self, app):
        @app.task(bind=True, ignore_result=True)
        def fun(self, n):
            assert self.request.args == [n]
            assert app.current_task is self

        app.finalize()
        runner = JobRunner(app, "h")
        jobs = [job_of(fun, n) for n in range(50)]
        verdicts = []

        def work():
            verdicts.extend(runner.run(job).verdict for job in jobs)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert verdicts == [Verdict.SUCCESS] * 400
