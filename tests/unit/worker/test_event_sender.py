"""How events leave a worker: together, in order, bounded while the broker is away; and heartbeats that nobody hears."""

from __future__ import annotations

import asyncio
import json

import pytest

from celery import Celery
from celery.brokers.topology import Exchange
from celery.message.events import TaskStarted
from celery.worker import events, heartbeat
from celery.worker.extension import ExtensionThread
from celery.worker.options import WorkerOptions
from celery.worker.state import WorkerState


@pytest.fixture
def app(request):
    made = Celery("telling", broker=f"memory://{request.node.name}", set_as_current=False)
    yield made
    made.close()


def sender_of(app, **options):
    made = WorkerOptions("w1@h", 2, **{"heartbeat_interval": None} | options)
    return events.EventSender(app, made, WorkerState(), ExtensionThread(lambda: None), lambda: None)


async def mailbox(app, key="#"):
    return await app.broker_for_read().mailbox("ear", Exchange("celeryev", "topic"), key, expires=60)


def event(kind, number=0):
    return {"type": kind, "number": number}


async def until(condition):
    while not condition():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.001)


async def numbers(box, count):
    """What comes until there were so many events: the numbers of each message's."""
    found = []
    while sum(map(len, found)) < count:
        for delivery in await box.receive():
            body = json.loads(delivery.body)
            found.append([one["number"] for one in (body if isinstance(body, list) else [body])])
    return found


def test_what_is_said_at_once_goes_together(app):
    async def run():
        box, sender = await mailbox(app), sender_of(app)
        sender.start()
        for number in range(events.TOGETHER + 2):
            sender.add(event("task-x", number))
        sender.add(event("mine", -1))
        sender.add(event("task-x", -2))
        found = await numbers(box, events.TOGETHER + 4)
        await sender.farewell(5)
        return found

    found = asyncio.run(run())
    assert [len(one) for one in found] == [events.TOGETHER, 2, 1, 1]
    assert [number for one in found for number in one] == [*range(events.TOGETHER + 2), -1, -2]


def test_the_first_of_many_asks_whether_anybody_listens(app, monkeypatch):
    sent = []

    def started(number):
        return TaskStarted("w1@h", 0.0, 1, number, str(number), 5.0)

    async def run():
        sender = sender_of(app)
        publish = sender._publish

        async def counted(messages):
            sent.extend(json.loads(message.body) for message in messages)
            return await publish(messages)

        monkeypatch.setattr(sender, "_publish", counted)
        sender.start()
        for number in range(20):
            sender.add(started(number))
        sender.add(event("mine", 1))
        await until(lambda: len(sent) == 2)
        unheard = list(sent)
        box = await mailbox(app)
        for number in range(20):
            sender.add(started(number))
        heard = []
        while sum(map(len, heard)) < 20:
            heard += [json.loads(delivery.body) for delivery in await box.receive()]
        await sender.farewell(5)
        return unheard, heard

    unheard, heard = asyncio.run(run())
    assert [one["uuid"] for one in unheard[0]] == ["0"]
    assert unheard[1]["type"] == "mine"
    assert [[one["uuid"] for one in group] for group in heard] == [["0"], [str(n) for n in range(1, 20)]]


def test_events_wait_for_the_broker_and_the_oldest_go(app, caplog, monkeypatch):
    monkeypatch.setattr(events, "MOST", 10)

    async def run():
        box, sender = await mailbox(app), sender_of(app)
        sender.start()
        sender.linked(False)
        for number in range(25):
            sender.add(event("task-x", number))
        assert len(sender._waiting) == 10
        sender.linked(True)
        found = await numbers(box, 10)
        await sender.farewell(5)
        return found

    assert asyncio.run(run()) == [[*range(15, 25)]]
    assert "15 events were dropped" in caplog.text


def test_what_could_not_be_sent_is_sent_later(app, monkeypatch):
    monkeypatch.setattr(events, "AGAIN", 0.01)

    async def run():
        box, sender = await mailbox(app), sender_of(app)
        refusals = iter([events.BrokerError("not now"), TimeoutError()])
        publish = sender._publish

        async def sometimes(messages):
            for error in refusals:
                raise error
            return await publish(messages)

        monkeypatch.setattr(sender, "_publish", sometimes)
        sender.start()
        for number in range(3):
            sender.add(event("task-x", number))
        found = await numbers(box, 3)
        await sender.farewell(5)
        return found

    assert asyncio.run(run()) == [[0, 1, 2]]


def test_what_cannot_be_written_is_said_and_dropped(app, caplog):
    async def run():
        box, sender = await mailbox(app), sender_of(app)
        sender.start()
        sender.add({"type": "mine", "number": object()})
        await asyncio.sleep(0)
        await until(lambda: not (sender._sending is not None))
        sender.add(event("mine", 1))
        return await numbers(box, 1)

    assert asyncio.run(run()) == [[1]]
    assert "1 events could not be sent" in caplog.text


def test_heartbeats_that_nobody_hears_are_rare(app, monkeypatch):
    monkeypatch.setattr(heartbeat, "UNHEARD", 1000.0)

    async def run():
        sender = sender_of(app, heartbeat_interval=0.04)  # longer than PAUSE: each goes alone
        beats = []
        monkeypatch.setattr(sender.heart, "_add", lambda one: (beats.append(one["type"]), sender.add(one)))
        sender.start()
        await until(lambda: not (sender.heart._heard))  # until the broker has said so
        before = len(beats)
        sender.answer()
        await asyncio.sleep(0.05)
        unheard = beats[before:]
        box = await mailbox(app, "worker.#")
        sender.answer()
        await until(lambda: not (len(beats) < before + 6))
        sender.enable()
        await box.aclose()
        await until(lambda: not (sender.heart._heard))
        keen = len(beats)
        await until(lambda: not (len(beats) < keen + 3))
        await sender.farewell(5)
        return beats[0], unheard, beats[-1]

    first, unheard, last = asyncio.run(run())
    assert (first, unheard, last) == ("worker-online", ["worker-heartbeat"], "worker-offline")
