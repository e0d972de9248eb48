"""Tasks: making, options, calling, the request, retries in place."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import warnings

import pytest

from celery import Celery, Task, shared_task, signals
from celery.app.task import Context
from celery.exceptions import (
    CDeprecationWarning,
    DuplicateTaskNameWarning,
    EncodeError,
    Ignore,
    MaxRetriesExceededError,
    NotRegistered,
    Reject,
    Retry,
)


@pytest.fixture
def app():
    return Celery("proj", broker="memory://", backend="cache+memory://", set_as_current=False)


class TestMaking:
    def test_is_made_when_needed(self, app):
        @app.task
        def add(x, y):
            "Add."
            return x + y

        assert not app.finalized
        assert add.name.endswith("add")
        assert app.tasks[add.name].run is add.run
        assert add.__doc__ == "Add."
        assert add.__name__ == "add"
        assert inspect.signature(add.run) == inspect.signature(lambda x, y: 0)
        assert repr(add) == f"<@task: {add.name} of proj at {id(app):#x}>"

    def test_main_stands_for_dunder_main(self, app):
        def fun(): ...

        fun.__module__ = "__main__"
        assert app.task(fun).name == "proj.fun"

    def test_any_option_becomes_an_attribute(self, app):
        @app.task(max_retries=None, foo=3, name="x")
        def fun(): ...

        assert (fun.max_retries, fun.foo, fun.name) == (None, 3, "x")

    @pytest.mark.parametrize("given", [(1,), (len, len)])
    def test_takes_one_callable(self, app, given):
        with pytest.raises(TypeError, match="@task"):
            app.task(*given)

    def test_filter(self, app):
        assert app.task(filter=lambda task: "filtered")(lambda: None) == "filtered"

    def test_the_first_of_a_name_wins_with_one_warning(self, app):
        app.finalize()

        @app.task(name="add")
        def one(): ...

        with pytest.warns(DuplicateTaskNameWarning, match="one\nNew: .*two") as caught:

            @app.task(name="add")
            def two(): ...

        assert caught[0].filename == __file__
        assert one is two
        with warnings.catch_warnings():
            warnings.simplefilter("error")

            @app.task(name="add")
            def three(): ...

    def test_contract_breach(self):
        app = Celery(autofinalize=False, set_as_current=False)
        with pytest.raises(RuntimeError, match="Contract breach: app not finalized"):
            _ = app.tasks

    def test_settings_fill_what_is_none(self, app):
        app.conf.task_acks_late = True
        app.conf.task_default_rate_limit = "3/s"

        @app.task
        def fun(): ...

        assert fun.acks_late is True
        assert fun.rate_limit == "3/s"
        assert fun.serializer == "json"
        assert fun.acks_on_failure is True
        assert fun.typing is True

    def test_failures_and_timeouts_follow_their_umbrella(self, app):
        app.conf.task_acks_on_failure_or_timeout = False

        @app.task(acks_on_timeout=True)
        def fun(): ...

        assert (fun.acks_on_failure, fun.acks_on_timeout) == (False, True)

    def test_failures_may_be_rejected(self, app):
        app.conf.task_reject_on_failure = True

        @app.task
        def fun(): ...

        @app.task(reject_on_failure=False)
        def other(): ...

        assert (fun.acks_late, fun.acks_on_failure, fun.acks_on_timeout) == (True, False, True)
        assert (other.acks_late, other.acks_on_failure) == (False, True)

    @pytest.mark.parametrize(
        ("setting", "attribute", "value"),
        [
            ("task_serializer", "serializer", "yaml"),
            ("task_default_priority", "priority", 4),
            ("task_time_limit", "time_limit", 9),
            ("task_soft_time_limit", "soft_time_limit", 8),
            ("task_track_started", "track_started", True),
            ("task_acks_on_failure", "acks_on_failure", False),
            ("task_acks_on_timeout", "acks_on_timeout", False),
            ("task_reject_on_worker_lost", "reject_on_worker_lost", True),
            ("task_retry_on_worker_lost", "retry_on_worker_lost", True),
            ("task_ignore_result", "ignore_result", True),
            ("task_store_eager_result", "store_eager_result", True),
            ("task_store_errors_even_if_ignored", "store_errors_even_if_ignored", True),
        ],
    )
    def test_setting_of_an_attribute(self, app, setting, attribute, value):
        app.conf[setting] = value

        @app.task
        def fun(): ...

        assert getattr(fun, attribute) == value

    def test_routing_attributes_warn(self, app):
        app.finalize()
        with pytest.warns(CDeprecationWarning, match="'queue' task attribute"):

            @app.task(queue="q")
            def fun(): ...

    def test_annotations(self, app):
        def double(run):
            return lambda *args: 2 * run(*args)

        app.conf.task_annotations = {"a.b": {"rate_limit": "1/s", "@run": double}, "*": {"time_limit": 5}}

        @app.task(name="a.b")
        def fun(x):
            return x

        assert (fun.rate_limit, fun.time_limit) == ("1/s", 5)
        assert fun(4) == 8

    def test_pickles_by_name(self, app):
        @app.task
        def fun(): ...

        app.finalize()
        app.set_current()
        assert pickle.loads(pickle.dumps(app.tasks[fun.name])) is app.tasks[fun.name]

    def test_base_class_of_the_app(self):
        app = Celery(task_cls="celery.app.task:Task", set_as_current=False)

        class Base(app.Task):
            abstract = True
            mark = 1

        app.Task = Base

        @app.task
        def fun(): ...

        assert fun.mark == 1
        assert fun.app is app

    def test_unknown_tasks(self, app):
        with pytest.raises(NotRegistered, match="nope"):
            app.tasks["nope"]


class TestClassBased:
    def test_made_once_and_keeps_its_state(self, app):
        made = []

        class Counting(Task):
            name = "counting"

            def __init__(self):
                made.append(1)
                self.count = 0

            def run(self, by):
                self.count += by
                return self.count

        task = app.register_task(Counting())
        assert task is app.tasks["counting"]
        assert [task.apply((2,)).get(), task.apply((3,)).get(), task(1)] == [2, 5, 6]
        assert made == [1]

    def test_named_by_class(self, app):
        class Job(Task):
            def run(self): ...

        assert app.register_task(Job).name.endswith("Job")

    def test_replaces_with_a_warning(self, app):
        class A(Task):
            name = "x"

        class B(Task):
            name = "x"

        app.register_task(A)
        with pytest.warns(DuplicateTaskNameWarning, match="replaces"):
            task = app.register_task(B)
        assert app.tasks["x"] is task

    def test_custom_call_is_used_by_tracers(self, app):
        class Wrapping(Task):
            name = "wrapping"

            def __call__(self, *args):
                return ["called", super().__call__(*args)]

            def run(self, x):
                return [x, self.request.id]

        task = app.register_task(Wrapping())
        assert task.apply((1,), task_id="i").get() == ["called", [1, "i"]]
        assert task(1) == ["called", [1, None]]

    def test_calling_oneself_is_a_direct_call(self, app):
        @app.task(bind=True)
        def fun(self, deep=False):
            return [self.request.called_directly] if deep else [self.request.called_directly, *self(True)]

        assert fun.apply().get() == [False, True]

    def test_autoretry_as_attributes(self, app):
        class Trying(Task):
            name = "trying"
            autoretry_for = (KeyError,)
            retry_kwargs = {"max_retries": 2}  # noqa: RUF012

            def run(self):
                runs.append(self.request.retries)
                raise KeyError(1)

        runs = []
        assert app.register_task(Trying()).apply().state == "FAILURE"
        assert runs == [0, 1, 2]


class TestSharedTask:
    def test_belongs_to_every_app(self, app):
        @shared_task(name="shared.one")
        def one(x):
            return x

        other = Celery("other", set_as_current=False, broker="memory://")
        other.finalize()
        assert "shared.one" in app.tasks
        assert "shared.one" in other.tasks
        other.set_current()
        assert one.app is other
        app.set_current()
        assert one.app is app

    def test_reaches_apps_that_are_finalized(self, app):
        app.finalize()

        @shared_task(name="shared.late")
        def late(): ...

        assert "shared.late" in app.tasks

    def test_our_own_has_the_name(self, app):
        other = Celery("other", set_as_current=False, broker="memory://")

        @other.task(name="contested")
        def theirs():
            return "theirs"

        app.finalize()
        assert app.tasks["contested"]() == "theirs"

        @app.task(name="contested")
        def ours():
            return "ours"

        assert (app.tasks["contested"](), ours(), theirs()) == ("ours", "ours", "theirs")

    def test_twice_is_an_error(self):
        with pytest.raises(TypeError, match="more than once"):
            shared_task(shared_task(name="shared.twice")(lambda: None))


class TestArguments:
    @pytest.fixture
    def add(self, app):
        @app.task
        def add(x, y):
            return x + y

        return add

    def test_checked_at_the_call(self, add):
        with pytest.raises(TypeError, match=r"add\(\) missing 1 required positional argument: 'y'"):
            add.delay(1)
        with pytest.raises(TypeError, match="takes 2 positional arguments but 3 were given"):
            add.apply_async((1, 2, 3))

    def test_a_hint_for_unpacked_arguments(self, add):
        with pytest.raises(TypeError, match=r"args=\(1, 2\)"):
            add.apply_async(1, 2)
        with pytest.raises(TypeError, match="must be a mapping"):
            add.apply_async((1,), 2)

    def test_unchecked(self, app):
        sent = []
        app.send_task = lambda name, args, kwargs, **options: sent.append(args)

        @app.task(typing=False)
        def fun(x): ...

        fun.delay(1, 2, 3)
        assert sent == [(1, 2, 3)]

    def test_bound_tasks_drop_self(self, app):
        app.send_task = lambda *args, **options: "sent"

        @app.task(bind=True)
        def fun(self, x): ...

        assert fun.delay(1) == "sent"
        with pytest.raises(TypeError):
            fun.delay()

    def test_soft_above_hard(self, app):
        @app.task(time_limit=1, soft_time_limit=2)
        def fun(): ...

        with pytest.raises(ValueError, match="soft_time_limit must be less"):
            fun.delay()

    def test_what_is_sent(self, app):
        calls = []
        app.send_task = lambda *args, **options: calls.append((args, options))

        class Shadowed(Task):
            name = "shadowed"
            priority = 4

            def run(self, x): ...

            def shadow_name(self, args, kwargs, options):
                return f"shadow-{args[0]}"

        with pytest.warns(CDeprecationWarning, match="priority"):
            task = app.register_task(Shadowed())
        task.apply_async((1,), queue="q", expires=4)
        (args, options) = calls[0]
        assert args == ("shadowed", (1,), None)
        assert options["shadow"] == "shadow-1"
        assert (options["queue"], options["expires"], options["priority"]) == ("q", 4, 4)
        assert options["serializer"] == "json"
        assert options["ignore_result"] is False
        assert options["task_type"] is task


class TestRequest:
    def test_empty_outside_of_a_call(self, app):
        @app.task
        def fun(): ...

        assert fun.request.called_directly
        assert fun.request.id is None
        assert fun.request.children == []

    def test_pushed(self, app):
        @app.task
        def fun(): ...

        fun.push_request(id="abc", foo=1)
        assert (fun.request.id, fun.request.foo) == ("abc", 1)
        fun.pop_request()
        assert fun.request.id is None

    def test_limits_and_custom_headers(self):
        context = Context({"id": "x", "timelimit": [3, 4], "foo": 3})
        assert (context.time_limit, context.soft_time_limit, context.foo) == (3, 4, 3)
        assert context.headers == {"foo": 3}
        assert context.get("nope") is None
        assert context.get("nope", 4) == 4
        assert Context.__module__ == "celery.app.task"

    def test_signature_from_request(self, app):
        @app.task(name="t")
        def fun(*args, **kwargs): ...

        request = Context(
            id="x", args=(1,), kwargs={"z": 1}, root_id="r", parent_id="p", group="g", group_index=3,
            callbacks=[1], errbacks=[2], timelimit=[1, 2], retries=1, reply_to="q", chord={"a": 1}, chain=[1],
            headers={"a": 1, "x-death": 1}, stamps={"b": 1}, stamped_headers=["b"], called_directly=False,
            delivery_info={"priority": 2, "routing_key": "k", "exchange": ""}, shadow="sh", origin="o",
            ignore_result=True, expires="2030", replaced_task_nesting=2,
        )  # fmt: skip
        sig = fun.signature_from_request(request)
        assert (sig.args, sig.kwargs) == ((1,), {"z": 1})
        assert sig.options == {
            "task_id": "x", "root_id": "r", "parent_id": "p", "group_id": "g", "group_index": 3, "shadow": "sh",
            "chord": {"a": 1}, "chain": [1], "link": [1], "link_error": [2], "expires": "2030",
            "soft_time_limit": 2, "time_limit": 1, "headers": {"a": 1}, "retries": 1, "reply_to": "q",
            "replaced_task_nesting": 2, "origin": "o", "stamped_headers": ["b"], "b": 1, "ignore_result": True,
            "priority": 2, "queue": "k",
        }  # fmt: skip

    def test_a_real_exchange_is_kept(self, app):
        @app.task(name="t")
        def fun(): ...

        request = Context(id="x", delivery_info={"exchange": "ex", "routing_key": "k"})
        options = fun.signature_from_request(request, (), {}).options
        assert (options["exchange"], options["routing_key"]) == ("ex", "k")
        assert fun.signature_from_request(request, (), {}, queue="q").options["queue"] == "q"


def retrying(app, retry_options, **task_options):
    """A task that retries once, and what its attempts were called with."""
    attempts = []

    @app.task(bind=True, max_retries=1, **task_options)
    def fun(self, a, b=3, c=9, **rest):
        attempts.append((a, b, c, rest))
        if self.request.retries == 0:
            raise self.retry(countdown=1, **retry_options)

    return fun, attempts


class TestRetry:
    @pytest.mark.parametrize(
        ("options", "args", "kwargs", "second"),
        [
            ({"kwargs": {"b": 4}}, (1,), {"b": 5, "c": 6}, (1, 4, 9, {})),
            ({"kwargs": {"b": 4}}, (1, 2), {"c": 6}, (1, 4, 9, {})),
            ({"kwargs": {"a": 4}}, (1, 2), {"c": 6}, (4, 2, 9, {})),
            ({"kwargs": {"a": 4}}, (1, 2, 3), {}, (4, 2, 3, {})),
            ({"args": (7, 8)}, (1,), {"b": 5, "c": 6}, (7, 8, 6, {})),
            ({"args": (7,)}, (1, 2), {"c": 6}, (7, 3, 6, {})),
            ({"args": (7, 8), "kwargs": {"c": 1}}, (1,), {"b": 5, "z": 6}, (7, 8, 1, {})),
            ({"kwargs": {}}, (1,), {"b": 5, "c": 6}, (1, 3, 9, {})),
            ({"args": ()}, (), {"a": 5, "c": 6}, (5, 3, 6, {})),
            ({}, (1,), {"z": 6}, (1, 3, 9, {"z": 6})),
        ],
    )
    def test_new_arguments(self, app, options, args, kwargs, second):
        fun, attempts = retrying(app, options)
        assert fun.apply(args, kwargs).state == "SUCCESS"
        assert attempts[1] == second

    def test_limit_without_exception(self, app):
        @app.task(bind=True, name="r")
        def fun(self, n):
            return self.retry(countdown=0, max_retries=1)

        result = fun.apply((1,), task_id="i")
        assert isinstance(result.result, MaxRetriesExceededError)
        assert str(result.result) == "Can't retry r[i] args:(1,) kwargs:{}"
        assert (result.result.task_args, result.result.task_kwargs) == ((1,), {})

    def test_limit_with_exception(self, app):
        attempts = []

        @app.task(bind=True)
        def fun(self):
            attempts.append(self.request.id)
            raise self.retry(exc=ValueError("boo"), countdown=0, max_retries=2)

        result = fun.apply(task_id="same")
        assert repr(result.result) == "ValueError('boo')"
        assert attempts == ["same"] * 3

    def test_the_exception_may_come_first(self, app):
        @app.task(bind=True, max_retries=0)
        def fun(self):
            self.retry(ValueError("boo"), countdown=10)

        assert repr(fun.apply().result) == "ValueError('boo')"

    def test_no_limit(self, app):
        @app.task(bind=True, max_retries=None)
        def fun(self):
            if self.request.retries < 20:
                raise self.retry(countdown=0)
            return self.request.retries

        assert fun.apply().get() == 20

    def test_called_directly(self, app):
        @app.task(bind=True)
        def fun(self, given):
            try:
                raise KeyError(1)
            except KeyError:
                self.retry(exc=given)

        with pytest.raises(ValueError, match="boo"):
            fun(ValueError("boo"))
        with pytest.raises(KeyError):
            fun(None)

        @app.task(bind=True)
        def plain(self):
            self.retry()

        with pytest.raises(Retry, match="Task can be retried"):
            plain()

    def test_going_on(self, app):
        seen = []

        @app.task(bind=True)
        def fun(self):
            seen.append(self.retry(exc=KeyError(1), countdown=0, throw=False))
            return "done"

        result = fun.apply()
        assert (result.state, result.get()) == ("SUCCESS", "done")
        assert str(seen[0]) == "Retry in 0s: KeyError(1)"
        assert seen[0].is_eager

    def test_default_delay(self, app):
        seen = []

        @app.task(bind=True, default_retry_delay=7)
        def fun(self):
            seen.append(self.retry(throw=False).when)
            seen.append(self.retry(throw=False, countdown=0).when)

        fun.apply()
        assert seen == [7, 0]

    def test_is_sent_by_workers(self, app):
        sent = []
        app.send_task = lambda name, args, kwargs, **options: sent.append((name, args, kwargs, options))

        @app.task(bind=True, name="r")
        def fun(self, x):
            raise self.retry(countdown=5, queue="elsewhere")

        fun.push_request(id="i", args=(1,), kwargs={}, called_directly=False, retries=1, root_id="root")
        try:
            with pytest.raises(Retry):
                fun.run(1)
        finally:
            fun.pop_request()
        name, args, _, options = sent[0]
        assert (name, tuple(args)) == ("r", (1,))
        wanted = {"task_id": "i", "retries": 2, "countdown": 5, "queue": "elsewhere", "root_id": "root"}
        assert wanted.items() <= options.items()

    def test_that_cannot_be_sent_is_rejected(self, app):
        def refuse(*args, **kwargs):
            raise OSError("no broker")

        app.send_task = refuse

        @app.task(bind=True)
        def fun(self):
            self.retry()

        fun.push_request(id="i", args=(), kwargs={}, called_directly=False)
        try:
            with pytest.raises(Reject) as caught:
                fun.run()
        finally:
            fun.pop_request()
        assert not caught.value.requeue

    async def _arun(self, fun):
        return await fun.aapply_async()

    def test_coroutines(self, app):
        app.conf.task_always_eager = True
        attempts = []

        @app.task(bind=True, autoretry_for=(KeyError,), retry_kwargs={"max_retries": 2, "countdown": 0})
        async def fun(self):
            attempts.append(self.request.retries)
            await asyncio.sleep(0)
            if len(attempts) < 3:
                raise KeyError(1)
            return "ok"

        assert asyncio.run(self._arun(fun)).get() == "ok"
        assert attempts == [0, 1, 2]
        attempts.clear()
        assert fun.delay().get() == "ok"


class TestAutoretry:
    def test_until_the_limit(self, app):
        runs = []

        @app.task(autoretry_for=(KeyError,), retry_kwargs={"max_retries": 2}, retry_backoff=True)
        def fun():
            runs.append(1)
            raise KeyError(3)

        result = fun.apply()
        assert (result.state, repr(result.result), len(runs)) == ("FAILURE", "KeyError(3)", 3)
        assert fun.retry_kwargs == {"max_retries": 2}
        with pytest.raises(KeyError):
            fun()

    def test_what_is_not_retried(self, app):
        runs = []

        @app.task(autoretry_for=(Exception,), dont_autoretry_for=(KeyError,))
        def fun(exc):
            runs.append(1)
            raise exc

        assert fun.apply((KeyError(1),)).state == "FAILURE"
        assert fun.apply((Ignore(),)).state == "IGNORED"
        assert len(runs) == 2

    def test_a_limit_given_by_the_body_holds(self, app):
        runs = []

        @app.task(bind=True, autoretry_for=(KeyError,), max_retries=5)
        def fun(self):
            runs.append(1)
            try:
                raise KeyError(1)
            except KeyError as exc:
                self.retry(exc=exc, max_retries=1, countdown=0)

        assert fun.apply().state == "FAILURE"
        assert len(runs) == 2

    @pytest.mark.parametrize(
        ("backoff", "seconds"), [(True, [1, 2, 4, 6]), (3, [3, 6, 6, 6]), (0.1, [1, 2, 4, 6])]
    )
    def test_backoff(self, app, backoff, seconds):
        waits = []

        @app.task(
            bind=True, autoretry_for=(KeyError,), retry_backoff=backoff, retry_backoff_max=6,
            retry_jitter=False, max_retries=4,
        )  # fmt: skip
        def fun(self):
            raise KeyError(1)

        def note(sender, reason, **_):
            waits.append(reason.when)

        signals.task_retry.connect(note, sender=fun)
        fun.apply()
        assert waits == seconds


class TestEager:
    def test_arguments_as_a_worker_sees_them(self, app):
        app.conf.task_always_eager = True

        @app.task
        def fun(x):
            return x

        assert fun.delay((1, 2)).get() == [1, 2]
        with pytest.raises(EncodeError):
            fun.delay(object())

    def test_request(self, app):
        @app.task(bind=True)
        def fun(self):
            r = self.request
            return [r.id, r.is_eager, r.called_directly, r.retries, r.headers, r.delivery_info["is_eager"]]

        assert fun.apply(task_id="i", headers={"a": 1}, retries=3).get() == [
            "i",
            True,
            False,
            3,
            {"a": 1},
            True,
        ]

    def test_family(self, app):
        @app.task(bind=True)
        def inner(self):
            return [self.request.root_id, self.request.parent_id]

        @app.task(bind=True)
        def outer(self):
            return inner.apply().get(disable_sync_subtasks=False)

        assert outer.apply(task_id="o").get() == ["o", "o"]

    def test_throw(self, app):
        @app.task
        def fun():
            raise KeyError("x")

        assert fun.apply().state == "FAILURE"
        assert "KeyError" in fun.apply().traceback
        with pytest.raises(KeyError):
            fun.apply(throw=True)
        app.conf.task_eager_propagates = True
        with pytest.raises(KeyError):
            fun.apply()

    def test_links(self, app):
        app.conf.task_always_eager = True
        seen = []

        @app.task
        def after(x):
            seen.append(x)

        @app.task
        def new_style(request, exc, traceback):
            seen.append((request.id, repr(exc)))

        @app.task
        def old_style(task_id):
            seen.append(task_id)

        @app.task
        def fun(fail=False):
            if fail:
                raise KeyError(1)
            return 4

        fun.apply(link=after.s())
        fun.apply_async((True,), task_id="i", link_error=[new_style.s(), old_style.s()])
        assert seen == [4, ("i", "KeyError(1)"), "i"]

    def test_links_run_in_place_too(self, app):
        seen = []

        @app.task(name="after")
        def after(x):
            seen.append(x)

        @app.task
        def fun(fail=False):
            if fail:
                raise KeyError(1)
            return 4

        fun.apply(link=after.s())
        fun.apply((True,), task_id="i", link_error=after.s())
        assert seen == [4, "i"]

    def test_states(self, app):
        @app.task
        def fun(exc):
            raise exc

        assert fun.apply((Ignore("why"),)).state == "IGNORED"
        assert fun.apply((Reject("why"),)).state == "REJECTED"
        with pytest.raises(SystemExit):
            fun.apply((SystemExit(3),))

    def test_stored_if_asked_for(self, app):
        app.conf.task_store_eager_result = True

        @app.task
        def fun():
            return 3

        assert app.backend.get_task_meta(fun.apply().id)["result"] == 3

    def test_inside_a_running_loop(self, app):
        app.conf.task_always_eager = True

        @app.task
        async def fun(x):
            await asyncio.sleep(0)
            return x

        async def main():
            return fun.delay(3).get(), (await fun.adelay(4)).get(), await fun(5)

        assert asyncio.run(main()) == (3, 4, 5)
