"""`celery inspect`, `control`, `status` and `graph workers`, against Celery's own output."""

from __future__ import annotations

import json
import shelve
import time

import pytest
from tests.support import wait_until

pytestmark = pytest.mark.timeout(120)

TASKS = """
    import time
    from celery import Celery
    from celery.worker.control import inspect_command
    app = Celery('tasks')

    @app.task
    def add(x, y): return x + y

    @app.task(rate_limit='10/m')
    def slow(seconds): time.sleep(seconds)

    @inspect_command(args=[('n', int)], signature='[N=1]')
    def twice(state, n=1):
        "Say a number twice."
        return {'ok': [n, n]}
"""
NOBODY = "Error: No nodes replied within time constraint\n"


@pytest.fixture
def ask(project):
    project.write("tasks.py", TASKS)

    def run(*args, code=0):
        done = project.celery("-A", "tasks", *args, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    return run


def test_nobody_answers(ask):
    for args in (
        ("status",),
        ("inspect", "ping"),
        ("control", "heartbeat"),
        ("inspect",),
        ("graph", "workers"),
    ):
        short = ("-t", "0.1") if args[0] in ("status", "inspect", "control") else ()
        assert ask(*args, *short, code=69).endswith(NOBODY)


def test_wrong_commands(ask):
    assert (
        "Command nosuch not recognized. Available inspect commands: active, active_queues, clock, conf,"
        in ask("inspect", "nosuch", code=2)
    )
    assert "Available control commands: add_consumer, autoscale," in ask("control", "ping", code=2)
    assert "Command 'rate_limit' takes arguments: <task_name> <rate_limit (e.g., 5/s | 5/m | 5/h)>" in ask(
        "control", "rate_limit", "tasks.add", code=2
    )
    assert "Missing argument 'COMMAND'" in ask("control", code=2)
    assert "argument n" in ask("control", "pool_grow", "many", code=2)


def test_lists(ask):
    inspect, control = ask("inspect", "--list"), ask("control", "--list")
    assert inspect.startswith("Inspect Commands:\n  active   ")
    assert "  memdump [n_samples=10] " in inspect
    assert "  twice [N=1] " in inspect
    assert "Say a number twice." in inspect
    assert "hello" not in inspect
    assert control.startswith("Control Commands:\n  add_consumer <queue> [exchange [type [routing_key]]]\n")
    assert "Tell worker(s) to consume from task queue by\n" in control


def test_questions_and_commands(ask, project):
    with project.worker("-n", "w1@h", "-P", "threads"):
        assert ask("status") == "->  w1@h: OK\n\n1 node online.\n"
        assert ask("status", "-d", "w2@h", "-t", "0.2", code=69).endswith(NOBODY)
        assert ask("inspect", "ping") == "->  w1@h: OK\n        pong\n\n1 node online.\n"
        assert ask("-q", "inspect", "ping") == " w1@h: OK\n        pong\n"
        assert ask("inspect", "active") == "->  w1@h: OK\n    - empty -\n\n1 node online.\n"
        assert ask("inspect", "registered", "-d", "w1@h") == (
            "->  w1@h: OK\n    * tasks.add\n    * tasks.slow [rate_limit=10/m]\n\n1 node online.\n"
        )
        assert json.loads(ask("inspect", "ping", "-j")) == {"w1@h": {"ok": "pong"}}
        assert ask("inspect", "query_task", "a", "b") == "->  w1@h: OK\n    {}\n\n1 node online.\n"
        assert ask("inspect", "twice", "7").startswith("->  w1@h: OK\n        * 7\n        * 7\n")
        assert ask("control", "revoke", "abc") == ("->  w1@h: OK\n        tasks {'abc'} flagged as revoked\n")
        assert (
            ask("control", "terminate", "KILL", "def") == "->  w1@h: OK\n        terminate: tasks unknown\n"
        )
        assert ask("control", "revoke_by_stamped_headers", "a=b").endswith(
            "headers {'a': 'b'} flagged as revoked, but not terminated\n"
        )
        assert ask("control", "rate_limit", "tasks.no", "1/m") == "->  w1@h: ERROR\n        unknown task\n"
        assert ask("control", "pool_grow", "2").endswith("pool will grow\n")
        assert json.loads(ask("control", "add_consumer", "foo", "-j")) == [
            {"w1@h": {"ok": "add consumer foo"}}
        ]
        assert "* abc\n" in ask("inspect", "revoked")
        drawn = ask("graph", "workers")
        assert '"w1@h" [shape="box", arrowhead="vee", style="filled", fontname="HelveticaNeue"' in drawn
        assert '"thr-4" -> "w1@h" [shape="box", arrowhead="none"' in drawn
        summary = ask("inspect")
        assert summary.startswith(
            "->  w1@h: 0 active, 0 reserved, 0 scheduled; queues: celery, foo\n\n1 node online.\n\nCommands: active,"
        )
    assert ask("graph", "workers", "nodes:a,b", "threads:1,2").count("->") == 2 * 2 + 3


def test_a_worker_keeps_what_is_revoked(ask, project):
    for _ in range(2):
        with project.worker("-n", "w1@h", "-P", "threads", "--statedb=%n.state"):
            if _ == 0:
                ask("control", "revoke", "abc", "def")
            else:
                told = json.loads(ask("inspect", "revoked", "-j"))
                assert sorted(told["w1@h"]) == ["abc", "def"]
    with shelve.open(str(project.path / "w1.state")) as found:
        assert found["zrevoked"]


def test_what_is_revoked_survives_a_kill(ask, project):
    with project.worker("-n", "w1@h", "-P", "solo", "-S", "w1.state") as worker:
        ask("control", "revoke", "abc")
        wait_until(lambda: list(project.path.glob("w1.state*")))
        worker.send(9)
        worker.wait()
    with project.worker("-n", "w1@h", "-P", "solo", "-S", "w1.state"):
        assert json.loads(ask("inspect", "revoked", "-j")) == {"w1@h": ["abc"]}


def test_a_state_file_that_is_none(project):
    project.write("tasks.py", TASKS)
    project.write("w1.state", "no such thing")
    done = project.celery("-A", "tasks", "worker", "-P", "solo", "-S", "w1.state", check=False)
    assert done.returncode == 1
    assert "--statedb w1.state: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("pool", ["solo", "threads", "prefork", "asyncio"])
def test_a_busy_worker_answers(ask, project, pool):
    with project.worker("-n", "w1@h", "-P", pool, "-c", "1"):
        project.python("from tasks import slow; slow.delay(15)")
        wait_until(lambda: "tasks.slow" in ask("inspect", "active", "-d", "w1@h"))
        row = json.loads(ask("inspect", "active", "-j", "-d", "w1@h", "-t", "10"))["w1@h"][0]
        assert row["args"] == [15]
        assert row["worker_pid"] > 0
        assert 0 < time.time() - row["time_start"] < 60
