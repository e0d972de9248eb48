"""Steps that an application adds to its workers."""

from __future__ import annotations

import re

import pytest
from tests.support import wait_until

APP = """
import os, time
import click
from celery import Celery, bootsteps
from kombu import Consumer, Exchange, Queue

app = Celery("tasks", broker=os.environ.get("BROKER") or None)
app.conf.worker_redirect_stdouts = False
MODE = os.environ.get("MODE", "")

def say(*words):
    print("STEP", *words, flush=True)

def maybe_raise(where):
    if MODE == where:
        raise ValueError("no " + where)

@app.task
def add(x, y):
    return x + y
"""

WORKER = (
    APP
    + """
app.user_options["worker"].add(click.Option(("--colour",), default="grey"))

class Thing:
    def start(self):
        say("thing started")
    def stop(self):
        say("thing stopped")
    def terminate(self):
        say("thing terminated")

class Upper(bootsteps.StartStopStep):
    requires = {"celery.worker.components:Pool"}

    def __init__(self, worker, colour=None, **options):
        super().__init__(worker, **options)
        say("colour", colour, options["concurrency"])
        maybe_raise("make")

    def create(self, worker):
        say("upper created", type(worker.pool).__name__, worker.hub)
        return Thing()

    def start(self, worker):
        say("upper started", worker.blueprint.human_state())
        maybe_raise("start")
        super().start(worker)

    def stop(self, worker):
        maybe_raise("stop")
        super().stop(worker)

class Lower(bootsteps.StartStopStep):
    requires = (Upper,)

    def start(self, worker):
        say("lower started", [step.alias for step in worker.steps])

    def stop(self, worker):
        say("lower stopped")

class Below(bootsteps.StartStopStep):
    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer):
        say("below started", consumer.hostname, consumer.pool is consumer.controller.pool)
        maybe_raise("consumer")

    def stop(self, consumer):
        say("below stopped")

    def shutdown(self, consumer):
        say("below shut down")

class No(bootsteps.StartStopStep):
    conditional = True

    def include_if(self, worker):
        return False

    def start(self, worker):
        say("never")

app.steps["worker"].update([Lower, Upper, No])
app.steps["consumer"].add(Below)
"""
)

LISTENER = (
    APP
    + """
queue = Queue("custom", Exchange("custom"), "the-key")

class Listener(bootsteps.ConsumerStep):
    def get_consumers(self, channel):
        say("listening")
        return [Consumer(channel, queues=[queue], callbacks=[self.handle], accept=["json"])]

    def handle(self, body, message):
        say("got", body["hello"])
        if body["hello"] == "bad":
            raise ValueError("a bad message")
        message.ack()

app.steps["consumer"].add(Listener)

def send_me_a_message(who):
    with app.producer_or_acquire() as producer:
        producer.publish({"hello": who}, serializer="json", exchange=queue.exchange, routing_key="the-key",
                         declare=[queue], retry=True)
"""
)


def said(worker):
    return re.findall(r"^STEP (.*)", worker.output, re.MULTILINE)


def send(project, who, **env):
    project.python(f"from tasks import *; send_me_a_message({who!r})", **env)


@pytest.fixture
def stepping(project):
    project.write("tasks.py", WORKER)
    return project


@pytest.fixture(params=["embedded", "redis", "rabbitmq"])
def listening(request, project):
    fixture = {"redis": "redis_url", "rabbitmq": "amqp_url"}.get(request.param)
    project.env["BROKER"] = request.getfixturevalue(fixture) if fixture else ""
    project.write("tasks.py", LISTENER)
    return project


def test_in_order(stepping):
    with stepping.worker("-c", "1", "-n", "w@h", "--colour", "green") as worker:
        assert stepping.python("from tasks import *; print(add.delay(1, 2).get(timeout=20))").strip() == "3"
    assert worker.process.returncode == 0
    assert said(worker) == [
        "colour green 1",
        "upper created TaskPool None",
        "upper started running",
        "thing started",
        "lower started ['Upper', 'Lower']",
        "below started w@h True",
        "below stopped",
        "lower stopped",
        "thing stopped",
        "below shut down",
    ]


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_in_other_pools(stepping, pool):
    with stepping.worker("-c", "1", "-n", "w@h", "-P", pool) as worker:
        pass
    assert said(worker)[2:] == [
        "upper started running",
        "thing started",
        "lower started ['Upper', 'Lower']",
        "below started w@h True",
        "below stopped",
        "lower stopped",
        "thing stopped",
        "below shut down",
    ]


@pytest.mark.parametrize(
    ("where", "last"),
    [("start", ["thing stopped"]), ("consumer", ["below stopped", "lower stopped", "thing stopped"])],
)
def test_one_that_raises_when_started_ends_the_worker(stepping, where, last):
    with stepping.worker("-c", "1", ready=False, MODE=where) as worker:
        assert worker.wait() == 1
    assert f"Unrecoverable error: ValueError('no {where}')" in worker.output
    assert "Traceback" in worker.output
    assert "ready." not in worker.output
    assert [line for line in said(worker) if "stopped" in line][: len(last)] == last


def test_one_that_raises_when_made_ends_the_worker(stepping):
    with stepping.worker("-c", "1", ready=False, MODE="make") as worker:
        assert worker.wait() == 1
    assert "ValueError: no make" in worker.output


def test_one_that_raises_when_stopped_is_logged(stepping):
    with stepping.worker("-c", "1", MODE="stop") as worker:
        pass
    assert worker.process.returncode == 0
    assert "Error on stopping Upper: ValueError('no stop')" in worker.output
    assert said(worker)[-1] == "below shut down"


DEADLOCKS = (
    APP
    + """
class DeadlockDetection(bootsteps.StartStopStep):
    requires = {"celery.worker.components:Timer"}

    def __init__(self, worker, deadlock_timeout=0.5, **options):
        self.timeout = deadlock_timeout
        self.tref = None

    def start(self, worker):
        self.tref = worker.timer.call_repeatedly(0.05, self.detect, (worker,), priority=10)

    def stop(self, worker):
        if self.tref:
            self.tref.cancel()
            self.tref = None

    def detect(self, worker):
        maybe_raise("detect")
        for request in worker.active_requests:
            if request.time_start and time.time() - request.time_start > self.timeout:
                say("a deadlock:", request.name)
                raise SystemExit(3)

app.steps["worker"].add(DeadlockDetection)

@app.task
def stuck():
    time.sleep(1)
"""
)


def test_a_timer_that_finds_a_deadlock_ends_the_worker(project):
    project.write("tasks.py", DEADLOCKS)
    with project.worker("-c", "1") as worker:
        project.python("from tasks import *; stuck.delay()")
        worker.wait_for("STEP a deadlock")
        assert worker.wait() == 3
    assert said(worker)[0] == "a deadlock: tasks.stuck"


def test_a_timer_goes_on_when_a_call_raises(project):
    project.write("tasks.py", DEADLOCKS)
    with project.worker("-c", "1", MODE="detect") as worker:
        wait_until(lambda: worker.output.count("Error in timer: ValueError('no detect')") > 1)


def test_messages_of_a_foreign_queue(listening):
    with listening.worker("-c", "1") as worker:
        assert said(worker) == ["listening"]
        for who in ("world", "moon"):
            send(listening, who)
        worker.wait_for("STEP got moon")
        assert listening.python("from tasks import *; r = add.delay(1, 2); print('sent')") == "sent\n"
        worker.wait_for("succeeded in")
    assert worker.process.returncode == 0
    assert said(worker) == ["listening", "got world", "got moon"]
    with listening.worker("-c", "1") as again:  # both were acknowledged
        send(listening, "sun")
        again.wait_for("STEP got sun")
    assert said(again) == ["listening", "got sun"]


def test_a_callback_that_raises_ends_the_worker_and_loses_nothing(listening):
    with listening.worker("-c", "1") as worker:
        send(listening, "bad")
        assert worker.wait() == 1
    assert "Unrecoverable error: ValueError('a bad message')" in worker.output
    with listening.worker("-c", "1", ready=False) as again:
        assert again.wait() == 1
    assert "got bad" in said(again)


@pytest.mark.parametrize("kind", ["private_redis", "private_rabbitmq"])
def test_it_listens_again_when_the_broker_comes_back(project, request, kind):
    server = request.getfixturevalue(kind)
    project.env["BROKER"] = server.url
    project.write("tasks.py", LISTENER)
    with project.worker("-c", "1") as worker:
        send(project, "world")
        worker.wait_for("STEP got world")
        server.kill()
        worker.wait_for("The steps of the consumer have lost")
        server.start()
        wait_until(lambda: said(worker).count("listening") > 1, timeout=60)
        send(project, "moon")
        worker.wait_for("STEP got moon")
    assert worker.process.returncode == 0
    assert said(worker)[-1] == "got moon"


def test_who_has_no_steps_pays_nothing(project):
    project.write(
        "tasks.py",
        """
        import sys, threading
        from celery import Celery, signals
        app = Celery("tasks")

        @signals.worker_shutdown.connect
        def tell(sender, **kwargs):
            loaded = [name for name in ("celery.bootsteps", "celery.worker.steps", "kombu") if name in sys.modules]
            print("STEP", loaded, sender.steps, sender.blueprint, file=sys.__stdout__, flush=True)
        """,
    )
    with project.worker("-c", "1") as worker:
        pass
    assert said(worker) == ["[] [] None"]


def test_drawings(stepping):
    both = stepping.celery("-A", "tasks", "graph", "bootsteps").stdout
    assert both.startswith("digraph dependencies {")
    for edge in (
        '"Lower" -> "Upper"',
        '"Upper" -> "Pool"',
        '"⧉Consumer" -> "∘No"',
        '"Connection" -> "⧉Consumer"',
    ):
        assert edge in both
    assert '"Below" -> "Tasks"' in both
    assert '"⧉event loop" -> "Below"' in both
    assert "STEP" not in both
    worker = stepping.celery("-A", "tasks", "graph", "bootsteps", "worker").stdout
    assert '"Upper"' in worker
    assert '"Below"' not in worker
    wrong = stepping.celery("-A", "tasks", "graph", "bootsteps", "beat", check=False)
    assert wrong.returncode == 2
    assert "There is no blueprint 'beat': expected worker, consumer, or both." in wrong.stderr
