"""Real Celery 5.7.0 and ours on the same folder or database, through kombu's transports."""

from __future__ import annotations

import base64
import json

import pytest

from tests.support import wait_until

TASKS = """
import os, time
from celery import Celery

KIND = os.environ["KIND"]
app = Celery("tasks")
app.conf.task_default_queue = "shop"
if KIND == "filesystem":
    for folder in ("messages", "results"):
        os.makedirs(folder, exist_ok=True)
    app.conf.broker_url = "filesystem://"
    app.conf.broker_transport_options = {
        "data_folder_in": "messages", "data_folder_out": "messages", "control_folder": "control"
    }
else:
    app.conf.broker_url = "sqla+sqlite:///messages.db"
app.conf.result_backend = "file://" + os.path.abspath("results") if os.environ.get("RESULTS") else None
app.conf.worker_prefetch_multiplier = 1


@app.task
def note(number, side=None, **kwargs):
    with open("ledger.txt", "a") as ledger:
        ledger.write(f"{number}\\n")
    return number


@app.task(bind=True, max_retries=3)
def flaky(self, number):
    if self.request.retries < 2:
        raise self.retry(countdown=0.1)
    note.run(number)


@app.task(acks_late=True)
def slow(number, seconds):
    open(f"began-{number}", "w").close()
    time.sleep(seconds)
    note.run(number)
"""
SEND = """
from tasks import *
for number in range({start}, {stop}):
    note.delay(number)
note.apply_async(({stop},), countdown=0.5, priority=3, headers={{"x": "y"}}, compression="zlib")
flaky.delay({stop} + 1)
"""


@pytest.fixture(params=["filesystem", "sqla"])
def kind(request):
    return request.param


@pytest.fixture
def shop(project, kind):
    project.write("tasks.py", TASKS)
    project.env["KIND"] = kind
    return project


def ledger(shop) -> list[int]:
    file = shop.path / "ledger.txt"
    return sorted(int(line) for line in file.read_text().split()) if file.exists() else []


def drained(shop, numbers):
    wanted = sorted(numbers)
    wait_until(lambda: len(ledger(shop)) >= len(wanted), 30, lambda: f"{ledger(shop)}")
    assert ledger(shop) == wanted


def test_they_send_and_we_work(shop, kind, stock_celery):
    stock_celery.run(shop.path, SEND.format(start=0, stop=20), KIND=kind)
    with shop.worker("-P", "threads"):
        drained(shop, range(22))


def test_we_send_and_they_work(shop, kind, stock_celery):
    shop.python(SEND.format(start=0, stop=20))
    with stock_celery.worker(shop.path, "-P", "solo", KIND=kind):
        drained(shop, range(22))


def test_a_mixed_fleet_on_one_queue(shop, kind, stock_celery):
    with shop.worker("-P", "threads"), stock_celery.worker(shop.path, "-P", "solo", KIND=kind):
        shop.python(SEND.format(start=0, stop=30))
        stock_celery.run(shop.path, SEND.format(start=100, stop=130), KIND=kind)
        drained(shop, [*range(32), *range(100, 132)])


def test_messages_are_equal_on_disk(shop, kind, stock_celery):
    if kind != "filesystem":
        pytest.skip("a message is a row there, with the same text")
    code = "from tasks import note\nnote.apply_async((1,), {'side': 'x'}, task_id='an-id', expires=60)"
    stock_celery.run(shop.path, code, KIND=kind)
    shop.python(code)
    one, two = (json.loads(file.read_text()) for file in sorted((shop.path / "messages").glob("*.msg")))
    for message in (one, two):
        assert message["properties"].pop("delivery_tag")
        assert message["properties"].pop("reply_to")
        assert message["headers"].pop("origin")
        assert message["headers"].pop("expires")
        message["body"] = json.loads(base64.b64decode(message["body"]))  # theirs has spaces in it
    assert one == two


def test_a_killed_worker_of_ours_loses_nothing(shop, kind):
    if kind != "filesystem":
        pytest.skip("kombu's database transport removes what it hands out")
    shop.python(
        "from tasks import slow\nfor number in range(4): slow.delay(number, 600 - 599.9 * bool(number))"
    )
    with shop.worker("-P", "threads", "-c", "4", "--hostname=one@%h") as worker:
        wait_until(lambda: len(ledger(shop)) == 3, 30)
        worker.process.kill()
        worker.process.wait()
    (shop.path / "began-0").unlink()
    with shop.worker("-P", "threads", "--hostname=two@%h") as worker:
        wait_until((shop.path / "began-0").exists, 30)
        worker.process.kill()
        worker.process.wait()
    assert ledger(shop) == [1, 2, 3]


def test_a_refused_folder_is_one_line(shop, kind):
    if kind != "filesystem":
        pytest.skip("about folders")
    shop.write(
        "broken.py", "from tasks import app\napp.conf.broker_transport_options = {'data_folder_in': '/nope'}"
    )
    done = shop.celery("-A", "broken", "worker", check=False)
    assert done.returncode == 1
    assert "filesystem://" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
