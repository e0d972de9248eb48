"""Pools by name, and pools of others."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from tests.conformance.pools.kit import FakeApp

import celery.concurrency as concurrency
from celery.concurrency.adapter import PortedPool
from celery.concurrency.base import BasePool, PoolOptions, apply_target
from celery.exceptions import WorkerShutdown, WorkerTerminate


def test_names() -> None:
    assert concurrency.get_available_pool_names() == ("prefork", "processes", "threads", "solo", "asyncio")
    prefork = concurrency.get_implementation("prefork")
    assert concurrency.get_implementation("processes") is prefork
    assert prefork.__name__ == "TaskPool"
    for name in concurrency.get_available_pool_names():
        assert concurrency.get_implementation(name).__name__ == "TaskPool"


def test_paths_and_classes() -> None:
    solo = concurrency.get_implementation("celery.concurrency.solo:TaskPool")
    assert concurrency.get_implementation("celery.concurrency.solo.TaskPool") is solo
    assert concurrency.get_implementation(solo) is solo


def test_custom_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_CUSTOM_WORKER_POOL", "tests.conformance.pools.kit:PlainPool")
    assert "custom" in concurrency.get_available_pool_names()
    pool = concurrency.make_pool("custom", FakeApp(), limit=3, hostname="w", options=PoolOptions())
    assert isinstance(pool, PortedPool)
    assert pool.inner.limit == 3
    assert pool.info() == {"implementation": "tests.conformance.pools.kit:PlainPool", "max-concurrency": 3}


@pytest.mark.parametrize("name", ["nope", "celery.concurrency.solo:Nope", "nowhere:Pool"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(ImportError):
        concurrency.get_implementation(name)


def test_the_error_names_the_pools() -> None:
    with pytest.raises(ImportError, match=r"'nope'\. Pools: prefork, processes, threads"):
        concurrency.get_implementation("nope")


class Inline(BasePool):
    """Runs at once."""

    def on_apply(self, *args: Any, **kwargs: Any) -> Any:
        return apply_target(*args, **kwargs)


def test_base_pool_is_as_documented() -> None:
    pool = Inline(limit=4, app="app", extra=1)
    assert (BasePool.RUN, BasePool.CLOSE, BasePool.TERMINATE) == (1, 2, 3)
    assert pool.options == {"extra": 1}
    assert pool.num_processes == 4
    assert pool.did_start_ok()
    assert not pool.active
    pool.start()
    assert pool.active
    heard: list[Any] = []
    pool.apply_async(
        lambda x, y: x + y, (1,), {"y": 2}, callback=heard.append, accept_callback=lambda *a: heard.append(a)
    )
    assert heard[0][0] == os.getpid()
    assert heard[1] == 3
    pool.close()
    assert not pool.active
    pool.stop()
    pool.terminate()
    with pytest.raises(NotImplementedError):
        pool.terminate_job(1)
    with pytest.raises(NotImplementedError):
        pool.restart()
    for call in (pool.flush, pool.maintain_pool, pool.on_close):
        assert call() is None
    for call in (pool.register_with_event_loop, pool.on_soft_timeout, pool.on_hard_timeout):
        assert call(None) is None


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (ValueError, ValueError),
        (WorkerShutdown, WorkerShutdown),
        (KeyboardInterrupt, WorkerTerminate),
        (GeneratorExit, WorkerTerminate),
    ],
)
def test_what_targets_raise(raised: type[BaseException], seen: type[BaseException]) -> None:
    def target() -> None:
        raise raised

    with pytest.raises(seen) as caught:
        apply_target(target, callback=pytest.fail)
    assert type(caught.value) is seen


def test_a_pool_that_does_not_come_up() -> None:
    class Broken(Inline):
        def did_start_ok(self) -> bool:
            return False

    async def main() -> None:
        pool = PortedPool(Broken, FakeApp(), limit=1, hostname="w")
        with pytest.raises(RuntimeError, match="Broken did not start"):
            await pool.start(None)  # type: ignore[arg-type]

    asyncio.run(main())
