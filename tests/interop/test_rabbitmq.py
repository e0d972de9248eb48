"""One fleet of both Celeries on RabbitMQ: calls, results, delays and one queue for all, on classic and quorum queues."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.interop.sides import Side
from tests.support import wait_until

pytestmark = pytest.mark.timeout(120)

SHARED = Path(__file__).parent / "shared"
QUORUM = {
    "task_default_queue_type": "quorum",
    "task_default_exchange_type": "topic",
    "broker_transport_options": {"confirm_publish": True},
}


@pytest.fixture(params=["classic", "quorum"])
def kind(request):
    return request.param


@pytest.fixture
def sides(kind, amqp_url, stock_celery, tmp_path):
    """`ours` and `stock`, on the same project and a fresh vhost, with results by message."""
    env = {
        "BROKER": amqp_url,
        "RESULTS": "rpc://",
        "PYTHONPATH": str(SHARED),
        "CONF": json.dumps(QUORUM if kind == "quorum" else {}),
    }
    return {
        "ours": Side("ours", Path(sys.executable), tmp_path, env),
        "stock": Side("stock", stock_celery.python, tmp_path, env),
    }


CALLS = """
import json
from tasks import *
from celery.exceptions import CeleryError
got = {
    "add": add.delay(2, 3).get(timeout=20),
    "echo": echo.apply_async(["é", None, {"a": [1.5]}], {"k": True}, serializer="pickle").get(timeout=20),
    "zlib": echo.apply_async(["x" * 5000], compression="zlib").get(timeout=20)[0][0] == "x" * 5000,
    "big": len(echo.delay("y" * 400_000).get(timeout=20)[0][0]),
    "who": who.delay().get(timeout=20),
    "expires": add.apply_async((1, 1), expires=60).get(timeout=20),
    "context": {
        k: v for k, v in context.apply_async(
            headers={"x-own": "1"}, time_limit=20, soft_time_limit=10, shadow="sh").get(timeout=20).items()
        if k in ("timelimit", "shadow", "retries")
    },
}
try:
    fail.delay("user").get(timeout=20)
except Exception as error:
    got["error"] = [type(error).__name__, str(error.args)]
print(json.dumps(got))
"""


@pytest.mark.parametrize(("caller", "worker"), [("ours", "stock"), ("stock", "ours"), ("ours", "ours")])
def test_calls_and_results(sides, caller, worker):
    with sides[worker].worker():
        got = sides[caller].json(CALLS)
    assert got["add"] == 5
    assert got["echo"] == [["é", None, {"a": [1.5]}], {"k": True}]
    assert got["zlib"] is True
    assert got["big"] == 400_000
    assert got["who"] == worker
    assert got["expires"] == 2
    assert got["context"] == {"timelimit": [20, 10], "shadow": "sh", "retries": 0}
    assert got["error"] == ["Trouble", "('mine', {'a': [1, None]})"]


@pytest.mark.parametrize(("caller", "worker"), [("ours", "stock"), ("stock", "ours")])
def test_delays(sides, caller, worker):
    """Due times both ways: native on quorum queues, parked by our workers (held by stock ones) on classic ones."""
    with sides[worker].worker():
        seconds = sides[caller].json(
            """
            import json, time
            from tasks import *
            add.delay(1, 1).get(timeout=20)
            began = time.time()
            results = [add.apply_async((n, n), countdown=3) for n in range(5)]
            assert [r.get(timeout=30) for r in results] == [0, 2, 4, 6, 8]
            print(json.dumps(time.time() - began))
            """
        )
    assert seconds >= 3


def test_both_workers_on_one_queue(sides):
    with sides["ours"].worker("-n", "a@h"), sides["stock"].worker("-n", "b@h"):
        for caller in sides.values():
            who = caller.json(
                """
                import json
                from tasks import *
                results = [who.delay() for _ in range(200)]
                print(json.dumps([r.get(timeout=30) for r in results]))
                """
            )
            counts = Counter(who)
            assert set(counts) == {"ours", "stock"}


def test_a_parked_message_may_end_with_either(sides):
    """Our worker parks, and dies; a stock worker gets what comes due."""
    with sides["ours"].worker("-n", "a@h") as victim:
        sides["stock"].run(
            """
            from tasks import *
            for n in range(5):
                add.apply_async((n, n), countdown=5, task_id=f"parked-{n}")
            """
        )
        if sides["stock"].env["CONF"] == "{}":
            victim.wait_for(r"parked-4\] received")
            time.sleep(1)
        victim.process.kill()
        victim.process.wait()
    with sides["stock"].worker("-n", "b@h") as heir:
        for number in range(5):
            heir.wait_for(rf"parked-{number}\] succeeded")
        assert heir.output.count(" succeeded in") == 5


LEAVE = """
from tasks import *
for n in range({count}):
    counted.apply_async((n,), ignore_result=True)
"""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [3_000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_a_backlog_of_the_real_celerys(sides, redis_server, redis_url, rabbitmq_server, amqp_url, count):
    """What a fleet of Celery has left in the queue is done by ours, once each."""
    for side in sides.values():
        side.env["RESULTS"] = redis_url  # where the tasks say that they have run
    vhost = urlsplit(amqp_url).path.lstrip("/")

    def left() -> list[str]:
        rows = rabbitmq_server.ctl("-q", "-p", vhost, "list_queues", "name", "messages").splitlines()
        return [count for name, count in (row.split("\t") for row in rows) if name == "celery"]

    sides["stock"].run(LEAVE.format(count=count), timeout=600)
    wait_until(lambda: left() == [str(count)], 60, lambda: f"{left()} of {count} in the queue")
    with sides["ours"].worker("-c", "2"):
        wait_until(
            lambda: int(redis_server.cli("LLEN", "runs")) >= count,
            600,
            lambda: f"{redis_server.cli('LLEN', 'runs')} of {count} have run",
        )
    runs = Counter(redis_server.cli("LRANGE", "runs", 0, -1).splitlines())
    assert runs == {f"ours:{n}": 1 for n in range(count)}
    wait_until(lambda: left() == ["0"], 30, lambda: f"{left()} are left")  # quorum queues tell every 5 s
