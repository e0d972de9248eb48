"""Promise 8: a chord of 200 whose members, children and workers are killed: its body runs exactly once."""

from __future__ import annotations

import json
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.faults.conftest import LEASE
from tests.support import wait_until

if TYPE_CHECKING:
    from tests.support import Project

REPEATS = 3
MEMBERS = 200

TASKS = """
import os, signal, sys, time
from pathlib import Path

from celery import Celery, chord, group
from celery.backends import relaying

app = Celery("tasks")
HERE = Path(__file__).parent


def note(*words):
    fd = os.open(HERE / "ledger.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, (" ".join(map(str, words)) + "\\n").encode())
    os.close(fd)


def first_time(number):
    try:
        os.close(os.open(HERE / f"seen{number}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


@app.task(acks_late=True, reject_on_worker_lost=True)
def member(number, seconds=0.0, dies=False):
    if dies and first_time(number):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(seconds)
    note("member", number)
    return number


@app.task
def fragile(number, dies=False):
    if dies:
        os.kill(os.getpid(), signal.SIGKILL)
    note("member", number)
    return number


@app.task(acks_late=True, reject_on_worker_lost=True)
def body(values):
    note("body", len(values), values == sorted(values))
    return sum(values)


def die():
    note("adding")
    if "WHOLE" in os.environ:  # the worker, too: it is the parent of the process that forks
        os.kill(int(Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def add_one(task, number):
    # The first time, the process dies in the midst of adding.
    if first_time(number):
        send = relaying.send_marked
        relaying.send_marked = lambda *args: die()
        if "DIE_AFTER" in os.environ:
            relaying.send_marked = lambda *args: (send(*args), die())
    task.add_to_chord(member.si(number))
    return number


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def growing(self, number):
    return add_one(self, number)


@app.task(bind=True)
def growing_once(self, number):
    return add_one(self, number)


@app.task
def on_error(request, exc, traceback):
    note("error", type(exc).__name__)


if "DIE_AT_RELAY" in os.environ:
    relaying.relay = lambda *args: (note("died"), os.kill(os.getpid(), signal.SIGKILL))
if "RELAY_TWICE" in os.environ:
    once = relaying.send_body

    def twice(*args):
        once(*args)
        once(*args)

    relaying.send_body = twice
"""


@pytest.fixture(params=["sqlite", "redis", "rabbitmq"])
def site(request: pytest.FixtureRequest, project: Project) -> str:
    """Messages and counters in one place, or in two."""
    if request.param != "sqlite":
        url = request.getfixturevalue("redis_url")
        broker = url if request.param == "redis" else request.getfixturevalue("amqp_url")
        project.env |= {
            "CELERY_BROKER_URL": broker,
            "CELERY_RESULT_BACKEND": url,
            "CELERY_BROKER_TRANSPORT_OPTIONS": json.dumps({"lease": LEASE}),
        }
    return str(request.param)


class Ledger:
    """What happened."""

    def __init__(self, project: Project) -> None:
        self._path = project.path / "ledger.txt"

    def read(self) -> Counter[str]:
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        return Counter(line if not line.startswith("member") else "member" for line in lines)


@pytest.fixture
def ledger(project: Project, site: str) -> Ledger:
    project.write("tasks.py", TASKS)
    return Ledger(project)


WHOLE = f"body {MEMBERS} True"
TOTAL = sum(range(MEMBERS))


def start(project: Project, header: str) -> str:
    """Start a chord; return the id of its body."""
    return project.python(f"""
        from tasks import *
        print(chord([{header}], body.s().on_error(on_error.s()))().id)
    """).split()[-1]


def value(project: Project, task_id: str, timeout: float = 60) -> str:
    return project.python(f"""
        from tasks import app
        print(repr(app.AsyncResult({task_id!r}).get(timeout={timeout}, propagate=False)))
    """).strip()


@pytest.mark.parametrize("repeat", range(REPEATS))
def test_members_that_kill_their_process(project, ledger, repeat):
    with project.worker():
        body = start(project, f"member.s(i, dies=i % 20 == {repeat}) for i in range({MEMBERS})")
        assert value(project, body) == str(TOTAL)
        assert ledger.read()[WHOLE] == 1
        assert ledger.read()["error ChordError"] == 0


def test_members_that_are_lost_fail_the_chord_once(project, ledger):
    with project.worker():
        body = start(project, f"fragile.s(i, dies=i in (3, 150)) for i in range({MEMBERS})")
        assert "WorkerLostError" in value(project, body)
        wait_until(lambda: ledger.read()["error ChordError"])
        assert ledger.read()["member"] == MEMBERS - 2, "the others ran"
    assert ledger.read()["error ChordError"] == 1
    assert not any(line.startswith("body") for line in ledger.read())


@pytest.mark.parametrize("repeat", range(REPEATS))
def test_workers_killed_under_way(project, ledger, repeat):
    with (
        project.worker("-n", "a@h") as first,
        project.worker("-n", "b@h") as second,
        project.worker("-n", "c@h"),
    ):
        body = start(project, f"member.s(i, seconds=0.02) for i in range({MEMBERS})")
        wait_until(lambda: ledger.read()["member"] > 20 + 30 * repeat)
        first.send(signal.SIGKILL)
        wait_until(lambda: ledger.read()["member"] > 60 + 30 * repeat)
        second.send(signal.SIGKILL)
        assert value(project, body) == str(TOTAL)
    assert ledger.read()[WHOLE] == 1


def test_who_counted_the_last_member_dies_before_it_has_sent_the_body(project, ledger):
    with project.worker("-n", "a@h", DIE_AT_RELAY="1") as victim:
        body = start(project, f"member.s(i) for i in range({MEMBERS})")
        wait_until(lambda: ledger.read()["died"])
        victim.send(signal.SIGKILL)
        victim.wait()
    assert not any(line.startswith("body") for line in ledger.read())
    with project.worker("-n", "b@h"):
        assert value(project, body) == str(TOTAL)
    assert ledger.read()[WHOLE] == 1


def test_a_body_that_was_sent_twice_runs_once(project, ledger):
    with project.worker(RELAY_TWICE="1") as worker:
        body = start(project, f"member.s(i) for i in range({MEMBERS})")
        assert value(project, body) == str(TOTAL)
        worker.wait_for("was sent twice|ignored")
    assert ledger.read()[WHOLE] == 1


def test_a_body_that_is_killed_while_it_runs_runs_again(project, ledger):
    project.write(
        "more.py",
        """
        from tasks import *

        @app.task(acks_late=True, reject_on_worker_lost=True)
        def dying_body(values):
            note("body")
            if first_time("body"):
                os.kill(os.getpid(), signal.SIGKILL)
            return sum(values)
    """,
    )
    with project.worker(app="more"):
        got = project.python("""
            from more import *
            print(chord([member.s(i) for i in range(10)], dying_body.s())().get(timeout=40))
        """)
    assert got.strip() == "45"
    assert ledger.read()["body"] == 2


@pytest.mark.parametrize(("when", "whole"), [("before", False), ("after", True)], ids=["child", "worker"])
def test_who_adds_a_member_dies_in_the_midst_of_it(project, ledger, when, whole):
    """It is counted, and not sent yet (or noted as due still): somebody else sends it. The task itself runs, and adds one, again."""
    env = {"DIE_AFTER": "1"} if when == "after" else {}
    with project.worker("-n", "a@h", **env | ({"WHOLE": "1"} if whole else {})) as victim:
        body = start(project, "growing.s(1), member.s(2)")
        if whole:
            assert victim.wait() == -signal.SIGKILL
        with project.worker("-n", "b@h", **env):
            assert value(project, body) == str(1 + 2 + 1 + 1)
    assert sum(count for line, count in ledger.read().items() if line.startswith("body 4")) == 1
    if not whole:  # else what was running ran again, too
        assert ledger.read()["member"] == 3


def test_an_early_acknowledged_task_dies_between_counting_a_member_and_sending_it(project, ledger):
    with project.worker():
        body = start(project, "growing_once.s(1), member.s(2)")
        assert "WorkerLostError" in value(project, body)
        wait_until(lambda: ledger.read()["error ChordError"])
    assert ledger.read()["member"] == 2, "the added one ran"
    assert ledger.read()["error ChordError"] == 1
