"""`async def` tasks that change the workflow they are a part of, and that call others, without blocking their loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery import Celery, chain, chord, group
from celery.contrib.testing.worker import start_worker

if TYPE_CHECKING:
    from collections.abc import Iterator


def make(**conf) -> Celery:
    app = Celery("flows", set_as_current=False, **conf)

    @app.task(name="add")
    async def add(x, y):
        return x + y

    @app.task(name="total")
    async def total(values):
        return sum(values)

    @app.task(name="replaced", bind=True)
    async def replaced(self, x):
        raise await self.areplace(add.s(x, 10))

    @app.task(name="fanned", bind=True)
    async def fanned(self, x):
        raise await self.areplace(group(add.s(x, n) for n in range(3)))

    @app.task(name="growing", bind=True)
    async def growing(self, x):
        await self.aadd_to_chord(add.si(100, 100))
        return x

    @app.task(name="calling")
    async def calling(x):
        flow = chain(add.s(x, 1), add.s(1))
        results = [
            await flow.adelay(),
            await group(add.s(x, n) for n in range(2)).adelay(),
            await chord([add.s(x, n) for n in range(2)], total.s()).aapply_async(),
        ]
        return [await result.aget(timeout=30, disable_sync_subtasks=False) for result in results]

    return app


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path) -> str:
    if request.param == "redis":
        return request.getfixturevalue("redis_url")
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture(params=["asyncio", "threads"])
def app(request: pytest.FixtureRequest, url: str) -> Iterator[Celery]:
    app = make(broker=url, backend=url)
    with start_worker(app, pool=request.param, concurrency=4, perform_ping_check=False, shutdown_timeout=30):
        yield app


def sig(app, name, *args):
    return app.tasks[name].s(*args)


def test_replaced_by_a_task_in_a_chain(app):
    result = chain(sig(app, "replaced", 1), sig(app, "add", 100)).delay()
    assert result.get(timeout=40) == 111


def test_replaced_by_a_group_in_a_chord(app):
    result = chord([sig(app, "replaced", 1), sig(app, "add", 1, 1)], sig(app, "total")).delay()
    assert result.get(timeout=40) == 13
    assert sig(app, "fanned", 1).delay().get(timeout=40) == [1, 2, 3]


def test_a_member_adds_another(app):
    result = chord([sig(app, "growing", 1), sig(app, "add", 1, 1)], sig(app, "total")).delay()
    assert result.get(timeout=40) == 203


def test_workflows_called_and_awaited_in_a_task(app):
    assert sig(app, "calling", 1).delay().get(timeout=40) == [3, [1, 2], 3]


def test_eagerly():
    app = make(broker="memory://", backend="cache+memory://", task_always_eager=True)
    assert chain(sig(app, "replaced", 1), sig(app, "add", 100)).delay().get() == 111
