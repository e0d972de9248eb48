"""A worker that a test starts in a thread of its own process."""

from __future__ import annotations

import signal
import threading
import uuid

import pytest
from tests.support import wait_until

from celery import Celery
from celery.worker import WorkController, state
from celery.worker.loops import Stop


@pytest.fixture
def app(tmp_path):
    app = Celery(
        "inthread", broker=f"sqlite:///{tmp_path}/store.db", backend=f"sqlite:///{tmp_path}/store.db"
    )
    yield app
    app.close()


class Started:
    """A worker in a thread."""

    def __init__(self, app, **options):
        self.ready = threading.Event()
        self.worker = WorkController(app=app, hostname="w@test", ready_callback=self._ready, **options)
        self.thread = threading.Thread(target=self.worker.start, daemon=True)

    def _ready(self, consumer):
        self.consumer = consumer
        self.ready.set()

    def __enter__(self):
        self.thread.start()
        assert self.ready.wait(20)
        return self.worker

    def __exit__(self, *exc):
        self.worker.stop()
        self.thread.join(20)
        assert not self.thread.is_alive()


def define(app):
    @app.task(name=f"add-{uuid.uuid4()}")
    def add(x, y):
        return x + y

    return add


@pytest.mark.parametrize("pool", ["solo", "threads", "asyncio", "prefork"])
def test_tasks_run_and_signals_are_left_alone(app, pool):
    add = define(app)
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    with Started(app, pool=pool, concurrency=2) as worker:
        assert [add.delay(n, 1).get(timeout=20) for n in range(10)] == list(range(1, 11))
        assert {signum: signal.getsignal(signum) for signum in before} == before
        wait_until(lambda: worker.stats()["total"] == {add.name: 10})
        assert worker.stats()["prefetch_count"] >= 1
    assert worker.exitcode == 0


def test_in_memory(tmp_path):
    name = f"memory://{uuid.uuid4().hex}"
    app = Celery("inthread", broker=name, backend=f"sqlite:///{tmp_path}/results.db")
    add = define(app)
    with Started(app, pool="solo"):
        assert add.delay(2, 3).get(timeout=20) == 5


def test_state_shows_what_runs(app):
    gate, entered = threading.Event(), threading.Event()

    @app.task(name="hold")
    def hold():
        entered.set()
        assert gate.wait(20)

    with Started(app, pool="threads", concurrency=1):
        first = hold.delay()
        assert entered.wait(20)
        assert [request.id for request in state.active_requests] == [first.id]
        assert state.requests[first.id].name == "hold"
        gate.set()
        first.get(timeout=20)
    assert len(state.active_requests) == 0
    assert state.total_count["hold"] >= 1


def test_stop_before_start(app):
    worker = WorkController(app=app, pool="solo")
    worker.stop()
    worker.start()
    assert worker.exitcode == 0


def test_terminate_gives_late_tasks_back(app):
    gate, entered = threading.Event(), threading.Event()

    @app.task(name="late", acks_late=True)
    def late():
        entered.set()
        gate.wait(20)

    with Started(app, pool="threads", concurrency=1) as worker:
        late.delay()
        assert entered.wait(20)
        worker.terminate()
        assert worker.join(20)
        gate.set()
    assert app.broker_for_read().size("celery") == 1


def test_should_stop_ends_the_worker(app):
    started = Started(app, pool="threads")
    try:
        with started as worker:
            state.should_stop = 0
            state.should_terminate = None
            assert worker.join(20)
    finally:
        state.should_stop = None


def test_queues_can_be_added_and_cancelled(app):
    add = define(app)
    started = Started(app, pool="threads", concurrency=1)
    with started:
        started.consumer.add_task_queue("more")
        assert add.apply_async((1, 1), queue="more").get(timeout=20) == 2
        started.consumer.cancel_task_queue("more")


def test_a_warm_end_can_become_a_cold_one(app):
    gate, entered = threading.Event(), threading.Event()

    @app.task(name="stuck")
    def stuck():
        entered.set()
        gate.wait(20)

    with Started(app, pool="threads", concurrency=1) as worker:
        stuck.delay()
        assert entered.wait(20)
        worker.stop()
        assert not worker.join(0.3)
        worker.shut_down(Stop.COLD)
        assert worker.join(20)
        gate.set()
