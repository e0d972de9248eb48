"""Redis as the result store, misbehaving: no result lost, nobody waits for ever, nobody is told what is not true."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest

from celery import Celery
from celery.backends.redis.subscription import STALE
from celery.exceptions import BackendGetMetaError, BackendStoreError, TimeoutError  # noqa: A004 - the public name
from tests.servers.proxy import Proxy
from tests.support import wait_until

APP = """
import os, time
from celery import Celery
app = Celery("tasks", broker=os.environ.get("BROKER", "sqlite:///store.db"), backend=os.environ["RESULTS"])

@app.task(acks_late=True)
def late(n):
    time.sleep(0.05)
    return n

@app.task
def early(n):
    time.sleep(0.05)
    return n
"""


def app_on(url: str, **conf) -> Celery:
    return Celery("t", broker="memory://", backend=url, set_as_current=False, **conf)


def get_all(app: Celery, ids: list[str], timeout: float = 50) -> dict[str, object]:
    """Wait for each of these in a thread of its own."""
    got: dict[str, object] = {}

    def wait(task_id):
        try:
            got[task_id] = app.AsyncResult(task_id).get(timeout=timeout)
        except Exception as exc:
            got[task_id] = exc

    threads = [threading.Thread(target=wait, args=(task_id,)) for task_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


@pytest.mark.parametrize(("name", "broker"), [("late", "sqlite"), ("early", "sqlite"), ("late", "rabbitmq")])
def test_results_survive_a_store_that_is_away(project, private_redis, request, name, broker):
    """Down for 8 s while tasks run: every result is there in the end, and no task ran twice."""
    project.write("tasks.py", APP)
    if broker == "rabbitmq":
        project.env["BROKER"] = request.getfixturevalue("amqp_url")
    project.env["RESULTS"] = private_redis.url
    sent = project.python(
        f"""
        from tasks import {name}
        print(*[{name}.delay(n).id for n in range(100)])
        """
    ).split()
    with project.worker("-c", "2") as worker:
        worker.wait_for(r"succeeded in")
        private_redis.kill()
        time.sleep(8)  # the length of the fault
        private_redis.start()
        app = app_on(private_redis.url)
        got = get_all(app, sent)
        assert [got[task_id] for task_id in sent] == list(range(100))
    assert worker.output.count("succeeded in") == 100
    assert "trying again" in worker.output


def test_waiting_survives_restarts(private_redis):
    """32 threads and 32 coroutines wait while Redis is killed and restarted; the results come between."""
    app = app_on(private_redis.url)
    ids = [f"t{n}" for n in range(64)]
    values: list[object] = []

    async def wait_for(some):
        return await asyncio.gather(*(app.AsyncResult(i).aget(timeout=50) for i in some))

    coroutines = threading.Thread(target=lambda: values.extend(asyncio.run(wait_for(ids[32:]))))
    coroutines.start()
    got: dict[str, object] = {}
    threads = threading.Thread(target=lambda: got.update(get_all(app, ids[:32])))
    threads.start()
    wait_until(lambda: len(private_redis.cli("PUBSUB", "CHANNELS").split()) == 64)
    for turn in range(4):
        private_redis.restart(kill=turn % 2 == 0)
        for number, task_id in list(enumerate(ids))[turn::4]:
            app.backend.mark_as_done(task_id, number)
    threads.join()
    coroutines.join()
    assert got == {task_id: number for number, task_id in enumerate(ids[:32])}
    assert values == list(range(32, 64))
    wait_until(lambda: len(private_redis.cli("PUBSUB", "CHANNELS").split()) < STALE)


def test_waiting_survives_the_loss_of_its_subscriptions(private_redis):
    """What is stored while the subscription is gone is found."""
    app = app_on(private_redis.url)
    ids = [f"t{n}" for n in range(40)]
    got: dict[str, object] = {}
    waiting = threading.Thread(target=lambda: got.update(get_all(app, ids)))
    waiting.start()
    wait_until(lambda: len(private_redis.cli("PUBSUB", "CHANNELS").split()) == len(ids))
    for number, task_id in enumerate(ids):
        if number % 4 == 0:
            private_redis.cli("CLIENT", "KILL", "TYPE", "pubsub")
        app.backend.mark_as_done(task_id, number)
    waiting.join()
    assert got == {task_id: number for number, task_id in enumerate(ids)}


@pytest.mark.parametrize("fault", ["cut", "reset", "middle of a reply", "half-open", "stalled"])
def test_bad_connections(private_redis, fault):
    """Noticed without being told, and made again."""
    with Proxy(private_redis.port) as proxy:
        near = app_on(private_redis.url)
        far = app_on(
            f"redis://127.0.0.1:{proxy.port}/0",
            redis_socket_timeout=1.0,
            redis_backend_health_check_interval=1.0,
        )
        near.backend.mark_as_done("first", 0)
        assert far.AsyncResult("first").get(timeout=20) == 0
        ids = [f"t{n}" for n in range(20)]
        got: dict[str, object] = {}
        waiting = threading.Thread(target=lambda: got.update(get_all(far, ids, 45)))
        waiting.start()
        wait_until(lambda: len(private_redis.cli("PUBSUB", "CHANNELS").split()) == len(ids))
        if fault == "middle of a reply":
            proxy.reset_after(1500)
        elif fault == "half-open":
            proxy.forget()
        elif fault == "stalled":
            proxy.stall()
        else:
            proxy.cut(reset=fault == "reset")
        for number, task_id in enumerate(ids):
            near.backend.mark_as_done(task_id, number)
        if fault == "stalled":
            time.sleep(3)  # the length of the fault
            proxy.flow()
        waiting.join()
        assert got == {task_id: number for number, task_id in enumerate(ids)}


def test_a_store_that_stays_away_is_an_error_that_says_so(private_redis):
    """Neither for ever nor a time-out: whoever waits is told after the patience of `retry_policy`."""
    policy = {"max_retries": 2, "interval_start": 0.1, "interval_step": 0.1, "interval_max": 0.2}
    app = app_on(private_redis.url, result_backend_transport_options={"retry_policy": policy})
    app.backend.get_state("t0")
    private_redis.kill()
    with pytest.raises(TimeoutError):
        app.AsyncResult("t1").get(timeout=0.01)
    for wait in (lambda: app.AsyncResult("t1").get(), lambda: app.AsyncResult("t1").state):
        with pytest.raises(
            BackendGetMetaError, match=rf"redis://127.0.0.1:{private_redis.port}/0: Connection refused"
        ):
            wait()


def test_storing_gives_up_when_told(private_redis):
    app = app_on(private_redis.url)
    private_redis.kill()
    app.backend.give_up = threading.Event()
    app.backend.give_up.set()
    with pytest.raises(BackendStoreError, match="Could not store the result of task t1"):
        app.backend.mark_as_done("t1", 1)
    private_redis.start()
    app.backend.mark_as_done("t1", 1)
    assert app.AsyncResult("t1").get(timeout=20) == 1


def test_a_full_store_is_waited_for(redis_server, redis_url):
    app = app_on(redis_url)
    app.backend.mark_as_done("t0", 0)
    redis_server.cli("CONFIG", "SET", "maxmemory", "1")
    try:
        timer = threading.Timer(1.0, lambda: redis_server.cli("CONFIG", "SET", "maxmemory", "0"))
        timer.start()
        app.backend.mark_as_done("t1", 1)
        timer.join()
    finally:
        redis_server.cli("CONFIG", "SET", "maxmemory", "0")
    assert app.AsyncResult("t1").get(timeout=20) == 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_forks_after_the_first_result(private_redis):
    """Parent and children, each with threads, read and store after a fork: every value is the right one."""
    app = app_on(private_redis.url)
    app.backend.mark_as_done("first", 1)
    assert app.AsyncResult("first").get(timeout=20) == 1
    children = []
    for child in range(4):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = 0 if _exchange(app, f"c{child}") else 2
            finally:
                os._exit(code)
        children.append(pid)
    assert _exchange(app, "parent")
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 4
    wait_until(lambda: len(private_redis.cli("PUBSUB", "CHANNELS").split()) < STALE)


def _exchange(app: Celery, who: str) -> bool:
    """Store from one thread what others wait for."""
    ids = [f"{who}-{n}" for n in range(40)]
    storing = threading.Thread(target=lambda: [app.backend.mark_as_done(i, f"value of {i}") for i in ids])
    got: dict[str, object] = {}
    waiting = threading.Thread(target=lambda: got.update(get_all(app, ids, 40)))
    waiting.start()
    storing.start()
    storing.join()
    waiting.join()
    return got == {i: f"value of {i}" for i in ids}


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_round_trips_through_restarts(project, private_redis):
    """32 threads call and wait, over and over, while Redis is restarted and subscribers are killed: nobody waits in vain."""
    project.write("tasks.py", APP)
    project.env["RESULTS"] = private_redis.url
    clients = """
        import threading, time
        from tasks import early
        wrong = []
        def client(number):
            for n in range(100):
                try:
                    value = early.apply_async((n,)).get(timeout=60)
                except Exception as exc:
                    value = exc
                if value != n:
                    wrong.append((number, n, value))
        threads = [threading.Thread(target=client, args=(number,)) for number in range(32)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        print(wrong)
    """
    found = []
    with project.worker("-P", "threads", "-c", "32"):
        running = threading.Thread(target=lambda: found.append(project.python(clients, timeout=500)))
        running.start()
        for turn in range(5):
            time.sleep(2)
            private_redis.cli("CLIENT", "KILL", "TYPE", "pubsub")
            time.sleep(1)
            private_redis.restart(kill=turn % 2 == 0, down=1.0)
        running.join()
    assert found == ["[]\n"]
    assert private_redis.cli("PUBSUB", "CHANNELS") == ""
