"""Redis as the broker, misbehaving: nothing is lost for which `delay()` returned, and every worker goes on by itself."""

from __future__ import annotations

import contextlib
import json
import socket
import time

import pytest

from tests.faults.ledger import TASKS, Ledger, send
from tests.faults.producing import producing
from tests.servers.redis import RedisSentinels, RedisServer
from tests.support import wait_until

pytestmark = pytest.mark.timeout(120)


def use(project, url, **options):
    """Have the project use this broker, with a short lease and heartbeat."""
    project.write("tasks.py", TASKS)
    project.env |= {
        "CELERY_BROKER_URL": url,
        "CELERY_BROKER_TRANSPORT_OPTIONS": json.dumps({"lease": 3, **options}),
        "CELERY_BROKER_HEARTBEAT": "1",
        "CELERY_TASK_IGNORE_RESULT": "1",
    }
    return Ledger(project)


def began_since(ledger, since):
    return any(float(line[3]) > since for line in ledger.lines() if line[0] == "begin")


def drained(server):
    return server.cli("LLEN", "celery") == "0" and server.cli("HLEN", "unacked") == "0"


def test_a_full_redis(project, tmp_path):
    """At `maxmemory` publishing says so; what was accepted runs, leases go on, and so does publishing afterwards."""
    with RedisServer(tmp_path / "redis") as server:
        ledger = use(project, server.url)
        project.env["CELERY_TASK_PUBLISH_TIMEOUT"] = "1"
        with project.worker() as worker:
            ids = send(project, "print(*[late.delay(0.5).id for _ in range(10)])")
            server.cli("CONFIG", "SET", "maxmemory", "1")
            said = project.python(
                """
                from tasks import *
                try:
                    late.delay()
                except late.OperationalError as error:
                    print(error)
                """
            )
            assert "maxmemory" in said
            time.sleep(4)  # longer than a lease
            ledger.wait_for(ids)
            server.cli("CONFIG", "SET", "maxmemory", "0")
            ids += send(project, "print(*[late.delay().id for _ in range(10)])")
            ledger.wait_for(ids)
            assert worker.process.poll() is None
            assert "cut off" not in worker.output
    assert set(ledger.begun.values()) == {1}


def test_a_wrong_password(project, tmp_path):
    with RedisServer(tmp_path / "redis", password="right") as server:
        use(project, server.url.replace("right", "wrong"))
        done = project.celery("-A", "tasks", "worker", "-c", "1", check=False)
        said = done.stdout + done.stderr
        assert done.returncode != 0
        assert "check user name and password" in said
        assert "wrong" not in said.replace("wrong password", "")
        assert "Traceback" not in said


def test_longer_than_the_visibility_timeout(project, private_redis):
    """Promise 7: a task and an ETA may be as long as they like."""
    ledger = use(project, private_redis.url, visibility_timeout=2)
    with project.worker("-n", "a@h", "-c", "4"), project.worker("-n", "b@h", "-c", "4"):
        ids = send(
            project,
            "print(*[late.delay(13).id for _ in range(2)],"
            " *[late.apply_async((0,), countdown=13).id for _ in range(20)])",
        )
        ledger.wait_for(ids)
    assert set(ledger.begun.values()) == {1}


def test_what_a_stock_worker_left_is_offered_again(project, private_redis):
    """A dead stock worker's messages come back by Celery's visibility timeout."""
    ledger = use(project, private_redis.url, visibility_timeout=1)
    (task_id,) = send(project, "print(late.delay().id)")
    raw = private_redis.cli("RPOP", "celery")
    private_redis.cli("HSET", "unacked", "11111111-aaaa", f'[{raw}, "", "celery"]')
    private_redis.cli("ZADD", "unacked_index", int(time.time()), "11111111-aaaa")
    with project.worker():
        ledger.wait_for([task_id])
        wait_until(lambda: drained(private_redis))


@pytest.mark.parametrize("repeat", range(3))
def test_sentinel_fails_over(project, tmp_path, repeat):
    with RedisSentinels(tmp_path / "sentinels") as sentinels:
        ledger = use(project, sentinels.url, master_name=sentinels.name)
        with project.worker() as worker, producing(project) as producer:
            producer.wait_for_more()
            old = sentinels.master()
            if repeat % 2:
                old.kill()
            else:
                old.freeze()
            wait_until(lambda: sentinels.master() is not old, 30)
            since = time.time()
            wait_until(lambda: began_since(ledger, since), 20, lambda: worker.output[-2000:])
            producer.wait_for_more()
            producer.stop()
            # Replication is asynchronous: what the old master had not passed on is lost with it.
            wait_until(lambda: len(set(producer.accepted) - set(ledger.ended)) <= 3, 30)
            assert worker.process.poll() is None
            if not repeat % 2:
                old.thaw()


def test_connections_of_a_worker(project, private_redis):
    use(project, private_redis.url)
    project.env["CELERY_BROKER_TRANSPORT_OPTIONS"] = "{}"
    queues = ",".join(f"q{number}" for number in range(10))
    with project.worker("-Q", queues):
        clients = private_redis.cli("CLIENT", "LIST").splitlines()
        assert len([line for line in clients if "cmd=client" not in line]) == 2, clients


@pytest.mark.parametrize(
    ("seconds", "most"),
    [(8, 6), pytest.param(45, 22, marks=pytest.mark.soak)],  # a short while may begin and end with a command
)
def test_commands_of_an_idle_worker(project, private_redis, seconds, most):
    """What goes over its wires when it has come to rest is less than a command in two seconds, of ten queues."""
    project.write("tasks.py", TASKS)
    project.env |= {"CELERY_BROKER_URL": private_redis.url, "CELERY_RESULT_BACKEND": private_redis.url}
    with project.worker("-Q", ",".join(["celery", *(f"q{number}" for number in range(9))])):
        ran = project.python("from tasks import early; r = early.delay(); print(r.get(timeout=20) == r.id)")
        assert ran == "True\n"
        time.sleep(5)  # to come to rest
        with _monitored(private_redis) as sent:
            time.sleep(seconds)  # what is counted is by time
    by_clients = [line for line in sent if " lua] " not in line]
    assert len(by_clients) <= most, "".join(by_clients)
    assert len(by_clients) > 1, "a lease is renewed"


@contextlib.contextmanager
def _monitored(server):
    """The commands that Redis carries out meanwhile, a line each; filled in at the end."""
    lines: list[str] = []
    # As text from a socket of its own: what is asked through the command line would be counted, too.
    with socket.create_connection(("127.0.0.1", server.port)) as watch, watch.makefile("r") as said:
        watch.sendall(b"MONITOR\r\n")
        assert said.readline().startswith("+OK")
        yield lines
        watch.shutdown(socket.SHUT_WR)
        lines += said.readlines()
