"""The broker's server, misbehaving: nothing is lost for which `delay()` returned, and every worker goes on by itself."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.faults.ledger import TASKS, Ledger, send
from tests.faults.producing import producing
from tests.servers.proxy import Proxy
from tests.support import wait_until

if TYPE_CHECKING:
    from tests.servers.rabbitmq import RabbitServer
    from tests.servers.redis import RedisServer
    from tests.support import Project

pytestmark = pytest.mark.timeout(150)


@dataclass
class Broker:
    """A server that the test may harm, and a place in it that is used by nobody else."""

    server: RedisServer | RabbitServer
    url: str
    project: Project

    def through(self, proxy: Proxy) -> str:
        """The same place, by way of a proxy."""
        return self.url.replace(f":{self.server.port}/", f":{proxy.port}/")

    def works(self) -> bool:
        """The port of a starting server is open before it knows its queues."""
        code = "from tasks import app; app.broker_for_read().size('celery')"
        return "Error" not in self.project.python(code, check=False, CELERY_TASK_PUBLISH_TIMEOUT="1")

    def drained(self) -> bool:
        """Nothing waits; in Redis, nothing is held either."""
        if self.url.startswith("redis"):
            return self.server.cli("LLEN", "celery") == "0" == self.server.cli("HLEN", "unacked")
        code = "from tasks import app; print(app.broker_for_read().size('celery'))"
        return self.project.python(code).strip() == "0"


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request, project):
    """It runs, whatever the test before did to it; leases and heartbeats are short."""
    server = request.getfixturevalue(f"private_{request.param}")
    if not server.running:
        server.start()
    url = server.vhost() if request.param == "rabbitmq" else server.url
    project.write("tasks.py", TASKS)
    project.env |= {
        "CELERY_BROKER_URL": url,
        "CELERY_BROKER_TRANSPORT_OPTIONS": json.dumps({"lease": 2}),
        "CELERY_BROKER_HEARTBEAT": "1",
        "CELERY_TASK_IGNORE_RESULT": "1",
    }
    return Broker(server, url, project)


@pytest.fixture
def ledger(project):
    return Ledger(project)


def began_since(ledger, since):
    return any(float(line[3]) > since for line in ledger.lines() if line[0] == "begin")


def test_it_is_killed_three_times_under_load(project, broker, ledger):
    """Promise 3."""
    with project.worker() as worker, producing(project) as producer:
        for _ in range(3):
            producer.wait_for_more(30)
            broker.server.kill()
            broker.server.start()
            wait_until(broker.works, 30)
            back = time.time()
            wait_until(lambda back=back: began_since(ledger, back), 20, lambda: worker.output[-2000:])
            first = min(float(line[3]) for line in ledger.lines() if float(line[3]) > back)
            assert first - back < 6, "consuming within 5 s of the broker's return"
        producer.stop()
        ledger.wait_for(producer.accepted)
        assert worker.process.poll() is None
        wait_until(broker.drained)


def test_it_is_frozen(project, broker, ledger):
    """Promise 4: publishing waits or raises within its deadline, and nothing is lost."""
    project.env["CELERY_TASK_PUBLISH_TIMEOUT"] = "2"
    with project.worker() as worker, producing(project) as producer:
        producer.wait_for_more()
        broker.server.freeze()
        try:
            wait_until(lambda: producer.refused, 20)
            time.sleep(5)  # longer than the heartbeats allow
        finally:
            broker.server.thaw()
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
def test_a_worker_whose_connections_suffer(project, broker, ledger, harm):
    """Promise 5: noticed within two heartbeats, nothing lost, by itself."""
    with (
        Proxy(broker.server.port) as proxy,
        producing(project) as producer,
        project.worker(CELERY_BROKER_URL=broker.through(proxy)) as worker,
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
        wait_until(broker.drained)


def test_a_producer_whose_connection_suffers(project, broker, ledger):
    with (
        Proxy(broker.server.port) as proxy,
        project.worker(),
        producing(project, CELERY_BROKER_URL=broker.through(proxy)) as producer,
    ):
        for harm in ("cut", "reset", "in-mid-frame", "cut"):
            producer.wait_for_more()
            HARM[harm](proxy)
        producer.wait_for_more()
        producer.stop()
        assert producer.refused == []
        ledger.wait_for(producer.accepted)


def test_a_slow_link(project, broker, ledger):
    with Proxy(broker.server.port) as proxy, producing(project, pause=0.02) as producer:
        proxy.delay(0.2)
        with project.worker(CELERY_BROKER_URL=broker.through(proxy)):
            producer.wait_for_more(50)
            producer.stop()
            ledger.wait_for(producer.accepted)
    assert set(ledger.begun.values()) == {1}


@pytest.mark.parametrize("repeat", range(3))
def test_a_producer_is_killed(project, broker, ledger, repeat):
    with project.worker(), producing(project, pause=0) as producer:
        producer.wait_for_more(50 + 37 * repeat)
        producer.process.send_signal(signal.SIGKILL)
        producer.process.wait()
        ledger.wait_for(producer.accepted)
    assert set(ledger.begun.values()) == {1}


def test_started_before_the_broker(project, broker, ledger):
    """Promise 17: consuming within a second of the broker's return; the log says what is wrong meanwhile."""
    broker.server.kill()
    with project.worker(ready=False) as worker:
        worker.wait_for(r"Cannot connect to (redis|amqp)://.*Connection refused")
        broker.server.start()
        wait_until(broker.works, 30)
        ledger.wait_for(send(project, "print(late.delay().id)"))
