"""A worker whose broker is not there, comes, goes and comes back."""

from __future__ import annotations

import pytest
from tests.servers.redis import RedisServer
from tests.support import wait_until

TASKS = """
import os, time
from celery import Celery

app = Celery("tasks")


@app.task
def note(number):
    with open("ledger.txt", "a") as ledger:
        ledger.write(f"{number}\\n")

"""


@pytest.fixture
def shop(project):
    project.write("tasks.py", TASKS)
    return project


def lines(shop, name):
    file = shop.path / name
    return file.read_text().split() if file.exists() else []


@pytest.fixture(params=["redis", "rabbitmq"])
def server(request):
    return request.getfixturevalue(f"private_{request.param}")


def test_cold_start_and_loss(shop, server):
    """It starts without a broker, takes work when there is one, loses it and has it again."""
    url = server.url
    server.kill()
    with shop.worker("-P", "threads", ready=False, CELERY_BROKER_URL=url) as worker:
        worker.wait_for(
            r"ERROR.*consumer: Cannot connect to .*\nTrying again in \d\.\d\d seconds\.\.\. \(1\)"
        )
        server.start()
        worker.wait_for(r"Connected to ")
        worker.wait_for(r"ready\.")
        shop.python("from tasks import note; note.delay(1)", CELERY_BROKER_URL=url)
        wait_until(lambda: lines(shop, "ledger.txt") == ["1"])
        server.kill()
        worker.wait_for(
            r"WARNING.*consumer: Connection to broker lost. Trying to re-establish the connection\.\.\."
        )
        server.start()
        wait_until(lambda: worker.output.count("Connected to ") == 2, 30, lambda: worker.output)
        shop.python("from tasks import note; note.delay(2)", CELERY_BROKER_URL=url)
        # A server that is killed may forget an acknowledgement that it was just told.
        wait_until(lambda: "2" in lines(shop, "ledger.txt"))
        assert "Traceback" not in worker.output
        assert worker.stop() == 0


def test_wrong_password(shop, tmp_path):
    with RedisServer(tmp_path / "closed", password="right") as server:
        wrong = server.url.replace("right", "wrong")
        done = shop.celery("-A", "tasks", "worker", check=False, CELERY_BROKER_URL=wrong)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "password" in said
    assert "wrong" not in said.replace("wrong password", "")
    assert "Traceback" not in said


def test_wrong_password_of_rabbitmq(shop, private_rabbitmq):
    wrong = private_rabbitmq.url.replace("guest:guest", "guest:secret")
    if not private_rabbitmq.running:
        private_rabbitmq.start()
    done = shop.celery("-A", "tasks", "worker", check=False, CELERY_BROKER_URL=wrong)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "password" in said
    assert "secret" not in said
    assert "Traceback" not in said


def test_several_urls(shop, server):
    """The first is dead: worker and sender use the second."""
    if not server.running:
        server.start()
    env = {"CELERY_BROKER_URL": f"{server.url.partition(':')[0]}://127.0.0.1:1;{server.url}"}
    with shop.worker("-P", "threads", **env):
        shop.python("from tasks import note; note.delay(1)", **env)
        wait_until(lambda: lines(shop, "ledger.txt") == ["1"])
