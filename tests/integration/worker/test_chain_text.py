"""Whoever looks at what follows in a chain sees lists, and what they do to them counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support import wait_until

from celery import Celery, Task, chain, group, signals
from celery.contrib.testing.worker import start_worker

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def app(tmp_path) -> Iterator[Celery]:
    url = f"sqlite:///{tmp_path}/store.db"
    app = Celery("chains", broker=url, backend=url, set_as_current=False)

    class Watching(Task):
        seen: list = []  # noqa: RUF012 - for all of its tasks

        def apply_async(self, args=None, kwargs=None, **options):
            self.seen.append(options.get("chain"))
            return super().apply_async(args, kwargs, **options)

    @app.task
    def add(x, y):
        return x + y

    @app.task(base=Watching)
    def watched(x):
        return x

    @app.task(bind=True)
    def last_here(self, x):
        self.request.chain = None
        return x

    @app.task(bind=True)
    def change(self, x):
        for step in self.request.chain:
            step["args"] = [100]
        return x

    @app.task(bind=True)
    def again(self, x):
        if not self.request.retries:
            raise self.retry(countdown=0)
        return x

    with start_worker(app, pool="threads", concurrency=2, perform_ping_check=False):
        yield app


def named(app: Celery, name: str):
    return next(task for key, task in app.tasks.items() if key.endswith(f".{name}"))


def test_a_long_chain(app: Celery) -> None:
    add = named(app, "add")
    assert chain(add.s(0, 1), *[add.s(1) for _ in range(30)]).delay().get(timeout=30) == 31


def test_a_chain_ends_where_a_task_says_so(app: Celery) -> None:
    add, last = named(app, "add"), named(app, "last_here")
    result = chain(add.s(1, 2), last.s(), add.s(1)).delay()
    assert result.parent.get(timeout=30) == 3
    after = add.delay(1, 1)
    assert after.get(timeout=30) == 2
    assert result.state == "PENDING"


def test_changes_of_what_follows_count(app: Celery) -> None:
    add, change = named(app, "add"), named(app, "change")
    assert chain(add.s(1, 2), change.s(), add.s(1), add.s(1)).delay().get(timeout=30) == 203


def test_a_step_that_is_tried_again_goes_on(app: Celery) -> None:
    add, again = named(app, "add"), named(app, "again")
    assert chain(add.s(1, 2), again.s(), add.s(1), add.s(1)).delay().get(timeout=30) == 5


def test_a_group_in_a_chain(app: Celery) -> None:
    add = named(app, "add")
    flow = chain(add.s(1, 2), group(add.s(1), add.s(2)), add.si(5, 5), add.s(1))
    assert flow.delay().get(timeout=30) == 11


def test_whoever_replaces_the_sending_sees_a_list(app: Celery) -> None:
    add, watched = named(app, "add"), named(app, "watched")
    watched.seen.clear()
    assert chain(add.s(1, 2), watched.s(), add.s(1), add.s(1)).delay().get(timeout=30) == 5
    assert [type(one) for one in watched.seen] == [list]
    assert len(watched.seen[0]) == 2


@pytest.mark.parametrize("everywhere", [True, False])
def test_whoever_is_put_in_front_of_the_sending_sees_a_list(
    app: Celery, everywhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As tools do that trace calls."""
    add, seen = named(app, "add"), []
    sends = Task.apply_async

    def noting(self, args=None, kwargs=None, **options):
        seen.append(options.get("chain"))
        return sends(self, args, kwargs, **options)

    if everywhere:
        monkeypatch.setattr(Task, "apply_async", noting)
    else:
        monkeypatch.setattr(add, "apply_async", lambda *args, **options: noting(add, *args, **options))
    assert chain(add.s(1, 2), add.s(1), add.s(1), add.s(1)).delay().get(timeout=30) == 6
    assert {type(one) for one in seen if one is not None} == {list}


def test_receivers_of_signals_see_a_list(app: Celery) -> None:
    add, bodies = named(app, "add"), []

    def note(body=None, **_):
        bodies.append(body)

    signals.before_task_publish.connect(note)
    try:
        assert chain(add.s(1, 2), add.s(1), add.s(1), add.s(1)).delay().get(timeout=30) == 6
        wait_until(lambda: len(bodies) == 4)
    finally:
        signals.before_task_publish.disconnect(note)
    assert [len(body[2]["chain"] or []) for body in bodies] == [3, 2, 1, 0]
    assert all(body[2]["chain"] is None or type(body[2]["chain"]) is list for body in bodies)
