"""The same steps in our worker and in Celery's: what is called, in which order, and with which options."""

from __future__ import annotations

import re
import signal
import sys

import pytest

APP = """
import os
import click
from celery import Celery, bootsteps
from kombu import Consumer, Queue

app = Celery("tasks", broker=os.environ["BROKER"], set_as_current=True)
app.conf.worker_redirect_stdouts = False
app.user_options["worker"].add(click.Option(("--colour",), default="grey"))
MODE = os.environ.get("MODE", "")

def say(*words):
    print("STEP", *words, flush=True)

class Noisy:
    def note(self, what):
        say(type(self).__name__, what)
        if MODE == type(self).__name__ + " " + what:
            raise ValueError("no")

    def create(self, parent):
        self.note("create")

    def start(self, parent):
        self.note("start")
        super().start(parent)

    def close(self, parent):
        self.note("close")

    def stop(self, parent):
        self.note("stop")
        super().stop(parent)

    def terminate(self, parent):
        self.note("terminate")
        super().terminate(parent)

class Upper(Noisy, bootsteps.StartStopStep):
    requires = {"celery.worker.components:Pool"}

    def __init__(self, worker, colour=None, **options):
        super().__init__(worker, **options)
        say(colour, options.get("loglevel"), options.get("optimization"))

class Lower(Noisy, bootsteps.StartStopStep):
    requires = (Upper,)

class Listener(Noisy, bootsteps.ConsumerStep):
    def get_consumers(self, channel):
        self.note("get_consumers")
        return [Consumer(channel, queues=[Queue("custom")], callbacks=[self.handle])]

    def handle(self, body, message):
        message.ack()

    def shutdown(self, consumer):
        self.note("shutdown")
        super().shutdown(consumer)

class Below(Noisy, bootsteps.StartStopStep):
    requires = (Listener, "celery.worker.consumer.tasks:Tasks")

    def shutdown(self, consumer):
        self.note("shutdown")

app.steps["worker"].update([Lower, Upper])
app.steps["consumer"].update([Below, Listener])
"""


OPTIONS = ("-c", "1", "--colour", "green")


def run(side):
    """The exit code, what steps said, and what the log says of their errors."""
    with side as worker:
        worker.wait_for(r"ready\.|Unrecoverable error")
        if "ready." in worker.output:
            worker.send(signal.SIGTERM)
        code = worker.wait()
        lines = re.findall(r"^STEP (.*)", worker.output, re.MULTILINE)
        faults = re.findall(r"(?:ERROR|CRITICAL)/MainProcess\] (.*ValueError.*)", worker.output)
    return code, lines, faults


@pytest.fixture
def both(project, redis_url, stock_celery):
    """Runs both workers, ours first."""
    project.write("tasks.py", APP)

    def run_both(mode):
        env = {"BROKER": redis_url, "MODE": mode}
        return (
            run(project.worker(*OPTIONS, ready=False, **env)),
            run(stock_celery.worker(project.path, *OPTIONS, "--without-mingle", ready=False, **env)),
        )

    return run_both


@pytest.mark.parametrize("mode", ["", "Upper stop", "Below stop"])
def test_the_same_happens(both, mode):
    ours, theirs = both(mode)
    assert ours == theirs
    assert len(ours[1]) > 15


@pytest.mark.parametrize("mode", ["Upper start", "Listener get_consumers", "Below start"])
def test_one_that_does_not_start(both, mode):
    """What was started before is stopped, too: Celery does that in part."""
    (our_code, our_lines, our_faults), (code, lines, faults) = both(mode)
    assert (our_code, our_faults) == (code, faults) == (1, ["Unrecoverable error: ValueError('no')"])
    begun = lines.index(mode)
    assert our_lines[: begun + 1] == lines[: begun + 1]


def test_the_same_drawing(project, redis_url, stock_celery):
    project.write("tasks.py", APP)
    command = ("-m", "celery", "-A", "tasks", "graph", "bootsteps")
    ours = project.run(sys.executable, *command, BROKER=redis_url).stdout
    theirs = project.run(str(stock_celery.python), *command, BROKER=redis_url).stdout
    drawn = [line for line in theirs.splitlines() if "STEP" not in line]  # it makes the steps
    assert sorted(ours.splitlines()) == sorted(drawn)
