"""The picture that events make: whatever comes, in whatever order."""

from __future__ import annotations

import pickle
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery import Celery, states
from celery.events.state import State, Task, Worker, heartbeat_expires

LIFE = ("sent", "received", "started", "succeeded")


def event(kind, clock=1, *, at=1000.0, hostname="w1", **fields):
    return {
        "type": kind,
        "clock": clock,
        "timestamp": at,
        "local_received": at + 0.1,
        "hostname": hostname,
        "pid": 5,
        "utcoffset": 0,
        **fields,
    }


def received(uuid="1", clock=2, **fields):
    told = {"name": "add", "args": "(1,)", "kwargs": "{}", "retries": 0, "root_id": uuid, "parent_id": None}
    return event("task-received", clock, at=1000.0 + clock, uuid=uuid, **told | fields)


def life(uuid="1"):
    """What is said of a task that succeeds."""
    return [
        event("task-sent", 1, at=1001.0, uuid=uuid, hostname="gen1@h", name="add", queue="q", args="(1,)"),
        received(uuid),
        event("task-started", 3, at=1003.0, uuid=uuid),
        event("task-succeeded", 4, at=1004.0, uuid=uuid, result="2", runtime=0.5),
    ]


def test_a_task_from_sent_to_succeeded():
    state = State()
    seen = [state.event(one) for one in life()]
    assert [what for _, what in seen] == list(LIFE)
    assert [created for (_, created), _ in seen] == [True, False, False, False]
    task = state.tasks["1"]
    assert (task.name, task.state, task.result, task.runtime) == ("add", states.SUCCESS, "2", 0.5)
    assert (task.sent, task.received, task.started, task.succeeded) == (1001.0, 1002.0, 1003.0, 1004.0)
    assert task.client == "gen1@h"
    assert task.worker.hostname == "w1"
    assert task.origin == "w1.None"  # no event of the worker itself has named its process
    assert task.ready
    assert (state.event_count, state.task_count) == (4, 1)


@given(st.permutations(range(4)), st.lists(st.integers(0, 3), max_size=3))
def test_order_and_repetition_change_nothing(order, again):
    in_order, mixed = State(), State()
    events = life()
    for one in events:
        in_order.event(dict(one))
    for index in [*order, *again]:
        mixed.event(dict(events[index]))
    assert mixed.tasks["1"].as_dict() == in_order.tasks["1"].as_dict()


@given(
    st.lists(
        st.sampled_from(["received", "started", "retried", "failed", "custom", "succeeded"]), max_size=12
    )
)
def test_a_state_never_goes_back_but_by_a_retry(kinds):
    state = State()
    best = None
    for clock, kind in enumerate(kinds, 1):
        state.event(event(f"task-{kind}", clock, uuid="1"))
        now = state.tasks["1"].state
        if best is not None and states.RETRY not in (now, best):
            assert states.precedence(now) <= states.precedence(best)
        best = now


def test_a_retry_begins_anew():
    state = State()
    for one in [*life()[:3], event("task-retried", 5, uuid="1", exception="KeyError('k')")]:
        state.event(one)
    assert state.tasks["1"].state == states.RETRY
    state.event(received(clock=6, retries=1))
    assert (state.tasks["1"].state, state.tasks["1"].retries) == (states.RECEIVED, 1)


def test_custom_events_set_what_they_say():
    state = State()
    state.event(event("task-progress", uuid="1", percent=40))
    assert state.tasks["1"].percent == 40
    assert state.tasks["1"].state == "PROGRESS"
    assert state.event(event("custom-thing", 1, what=2)) is None
    assert state.event(event("nodash", 1)) is None


def test_families_are_joined_whoever_comes_first():
    state = State()
    state.event(received("child", 2, parent_id="parent", root_id="parent"))
    assert state.tasks["child"].parent is None
    state.event(received("parent", 3))
    assert state.tasks["child"].parent is state.tasks["parent"]
    assert state.tasks["child"].root is state.tasks["parent"]
    assert set(state.tasks["parent"].children) == {state.tasks["child"]}
    assert state.tasks["parent"].as_dict()["children"] == ["child"]


def test_questions():
    state = State()
    for clock, (uuid, name, host) in enumerate([("a", "x", "w1"), ("b", "y", "w2"), ("c", "x", "w1")], 1):
        state.event(received(uuid, clock, name=name, hostname=host))
    state.event(event("task-started", 9, uuid="a"))
    assert [uuid for uuid, _ in state.tasks_by_time()] == ["a", "c", "b"]
    assert [uuid for uuid, _ in state.tasks_by_timestamp(limit=1, reverse=False)] == ["a"]
    assert [uuid for uuid, _ in state.tasks_by_type("x")] == ["a", "c"]
    assert set(state.tasks_by_type["x"]) == {state.tasks["a"], state.tasks["c"]}
    assert [uuid for uuid, _ in state.tasks_by_worker("w2", limit=5)] == ["b"]
    assert {task.uuid for task in state.tasks_by_worker["w1"]} == {"a", "c"}
    assert state.task_types() == ["x", "y"]
    assert len(list(state.itertasks(2))) == 2
    assert repr(state) == "<State: events=4 tasks=3>"


def test_info_leaves_out_what_is_not_known():
    state = State()
    for one in life():
        state.event(one)
    task = state.tasks["1"]
    assert task.info(["args", "eta"], ["state"]) == {"args": "(1,)", "state": "SUCCESS"}
    assert task.info()["result"] == "2"
    assert repr(task) == "<Task: add(1) SUCCESS clock:4>"


def test_workers_live_as_long_as_they_are_heard():
    state, now = State(), time.time()
    news = []
    state.on_node_join, state.on_node_leave = news.append, news.append
    state.event(event("worker-online", 1, at=now, freq=2.0, active=1, sw_ver="5.7.0"))
    worker = state.workers["w1"]
    assert worker.alive
    assert worker.status_string == "ONLINE"
    assert list(state.alive_workers()) == [worker]
    assert (worker.freq, worker.active, worker.id) == (2.0, 1, "w1.5")
    for beat in range(6):
        state.event(event("worker-heartbeat", beat + 2, at=now - beat))
    assert worker.heartbeats == sorted(worker.heartbeats)
    assert len(worker.heartbeats) == 4
    assert worker.heartbeat_expires == pytest.approx(now + 4.1)
    state.event(event("worker-offline", 9, at=now))
    assert not worker.alive
    assert news == [worker, worker]
    assert heartbeat_expires(100.0) == 220.0


def test_a_clock_that_is_off_is_said_once(caplog):
    state = State()
    for _ in range(2):
        state.event(event("worker-heartbeat", 1, hostname="drifting", at=5.0) | {"local_received": 500.0})
    assert caplog.text.count("Substantial drift from drifting") == 1


def test_what_is_kept_is_bounded():
    state = State(max_tasks_in_memory=10, max_workers_in_memory=2)
    for number in range(200):
        state.event(received(str(number), number + 1, hostname=f"w{number % 5}"))
    assert list(state.tasks) == [str(number) for number in range(190, 200)]
    assert len(state.workers) == 2
    assert len(state._taskheap) <= 44
    assert len(list(state.tasks_by_time())) == 10
    assert len(state.tasks_by_type["add"]) == 10


def test_callbacks_and_freezing():
    seen = []
    state = State(callback=lambda state, event: seen.append((state.event_count, event["type"])))
    state.event(received())
    assert seen == [(1, "task-received")]
    assert state.freeze_while(lambda what: what + str(len(state.tasks)), "x", clear_after=True) == "x1"
    assert (len(state.tasks), len(state.workers), state.event_count) == (1, 0, 0)  # it has not ended


def test_clearing():
    state = State()
    for one in [*life("1"), received("2", 7)]:
        state.event(one)
    state.clear_tasks()
    assert list(state.tasks) == ["2"]
    assert [uuid for uuid, _ in state.tasks_by_time()] == ["2"]
    state.clear_tasks(ready=False)
    assert not state.tasks
    state.clear()
    assert not state.workers


@pytest.mark.parametrize("of_app", [False, True])
def test_pickles(of_app):
    app = Celery("pickling", set_as_current=True)
    try:
        state = app.events.State() if of_app else State(max_tasks_in_memory=99)
        for one in [*life("1"), received("2", 7, parent_id="1")]:
            state.event(one)
        state.get_or_create_task("3")
        again = pickle.loads(pickle.dumps(state))
        assert list(again.tasks) == ["1", "2", "3"]
        assert again.tasks["1"].as_dict() == state.tasks["1"].as_dict()
        assert [uuid for uuid, _ in again.tasks_by_time()] == ["2", "1", "3"]
        assert set(again.tasks["1"].children) == {again.tasks["2"]}
        assert again.workers["w1"] == state.workers["w1"]
        assert of_app or again.max_tasks_in_memory == 99
    finally:
        app.close()


def test_values_can_be_made_by_hand():
    worker = Worker("w1", 5, freq=2)
    assert pickle.loads(pickle.dumps(worker)) == worker
    task = Task(uuid="1", name="add", state="STARTED")
    assert pickle.loads(pickle.dumps(task)).name == "add"
    assert Task.__module__ == Worker.__module__ == "celery.events.state"
