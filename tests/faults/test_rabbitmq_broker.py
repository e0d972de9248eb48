"""RabbitMQ as the broker, misbehaving: nothing is lost for which `delay()` returned, and every worker goes on by itself."""

from __future__ import annotations

import json
import signal
import time

import pytest

from tests.faults.ledger import TASKS, Ledger, send
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


def through(proxy, url):
    return url.replace(f":{proxy.target}/", f":{proxy.port}/")


def drained(project):
    code = "from tasks import app; print(app.broker_for_read().size('celery'))"
    return project.python(code).strip() == "0"


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


def test_a_worker_that_is_started_during_a_memory_alarm(project, server):
    """Late tasks run; early ones, whose beginning must be written down, run when it is over: each once."""
    ledger = use(project, server.vhost())
    late = send(project, "print(*[late.delay().id for _ in range(50)])")
    server.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        with project.worker() as worker:
            ledger.wait_for(late)
            wait_until(lambda: drained(project))
            server.ctl("set_vm_memory_high_watermark", "absolute", "1GB")
            early = send(project, "print(*[early.delay(1.0).id for _ in range(10)])")
            wait_until(lambda: len(ledger.begun) > len(late))
            server.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
            wait_until(lambda: server.ctl("list_connections", "state").count("block"))
            server.ctl("set_vm_memory_high_watermark", "absolute", "1GB")
            ledger.wait_for(early)
            assert worker.process.poll() is None
    finally:
        server.ctl("set_vm_memory_high_watermark", "absolute", "1GB")
    assert set(ledger.begun.values()) == {1}


def test_a_cut_link_repeats_no_running_task(project, server):
    """A late task that runs while the link is cut comes back to its own worker, which knows it."""
    url = server.vhost()
    ledger = use(project, url)
    with Proxy(server.port) as proxy, project.worker(CELERY_BROKER_URL=through(proxy, url)) as worker:
        gate = project.path / "gate"
        path = str(gate)
        late, early = send(project, f"print(late.delay({path!r}).id, early.delay({path!r}).id)")
        wait_until(lambda: len(ledger.begun) == 2)
        proxy.cut()
        worker.wait_for("Connection to broker lost")
        gate.touch()
        ledger.wait_for([late, early])
        worker.wait_for("came back after it had ended here: not run again")
        wait_until(lambda: drained(project))
        ids = send(project, "print(*[early.delay().id for _ in range(5)])")
        ledger.wait_for(ids)
    assert set(ledger.begun.values()) == {1}


def test_what_was_begun_outlives_a_broker_that_is_away_for_longer_than_the_lease(project, server):
    """Nobody else can have looked into the records of it: it goes on, and what waited in the pool runs."""
    ledger = use(project, server.vhost(), lease=1)
    with project.worker("-c", "1") as worker:
        ids = send(project, "print(*[early.delay(s).id for s in [8.0] + [0.01] * 20])")
        wait_until(lambda: ledger.begun)
        server.kill()
        time.sleep(1.5)  # longer than the lease
        server.start()
        ledger.wait_for(ids)
        worker.wait_for("Trying again .*[^$]*Connection refused")
        wait_until(lambda: drained(project))
        wait_until(lambda: records(server, project) == "0")
    assert set(ledger.begun.values()) == {1}


def records(server, project):
    """How many there are in the vhost."""
    vhost = project.env["CELERY_BROKER_URL"].rpartition("/")[2]
    lines = server.ctl("list_queues", "-p", vhost, "name", "messages").splitlines()
    return str(sum(int(line.split()[1]) for line in lines if line.startswith("celeriac.begun.")))


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
