"""Promise 9: time limits are enforced in every pool, or refused with a clear error at start."""

from __future__ import annotations

import json

import pytest

from tests.support import wait_until

TASKS = """
import json, os, time
from pathlib import Path
from celery import Celery, Task, signals
from celery.exceptions import SoftTimeLimitExceeded
from celery.worker.request import Request

app = Celery("tasks")
app.conf.update(json.loads(os.environ.get("TEST_CONF", "{}")))
HERE = Path(__file__).parent

class Watched(Request):
    def on_timeout(self, soft, timeout):
        super().on_timeout(soft, timeout)
        with (HERE / "hooks.txt").open("a") as out:
            out.write(f"timeout soft={soft} {timeout}\\n")

class Told(Task):
    Request = Watched

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        with (HERE / "hooks.txt").open("a") as out:
            out.write(f"failed {exc!r}\\n")

def dawdle(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.01)

@app.task(base=Told)
def nap(seconds):
    dawdle(seconds)
    return "slept"

@app.task
def careful(seconds):
    try:
        dawdle(seconds)
    except SoftTimeLimitExceeded:
        return "cleaned up"
    return "slept"

@app.task(acks_late=True, acks_on_timeout=False, time_limit=0.3)
def again(seconds):
    with (HERE / "runs.txt").open("a") as out:
        out.write("run\\n")
    dawdle(seconds)

@app.task(time_limit=30)
def limited():
    return "fine"

def heard(state=None, task=None, retval=None, **kwargs):
    with (HERE / "signals.txt").open("a") as out:
        out.write(f"postrun {task.name} {retval!r} {state}\\n")

if os.environ.get("TEST_SIGNALS"):
    signals.task_postrun.connect(heard, weak=False)

@app.task
def deaf(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            dawdle(seconds)
        except BaseException:
            pass

@app.task
async def anap(seconds):
    import asyncio
    await asyncio.sleep(seconds)
    return "slept"
"""


@pytest.fixture
def shop(project):
    project.write("tasks.py", TASKS)
    return project


def outcome(project, call, **env):
    return project.python(
        f"""
        from tasks import *
        result = {call}
        value = result.get(timeout=40, propagate=False)
        print(f"{{result.state}} {{value!r}}")
        """,
        **env,
    ).strip()


@pytest.mark.parametrize("repeat", range(3))
def test_a_hard_limit_ends_the_task_and_nothing_else(shop, repeat):
    with shop.worker("-c", "1") as worker:
        assert outcome(shop, "nap.apply_async((60,), time_limit=0.5)") == "FAILURE TimeLimitExceeded(0.5)"
        assert outcome(shop, "nap.delay(0)") == "SUCCESS 'slept'"
        worker.wait_for(r"Hard time limit \(0\.5s\) exceeded for tasks\.nap\[")
        hooks = shop.path / "hooks.txt"
        wait_until(lambda: hooks.exists() and hooks.read_text().count("\n") == 2)
        assert set(hooks.read_text().splitlines()) == {
            "timeout soft=False 0.5",
            "failed TimeLimitExceeded(0.5)",
        }


@pytest.mark.parametrize("name", ["nap", "anap"])
def test_a_hard_limit_sends_task_postrun_where_the_task_ran(shop, name):
    with shop.worker("-c", "1", TEST_SIGNALS="1"):
        call = f"{name}.apply_async((60,), time_limit=0.5)"
        assert outcome(shop, call) == "FAILURE TimeLimitExceeded(0.5)"
        assert outcome(shop, f"{name}.delay(0)") == "SUCCESS 'slept'"
    told = (shop.path / "signals.txt").read_text().splitlines()
    assert told == [f"postrun tasks.{name} None None", f"postrun tasks.{name} 'slept' SUCCESS"]


def test_a_task_that_catches_everything_is_killed_by_its_hard_limit(shop):
    with shop.worker("-c", "1") as worker:
        assert outcome(shop, "deaf.apply_async((60,), time_limit=0.5)") == "FAILURE TimeLimitExceeded(0.5)"
        assert outcome(shop, "nap.delay(0)") == "SUCCESS 'slept'"
        assert "exited with 'signal 9 (SIGKILL)'" in worker.output


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_soft_limit_is_raised_in_the_task(shop, pool):
    with shop.worker("-P", pool, "-c", "1") as worker:
        assert outcome(shop, "careful.apply_async((30,), soft_time_limit=0.5)") == "SUCCESS 'cleaned up'"
        assert outcome(shop, "nap.apply_async((30,), soft_time_limit=0.5)").startswith(
            "FAILURE SoftTimeLimitExceeded("
        )
        worker.wait_for(r"Soft time limit \(0\.5s\) exceeded for tasks\.careful\[")


@pytest.mark.parametrize("pool", ["prefork", "asyncio"])
def test_limits_of_async_tasks(shop, pool):
    with shop.worker("-P", pool, "-c", "2"):
        assert outcome(shop, "anap.apply_async((30,), soft_time_limit=0.5)").startswith(
            "FAILURE SoftTimeLimitExceeded("
        )
        assert outcome(shop, "anap.delay(0)") == "SUCCESS 'slept'"


@pytest.mark.parametrize("pool", ["threads", "solo"])
@pytest.mark.parametrize("way", ["option", "setting"])
def test_a_hard_limit_that_cannot_be_kept_is_refused_at_start(shop, pool, way):
    args = ["-P", pool, "-l", "INFO"] + (["--time-limit", "5"] if way == "option" else [])
    env = {} if way == "option" else {"TEST_CONF": json.dumps({"task_time_limit": 5})}
    done = shop.celery("-A", "tasks", "worker", *args, check=False, **env)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "task_time_limit" in said
    assert f"the {pool} pool cannot enforce it" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_a_task_with_a_limit_that_cannot_be_kept_is_warned_about(shop, pool):
    with shop.worker("-P", pool) as worker:
        worker.wait_for(rf"Task tasks\.limited has time_limit=30, which the {pool} pool cannot enforce")
        assert outcome(shop, "limited.delay()") == "SUCCESS 'fine'"


def test_a_hard_limit_without_ack_is_delivered_again_and_given_up(shop):
    with shop.worker("-c", "1"):
        shop.python("from tasks import *; again.delay(30)")
        runs = shop.path / "runs.txt"
        dead = "from tasks import app; print(len(app.broker_for_read().dead('celery')))"
        wait_until(lambda: runs.exists() and runs.read_text().count("run") == 5, 40)
        wait_until(lambda: shop.python(dead).strip() == "1", 30)
        assert runs.read_text().count("run") == 5
