"""Promise 10: no message, however malformed, stops, slows or blocks a worker."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.faults import malformed
from tests.faults.ledger import TASKS, Ledger

HERE = Path(malformed.__file__).parent

SEND = """
    import sys, time
    sys.path.insert(0, {here!r})
    import malformed
    from celery.brokers.base import BrokerRefused, Outgoing
    from celery.message.headers import LazyObject
    from tasks import *
    broker = app.broker_for_write()
    broker.declare([app.amqp.queues.topology("celery")])
    fine = [early.delay()]
    rows = []
    for number, row in enumerate(malformed.rows()):
        name, headers, body, properties = row
        message = Outgoing(
            body=body,
            headers=LazyObject(raw=malformed.raw(headers)),
            properties=LazyObject(value=properties),
            routing_key="celery",
        )
        try:
            (error,) = broker.publisher().publish([message], deadline=time.monotonic() + 20)
        except BrokerRefused as refusal:
            print("REFUSED:", name, refusal)  # the protocol has no words for it
            continue
        assert error is None, (name, error)
        rows.append(row)
        if number % 10 == 0:
            fine.append(early.delay())
    fine.append(early.delay())
    for result in fine:
        assert result.get(timeout=40) == result.id
    deadline = time.monotonic() + 30
    while len(broker.dead("celery", 1000)) < len(rows) and time.monotonic() < deadline:
        time.sleep(0.05)
    dead = broker.dead("celery", 1000)
    bodies = [letter.body for letter in dead]
    for name, headers, body, properties in rows:
        if body not in bodies:
            print("ALIVE:", name)
    for letter in dead:
        print("DEAD:", letter.reason[:100].replace("\\n", " "))
    print(len(rows), len(dead), broker.size("celery"))
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_malformed_messages_are_set_aside(project, site, pool):
    project.write("tasks.py", TASKS)
    with project.worker("-P", pool) as worker:
        said = project.python(SEND.format(here=str(HERE)), timeout=100)
        total, dead, left = said.split()[-3:]
        assert (dead, left) == (total, "0"), said
        assert int(total) >= 48
        assert worker.process.poll() is None
    complaints = len(re.findall(r"(?:WARNING|ERROR|CRITICAL)/", worker.output))
    notice = int(site == "sqlite")  # the embedded store's own line
    assert complaints == int(total) + notice, worker.output[-3000:]
    assert set(Ledger(project).begun.values()) == {1}
