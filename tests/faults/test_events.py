"""Events when the broker, or whoever listens, misbehaves: they come again, and never cost a task."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from celery import Celery
from tests.listening import listening
from tests.support import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Project

pytestmark = pytest.mark.timeout(150)

TASKS = """
    import os
    from celery import Celery

    app = Celery("tasks", broker=os.environ["URL"])
    app.conf.broker_heartbeat = 1

    @app.task(ignore_result=True)
    def long(text): return text
"""


@contextlib.contextmanager
def client(project: Project, url: str) -> Iterator[Celery]:
    """The app of a program that sends and listens."""
    project.env["URL"] = url
    project.write("tasks.py", TASKS)
    app = Celery("tasks", broker=url, set_as_current=False)
    yield app
    app.close()


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_a_restart_of_the_broker(request, project, kind):
    server = request.getfixturevalue(f"private_{kind}")
    if not server.running:
        server.start()
    with (
        client(project, server.vhost() if kind == "rabbitmq" else server.url) as app,
        listening(app) as ear,
        project.worker("-E", "-n", "w1@h", "--heartbeat-interval", "0.5") as worker,
    ):
        ear.wait_for("worker-heartbeat")
        for _ in range(2):
            server.kill()
            server.start()
            count = len(ear.heard)
            wait_until(lambda count=count: len(ear.heard) > count + 2, 60, lambda: worker.output[-3000:])
            ear.check()
            sent = app.send_task("tasks.long", ["x"])
            ear.wait_for("task-succeeded", sent.id, timeout=30)
            assert ear.story(sent.id) == ["received", "started", "succeeded"]
        assert len(ear.of("worker-heartbeat")) > 2
        assert worker.process.poll() is None


def test_a_listener_that_does_not_read(project, redis_url, redis_server):
    where = urlsplit(redis_url)
    with client(project, redis_url) as app, socket.create_connection((where.hostname, where.port)) as deaf:
        deaf.sendall(b"PSUBSCRIBE *\r\n")
        assert deaf.recv(1)  # and nothing more
        with project.worker("-E"):
            # More than fits into its connection: the server keeps it for the listener, and then gives that up.
            app.send_many("tasks.long", [(["x" * 900], {}) for _ in range(4000)])
            wait_until(
                lambda: redis_server.cli("LLEN", "celery") == "0" == redis_server.cli("HLEN", "unacked"), 60
            )
            with listening(app) as ear:
                last = app.send_task("tasks.long", ["last"])
                ear.wait_for("task-succeeded", last.id)
