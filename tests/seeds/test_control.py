"""Seed document 'Workers': remote control, from a program and from the command line."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import wait_until

from celery import Celery

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Project

pytestmark = pytest.mark.timeout(120)

TASKS = """
    import time
    from celery import Celery
    from celery.worker.control import control_command, inspect_command
    app = Celery('tasks')

    @app.task
    def add(x, y): return x + y

    @app.task
    def mytask(): return 'ran'

    @app.task
    def crawl_the_web(): time.sleep(30)

    @control_command(args=[('n', int)], signature='[N=1]')
    def increase_prefetch_count(state, n=1):
        state.consumer.qos.increment_eventually(n)
        return {'ok': 'prefetch count incremented'}

    @inspect_command()
    def current_prefetch_count(state):
        return {'prefetch_count': state.consumer.qos.value}
"""
W1, W2, W3 = "worker1@example.com", "worker2@example.com", "worker3@example.com"


@pytest.fixture(autouse=True)
def tasks(project: Project) -> None:
    project.write("tasks.py", TASKS)


@pytest.fixture
def app(project: Project) -> Iterator[Celery]:
    """The project's application, in the process of the test."""
    store = f"sqlite:///{project.path}/.celery/store.db"
    app = Celery("tasks", broker=store, backend=store, set_as_current=False)
    yield app
    app.close()


@contextlib.contextmanager
def workers(project: Project, *names: str) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(project.worker("-n", name, "-P", "threads"))
        yield


def test_three_workers(project: Project, app: Celery) -> None:  # 3-C10 3-C14 3-C15 3-C22 3-C24 3-C25
    control, done = app.control, {"ok": "new rate limit set successfully"}
    with workers(project, W1, W2, W3):
        limit: Any = {"arguments": {"task_name": "tasks.mytask", "rate_limit": "200/m"}}
        assert control.broadcast("rate_limit", **limit) is None
        replies = control.broadcast("rate_limit", **limit, reply=True, limit=3, timeout=10)
        assert sorted(replies, key=str) == [{W1: done}, {W2: done}, {W3: done}]
        assert control.broadcast("rate_limit", **limit, reply=True, destination=[W1], timeout=10) == [
            {W1: done}
        ]
        assert control.rate_limit("tasks.mytask", "1/m", destination=[W2]) is None
        assert control.time_limit(
            "tasks.crawl_the_web", soft=60, reply=True, destination=[W1], timeout=10
        ) == [{W1: {"ok": "time limits set successfully"}}]
        assert len(control.ping(timeout=10, limit=3)) == 3
        assert len(control.ping([W2, W3], timeout=10)) == 2
        registered = control.inspect([W1, W2], timeout=10).registered()
        assert registered[W1] == ["tasks.add", "tasks.crawl_the_web", "tasks.mytask [rate_limit=200/m]"]
        assert registered[W2][2] == "tasks.mytask [rate_limit=1/m]"
        i = control.inspect(W1, timeout=10)
        assert [i.active(), i.scheduled(), i.reserved()] == [[], [], []]
        control.broadcast("shutdown", destination=W1)
        wait_until(lambda: control.ping([W1], timeout=0.3) == [])
        assert len(control.ping(timeout=10, limit=2)) == 2
        control.broadcast("shutdown")
        wait_until(lambda: control.ping(timeout=0.3) == [])


def test_revoking(project: Project, app: Celery) -> None:  # 3-C11 3-C12
    with project.worker("-n", W1, "-P", "prefork", "-c", "1", "--statedb=worker.state"):
        wait = f"while not app.control.inspect('{W1}', timeout=5).active(): pass"
        out = project.python(
            f"""
            from tasks import *
            from celery.result import AsyncResult
            from celery.exceptions import TaskRevokedError
            running = crawl_the_web.delay()
            {wait}
            first, second, *more = [mytask.delay() for _ in range(5)]
            first.revoke()
            AsyncResult(second.id).revoke()
            app.control.revoke(more[0].id)
            app.control.revoke([one.id for one in more])
            app.control.revoke(running.id, terminate=True, signal='SIGKILL')
            for result in (running, first, second, *more):
                try:
                    print('ran', result.get(timeout=20))
                except TaskRevokedError as error:
                    print(error)
            print(mytask.delay().get(timeout=20))
            """
        )
        assert out.splitlines() == ["terminated", *["revoked"] * 5, "ran"]
        assert "flagged as revoked" in project.celery("-A", "tasks", "control", "revoke", "some-id").stdout
    with project.worker("-n", W1, "-P", "solo", "--statedb=worker.state"):
        assert "some-id" in app.control.inspect(W1, timeout=10).revoked()


def test_queues(project: Project, app: Celery) -> None:  # 3-C19 3-C20 3-C21
    local = "celery@worker1.local"
    with workers(project, local):
        run, control = project.celery, app.control
        assert "add consumer foo" in run("-A", "tasks", "control", "add_consumer", "foo", "-d", local).stdout
        for _ in range(2):
            said = control.add_consumer("foo", reply=True, limit=1, timeout=10)
            assert said == [{local: {"ok": "add consumer foo"}}]
        assert control.add_consumer(
            queue="baz",
            exchange="ex",
            exchange_type="topic",
            routing_key="media.*",
            options={"queue_durable": False, "exchange_durable": False},
            reply=True,
            destination=[local],
            timeout=10,
        ) == [{local: {"ok": "add consumer baz"}}]
        queues = control.inspect(["worker1.local"], timeout=10).active_queues()[local]
        assert [row["name"] for row in queues] == ["celery", "foo", "baz"]
        assert queues[2]["exchange"]["type"] == "topic"
        routed = app.send_task("tasks.add", (2, 2), exchange="ex", routing_key="media.video")
        assert routed.get(timeout=20) == 4
        assert "'foo'" in run("-A", "tasks", "inspect", "active_queues", "-d", local).stdout
        assert (
            "no longer consuming from foo" in run("-A", "tasks", "control", "cancel_consumer", "foo").stdout
        )
        assert control.cancel_consumer("foo", reply=True, limit=1, timeout=10) == [
            {local: {"ok": "no longer consuming from foo"}}
        ]


def test_statistics(project: Project) -> None:  # 3-C23
    with workers(project, W1):
        told = json.loads(project.celery("-A", "tasks", "inspect", "stats", "-j").stdout)[W1]
    assert {"broker", "clock", "pid", "pool", "prefetch_count", "rusage", "total"} <= set(told)
    assert {
        "connect_timeout",
        "heartbeat",
        "hostname",
        "insist",
        "login_method",
        "port",
        "ssl",
        "transport",
        "transport_options",
        "uri_prefix",
        "userid",
        "virtual_host",
    } <= set(told["broker"])
    assert {
        "max-concurrency",
        "max-tasks-per-child",
        "processes",
        "put-guarded-by-semaphore",
        "timeouts",
        "writes",
    } <= set(told["pool"])
    assert {
        "stime",
        "utime",
        "maxrss",
        "idrss",
        "isrss",
        "ixrss",
        "inblock",
        "oublock",
        "majflt",
        "minflt",
    } <= set(told["rusage"])


def test_own_commands(project: Project) -> None:  # 3-C27 3-C28
    with workers(project, W1):
        run = project.celery
        before = json.loads(run("-A", "tasks", "inspect", "current_prefetch_count", "-j").stdout)
        assert (
            "prefetch count incremented"
            in run("-A", "tasks", "control", "increase_prefetch_count", "3").stdout
        )
        after = json.loads(run("-A", "tasks", "inspect", "current_prefetch_count", "-j").stdout)
        assert after[W1]["prefetch_count"] == before[W1]["prefetch_count"] + 3


def test_the_command_line(project: Project) -> None:  # 3-A12 3-C26 3-C29 3-C30 3-C31
    with workers(project, W1, W2):
        run = project.celery
        for name in ("active", "scheduled", "reserved", "revoked"):
            text = run("-A", "tasks", "inspect", name, f"--destination={W1}").stdout
            assert text == f"->  {W1}: OK\n    - empty -\n\n1 node online.\n"
        limited = run("-A", "tasks", "control", "rate_limit", "tasks.add", "10/m", "-d", W1).stdout
        assert limited == f"->  {W1}: OK\n        new rate limit set successfully\n"
        for command, text in (("enable_events", "enabled"), ("disable_events", "disabled")):
            assert f"task events {text}" in run("-A", "tasks", "control", "-d", f"{W1},{W2}", command).stdout
        assert "2 nodes online." in run("-A", "tasks", "inspect", "-d", f"{W1},{W2}", "reserved").stdout
        assert "2 nodes online." in run("-A", "tasks", "status").stdout
        assert "{}" in run("-A", "tasks", "inspect", "query_task", "id1", "id2", "--timeout", "2").stdout
    for command in ("inspect", "control"):
        assert "Remote Control Options:" in project.celery("-A", "tasks", command, "--help").stdout
