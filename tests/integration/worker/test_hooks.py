"""Hooks of a request class of one's own, in a worker with child processes."""

from __future__ import annotations

import pytest
from tests.support import wait_until

TASKS = """
import asyncio
from pathlib import Path
from celery import Celery
from celery.worker.request import Request

app = Celery("tasks")
HERE = Path(__file__).parent

class Broken(Exception):
    pass

class Beyond(BaseException):
    pass

class Watched(Request):
    def on_failure(self, exc_info, send_failed_event=True, return_ok=False):
        exc = exc_info.exception
        with (HERE / "hooks.txt").open("a") as out:
            out.write(f"{type(exc).__module__} {exc!r} {'raise' in exc_info.traceback}\\n")

@app.task(Request=Watched)
def fail(name):
    if name == "value":
        raise ValueError(5)
    if name == "own":
        raise Broken("a", 1)
    if name == "beyond":
        raise Beyond(3)
    if name == "hidden":
        class Hidden(Exception):
            pass
        raise Hidden(1)
    raise asyncio.CancelledError("x")
"""


@pytest.fixture
def shop(project):
    project.write("tasks.py", TASKS)
    return project


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_on_failure_gets_what_the_task_raised(shop, pool):
    hooks = shop.path / "hooks.txt"
    with shop.worker("-c", "1", "-P", pool):
        shop.python(
            "from tasks import *\nfor name in ('value', 'own', 'beyond', 'cancelled', 'hidden'): fail.delay(name)"
        )
        wait_until(lambda: hooks.exists() and hooks.read_text().count("\n") == 5)
    *known, hidden = hooks.read_text().splitlines()
    assert known == [
        "builtins ValueError(5) True",
        "tasks Broken('a', 1) True",
        "tasks Beyond(3) True",
        "asyncio.exceptions CancelledError('x') True",
    ]
    assert "Hidden(1)" in hidden
