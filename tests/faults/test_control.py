"""Remote control when things go wrong: the broker restarts, a client freezes, a worker is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from celery import Celery
from celery.exceptions import OperationalError
from tests.servers.process import die_with_parent
from tests.support import wait_until

pytestmark = pytest.mark.timeout(150)

TASKS = """
    import time
    from celery import Celery
    app = Celery('tasks')

    @app.task
    def sleeps(seconds): time.sleep(seconds)
"""
PONG = [{"w@here": {"ok": "pong"}}]


@pytest.fixture(params=["redis", "rabbitmq"])
def server(request, project):
    """A broker that the test may harm; `url` is a place in it of the test's own."""
    made = request.getfixturevalue(f"private_{request.param}")
    if not made.running:
        made.start()
    project.write("tasks.py", TASKS)
    url = made.vhost() if request.param == "rabbitmq" else made.url
    project.env |= {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": f"sqlite:///{project.path}/results.db"}
    made.url_of_test = url
    return made


@pytest.fixture
def app(server):
    app = Celery("tasks", broker=server.url_of_test, set_as_current=False)
    app.conf.task_publish_timeout = 2
    yield app
    app.close()


def answers(app, names=("w@here",)):
    try:
        return app.control.ping(list(names), timeout=2)
    except OperationalError:  # it is not back
        return []


def test_the_broker_restarts(project, server, app):
    with project.worker("-n", "w@here", "-P", "threads") as worker:
        assert answers(app) == PONG
        server.kill()
        server.start()
        wait_until(lambda: answers(app) == PONG, 60, lambda: worker.output[-3000:])
        app.control.revoke("abc", reply=True, destination=["w@here"], timeout=10)
        assert app.control.inspect("w@here", timeout=10).revoked() == ["abc"]


def test_a_client_that_freezes_while_it_waits(project, server, app):
    code = "from tasks import app; print(app.control.ping(timeout=60), flush=True)"
    with project.worker("-n", "w@here", "-P", "threads"):
        client = subprocess.Popen(
            [sys.executable, "-c", code], cwd=project.path, env=project.env, preexec_fn=die_with_parent
        )
        try:
            os.kill(client.pid, signal.SIGSTOP)
            for _ in range(3):
                assert answers(app) == PONG
        finally:
            client.kill()
            client.wait()
        assert answers(app) == PONG


def test_a_killed_worker_leaves_nothing_that_answers_or_stays(project, server, app):
    with project.worker("-n", "w@here", "-P", "threads") as worker:
        assert answers(app) == PONG
        worker.send(signal.SIGKILL)
        worker.wait()
    wait_until(lambda: app.control.ping(timeout=0.3) == [], 30)
    if hasattr(server, "ctl"):
        place = server.url_of_test.rpartition("/")[2]
        wait_until(lambda: "pidbox" not in server.ctl("-q", "list_queues", "-p", place, "name"), 60)
    else:
        wait_until(lambda: not [key for key in server.cli("KEYS", "*pidbox").split() if "reply" in key], 30)
    with project.worker("-n", "w@here", "-P", "threads"):
        assert answers(app) == PONG
