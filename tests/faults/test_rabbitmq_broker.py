"""RabbitMQ as the broker, misbehaving: nothing is lost for which `delay()` returned, and every worker goes on by itself."""

from __future__ import annotations

import json
import signal
import time

import pytest

from tests.faults.ledger import TASKS, Ledger, send
from tests.faults.producing import producing
from tests.servers.proxy import Proxy
from tests.support import wait_until

pytestmark = pytest.mark.timeout(150)


def use(project, url, **options):
    """Have the project use this broker, with a short lease and heartbeat."""
    project.write("tasks.py", TASKS)
    project.env |= {
        "CELERY_BROKER_URL": url,
        "CELERY_BROKER_TRANSPORT_OPTIONS": json.dumps({"lease": 2, **options}),
        "CELERY_TASK_IGNORE_RESULT": "1",
    }
    return Ledger(project)


@pytest.fixture
def server(private_rabbitmq):
    """A node that runs, whatever the test before did to it."""
    if not private_rabbitmq.running:
        private_rabbitmq.start()
    return private_rabbitmq


def began_since(ledger, since):
    return any(float(line[3]) > since for line in ledger.lines() if line[0] == "begin")


def through(proxy, url):
    return url.replace(f":{proxy.target}/", f":{proxy.port}/")


def drained(project):
    code = "from tasks import app; print(app.broker_for_read().size('celery'))"
    return project.python(code).strip() == "0"


def test_the_broker_is_killed_three_times_under_load(project, server):
    """Promise 3."""
    ledger = use(project, server.vhost())
    with project.worker() as worker, producing(project) as producer:
        for _ in range(3):
            producer.wait_for_more(30)
            server.kill()
            server.start()
            wait_until(lambda: _vhosts_run(project), 30)
            back = time.time()
            wait_until(lambda back=back: began_since(ledger, back), 20, lambda: worker.output[-2000:])
            first = min(float(line[3]) for line in ledger.lines() if float(line[3]) > back)
            assert first - back < 6, "consuming within 5 s of the broker's return"
        producer.stop()
        ledger.wait_for(producer.accepted)
        assert worker.process.poll() is None
        wait_until(lambda: drained(project))


def _vhosts_run(project):
    """The port of a starting node is open before its vhosts and queues are."""
    code = "from tasks import app; app.broker_for_read().size('celery')"
    return "Error" not in project.python(code, check=False, CELERY_TASK_PUBLISH_TIMEOUT="1")


def test_a_frozen_broker(project, server):
    """Promise 4: publishing waits or raises within its deadline, and nothing is lost."""
    ledger = use(project, server.vhost())
    project.env["CELERY_TASK_PUBLISH_TIMEOUT"] = "2"
    with project.worker() as worker, producing(project) as producer:
        producer.wait_for_more()
        server.freeze()
        try:
            wait_until(lambda: producer.refused, 20)
            time.sleep(5)  # longer than the heartbeats allow
        finally:
            server.thaw()
        producer.wait_for_more()
        producer.stop()
        assert all(float(line.split()[0]) < 4 for line in producer.refused)
        assert "no answer in time" in producer.refused[0]
        ledger.wait_for(producer.accepted)
        assert worker.process.poll() is None


HARM = {
    "cut": lambda proxy: proxy.cut(),
    "reset": lambda proxy: proxy.cut(reset=True),
    "in-mid-frame": lambda proxy: proxy.reset_after(700),
    "half-open": lambda proxy: proxy.forget(),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_worker_whose_connection_suffers(project, server, harm):
    """Promise 5: noticed within two heartbeats, nothing lost, by itself."""
    url = server.vhost()
    ledger = use(project, url)
    with (
        Proxy(server.port) as proxy,
        producing(project) as producer,
        project.worker(CELERY_BROKER_URL=through(proxy, url)) as worker,
    ):
        for _ in range(2):
            producer.wait_for_more()
            since = time.time()
            HARM[harm](proxy)
            wait_until(
                lambda since=since: began_since(ledger, since + 0.5), 20, lambda: worker.output[-2000:]
            )
        producer.stop()
        ledger.wait_for(producer.accepted)
        assert worker.process.poll() is None
        assert "Connection to broker lost" in worker.output
        wait_until(lambda: drained(project))


def test_a_producer_whose_connection_suffers(project, server):
    url = server.vhost()
    ledger = use(project, url)
    with (
        Proxy(server.port) as proxy,
        project.worker(),
        producing(project, CELERY_BROKER_URL=through(proxy, url)) as producer,
    ):
        for harm in ("cut", "reset", "in-mid-frame", "cut"):
            producer.wait_for_more()
            HARM[harm](proxy)
        producer.wait_for_more()
        producer.stop()
        assert producer.refused == []
        ledger.wait_for(producer.accepted)


def test_a_slow_link(project, server):
    url = server.vhost()
    ledger = use(project, url)
    with Proxy(server.port) as proxy, producing(project, pause=0.02) as producer:
        proxy.delay(0.2)
        with project.worker(CELERY_BROKER_URL=through(proxy, url)):
            producer.wait_for_more(50)
            producer.stop()
            ledger.wait_for(producer.accepted)
    assert set(ledger.begun.values()) == {1}


def test_a_memory_alarm(project, server):
    """While the broker takes no messages, publishing waits, and then says so; workers go on."""
    ledger = use(project, server.vhost())
    project.env["CELERY_TASK_PUBLISH_TIMEOUT"] = "2"
    with project.worker() as worker:
        ids = send(project, "print(*[late.delay(0.5).id for _ in range(10)])")
        server.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
        try:
            said = project.python(
                """
                from tasks import *
                try:
                    late.delay()
                except late.OperationalError as error:
                    print(error)
                """
            )
            ledger.wait_for(ids)
        finally:
            server.ctl("set_vm_memory_high_watermark", "absolute", "1GB")
        assert "takes no messages at present" in said
        assert "task_publish_timeout" in said
        ids += send(project, "print(*[late.delay().id for _ in range(10)])")
        ledger.wait_for(ids)
        assert worker.process.poll() is None


@pytest.mark.parametrize("repeat", range(3))
def test_a_producer_is_killed(project, server, repeat):
    ledger = use(project, server.vhost())
    with project.worker(), producing(project, pause=0) as producer:
        producer.wait_for_more(50 + 37 * repeat)
        producer.process.send_signal(signal.SIGKILL)
        producer.process.wait()
        ledger.wait_for(producer.accepted)
    assert set(ledger.begun.values()) == {1}


@pytest.mark.parametrize("repeat", range(3))
def test_a_worker_is_killed_under_load(project, server, repeat):
    """Promise 1: taken over at once; repeats only of what was running."""
    ledger = use(project, server.vhost())
    with project.worker("-n", "a@h", ready=False) as victim, project.worker("-n", "b@h") as survivor:
        victim.wait_for(r"ready\.")
        ids = send(project, "print(*[late.delay(0.02).id for _ in range(200)])")
        wait_until(lambda: len(ledger.ended) > 20 + 10 * repeat)
        victim.send(signal.SIGKILL)
        ledger.wait_for(ids)
        repeated = {task_id for task_id, count in ledger.begun.items() if count > 1}
        assert len(repeated) <= 4, f"only what was running may run again: {repeated}"
        assert survivor.process.poll() is None
        wait_until(lambda: drained(project))


def test_early_tasks_of_a_killed_worker_are_recorded_as_lost(project, server):
    ledger = use(project, server.vhost())
    project.env |= {
        "CELERY_TASK_IGNORE_RESULT": "0",
        "CELERY_RESULT_BACKEND": f"sqlite:///{project.path}/r.db",
    }
    with project.worker("-n", "a@h") as victim:
        (task_id,) = send(project, "print(early.delay(60).id)")
        wait_until(lambda: task_id in ledger.begun)
        victim.send(signal.SIGKILL)
        victim.wait()
    with project.worker("-n", "b@h"):
        text = project.python(f"""
            from tasks import app
            print(repr(app.AsyncResult({task_id!r}).get(timeout=30, propagate=False)))
        """)
    assert "WorkerLostError" in text
    assert ledger.begun[task_id] == 1


def test_a_task_that_always_kills_its_process_is_given_up(project, server):
    """Promise 2: bounded deliveries, then a dead letter."""
    ledger = use(project, server.vhost())
    with project.worker() as worker:
        (task_id,) = send(project, "print(stubborn.delay(how='kill').id)")
        look = "from tasks import app; print(*[d.reason for d in app.broker_for_read().dead('celery')])"
        wait_until(lambda: "its process died" in project.python(look), 40)
        assert worker.process.poll() is None
    assert ledger.begun[task_id] == 5
    assert "Sent 1 message back" in project.celery("-A", "tasks", "dlq", "retry", "--all").stdout


def test_a_cut_link_repeats_no_running_task(project, server):
    """A late task that runs while the link is cut comes back to its own worker, which knows it."""
    url = server.vhost()
    ledger = use(project, url)
    with Proxy(server.port) as proxy, project.worker(CELERY_BROKER_URL=through(proxy, url)) as worker:
        late, early = send(project, "print(late.delay(4).id, early.delay(4).id)")
        wait_until(lambda: len(ledger.begun) == 2)
        proxy.cut()
        ledger.wait_for([late, early])
        worker.wait_for("came back after it had ended here: not run again")
        wait_until(lambda: drained(project))
        ids = send(project, "print(*[early.delay().id for _ in range(5)])")
        ledger.wait_for(ids)
    assert set(ledger.begun.values()) == {1}


def test_a_queue_that_is_deleted_comes_back(project, server):
    ledger = use(project, server.vhost())
    with project.worker() as worker:
        ledger.wait_for(send(project, "print(late.delay().id)"))
        project.python("from tasks import app; app.broker_for_write().delete('celery')")
        worker.wait_for("is declared again")
        ledger.wait_for(send(project, "print(late.delay().id)"))


def test_delays_outlive_the_worker_that_set_them(project, server):
    """Due times wait in the broker: the worker that parked them may die."""
    ledger = use(project, server.vhost())
    with project.worker("-n", "a@h") as victim:
        due = time.time() + 4
        ids = send(project, "print(*[late.apply_async((0,), countdown=4).id for _ in range(20)])")
        wait_until(lambda: drained(project))
        wait_until(lambda: victim.output.count(" received") >= 20)
        time.sleep(0.5)
        victim.send(signal.SIGKILL)
        victim.wait()
    with project.worker("-n", "b@h"):
        ledger.wait_for(ids)
    assert set(ledger.begun.values()) == {1}
    starts = [float(line[3]) for line in ledger.lines() if line[0] == "begin"]
    assert min(starts) >= due


def test_started_before_the_broker(project, server):
    """Promise 17: consuming soon after the broker's return; the log says what is wrong meanwhile."""
    ledger = use(project, server.vhost())
    server.kill()
    with project.worker(ready=False) as worker:
        worker.wait_for("Cannot connect to amqp://.*Connection refused")
        server.start()
        wait_until(lambda: _vhosts_run(project), 30)
        ledger.wait_for(send(project, "print(late.delay().id)"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("guest:guest", "guest:secret"), "user 'guest' with this password may not log in"),
        (("/test", "/nowhere"), "vhost 'nowhere"),
    ],
)
def test_a_wrong_password_and_a_wrong_vhost(project, server, change, said):
    use(project, server.vhost().replace(*change))
    done = project.celery("-A", "tasks", "worker", "-c", "1", check=False)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert said in text
    assert "secret" not in text
    assert "Traceback" not in text


def test_a_task_that_may_outlast_the_brokers_patience_is_warned_of(project, server):
    use(project, server.vhost())
    conf = json.dumps({"task_annotations": {"tasks.late": {"time_limit": 3600}}})
    with project.worker(TEST_CONF=conf) as worker:
        assert "Task tasks.late is acknowledged late and may run for 3600 seconds" in worker.output
        assert worker.output.count("consumer_timeout") == 1


def test_an_unroutable_message_raises(project, server):
    use(project, server.vhost())
    said = project.python(
        """
        from tasks import *
        try:
            late.apply_async((0,), exchange="nowhere", routing_key="nothing")
        except late.OperationalError as error:
            print(error)
        """
    )
    assert "no queue is bound to exchange 'nowhere'" in said
