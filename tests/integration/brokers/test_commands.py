"""The commands that speak to brokers, on each kind of broker."""

from __future__ import annotations

import re

import pytest
from tests.support import wait_until

TASKS = """
from celery import Celery

app = Celery("tasks")
app.conf.broker_transport_options = {options}


@app.task
def known(): ...
"""


@pytest.fixture(params=["redis", "rabbitmq", "sqlite", "filesystem", "sqla"])
def url(request, tmp_path):
    servers = {"redis": "redis_url", "rabbitmq": "amqp_url"}
    if request.param in servers:
        return request.getfixturevalue(servers[request.param])
    files = {"sqlite": f"sqlite:///{tmp_path}/s.db", "sqla": f"sqla+sqlite:///{tmp_path}/q.db"}
    return files.get(request.param, "filesystem://")


@pytest.fixture
def shop(project, url):
    options = {}
    if url == "filesystem://":
        (project.path / "queue").mkdir()
        options = {"data_folder_in": "queue", "data_folder_out": "queue"}
    project.write("tasks.py", TASKS.format(options=options))
    return project


def test_call_and_purge(shop, url):
    for _ in range(3):
        shop.celery("-b", url, "-A", "tasks", "call", "known")

    def purged():
        done = shop.celery("-b", url, "-A", "tasks", "purge", "-f")
        return "Purged 3 messages from 1 known task queue." in done.stdout

    assert purged()
    assert not purged()


def test_bindings(shop, url):
    done = shop.celery("-b", url, "-A", "tasks", "list", "bindings")
    assert re.search(r"^celery +celery +celery$", done.stdout, re.MULTILINE)


def test_dead_letters(shop, url):
    """A task that no worker knows is set aside, listed, and sent back when one does."""
    shop.env["CELERY_BROKER_URL"] = url
    shop.celery("-A", "tasks", "call", "late")
    with shop.worker("-P", "solo") as worker:
        worker.wait_for("Received unregistered task of type 'late'")
        wait_until(lambda: "late[" in shop.celery("-A", "tasks", "dlq", "list").stdout)
    listed = shop.celery("-A", "tasks", "dlq", "list").stdout
    assert re.search(r"celery +late\[.*\] +unregistered task 'late'", listed)
    shop.write(
        "tasks.py", (shop.path / "tasks.py").read_text() + "\n\n@app.task(name='late')\ndef late(): ...\n"
    )
    number = re.search(r"^ *(\d+) .*late", listed, re.MULTILINE)[1]
    assert "Sent 1 message back." in shop.celery("-A", "tasks", "dlq", "retry", number).stdout
    assert "No dead letters." in shop.celery("-A", "tasks", "dlq", "list").stdout
    with shop.worker("-P", "solo") as worker:
        worker.wait_for(r"Task late\[.*\] succeeded")


def test_dead_letters_are_thrown_away_when_confirmed(shop, url):
    shop.env["CELERY_BROKER_URL"] = url
    shop.celery("-A", "tasks", "call", "late")
    with shop.worker("-P", "solo") as worker:
        worker.wait_for("Received unregistered task of type 'late'")
        wait_until(lambda: "late[" in shop.celery("-A", "tasks", "dlq", "list").stdout)
    dlq = ("-A", "tasks", "dlq", "purge")
    refused = shop.celery(*dlq, stdin="n\n", check=False)
    assert refused.returncode == 1
    assert "the dead letters of all queues" in refused.stdout
    assert shop.celery(*dlq, "-f", "other").stdout == "Threw away 0 dead letters.\n"
    assert shop.celery(*dlq, "celery", stdin="y\n").stdout.endswith("Threw away 1 dead letter.\n")
    assert shop.celery(*dlq, "--force").stdout == "Threw away 0 dead letters.\n"
