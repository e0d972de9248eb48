"""Blueprints: the order of steps, and what is called when."""

from __future__ import annotations

import logging

import pytest

from celery import bootsteps
from celery.utils.graph import CycleError


class Parent:
    def __init__(self):
        self.steps = []
        self.said = []


class Thing:
    def __init__(self, name, said):
        self.name, self.said = name, said

    def start(self):
        self.said.append(f"{self.name} started")

    def stop(self):
        self.said.append(f"{self.name} stopped")

    def terminate(self):
        self.said.append(f"{self.name} terminated")


class First(bootsteps.StartStopStep):
    def create(self, parent):
        return Thing("first", parent.said)

    def info(self, parent):
        return {"first": 1}


class Second(bootsteps.StartStopStep):
    label = "the second"
    requires = (First,)

    def create(self, parent):
        return Thing("second", parent.said)


class Third(bootsteps.StartStopStep):
    requires = frozenset((f"{__name__}:Second",))

    def start(self, parent):
        raise ValueError("no")


class Plain(bootsteps.Step):
    def create(self, parent):
        parent.said.append("plain created")


class Unwanted(bootsteps.StartStopStep):
    conditional = True

    def include_if(self, parent):
        return False


class Finally(bootsteps.StartStopStep):
    last = True


def applied(*steps, **callbacks):
    parent = Parent()
    return bootsteps.Blueprint(steps, name="made.Here", **callbacks).apply(parent), parent


def names(steps):
    return [step.alias for step in steps]


def test_names():
    step = Second(Parent())
    assert (Second.name, step.alias, repr(step)) == (f"{__name__}.Second", "the second", "<step: the second>")
    assert First(Parent()).alias == "First"
    assert bootsteps.Blueprint().name == "celery.bootsteps.Blueprint"
    assert applied()[0].alias == "Here"


@pytest.mark.parametrize(
    "steps", [(Finally, Plain, Second, Unwanted, First), (Second, Finally, Unwanted, Plain)]
)
def test_order(steps):
    blueprint, parent = applied(*steps)
    order = names(blueprint.order)
    assert sorted(order) == ["Finally", "First", "Plain", "Unwanted", "the second"]
    assert order.index("First") < order.index("the second")
    assert order[-1] == "Finally"
    assert names(parent.steps) == [name for name in order if name not in ("Plain", "Unwanted")]
    assert parent.said == ["plain created"]
    assert blueprint[First.name] is blueprint.order[order.index("First")]
    assert Third.name not in blueprint


def test_starting_and_stopping():
    heard = []
    blueprint, parent = applied(
        Second,
        on_start=lambda: heard.append("start"),
        on_close=lambda: heard.append("close"),
        on_stopped=lambda: heard.append("stopped"),
    )
    assert blueprint.human_state() == "initializing"
    blueprint.start(parent)
    assert (blueprint.human_state(), blueprint.started, blueprint.info(parent)) == (
        "running",
        2,
        {"first": 1},
    )
    blueprint.stop(parent)
    blueprint.stop(parent)
    blueprint.join(0)
    assert parent.said == ["first started", "second started", "second stopped", "first stopped"]
    assert (blueprint.human_state(), heard) == ("terminating", ["start", "close", "stopped"])


def test_terminating():
    blueprint, parent = applied(Second)
    blueprint.start(parent)
    blueprint.stop(parent, terminate=True)
    assert parent.said[2:] == ["second terminated", "first terminated"]


def test_restarting():
    blueprint, parent = applied(Second)
    blueprint.start(parent)
    blueprint.restart(parent)
    blueprint.start(parent)
    assert parent.said == [
        "first started",
        "second started",
        "second stopped",
        "first stopped",
        "first started",
        "second started",
    ]


def test_what_was_started_is_stopped_when_one_raises():
    class After(First):
        requires = (Third,)

    blueprint, parent = applied(After)
    with pytest.raises(ValueError, match="no"):
        blueprint.start(parent)
    assert blueprint.started == 3
    blueprint.stop(parent)
    assert parent.said == ["first started", "second started", "second stopped", "first stopped"]


def test_one_that_raises_when_stopped_stops_no_other(caplog):
    class Raising(Second):
        def stop(self, parent):
            raise KeyError("q")

    blueprint, parent = applied(Raising)
    blueprint.start(parent)
    blueprint.stop(parent)
    assert parent.said[-1] == "first stopped"
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == ["Error on stopping the second: KeyError('q')"]
    with pytest.raises(KeyError):
        blueprint.send_all(parent, "stop")


def test_one_that_never_started_stops_nothing():
    blueprint, parent = applied(Second)
    blueprint.stop(parent)
    assert parent.said == []


def test_circles_are_refused():
    class Here(bootsteps.Step):
        pass

    class There(bootsteps.Step):
        requires = (Here,)

    Here.requires = (There,)
    with pytest.raises(CycleError):
        applied(Here)


def test_a_step_that_is_not_there():
    with pytest.raises(ImportError):
        applied("nowhere.at.all:Step")


def test_a_consumer_step_must_say_what_it_consumes():
    with pytest.raises(NotImplementedError):
        bootsteps.ConsumerStep(Parent()).get_consumers(None)


def test_one_that_requires_the_last_comes_after_it():
    class Beyond(bootsteps.Step):
        requires = (Finally,)

    class Farther(bootsteps.Step):
        requires = (Beyond,)

    assert names(applied(Farther, First)[0].order) == ["First", "Finally", "Beyond", "Farther"]


@pytest.mark.parametrize("name", ["Timer", "Hub", "Pool", "StateDB", "Beat", "Consumer"])
def test_parts_of_workers(name):
    class Mine(bootsteps.Step):
        requires = (f"celery.worker.components:{name}",)

    assert name in names(applied(Mine)[0].order)


@pytest.mark.parametrize(
    "path",
    [
        "celery.worker.components:Pool",
        *(
            f"celery.worker.consumer:{name}"
            for name in (
                "Agent",
                "Connection",
                "Control",
                "DelayedDelivery",
                "Events",
                "Gossip",
                "Heart",
                "Mingle",
                "Tasks",
            )
        ),
        "celery.worker.consumer.agent:Agent",
        "celery.worker.consumer.connection:Connection",
        "celery.worker.consumer.control:Control",
        "celery.worker.consumer.delayed_delivery:DelayedDelivery",
        "celery.worker.consumer.events:Events",
        "celery.worker.consumer.gossip:Gossip",
        "celery.worker.consumer.heart:Heart",
        "celery.worker.consumer.mingle:Mingle",
        "celery.worker.consumer.tasks:Tasks",
    ],
)
def test_parts_of_consumers(path):
    class Mine(bootsteps.Step):
        requires = (path,)

    order = names(applied(Mine)[0].order)
    assert order.index(path.rpartition(":")[2]) < order.index("Mine")
