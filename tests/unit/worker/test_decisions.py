"""The pure parts: one delivery to one decision, the acknowledgement matrix, the window."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace

import pytest

from celery.app.jobs import Verdict
from celery.brokers.base import Settlement
from celery.exceptions import InvalidTaskError
from celery.message.task import TaskHeaders
from celery.worker import acks
from celery.worker.limits import MOST_AHEAD, RunTimes, fetch_ahead, window
from celery.worker.policy import TaskPolicy
from celery.worker.strategy import (
    Discard,
    Park,
    Poison,
    decide,
    hybrid_to_proto2,
    proto1_to_proto2,
)

NOW = 1_800_000_000.0


def policy(**options):
    return TaskPolicy(name="t", task=SimpleNamespace(name="t"), **options)


def iso(seconds_from_now):
    return dt.datetime.fromtimestamp(NOW + seconds_from_now, dt.UTC).isoformat()


def decided(deliveries=1, revoked=(), local=dt.UTC, **headers):
    return decide(
        TaskHeaders(task="t", id="1", **headers),
        now=NOW,
        deliveries=deliveries,
        max_deliveries=5,
        revoked=set(revoked),
        local=local,
    )


def test_a_plain_message_runs():
    assert decided() is None


@pytest.mark.parametrize(("expires", "kind"), [(-1, Discard), (60, type(None))])
def test_expiry(expires, kind):
    assert type(decided(expires=iso(expires))) is kind


def test_a_revoked_id_is_discarded_and_is_not_called_expired():
    assert decided(revoked={"1"}) == Discard(expired=False)


def test_not_due_yet_is_parked_until_then():
    decision = decided(eta=iso(30))
    assert type(decision) is Park
    assert decision.due == pytest.approx(NOW + 30)


def test_due_in_the_past_runs():
    assert decided(eta=iso(-5)) is None


def test_a_naive_date_is_of_the_given_zone():
    naive = dt.datetime.fromtimestamp(NOW, dt.UTC).replace(tzinfo=None).isoformat()
    east = dt.timezone(dt.timedelta(hours=2))
    west = dt.timezone(dt.timedelta(hours=-2))
    assert decided(eta=naive, local=east) is None
    assert type(decided(eta=naive, local=west)) is Park


@pytest.mark.parametrize(("deliveries", "kind"), [(5, type(None)), (6, Poison)])
def test_too_many_deliveries(deliveries, kind):
    assert type(decided(deliveries=deliveries)) is kind


def test_an_expired_message_is_not_parked_or_run_even_if_poisonous():
    assert type(decided(deliveries=9, expires=iso(-1), eta=iso(50))) is Discard


ACK, REQUEUE, BURY = Settlement.ACK, Settlement.REQUEUE, Settlement.BURY


@pytest.mark.parametrize(
    ("verdict", "early", "late", "late_no_ack_on_failure"),
    [
        (Verdict.SUCCESS, ACK, ACK, ACK),
        (Verdict.FAILURE, ACK, ACK, BURY),
        (Verdict.RETRY, ACK, ACK, ACK),
        (Verdict.IGNORE, ACK, ACK, ACK),
        (Verdict.REJECT, ACK, BURY, BURY),
        (Verdict.REQUEUE, ACK, REQUEUE, REQUEUE),
        (Verdict.INTERNAL, ACK, ACK, BURY),
        (Verdict.INVALID, BURY, BURY, BURY),
        (Verdict.UNSTORED, ACK, REQUEUE, REQUEUE),
    ],
)
def test_matrix_of_ended_runs(verdict, early, late, late_no_ack_on_failure):
    assert acks.after_run(policy(), verdict).settlement is early
    assert acks.after_run(policy(acks_late=True), verdict).settlement is late
    strict = policy(acks_late=True, acks_on_failure=False)
    assert acks.after_run(strict, verdict).settlement is late_no_ack_on_failure


def test_a_task_that_rejects_itself_may_do_so_for_ever():
    assert acks.after_run(policy(acks_late=True), Verdict.REQUEUE).counted is False


def test_matrix_of_hard_limits():
    assert acks.after_hard_limit(policy()) is acks.DONE
    assert acks.after_hard_limit(policy(acks_late=True)) is acks.DONE
    assert acks.after_hard_limit(policy(acks_late=True, acks_on_timeout=False)) is acks.AGAIN


def test_matrix_of_lost_processes():
    rejecting = policy(acks_late=True, reject_on_worker_lost=True)
    assert acks.after_loss(policy(), 1, 5) is acks.DONE
    assert acks.after_loss(policy(reject_on_worker_lost=True), 1, 5) is acks.DONE
    assert acks.after_loss(policy(acks_late=True), 1, 5) is acks.DONE
    assert acks.after_loss(rejecting, 4, 5) is acks.AGAIN
    assert acks.after_loss(rejecting, 5, 5).settlement is BURY
    assert acks.after_loss(rejecting, 500, 0) is acks.AGAIN


def test_unknown_and_long_tasks_are_not_fetched_ahead():
    assert fetch_ahead(RunTimes().mix, 2) == 0
    assert fetch_ahead(10.0, 8) == 0


def test_very_short_tasks_are_fetched_by_the_hundred():
    times = RunTimes()
    times.ran("short", 0.0001)
    for _ in range(400):
        times.came_in("short")
    assert fetch_ahead(times.mix, 2) == MOST_AHEAD


def test_a_worker_that_has_just_begun_believes_a_little_and_soon_all():
    """A first run loads code and connects: that must not make hundreds of others come one by one."""
    times, seen = RunTimes(), []
    for seconds in (0.012, 0.010, *[0.0006] * 40):
        times.ran("t", seconds)
        times.came_in("t")
        seen.append(times.ahead(2))
    assert seen[0] <= 2
    assert seen[3] <= 8
    assert seen[39] >= 60
    assert times.of("t") == pytest.approx(0.0006, rel=0.1)
    times.came_in("never heard of")
    assert times.ahead(2) < 2


def test_short_runs_must_repeat_themselves_after_a_long_one():
    times = RunTimes()
    for _ in range(20):
        times.ran("t", 0.0001)
    times.ran("t", 1.0)
    for _ in range(10):
        times.ran("t", 0.0001)
    assert times.of("t") > 0.1


def test_one_long_task_among_short_ones_counts_at_once():
    times = RunTimes()
    times.ran("t", 0.001)
    times.ran("t", 5.0)
    assert times.of("t") == 5.0


def test_limits_of_a_message_win_over_the_tasks_own():
    limited = policy(time_limit=10.0, soft_time_limit=5.0)
    assert limited.limits((None, None)) == (10.0, 5.0)
    assert limited.limits((3, None)) == (3.0, 5.0)
    assert limited.limits((0, 0)) == (None, None)


def test_the_window_never_exceeds_what_the_user_set():
    assert window(held=3, room=1, ahead=500, bound=None) == 504
    assert window(held=3, room=1, ahead=500, bound=4) == 4
    assert window(held=0, room=-2, ahead=0, bound=None) == 0


NO_LINKS = {"callbacks": None, "errbacks": None, "chord": None, "chain": None}


def test_a_message_of_protocol_1_is_read_for_strategies():
    body = {"task": "t", "id": "1", "args": [1], "kwargs": {"a": 2}, "taskset": "g", "utc": False}
    found = proto1_to_proto2(SimpleNamespace(headers={"x": 1}), body)
    headers = {**body, "argsrepr": "[1]", "kwargsrepr": "{'a': 2}", "headers": {"x": 1}, "group": "g"}
    assert found == (([1], {"a": 2}, NO_LINKS), headers, True, False)


def test_headers_win_in_a_message_of_both_protocols():
    body = {"task": "b", "id": "1", "retries": 2, "origin": "b"}
    arguments, headers, decoded, utc = hybrid_to_proto2(SimpleNamespace(headers={"task": "h", "x": 1}), body)
    assert (arguments, decoded, utc) == (((), {}, NO_LINKS), True, True)
    assert {key: value for key, value in headers.items() if value is not None} == {
        "task": "h",
        "id": "1",
        "retries": 2,
        "origin": "b",
        "timelimit": (None, None),
        "x": 1,
    }


@pytest.mark.parametrize("read", [proto1_to_proto2, hybrid_to_proto2])
@pytest.mark.parametrize("body", [5, {"kwargs": None}, {"kwargs": [1]}], ids=repr)
def test_a_body_that_is_no_mapping_is_refused(read, body):
    with pytest.raises(InvalidTaskError, match="must be a mapping"):
        read(SimpleNamespace(headers=None), body)
