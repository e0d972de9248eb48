"""Settings of the worker's program that can only be seen from outside."""

from __future__ import annotations

import pytest
from tests.support import Project

TASKS = """
    from celery import Celery
    from celery.utils.log import get_task_logger

    app = Celery("tasks")

    @app.task
    def prints():
        print("printed here")
        get_task_logger("tasks").warning("logged here")
"""


@pytest.fixture
def project(tmp_path):
    made = Project(tmp_path)
    made.write("tasks.py", TASKS)
    (tmp_path / ".celery").mkdir()
    return made


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"CELERY_WORKER_REDIRECT_STDOUTS_LEVEL": "ERROR"},
            r"ERROR/MainProcess\] printed here$",
        ),
        ({"CELERY_WORKER_REDIRECT_STDOUTS": "0"}, r"^printed here$"),
        ({"CELERY_WORKER_LOG_DATEFMT": "year %Y"}, r"^\[year 2\d{3}: INFO/MainProcess\] .*received"),
        ({"CELERY_WORKER_TASK_LOG_DATEFMT": "tasks %Y"}, r"^\[tasks 2\d{3}: WARNING/.*logged here$"),
    ],
)
def test_the_log(project, settings, line):
    with project.worker("-P", "solo", **settings) as worker:
        project.python("from tasks import prints; prints.delay().get(timeout=20)")
        worker.wait_for(line)
