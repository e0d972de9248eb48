"""Both Celeries on one queue at the same time: everything once, whoever sends, whoever runs, whoever dies."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.interop.conftest import NAMES
from tests.support import wait_until

SEND = """
import json, tasks
from celery import Celery
ids = []
for n in range({count}):
    ids.append(tasks.counted.apply_async(({who!r} + str(n),), queue="shared").id)
print(json.dumps(ids))
"""


def runs(server) -> dict[str, Counter]:
    """Label of a call -> by whom it was run, how often."""
    found: dict[str, Counter] = {}
    for line in server.cli("LRANGE", "runs", 0, -1).splitlines():
        side, label = line.split(":", 1)
        found.setdefault(label, Counter())[side] += 1
    return found


def drained(server, count: int, timeout: float = 45) -> dict[str, Counter]:
    """Wait until so many calls have run, and nothing waits or is held any more."""
    wait_until(
        lambda: int(server.cli("LLEN", "runs")) >= count,
        timeout,
        lambda: f"{server.cli('LLEN', 'runs')} of {count}; {server.cli('KEYS', '*')[:2000]}",
    )
    return runs(server)


def everything_once(found: dict[str, Counter], labels: set[str]) -> None:
    assert set(found) == labels
    assert {label: sum(by.values()) for label, by in found.items() if sum(by.values()) != 1} == {}


def test_two_producers_and_two_workers_on_one_queue(sides, server):
    with (
        sides["ours"].worker("-Q", "shared", "-n", "ours@%h"),
        sides["stock"].worker("-Q", "shared", "-n", "stock@%h"),
    ):
        ids = [task_id for name in NAMES for task_id in sides[name].json(SEND.format(count=300, who=name))]
        found = drained(server, 600)
        everything_once(found, {f"{name}{n}" for name in NAMES for n in range(300)})
        by = sum(found.values(), Counter())
        assert min(by["ours"], by["stock"]) > 0, by
        read = "import json, sys, tasks; print(json.dumps([tasks.app.AsyncResult(i).get(timeout=30) for i in {}]))"
        values = {name: side.json(read.format(ids[:50] + ids[-50:])) for name, side in sides.items()}
        assert values["ours"] == values["stock"]
        assert set(values["ours"]) <= set(NAMES)


def test_retries_go_back_and_forth(sides, server):
    """A task that retries is run by whoever comes first, each time; retries count on, and delays hold."""
    with (
        sides["ours"].worker("-Q", "shared", "-n", "ours@%h", "-c", "1"),
        sides["stock"].worker("-Q", "shared", "-n", "stock@%h", "-c", "1"),
    ):
        send = """
        import json, tasks
        sent = [tasks.retried.apply_async((3,), {"countdown": 0.2}, queue="shared") for _ in range(30)]
        print(json.dumps([result.get(timeout=45) for result in sent]))
        """
        values = sides["stock"].json(send)
    assert [retries for retries, _ in values] == [3] * 30
    histories = [
        server.cli("LRANGE", key, 0, -1).split() for key in server.cli("KEYS", "runs:*").splitlines()
    ]
    assert [len(history) for history in histories] == [4] * 30
    assert {side for history in histories for side in history} == set(NAMES)


@pytest.mark.parametrize("count", [3_000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_a_backlog_of_the_real_celerys(sides, server, count):
    """What a fleet of Celery has left in the queue is done by ours, once each."""
    sides["stock"].run(SEND.format(count=count, who="old"), timeout=600)
    assert int(server.cli("LLEN", "shared")) == count
    began = time.monotonic()
    with sides["ours"].worker("-Q", "shared", "-c", "2"):
        found = drained(server, count, 600)
    print(f"{count} in {time.monotonic() - began:.1f} s")
    everything_once(found, {f"old{n}" for n in range(count)})
    assert server.cli("EXISTS", "shared", "unacked") == "0"


def test_a_backlog_of_ours_is_done_by_the_real_celery(sides, server):
    sides["ours"].run(SEND.format(count=300, who="new"))
    with sides["stock"].worker("-Q", "shared", "-c", "2"):
        found = drained(server, 300)
    everything_once(found, {f"new{n}" for n in range(300)})


def restoring(seconds: int) -> str:
    """Settings with this visibility timeout. Celery by itself looks only every 100 seconds."""
    options = {"visibility_timeout": seconds, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}
    return json.dumps({"broker_transport_options": options})


HOLD = """
import tasks
for n in range(8):
    tasks.held.apply_async((f"held{n}",), queue="shared")
"""


@pytest.mark.timeout(120)
def test_what_a_dead_worker_of_celerys_held_comes_back(sides, server):
    """After Celery's own visibility timeout, one of ours offers it again."""
    conf = restoring(3)
    with sides["stock"].worker("-Q", "shared", "-c", "2", CONF=conf, HOLD="60") as worker:
        sides["ours"].run(HOLD)
        wait_until(lambda: int(server.cli("HLEN", "unacked")) >= 8)
        _kill_all(worker)
    server.cli("DEL", "runs")
    with sides["ours"].worker("-Q", "shared", "-c", "8", CONF=conf):
        found = drained(server, 8, 60)
    assert set(found) == {f"held{n}" for n in range(8)}


@pytest.mark.timeout(120)
def test_what_a_dead_worker_of_ours_held_comes_back(sides, server):
    """Also if nobody of ours is left: Celery offers it again after its visibility timeout."""
    conf = restoring(3)
    with sides["ours"].worker("-Q", "shared", "-c", "2", CONF=conf, HOLD="60") as worker:
        sides["stock"].run(HOLD)
        wait_until(lambda: int(server.cli("LLEN", "runs")) >= 2)
        _kill_all(worker)
    server.cli("DEL", "runs")
    with sides["stock"].worker("-Q", "shared", "-c", "8", CONF=conf):
        found = drained(server, 8, 60)
    assert set(found) == {f"held{n}" for n in range(8)}


def _kill_all(worker) -> None:
    """`kill -9`, children too."""
    pids = [worker.pid]
    for pid in pids:
        children = Path(f"/proc/{pid}/task/{pid}/children")
        pids += [int(child) for child in children.read_text().split()] if children.exists() else []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


LATER = """
import tasks, time
for n in range(10):
    tasks.counted.apply_async((f"later{{n}}",), queue="shared", countdown={seconds})
print(time.time())
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("sender", NAMES)
def test_delayed_tasks_outlive_our_worker(sides, server, sender):
    """Parked by one of ours, which dies: one of Celery's runs them, after their time."""
    conf = restoring(2)
    with sides["ours"].worker("-Q", "shared", CONF=conf) as worker:
        due = float(sides[sender].run(LATER.format(seconds=6)).strip()) + 6
        wait_until(lambda: server.cli("LLEN", "shared") == "0" and server.cli("HLEN", "unacked") == "10")
        _kill_all(worker)
    assert time.time() < due, "too slow a machine for this test"
    with sides["stock"].worker("-Q", "shared", CONF=conf):
        found = drained(server, 10, 60)
        assert time.time() >= due
    everything_once(found, {f"later{n}" for n in range(10)})


@pytest.mark.timeout(120)
@pytest.mark.parametrize("sender", NAMES)
def test_delayed_tasks_run_once_whatever_the_visibility_timeout(sides, server, sender):
    """With ours alone, an ETA longer than the visibility timeout is no reason to run twice."""
    conf = restoring(1)
    with (
        sides["ours"].worker("-Q", "shared", "-n", "a@%h", CONF=conf),
        sides["ours"].worker("-Q", "shared", "-n", "b@%h", CONF=conf),
    ):
        sides[sender].run(LATER.format(seconds=5))
        assert server.cli("LLEN", "runs") == "0"
        drained(server, 10, 60)
        time.sleep(2)  # would anybody run them again?
        everything_once(runs(server), {f"later{n}" for n in range(10)})


def test_priorities(sides, server):
    """The lists of kombu: 0 before 3 before 6 before 9, whoever sent."""
    send = """
    import tasks
    for n in range(10):
        tasks.counted.apply_async((f"{tasks.SIDE}{9 - n}",), queue="shared", priority=9 - n)
    """
    for side in sides.values():
        side.run(send)
    conf = json.dumps({"broker_transport_options": {"queue_order_strategy": "priority"}})
    with sides["ours"].worker("-Q", "shared", "-c", "1", CONF=conf):
        drained(server, 20)
    order = [line.split(":")[1] for line in server.cli("LRANGE", "runs", 0, -1).splitlines()]
    steps = [int(label[-1]) // 3 for label in order]
    assert steps == sorted(steps)


def test_the_real_celerys_tools_see_our_queue(sides, server):
    """`llen`, as everybody's monitoring does it, and `celery purge`."""
    sides["ours"].run(SEND.format(count=30, who="new"))
    assert server.cli("LLEN", "shared") == "30"
    purge = "import tasks; c = tasks.app.connection(); print(c.default_channel.queue_purge('shared'))"
    assert sides["stock"].run(purge).strip() == "30"
    assert server.cli("EXISTS", "shared") == "0"


@pytest.mark.parametrize("sender", NAMES)
def test_chords_by_members_of_both_fleets(sides, server, sender):
    """Members are run by both, whose workers count on the same books: every body runs once."""
    conf = json.dumps({"task_default_queue": "shared"})
    send = """
    import json, tasks
    from celery import chord
    sent = [chord([tasks.counted.s(f"{c}.{n}") for n in range(8)], tasks.ended.s(c)).apply_async() for c in range(20)]
    print(json.dumps([[result.get(timeout=40), result.parent.id] for result in sent]))
    """
    with (
        sides["ours"].worker("-Q", "shared", "-n", "ours@%h", CONF=conf),
        sides["stock"].worker("-Q", "shared", "-n", "stock@%h", CONF=conf),
    ):
        answers = sides[sender].json(send, CONF=conf)
    assert all(len(members) == 8 and set(members) <= set(NAMES) for members, _ in answers)
    assert {side for members, _ in answers for side in members} == set(NAMES)
    bodies = Counter(server.cli("LRANGE", "bodies", 0, -1).split())
    assert bodies == {str(number): 1 for number in range(20)}
    assert all(server.cli("GET", f"celery-taskset-meta-{group}.c") == "done" for _, group in answers)


@pytest.mark.parametrize("sender", NAMES)
@pytest.mark.parametrize("runner", NAMES)
def test_chords_with_groups_in_the_header(sides, sender, runner):
    conf = json.dumps({"task_default_queue": "shared"})
    send = """
    import json, tasks
    from celery import chain, chord, group
    add, echo = tasks.add, tasks.echo
    nested = chord([group(add.s(1, 1), add.s(2, 2)), add.s(3, 3)], echo.s()).apply_async().get(timeout=40)
    behind = chain(group(add.s(1, 1), add.s(2, 2)), group(echo.s(), echo.s()), echo.s()).apply_async().get(timeout=40)
    inner = chord([chord([add.s(1, 1)], tasks.total.s()), add.s(3, 3)], echo.s()).apply_async().get(timeout=40)
    print(json.dumps([nested, behind, inner]))
    """
    with sides[runner].worker("-Q", "shared", CONF=conf):
        found = sides[sender].json(send, CONF=conf)
    (nested,), behind, (inner,) = [values for values, _ in found]
    assert sorted(nested) == [2, 4, 6]  # the real Celery mixes up their order
    assert (behind, inner) == ([[[[[2, 4]], {}], [[[2, 4]], {}]]], [2, 6])


@pytest.mark.parametrize(("sender", "runner"), [("ours", "stock"), ("stock", "ours"), ("ours", "ours")])
def test_errbacks_and_links_of_a_chain_that_is_the_body_of_a_chord(sides, server, sender, runner):
    """They travel as options of the chain."""
    conf = json.dumps({"task_default_queue": "shared"})
    send = """
    import json, tasks, warnings
    from celery import chord
    warnings.simplefilter("ignore")
    add, total = tasks.add, tasks.total
    failing = chord([add.s(1, 1), tasks.fail.s("builtin")], total.s() | add.s(1))
    failing.link_error(tasks.noted_error.s())
    lost = failing.apply_async()
    linked = chord([add.s(1, 1), add.s(2, 2)], total.s() | add.s(1))
    linked.link(tasks.note.si("linked"))
    kept = linked.apply_async()
    found = [lost.get(timeout=40, propagate=False).__class__.__name__, lost.id, kept.get(timeout=40)]
    print(json.dumps(found))
    """
    server.cli("DEL", "errbacks", "note:linked")
    with sides[runner].worker("-Q", "shared", CONF=conf):
        name, task_id, value = sides[sender].json(send, CONF=conf)
        wait_until(lambda: server.cli("LLEN", "note:linked") == "1", 20)
    assert (name, value) == ("ChordError", 7)
    (called,) = [json.loads(line) for line in server.cli("LRANGE", "errbacks", 0, -1).splitlines()]
    assert called[:2] == [runner, task_id]


FRAGILE = """
import json, tasks
from celery import chain, chord

header = [tasks.add.s(1, 1), chain(tasks.fragile.s(20), tasks.add.s(1)), tasks.fragile.s(30)]
result = (chord(header, tasks.total.s()) | tasks.add.s(1000)).delay()
result.get(timeout=40, propagate=False)
print(json.dumps(result.id))
"""
RESUME = """
import json, tasks

try:
    print(json.dumps(tasks.app.AsyncResult({!r}).resume().get(timeout=40)))
except Exception as exc:
    print(json.dumps(str(exc)))
"""


def test_a_workflow_that_failed_on_ours_is_resumed_on_the_real_celery(sides, server):
    server.cli("SET", "broken", "1")
    with sides["ours"].worker("-n", "ours@%h"):
        task_id = sides["ours"].json(FRAGILE)
    server.cli("DEL", "broken")
    with sides["stock"].worker("-n", "stock@%h"):
        assert sides["ours"].json(RESUME.format(task_id)) == 1053
        server.cli("SET", "broken", "1")
        task_id = sides["stock"].json(FRAGILE)
        assert "ran on a worker of Celery's own" in sides["ours"].json(RESUME.format(task_id))
