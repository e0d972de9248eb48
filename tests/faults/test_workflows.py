"""Promises 8 and 11: random workflows while what runs, carries and stores them is killed: every one ends, once.

They are those of `tests/canvas`, and come to what the reference says. What ran when something was killed may run again, so each
call is there at least once, none that should not be, and few more than once.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from celery import Celery
from tests.canvas.running import outcome_of, shown
from tests.canvas.tasks import add_tasks
from tests.canvas.trees import Account, Tree, evaluate, trees, written
from tests.faults.conftest import LEASE
from tests.servers.redis import RedisServer
from tests.support import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Process
    from tests.support import Project

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore::celery.exceptions.CPendingDeprecationWarning"),
]

#: Workflows that are under way together.
MANY = 40
#: Seconds until all of them must be over.
SOON = 120.0

TASKS = """
import json, os
from pathlib import Path

from celery import Celery
from celery.canvas import graphs
from tests.canvas.tasks import add_tasks

graphs.FEW = int(os.environ.get("FEW", graphs.FEW))
app = Celery("tasks")
app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True, task_max_deliveries=50)
LEDGER = Path(__file__).with_name("ledger.txt")


class Log:
    def call(self, label, args):
        self.note("call", label, args)

    def error(self, label):
        self.note("error", label, None)

    def note(self, *what):
        fd = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, (json.dumps([os.getpid(), *what]) + "\\n").encode())
        os.close(fd)


add_tasks(app, Log())
"""


class Workflows:
    """Random workflows of a project, and what has become of them.

    Args:
        seed: which ones.
    """

    def __init__(self, project: Project, seed: int) -> None:
        self._path = project.path / "ledger.txt"
        env = project.env
        broker, backend = env["CELERY_BROKER_URL"], env["CELERY_RESULT_BACKEND"]
        self.app = Celery("tests", broker=broker, backend=backend, set_as_current=False)
        self.app.conf.fleet = env.get("CELERY_FLEET", "mixed")
        add_tasks(self.app, None)
        self._trees = some_trees(MANY, seed)
        self._results: list[Any] = []

    def start(self) -> None:
        """Send them all."""
        for number, tree in enumerate(self._trees):
            self._results.append(written(tree, self.app, f"{number}:").apply_async())

    def check(self, repeats: int) -> None:
        """Wait for all; compare with the reference.

        Args:
            repeats: calls that may be there again.
        """
        deadline = time.monotonic() + SOON
        calls: set[str] = set()
        errors: set[str] = set()
        wanted: Counter[str] = Counter()
        for number, (tree, result) in enumerate(zip(self._trees, self._results, strict=True)):
            account = Account()
            expected = shown(evaluate(tree, account))
            assert outcome_of(result, max(1.0, deadline - time.monotonic())) == expected, tree
            wanted.update(json.dumps([f"{number}:{label}", list(args)]) for label, args in account.calls)
            errors |= {f"{number}:{label}" for label in account.errors}
        calls = set(wanted)
        wait_until(
            lambda: (
                calls <= set(self.seen("call"))
                and errors <= {json.loads(one)[0] for one in self.seen("error")}
            ),
            30,
            lambda: f"missing: {calls - set(self.seen('call'))}, {errors - set(self.seen('error'))}",
        )
        seen = self.seen("call")
        assert set(seen) == calls, "nothing else ran"
        assert {json.loads(one)[0] for one in self.seen("error")} == errors
        again = sum((seen - wanted).values())
        assert again <= repeats, f"{again} ran again"
        self.app.close()

    def seen(self, kind: str) -> Counter[str]:
        """What ran, as label and arguments."""
        return Counter(json.dumps(line[2:]) for line in self._lines() if line[1] == kind)

    def processes(self) -> list[int]:
        """Those that ran something, the last first."""
        return list(dict.fromkeys(line[0] for line in reversed(self._lines())))

    def progress(self) -> int:
        """How much ran."""
        return len(self._lines())

    def _lines(self) -> list[list[Any]]:
        if not self._path.exists():
            return []
        return [
            json.loads(line)
            for line in self._path.read_text().splitlines(keepends=True)
            if line.endswith("\n")
        ]


def some_trees(count: int, seed: int) -> list[Tree]:
    """Random trees: the same for the same seed."""
    found: list[Tree] = []

    @settings(
        max_examples=count * (seed + 1),
        derandomize=True,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(tree=trees())
    def collect(tree: Tree) -> None:
        found.append(tree)

    collect()
    return found[-count:]


SITES = ("sqlite", "redis", "rabbitmq", "redis, stored", "rabbitmq, stored")


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest, project: Project) -> Iterator[dict[str, Process]]:
    """A project with the tasks; its servers by name: one for both, or one for messages and one for results."""
    project.write("tasks.py", TASKS)
    project.env["PYTHONPATH"] = str(Path(__file__).parents[2])
    project.env["CELERY_BROKER_TRANSPORT_OPTIONS"] = json.dumps({"lease": LEASE})
    place, _, stored = request.param.partition(", ")
    if stored:  # what comes later travels in no message
        project.env |= {"CELERY_FLEET": "celeriac", "FEW": "0"}
    if place == "sqlite":
        url = f"sqlite:///{project.path}/store.db"
        project.env |= {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url}
        yield {}
        return
    with RedisServer(project.path / "redis", persistent=True) as redis:
        servers: dict[str, Process] = {"results": redis}
        broker = redis.url
        if place == "rabbitmq":
            node = request.getfixturevalue("private_rabbitmq")
            if not node.running:
                node.start()
            servers["broker"] = node
            broker = node.vhost()
        project.env |= {"CELERY_BROKER_URL": broker, "CELERY_RESULT_BACKEND": redis.url}
        yield servers


def seed_of(request: pytest.FixtureRequest) -> int:
    return int(request.getfixturevalue("round_number"))


def test_while_children_and_workers_are_killed(project, site, request):
    flows = Workflows(project, seed_of(request))
    with (
        project.worker("-n", "a@h") as first,
        project.worker("-n", "b@h"),
    ):
        flows.start()
        for turn in range(6):
            reached = flows.progress()
            wait_until(lambda reached=reached: flows.progress() > reached + 10, 30)
            victim = first.pid if turn == 3 else flows.processes()[0]
            kill(victim)
        flows.check(repeats=60)


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("site", "victim"),
    [
        ("redis", "results"),
        ("rabbitmq", "broker"),
        ("rabbitmq", "results"),
        ("redis, stored", "results"),
        ("rabbitmq, stored", "results"),
    ],
    indirect=["site"],
)
def test_while_a_server_is_killed_and_comes_back(project, site, victim, request):
    flows = Workflows(project, seed_of(request))
    with project.worker("-n", "a@h") as one, project.worker("-n", "b@h") as two:
        flows.start()
        for _ in range(2):
            reached = flows.progress()
            wait_until(lambda reached=reached: flows.progress() > reached + 10, 60)
            site[victim].kill()
            time.sleep(1)  # the length of the fault
            site[victim].start()
        flows.check(repeats=150)
        assert one.process.poll() is None
        assert two.process.poll() is None


PATIENT = """
import os, time
from pathlib import Path

from celery import Celery

app = Celery("patient")
HERE = Path(__file__).parent


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def again(self):
    (HERE / "begun").touch()
    while not (HERE / "go").exists():
        time.sleep(0.01)
    if self.request.retries:
        return "done"
    raise self.retry(countdown=0)
"""


def test_a_worker_that_waits_for_its_broker_can_be_stopped(project, private_redis):
    """The retry was not sent, so the task goes back, and runs again elsewhere."""
    project.write("patient.py", PATIENT)
    project.env |= {
        "CELERY_BROKER_URL": private_redis.url,
        "CELERY_RESULT_BACKEND": f"sqlite:///{project.path}/results.db",
        "CELERY_BROKER_TRANSPORT_OPTIONS": json.dumps({"lease": LEASE}),
        "CELERY_WORKER_SHUTDOWN_GRACE": "1",
    }
    sent = project.python("from patient import *; print(again.delay().id)").split()[-1]
    with project.worker(app="patient") as worker:
        wait_until((project.path / "begun").exists)
        private_redis.kill()
        (project.path / "go").touch()
        worker.wait_for("cannot go on now, trying again")
        worker.send(signal.SIGTERM)
        worker.wait(30)
    private_redis.start()
    with project.worker(app="patient"):
        code = f"from patient import *; print(app.AsyncResult({sent!r}).get(timeout=40))"
        assert project.python(code).strip() == "done"
