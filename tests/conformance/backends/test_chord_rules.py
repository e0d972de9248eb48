"""Chords over every backend: counted, looked at, or kept in one transaction, the outcome is the same."""

from __future__ import annotations

import threading
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from celery import chain, chord, group, signature
from celery.app.context import Context
from celery.backends.simple_chords import CountingChords, PollingChords
from celery.contrib.testing.worker import start_worker
from celery.exceptions import ChordError, EncodeError, Ignore, Reject, TaskRevokedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from celery import Celery


class Tasks:
    """The tasks of one app."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.errors: list[str] = []
        self.called = threading.Event()

        @app.task(name="add")
        def add(x, y=0):
            return x + y

        @app.task(name="same")
        def same(x):
            return x

        @app.task(name="pair")
        def pair(x, y):
            return [x, y]

        @app.task(name="fails")
        def fails(*args):
            raise ValueError("no")

        @app.task(name="ignored", ignore_result=True)
        def ignored(x):
            return x

        @app.task(name="leaves")
        def leaves(how):
            raise Ignore if how == "ignore" else Reject("no")

        @app.task(name="on_error")
        def on_error(request, exc, traceback):
            self.errors.append(repr(exc))
            self.called.set()

        @app.task(name="grows", bind=True)
        def grows(task, by=None):
            task.add_to_chord(signature(by, app=app) if by else add.s(10, 1))
            return 1

        @app.task(name="grows_in_vain", bind=True)
        def grows_in_vain(task):
            with pytest.raises(EncodeError):
                task.add_to_chord(add.s(10, 1).set(serializer="none such"))
            return 1

        self.grows_in_vain = grows_in_vain
        self.add, self.same, self.fails, self.ignored = add, same, fails, ignored
        self.pair = pair
        self.leaves, self.on_error, self.grows = leaves, on_error, grows


@pytest.fixture
def tasks(make_app: Callable[..., Celery]) -> Iterator[Tasks]:
    """Tasks, and a worker that runs them."""
    app = make_app(result_chord_retry_interval=0.05)
    made = Tasks(app)
    with running(app):
        yield made


def running(app: Celery) -> AbstractContextManager[Any]:
    return start_worker(
        app, pool="threads", concurrency=2, perform_ping_check=False, loglevel="CRITICAL", shutdown_timeout=30
    )


def counts(tasks: Tasks) -> bool:
    """Members are counted, rather than looked at."""
    return not isinstance(tasks.app.backend.chords, PollingChords)


def test_values_in_order(tasks):
    result = chord([tasks.add.s(i, i) for i in range(20)], tasks.same.s())()
    assert result.get(timeout=20) == [2 * i for i in range(20)]
    assert [one.get(timeout=20) for one in result.parent.results] == [2 * i for i in range(20)]


def test_nested(tasks):
    add, same = tasks.add, tasks.same
    header = [
        add.s(1, 1) | group(add.s(1), add.s(2)),
        group(add.s(5, 0), add.s(6, 0)),
        chord([add.s(1, 1), add.s(2, 2)], same.s()),
    ]
    assert chord(header, same.s())().get(timeout=20) == [[3, 4], 5, 6, [2, 4]]


@pytest.mark.parametrize("given", [datetime(2026, 1, 2), UUID(int=1), b"\xff", [Decimal("0.1")]], ids=type)
def test_arguments_of_a_body(tasks, given):
    body = tasks.pair.s(given)
    assert chord([tasks.add.s(1, 1), tasks.add.s(2, 2)], body)().get(timeout=20) == [[2, 4], given]


def test_arguments_of_a_body_that_only_pickle_can_write(make_app):
    app = make_app(task_serializer="pickle", accept_content=["json", "pickle"])
    made = Tasks(app)

    @app.task(name="joined")
    def joined(values, more):
        return sorted({*values, *more})

    with running(app):
        assert chord([made.add.s(1, 1)], joined.s({1}))().get(timeout=20) == [1, 2]


def test_in_a_chain(tasks):
    add, same = tasks.add, tasks.same
    result = chain(add.s(1, 1), group(add.s(1), add.s(2)), same.s(), group(same.s(), same.s()))()
    assert result.get(timeout=20) == [[3, 4], [3, 4]]


def test_body_is_a_group(tasks):
    same = tasks.same
    assert (group(same.s(1), same.s(2)) | group(same.s(), same.s()))().get(timeout=20) == [[1, 2], [1, 2]]


def test_empty_header(tasks):
    assert chord([], tasks.same.s())().get(timeout=20) == []


def test_a_member_that_fails(tasks):
    result = chord([tasks.add.s(1, 1), tasks.fails.s()], tasks.same.s().on_error(tasks.on_error.s()))()
    with pytest.raises(ChordError, match=r"Dependency .* raised ValueError\('no'\)"):
        result.get(timeout=20)
    assert tasks.called.wait(20)
    assert len(tasks.errors) == 1


def test_steps_after_a_failed_chord_fail_too(tasks):
    result = chain(group(tasks.fails.s(), tasks.add.s(1, 1)), tasks.same.s(), tasks.same.s())()
    with pytest.raises(ChordError):
        result.get(timeout=20)


def test_an_inner_chord_fails_the_outer_one(tasks):
    inner = chord([tasks.fails.s()], tasks.same.s())
    with pytest.raises(ChordError, match="ChordError"):
        chord([inner, tasks.add.s(1, 1)], tasks.same.s())().get(timeout=20)


def test_an_expired_member(tasks):
    result = chord([tasks.add.s(1, 1).set(expires=-1), tasks.add.s(1, 1)], tasks.same.s())()
    with pytest.raises((ChordError, TaskRevokedError), match="expired"):
        result.get(timeout=20)


def test_a_member_that_stores_no_result(tasks):
    if not counts(tasks):
        pytest.skip("what is not stored cannot be looked at")
    assert chord([tasks.ignored.s(1), tasks.add.s(1, 1)], tasks.same.s())().get(timeout=20) == [1, 2]


@pytest.mark.parametrize("how", ["ignore", "reject"])
def test_a_member_that_leaves_without_an_outcome(tasks, how):
    if not counts(tasks):
        pytest.skip("what is not stored cannot be looked at")
    with pytest.raises(ChordError, match=r"Ignore|reject"):
        chord([tasks.leaves.s(how), tasks.add.s(1, 1)], tasks.same.s())().get(timeout=20)


def test_a_member_is_added(tasks):
    values = chord([tasks.grows.si(), tasks.add.s(1, 1)], tasks.same.s())().get(timeout=20)
    assert sorted(values) == [1, 2, 11]


def test_members_are_added_by_many_and_by_those_that_were_added(tasks):
    header = [tasks.grows.si(tasks.add.si(10, i)) for i in range(3)]
    header.append(tasks.grows.si(group(tasks.grows.si(tasks.add.si(20, 1)), tasks.add.si(20, 2))))
    values = chord(header, tasks.same.s())().get(timeout=20)
    assert sorted(values) == [1, 1, 1, 1, 1, 10, 11, 12, 21, 22]


def test_a_member_that_cannot_be_sent_is_not_waited_for(tasks):
    header = [tasks.grows_in_vain.si(), tasks.add.s(1, 1)]
    assert chord(header, tasks.same.s())().get(timeout=20) == [1, 2]


def test_a_member_that_ends_twice_counts_once(app, new_id):
    if isinstance(app.backend.chords, PollingChords):
        pytest.skip("nothing is counted")
    sent = heard(app)
    group_id, body = new_id(), {"task": "body", "options": {"task_id": new_id()}}
    app.backend.set_chord_size(group_id, 2)

    def ends(index: int, task_id: str) -> None:
        request = Context(id=task_id, group=group_id, group_index=index, chord=body)
        app.backend.mark_as_done(task_id, index, request)

    first, second = new_id(), new_id()
    ends(0, first)
    ends(0, first)
    assert sent == []
    ends(1, second)
    assert sent == [[0, 1]]
    ends(1, second)
    assert len(sent) == 1 or isinstance(app.backend.chords, CountingChords)


def heard(app: Celery) -> list[Any]:
    """The values with which bodies are sent, instead of sending them."""
    found: list[Any] = []
    app.send_task = lambda name, args, kwargs, **options: found.append(args[0])
    return found


def test_one_sending_of_a_body_is_admitted(app, new_id):
    admit = app.backend.chords.admit
    body, chord_id = new_id(), new_id()
    assert admit(body, f"{chord_id}/a")
    assert admit(body, f"{chord_id}/a"), "the same message again"
    if not isinstance(app.backend.chords, PollingChords):
        assert not admit(body, f"{chord_id}/b")
    assert admit(body, f"{new_id()}/b"), "another chord took its place"
