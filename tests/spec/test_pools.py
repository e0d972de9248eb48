"""The same tasks, the same outcomes in every pool."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import Project

if TYPE_CHECKING:
    from collections.abc import Iterator

TASKS = """
    import asyncio, os, time
    from typing import Optional
    from celery import Celery
    from celery.exceptions import Reject, SoftTimeLimitExceeded, TimeoutError
    from pydantic import BaseModel

    app = Celery('pools')

    class Given(BaseModel):
        number: int

    class Made(BaseModel):
        text: str

    @app.task
    def add(x, y): return x + y

    @app.task(bind=True, max_retries=2)
    def retried(self):
        if self.request.retries < 2: raise self.retry(exc=ValueError('again'), countdown=0)
        return self.request.retries

    @app.task(throws=(KeyError,))
    def fails(name): raise {'value': ValueError, 'key': KeyError, 'memory': MemoryError}[name](name)

    @app.task
    def recursive(): return recursive.run()

    @app.task(soft_time_limit=1)
    def soft():
        try:
            while True: time.sleep(.01)
        except SoftTimeLimitExceeded:
            return 'caught'

    @app.task(bind=True)
    async def echo(self, value):
        await asyncio.sleep(.01)
        return [value, self.request.id, self.request.called_directly]

    @app.task(bind=True, max_retries=1)
    async def retried_async(self): raise self.retry(exc=ValueError('async'), countdown=0)

    @app.task(autoretry_for=(KeyError,), max_retries=1, default_retry_delay=0)
    async def auto_async(): raise KeyError('auto')

    @app.task(soft_time_limit=1)
    async def soft_async(): await asyncio.sleep(30)

    @app.task(ignore_result=True)
    async def sends():
        await add.adelay(1, 2)

    @app.task(acks_late=True, bind=True)
    def once_more(self):
        if not self.request.delivery_info['redelivered']: raise Reject('once more', requeue=True)
        return 'redelivered'

    @app.task(pydantic=True)
    def model(given: Given, other: Optional[Given] = None, n: int = 0) -> Made:
        return Made(text=f'{type(given).__name__} {given.number} {type(other).__name__} {n}')
"""

CLIENT = """
    import json, warnings
    from tasks import *
    warnings.simplefilter('ignore')
    sent = {
        'add': add.delay(1, 2), 'retried': retried.delay(), 'value': fails.delay('value'), 'key': fails.delay('key'),
        'memory': fails.delay('memory'), 'recursive': recursive.delay(), 'soft': soft.delay(),
        'echo': echo.apply_async((5,), task_id='e'), 'retried async': retried_async.delay(), 'auto async': auto_async.delay(),
        'soft async': soft_async.delay(), 'once more': once_more.delay(), 'later': add.apply_async((2, 3), countdown=.5),
        'expired': add.apply_async((1, 2), expires=-1),
        'model': model.delay({'number': '3'}, {'number': 4}), 'model itself': model.delay(Given(number=3), n=2),
        'no model': model.delay({'number': 'x'}),
    }

    async def calls():
        heard = {'awaited': await (await add.adelay(1, 2)).aget(timeout=20),
                 'awaited later': await (await add.aapply_async((1, 2), countdown=.1)).aget(timeout=20)}
        try:
            await (await add.adelay(1, 'x')).aget(timeout=20)
        except TypeError:
            heard['raised'] = True
        try:
            await app.AsyncResult('nobody').aget(timeout=.1)
        except TimeoutError:
            heard['timed out'] = True
        return heard

    heard = asyncio.run(calls())
    heard['many'] = sum(result.get(timeout=20) for result in app.send_many(add, [(n, n) for n in range(50)]))
    for label, result in sent.items():
        try:
            heard[label] = [result.state, result.get(timeout=20)][1]
        except Exception as exc:
            heard[label] = result.state + ' ' + type(exc).__name__
    print(json.dumps(heard))
"""

OUTCOMES = {
    "add": 3,
    "retried": 2,
    "value": "FAILURE ValueError",
    "key": "FAILURE KeyError",
    "memory": "FAILURE MemoryError",
    "recursive": "FAILURE RecursionError",
    "soft": "caught",
    "echo": [5, "e", False],
    "retried async": "FAILURE ValueError",
    "auto async": "FAILURE KeyError",
    "soft async": "FAILURE SoftTimeLimitExceeded",
    "once more": "redelivered",
    "later": 5,
    "expired": "REVOKED TaskRevokedError",
    "model": {"text": "Given 3 Given 0"},
    "model itself": {"text": "Given 3 NoneType 2"},
    "no model": "FAILURE Exception",
    "awaited": 3,
    "awaited later": 3,
    "raised": True,
    "timed out": True,
    "many": 2450,
}


@pytest.fixture(scope="module", params=["prefork", "threads", "solo", "asyncio"])
def heard(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """What became of the calls in one pool."""
    pytest.importorskip("pydantic")
    project = Project(tmp_path_factory.mktemp(request.param))
    project.write("tasks.py", TASKS)
    with project.worker("-P", request.param, "-c", "4") as worker:
        yield json.loads(project.python(CLIENT))
        assert worker.stop() == 0
    assert "INTERNAL ERROR" not in worker.output


@pytest.mark.parametrize("label", OUTCOMES)
def test_outcome(heard: dict[str, Any], label: str) -> None:
    assert heard[label] == OUTCOMES[label]
