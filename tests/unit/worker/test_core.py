"""The core on a real broker, with a pool whose tasks end as the test says."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import threading

import pytest
from tests.support import wait_until
from tests.unit.worker.bench import Bench

from celery import signals
from celery.app.jobs import Verdict
from celery.brokers.base import BrokerUnavailable
from celery.concurrency.pace import BRIEF
from celery.exceptions import TaskRevokedError
from celery.worker import extension, intake
from celery.worker.dispatch import WORTH_IT
from celery.worker.loops import Stop
from celery.worker.request import Request


@pytest.fixture
def bench():
    with Bench() as bench:
        yield bench


@pytest.mark.parametrize("name", ["early", "late"])
def test_a_task_runs_and_is_forgotten(bench, name):
    task_id = bench.send(name)
    bench.end(task_id)
    bench.settled()
    assert bench.broker.size("q") == 0
    assert bench.state.totals == {name: 1}


def test_the_time_that_storing_alone_takes_makes_no_task_long(bench):
    """If the task is brief, its result is stored with others'."""
    bench.end(bench.send(), runtime=0.3, aside=0.2999)
    assert bench.job(bench.send()).share <= BRIEF


@pytest.fixture
def doubts(bench):
    """Messages come before it is known whether they are held: what says so later, for each."""
    reception, found = bench.core.reception, []
    deliver = reception.delivered

    def doubtfully(batch):
        for delivery in batch:
            delivery.held = asyncio.get_running_loop().create_future()
            found.append(delivery.held)
        deliver(batch)

    reception.delivered = doubtfully
    yield found
    reception.delivered = deliver


@pytest.mark.parametrize("held", [True, False])
def test_a_late_task_waits_until_its_message_is_held(bench, doubts, held):
    """Its result would be refused before."""
    task_id = bench.send("late")
    wait_until(lambda: bench.core.crew.dispatcher._beginning)
    assert bench.pool.ran == []
    bench.core.call_soon(doubts[0].set_result, held)
    if held:
        bench.end(task_id)
    bench.settled()
    assert bench.pool.ran == [task_id] * held
    next_one = bench.send("late")  # and it goes on
    wait_until(lambda: len(doubts) == 2)
    bench.core.call_soon(doubts[1].set_result, True)
    bench.end(next_one)


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize(
    ("name", "headers", "state"),
    [("late", {"expires": "2020-01-01T00:00:00+00:00"}, "REVOKED"), ("unknown", {}, "FAILURE")],
)
def test_what_is_not_run_is_recorded_when_its_message_is_held(bench, doubts, held, name, headers, state):
    task_id = bench.send(name, **headers)
    wait_until(lambda: doubts and len(bench.core.crew.errands))
    assert not bench.backend.states
    bench.core.call_soon(doubts[0].set_result, held)
    bench.settled()
    assert bench.backend.get_state(task_id) == (state if held else "PENDING")
    assert bench.broker.size("q") == 0


def test_a_worker_that_cannot_acknowledge_ends(bench, monkeypatch, caplog):
    """It would hold messages, and begin none of them, for ever."""

    async def begin(batch):
        raise LookupError("odd")

    monkeypatch.setattr(bench.core._consumer, "begin", begin)
    bench.send("early")
    bench.thread.join(15)
    assert not bench.thread.is_alive()
    assert "LookupError('odd')" in bench.core.failure


def test_a_batch_that_could_not_be_acknowledged_keeps_its_order(monkeypatch):
    with Bench(slots=4) as bench:
        begin, batches, gate = bench.core._consumer.begin, [], threading.Event()

        async def slowly(batch):
            batches.append(len(batch))
            if len(batches) == 1:
                await asyncio.to_thread(gate.wait, 10)
            if len(batches) == 2:
                raise BrokerUnavailable("away")
            return await begin(batch)

        monkeypatch.setattr(bench.core._consumer, "begin", slowly)
        ids = [bench.send("early")]
        wait_until(lambda: batches)
        ids += [bench.send("early") for _ in range(3)]
        wait_until(lambda: bench.core.crew.dispatcher.waiting == 3)
        gate.set()
        for task_id in ids:
            bench.end(task_id)
        bench.settled()
        assert batches == [1, 3, 3]
        assert bench.pool.ran == ids


def test_a_large_batch_does_not_wait_for_the_one_before(monkeypatch):
    """Where the broker takes its time to answer; a small one is no better off for it."""
    with Bench(slots=WORTH_IT * 3) as bench:
        begin, batches, gate = bench.core._consumer.begin, [], threading.Event()

        async def slowly(batch):
            batches.append(len(batch))
            if len(batches) <= 2:
                await asyncio.to_thread(gate.wait, 10)
                raise BrokerUnavailable("away")
            return await begin(batch)

        monkeypatch.setattr(bench.core._consumer, "begin", slowly)
        bench.core.crew.dispatcher._most_begins = 3
        ids = [bench.send("early")]
        wait_until(lambda: batches)
        ids += [bench.send("early") for _ in range(WORTH_IT - 1)]
        wait_until(lambda: bench.core.crew.dispatcher.waiting == WORTH_IT - 1)
        assert batches == [1]
        ids += [bench.send("early")]
        wait_until(lambda: len(batches) == 2)
        assert batches == [1, WORTH_IT]
        assert not bench.pool.ran
        gate.set()
        for task_id in ids:
            bench.end(task_id)
        bench.settled()
        assert bench.pool.ran == ids


@pytest.mark.parametrize(("mean", "ahead"), [(1e-6, True), (0.004, False)])
def test_only_brief_tasks_are_acknowledged_ahead_of_room(monkeypatch, mean, ahead):
    with Bench(slots=2) as bench:
        begin, batches, gate = bench.core._consumer.begin, [], threading.Event()

        async def slowly(batch):
            batches.append(len(batch))
            await asyncio.to_thread(gate.wait, 10)
            return await begin(batch)

        monkeypatch.setattr(bench.core._consumer, "begin", slowly)
        dispatcher = bench.core.crew.dispatcher
        dispatcher._most_begins = 3
        dispatcher.times.ran("early", mean)
        ids = [bench.send("early")]
        wait_until(lambda: batches)
        ids += [bench.send("early") for _ in range(WORTH_IT)]
        wait_until(lambda: len(batches) == 2 if ahead else dispatcher.waiting == WORTH_IT)
        assert batches == ([1, WORTH_IT] if ahead else [1])
        gate.set()
        for task_id in ids:
            bench.end(task_id)
        bench.settled()
        assert sorted(bench.pool.ran) == sorted(ids)  # both answers come at once here


def test_long_tasks_are_not_fetched_ahead_of_a_free_slot(bench):
    ids = [bench.send("late") for _ in range(5)]
    first, second = bench.job(ids[0]), bench.job(ids[1])
    assert {first.id, second.id} == set(ids[:2])
    assert len(bench.state.runs) == 2
    assert bench.broker.size("q") == 3
    for task_id in ids:
        bench.end(task_id, runtime=3.0)
    bench.settled()
    assert bench.pool.ran == ids


def test_the_users_bound_holds_with_late_acks():
    with Bench(slots=2, prefetch_bound=2) as bench:
        ids = [bench.send("late") for _ in range(400)]
        for task_id in ids[:300]:
            bench.end(task_id, runtime=0.0001)
        assert bench.core.crew.dispatcher.window == 2
        assert len(bench.state.runs) <= 2
        for task_id in ids[300:]:
            bench.end(task_id, runtime=0.0001)
        bench.settled()


def test_very_short_tasks_are_fetched_ahead():
    with Bench(slots=2) as bench:
        ids = [bench.send("late") for _ in range(600)]
        for task_id in ids[:200]:
            bench.end(task_id, runtime=0.0001)
        wait_until(lambda: bench.core.crew.dispatcher.waiting > 100)
        bench.stop(Stop.COLD)
        assert bench.broker.size("q") == 400


def test_what_waits_behind_long_tasks_goes_back_to_the_broker():
    with Bench(slots=1) as bench:
        short = [bench.send("late") for _ in range(300)]
        for task_id in short[:250]:
            bench.end(task_id, runtime=0.0001)
        wait_until(lambda: bench.core.crew.dispatcher.waiting > 10)
        bench.job(short[250])  # and now it does not end
        wait_until(lambda: bench.core.crew.dispatcher.waiting == 0)
        assert len(bench.state.runs) == 1
        wait_until(lambda: bench.broker.size("q") == 49)
        for task_id in short[250:]:
            bench.end(task_id, runtime=0.0001)
        bench.settled()
        assert sorted(bench.pool.ran) == sorted(short)


def test_failure_without_ack_on_failure_is_a_dead_letter(bench):
    bench.add_task("strict", acks_late=True, acks_on_failure=False)
    bench.end(bench.send("strict"), Verdict.FAILURE, detail="ValueError('x')")
    bench.settled()
    wait_until(bench.dead)
    assert "ValueError" in bench.dead()[0].reason


def test_reject_with_requeue_comes_back(bench):
    task_id = bench.send("late")
    for _ in range(7):
        bench.end(task_id, Verdict.REQUEUE)
    bench.end(task_id)
    bench.settled()
    assert bench.pool.ran == [task_id] * 8


def test_reject_is_a_dead_letter(bench):
    bench.end(bench.send("late"), Verdict.REJECT)
    wait_until(bench.dead)
    assert bench.dead()[0].reason == "rejected by the task"


@pytest.mark.parametrize("task", ["early", "late"])
def test_an_undecodable_body_fails_is_a_dead_letter_and_logged_once(bench, caplog, task):
    task_id = bench.send(task)
    bench.end(task_id, Verdict.INVALID, detail="no JSON")
    wait_until(bench.dead)
    state, error = bench.backend.states[task_id]
    assert (state, repr(error)) == ("FAILURE", "InvalidTaskError('no JSON')")
    assert [r.levelname for r in caplog.records if "Can't decode message body" in r.message] == ["CRITICAL"]


def test_an_undecodable_body_is_a_dead_letter_also_if_that_cannot_be_stored(bench):
    bench.backend.broken = True
    bench.end(bench.send("early"), Verdict.INVALID, detail="no JSON")
    wait_until(bench.dead)
    bench.settled()


def test_an_unknown_task_fails_and_is_a_dead_letter(bench, caplog):
    told = []

    def note(**kwargs):
        told.append(kwargs["name"])

    signals.task_unknown.connect(note)
    try:
        task_id = bench.send("nobody.knows")
        wait_until(bench.dead)
        bench.settled()
    finally:
        signals.task_unknown.disconnect(note)
    state, error = bench.backend.states[task_id]
    assert (state, type(error).__name__, error.args) == ("FAILURE", "NotRegistered", ("nobody.knows",))
    assert "Received unregistered task of type 'nobody.knows'" in caplog.text
    wait_until(lambda: told == ["nobody.knows"])


def test_an_unknown_task_can_be_parked():
    with Bench(park_unknown=True) as bench:
        bench.send("nobody.knows")
        wait_until(lambda: bench.core.reception._unknown_since)
        wait_until(lambda: bench.broker.size("q") == 1)
        assert bench.dead() == []


@pytest.mark.parametrize(
    "headers",
    [
        b"\xff\xfe",
        b"null",
        b"[]",
        {},
        {"task": "early"},
        {"task": "early", "id": None},
        {"task": 7, "id": "x"},
        {"task": "early", "id": "x", "eta": "yesterday"},
        {"task": "early", "id": "x", "expires": [1]},
        {"task": "early", "id": "x", "timelimit": ["a", None]},
        {"task": "early", "id": "x", "timelimit": 5},
        {"task": "early", "id": "x", "retries": "many"},
    ],
    ids=str,
)
def test_malformed_messages_are_logged_once_and_set_aside(bench, caplog, headers):
    bench.send_raw(headers)
    wait_until(bench.dead)
    bench.end(bench.send("early"))
    bench.settled()
    records = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(records) == 1, [r.message for r in records]


def test_an_expired_message_is_revoked(bench):
    past = (dt.datetime.now(dt.UTC) - dt.timedelta(seconds=5)).isoformat()
    task_id = bench.send("early", expires=past)
    wait_until(lambda: bench.backend.states.get(task_id) == ("REVOKED", "expired"))
    bench.settled()
    assert bench.pool.ran == []


def test_a_message_that_is_not_due_waits_in_the_broker(bench):
    soon = (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=0.6)).isoformat()
    task_id = bench.send("early", eta=soon)
    wait_until(lambda: bench.broker.size("q") == 1 and not bench.state.runs)
    bench.end(task_id)
    assert dt.datetime.now(dt.UTC) >= dt.datetime.fromisoformat(soon)
    bench.settled()


def test_a_lost_process_fails_its_task(bench):
    task_id = bench.send("early")
    bench.lose(task_id)
    bench.settled()
    state, error = bench.backend.states[task_id]
    assert state == "FAILURE"
    assert repr(error) == "WorkerLostError('Worker exited prematurely: signal 9 (SIGKILL).')"
    assert bench.broker.size("q") == 0


def test_a_process_lost_after_success_was_stored_changes_nothing(bench):
    task_id = bench.send("late")
    bench.job(task_id)
    bench.backend.states[task_id] = ("SUCCESS", 1)
    bench.lose(task_id)
    bench.settled()
    assert bench.backend.states[task_id] == ("SUCCESS", 1)
    assert bench.broker.size("q") == 0


def test_a_task_that_had_not_begun_in_a_lost_process_runs_elsewhere(bench):
    task_id = bench.send("early")
    bench.lose(task_id, began=False)
    bench.end(task_id)
    bench.settled()
    assert bench.backend.states == {}


def test_reject_on_worker_lost_is_bounded(bench):
    bench.add_task("killer", acks_late=True, reject_on_worker_lost=True)
    task_id = bench.send("killer")
    for _ in range(5):
        bench.lose(task_id)
    wait_until(bench.dead)
    bench.settled()
    assert bench.pool.ran == [task_id] * 5
    assert bench.backend.states[task_id][0] == "FAILURE"
    assert "5 deliveries" in bench.dead()[0].reason


def test_retry_on_worker_lost_counts_as_a_retry(bench):
    bench.add_task("again", acks_late=True, retry_on_worker_lost=True)
    task_id = bench.send("again")
    for _ in range(4):
        bench.lose(task_id)
    bench.settled()
    assert bench.pool.ran == [task_id] * 4
    assert bench.backend.states[task_id][0] == "FAILURE"


def test_a_hard_limit_fails_the_task_and_tells_it(bench, caplog):
    bench.add_task("slow", time_limit=5.0)
    task_id = bench.send("slow")
    job = bench.job(task_id)
    del bench.pool.held[job.tag]
    bench.report("hard_limit", job.tag)
    bench.settled()
    assert repr(bench.backend.states[task_id][1]) == "TimeLimitExceeded(5)"
    assert f"Hard time limit (5s) exceeded for slow[{task_id}]" in caplog.text
    wait_until(lambda: bench.failures)
    assert bench.failures[0][1] == task_id


def test_a_late_ack_waits_for_a_failure_to_be_stored(bench):
    task_id = bench.send("late")
    bench.job(task_id)
    bench.backend.broken = True
    bench.lose(task_id)
    bench.job(task_id)  # offered again: nothing is known to be stored
    bench.backend.broken = False
    bench.end(task_id)
    bench.settled()


def test_warm_shutdown_gives_back_what_has_not_begun_and_waits_for_the_rest():
    bench = Bench(slots=1)
    with bench:
        running, waiting = bench.send("late"), bench.send("late")
        bench.job(running)
        bench.core.stop(Stop.WARM)
        wait_until(lambda: bench.core.crew.stopping)
        assert bench.thread.is_alive()
        bench.end(running)
        bench.thread.join(10)
        assert not bench.thread.is_alive()
        assert bench.broker.size("q") == 1
        assert bench.pool.ran == [running]
        assert waiting not in bench.pool.ran
        assert bench.pool.stopped
        assert not bench.core.failed


def test_cold_shutdown_gives_back_late_tasks_and_fails_early_ones():
    with Bench() as bench:
        early, late = bench.send("early"), bench.send("late")
        bench.job(early)
        bench.job(late)
        bench.stop(Stop.COLD)
        assert bench.pool.killed
        assert bench.broker.size("q") == 1
        assert bench.backend.states[early][0] == "FAILURE"
        assert late not in bench.backend.states


def test_the_grace_time_ends_a_warm_shutdown():
    with Bench(shutdown_grace=0.2) as bench:
        late = bench.send("late")
        bench.job(late)
        bench.stop(Stop.WARM)
        assert bench.pool.killed
        assert bench.broker.size("q") == 1


def test_a_broken_pool_ends_the_worker_with_a_failure():
    with Bench() as bench:
        late = bench.send("late")
        bench.job(late)
        bench.report("broken", RuntimeError("children die at start"))
        bench.thread.join(10)
        assert bench.core.failed
        assert "children die at start" in bench.core.failure
        assert bench.broker.size("q") == 1


def test_what_ends_after_the_lease_settles_nothing(bench, caplog):
    task_id = bench.send("late")
    bench.job(task_id)
    bench.core.call_soon(bench.core.reception.fenced, "lease taken")
    bench.end(task_id)
    bench.settled()
    assert "ended after this worker's lease" in caplog.text
    bench.stop()
    assert bench.broker.size("q") == 1  # nobody has acknowledged it


class Observed(Request):
    seen: list = []  # noqa: RUF012

    def on_accepted(self, pid, time_accepted):
        self.seen.append(("accepted", pid))

    def on_success(self, failed__retval__runtime, **kwargs):
        self.seen.append(("success", failed__retval__runtime[1]))

    def on_timeout(self, soft, timeout):
        self.seen.append(("timeout", soft, timeout))

    def on_failure(self, exc_info, send_failed_event=True, return_ok=False):
        self.seen.append(("failure", str(exc_info.exception)))


def test_hooks_of_a_custom_request_are_called_in_order(bench):
    from celery.worker.policy import overridden_hooks

    Observed.seen.clear()
    bench.add_task("watched", request_class=Observed, hooks=overridden_hooks(Observed), soft_time_limit=3.0)
    task_id = bench.send("watched")
    job = bench.job(task_id)
    assert job.announce
    bench.report("started", job.tag, 4711, 1.0)
    bench.report("soft_limit", job.tag)
    bench.end(task_id, detail="42")
    bench.settled()
    failing = bench.send("watched")
    bench.end(failing, Verdict.FAILURE, detail="KeyError('x')")
    wait_until(lambda: len(Observed.seen) == 4)
    assert Observed.seen == [
        ("accepted", 4711),
        ("timeout", True, 3.0),
        ("success", "42"),
        ("failure", "KeyError('x')"),
    ]


class Refusing(Request):
    def revoked(self):
        return True


def test_a_custom_request_may_refuse_to_run(bench):
    bench.add_task("refused", request_class=Refusing, hooks=frozenset({"revoked"}))
    task_id = bench.send("refused")
    wait_until(lambda: bench.backend.states.get(task_id) == ("REVOKED", "revoked"))
    bench.settled()
    assert bench.pool.ran == []


class Wrapping(Request):
    wrapped: list = []  # noqa: RUF012

    def execute_using_pool(self, pool, **kwargs):
        self.wrapped.append(self.id)
        return super().execute_using_pool(pool, **kwargs)


def test_a_custom_request_may_wrap_its_execution(bench):
    bench.add_task("wrapped", request_class=Wrapping, hooks=frozenset({"execute_using_pool"}))
    task_id = bench.send("wrapped")
    bench.end(task_id)
    bench.settled()
    assert Wrapping.wrapped == [task_id]


def test_receivers_of_task_received_get_a_request(bench):
    seen = []

    def note(request, **kwargs):
        seen.append((request.name, request.args, request.delivery_info["routing_key"]))

    signals.task_received.connect(note)
    try:
        bench.end(bench.send("early"))
        wait_until(lambda: seen)
    finally:
        signals.task_received.disconnect(note)
    assert seen == [("early", [1], "q")]


def test_a_consumer_that_cannot_go_on_ends_the_worker():
    with Bench() as bench:
        bench.core.call_soon(bench.core.reception.broken, RuntimeError("a bug"))
        bench.thread.join(10)
        assert not bench.thread.is_alive()
        assert bench.core.failed
        assert "a bug" in bench.core.failure


class Unmakeable(Request):
    def __init__(self, *args, **kwargs):
        raise ValueError("no request today")

    def on_success(self, *args, **kwargs):
        """Wanted, so the worker makes a request."""


def test_a_request_class_that_raises_keeps_no_message(bench):
    bench.add_task("odd", request_class=Unmakeable, hooks=frozenset({"on_success", "execute_using_pool"}))
    ids = [bench.send("odd"), bench.send("early")]
    for task_id in ids:
        bench.end(task_id)
    bench.settled()
    assert sorted(bench.pool.ran) == sorted(ids)


class Failing(Request):
    def execute_using_pool(self, pool, **kwargs):
        raise {"odd": ValueError, "refused": TaskRevokedError}[self.name]("not like this")


def test_an_execute_using_pool_that_raises_keeps_no_message(bench):
    for name in ("odd", "refused"):
        bench.add_task(name, acks_late=True, request_class=Failing, hooks=frozenset({"execute_using_pool"}))
    bench.send("refused")
    task_id = bench.send("odd")
    bench.end(task_id)
    bench.settled()
    assert bench.pool.ran == [task_id]


def test_a_clock_that_is_set_back_stops_no_rate_limited_task(bench, monkeypatch):
    bench.add_task("slow", rate=20.0)
    real, step = intake.time.time, [0.0]
    monkeypatch.setattr(intake.time, "time", lambda: real() + step[0])
    step[0] = 3600.0
    bench.end(bench.send("slow"))
    bench.settled()
    step[0] = 0.0
    bench.end(bench.send("slow"))
    bench.settled()


def test_slow_receivers_hold_up_new_tasks_and_not_the_worker(bench, caplog, monkeypatch):
    monkeypatch.setattr(extension, "MOST", 4)
    go_on, told = threading.Event(), []

    def dawdle(request, **_kwargs):
        go_on.wait(20)
        told.append(request.id)

    signals.task_received.connect(dawdle)
    try:
        ids = [bench.send("late") for _ in range(40)]
        for task_id in ids[:5]:
            bench.end(task_id, runtime=0.0001)
        wait_until(lambda: "no more tasks are taken" in caplog.text)
        wait_until(lambda: bench.core.crew.dispatcher.window == 0)
        go_on.set()
        for task_id in ids[5:]:
            bench.end(task_id, runtime=0.0001)
        bench.settled()
        wait_until(lambda: told == ids)
    finally:
        go_on.set()
        signals.task_received.disconnect(dawdle)


@pytest.mark.parametrize("asked", [True, False])
def test_late_tasks_are_cancelled_with_the_link(asked):
    with Bench(cancel_on_loss=asked) as bench:
        early, late = bench.send("early"), bench.send("late")
        bench.job(early), bench.job(late)
        bench.core.call_soon(bench.core.reception.disconnected, BrokerUnavailable("cut"))
        if asked:
            wait_until(lambda: bench.pool.terminated == [late])
            bench.lose(late, exitcode=-15)  # as a pool says it
            wait_until(lambda: bench.pool.ran.count(late) == 2)
            assert bench.backend.states == {}
        bench.end(late)
        bench.end(early)
        bench.settled()
        assert bench.pool.terminated == [late] * asked
        assert bench.dead() == []
