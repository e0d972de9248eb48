"""Fast tasks make windows deep; slow ones that come among them are still left to whoever is idle."""

from __future__ import annotations

import pytest
from tests.support import wait_until

TASKS = """
import pathlib, time
from celery import Celery

app = Celery("tasks")


@app.task
def fast(): ...


@app.task(ignore_result=True)
def slow(n):
    with open("begun", "a") as ledger:
        ledger.write(f"{n}\\n")
    while not pathlib.Path("go").exists():
        time.sleep(0.02)
"""
WARM = (
    "from tasks import fast\nfor result in [fast.delay() for _ in range(400)]:\n    result.get(timeout=40)\n"
)
SLOW = "from tasks import fast, slow\nfor n in range(6):\n    slow.delay(n)\n    fast.delay()\n"


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_slow_tasks_after_fast_ones_wait_for_any_worker(project, pool):
    project.write("tasks.py", TASKS)
    ledger = project.path / "begun"

    def begun():
        return sorted(ledger.read_text().split()) if ledger.exists() else []

    with project.worker("-P", pool, "-n", "one@test"):
        project.python(WARM)
        project.python(SLOW)
        wait_until(lambda: len(begun()) == 2)
        with project.worker("-P", pool, "-n", "two@test"):
            # Acknowledged early: what the first worker had begun, or had in its pool, would stay there.
            wait_until(lambda: len(begun()) == 4)
            (project.path / "go").touch()
            wait_until(lambda: len(begun()) == 6)
    assert begun() == [str(n) for n in range(6)]
