"""A worker's core on the memory broker, with a pool that runs what the test tells it to."""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from types import SimpleNamespace
from typing import Any

from tests.support import wait_until

from celery.app.clock import LamportClock
from celery.app.jobs import Job, Outcome, Verdict
from celery.brokers.base import BrokerOptions, Outgoing
from celery.brokers.registry import open_broker
from celery.brokers.topology import Exchange, Queue
from celery.message.headers import LazyObject
from celery.worker.loops import Core, Stop
from celery.worker.options import WorkerOptions
from celery.worker.policy import TaskPolicy
from celery.worker.state import WorkerState

QUEUE = Queue("q", Exchange(""), "q")


class ScriptedPool:
    """A `Pool` that holds jobs until the test ends them."""

    soft_limits = hard_limits = can_terminate = True
    needs_main_thread = False

    def __init__(self, slots: int = 2) -> None:
        self.slots = slots
        self.held: dict[int, Job] = {}
        self.ran: list[str] = []
        self.terminated: list[str] = []
        self.stopped = self.killed = False
        self.reports: Any = None

    def prefork(self) -> None: ...

    async def start(self, reports: Any) -> None:
        self.reports = reports

    def room(self, share: int = 64) -> int:
        return self.slots - len(self.held)

    def submit(self, jobs: list[Job]) -> None:
        for job in jobs:
            self.held[job.tag] = job
            self.ran.append(job.id)

    def take_back(self) -> list[Job]:
        return []

    def worker_ends(self, since: float) -> None: ...

    def running(self) -> dict[int, tuple[int, float]]:
        return dict.fromkeys(self.held, (1, 0.0))

    def terminate(self, tag: int, signum: int) -> bool:
        self.terminated.append(self.held[tag].id)
        return True

    def resize(self, size: int) -> None: ...

    def info(self) -> dict[str, Any]:
        return {}

    async def stop(self) -> None:
        self.stopped = True

    async def kill(self) -> None:
        self.killed = True


class StoredResults:
    """A result backend of a dict."""

    def __init__(self) -> None:
        self.states: dict[str, tuple[str, Any]] = {}
        self.broken = False

    def get_state(self, task_id: str) -> str:
        return self.states.get(task_id, ("PENDING", None))[0]

    def _store(self, state: str, task_id: str, result: Any) -> None:
        if self.broken:
            raise OSError("no space left on device")
        self.states[task_id] = (state, result)

    def mark_as_failure(self, task_id: str, exc: Any, request: Any = None, store_result: bool = True) -> None:
        self._store("FAILURE", task_id, exc)

    def mark_as_revoked(
        self, task_id: str, reason: str, request: Any = None, store_result: bool = True
    ) -> None:
        self._store("REVOKED", task_id, reason)

    def mark_as_retry(self, task_id: str, exc: Any, request: Any = None, store_result: bool = True) -> None:
        self._store("RETRY", task_id, exc)


class Bench:
    """Starts a core in a thread; `send`, `end`, `lose` drive it."""

    def __init__(self, slots: int = 2, **options: Any) -> None:
        self.broker = open_broker(f"memory://{uuid.uuid4().hex}", BrokerOptions())
        self.broker.declare([QUEUE])
        self.pool = ScriptedPool(slots)
        self.backend = StoredResults()
        self.failures: list[Any] = []
        self.policies: dict[str, TaskPolicy] = {}
        self.add_task("early")
        self.add_task("late", acks_late=True)
        self.app = SimpleNamespace(
            backend=self.backend,
            clock=LamportClock(),
            conf=SimpleNamespace(accept_content=["json"], event_exchange="celeryev", event_serializer="json"),
            timezone=None,
        )
        self.state = WorkerState()
        self.ready = threading.Event()
        self.core = Core(
            self.app,
            self.pool,
            self.broker,
            [QUEUE],
            WorkerOptions("w@test", slots, **options),
            self.policies.get,
            self.state,
            publish=self.publish,
            on_ready=self.ready.set,
        )
        self.thread = threading.Thread(target=self.core.run, daemon=True)

    def __enter__(self) -> Bench:
        self.thread.start()
        assert self.ready.wait(10)
        return self

    def __exit__(self, *exc: Any) -> None:
        self.stop(Stop.NOW)

    def stop(self, how: Stop = Stop.WARM) -> None:
        self.core.stop(how)
        self.thread.join(15)
        assert not self.thread.is_alive()

    def add_task(self, name: str, **policy: Any) -> TaskPolicy:
        task = SimpleNamespace(
            name=name,
            backend=self.backend,
            app=None,
            ignore_result=False,
            store_errors_even_if_ignored=False,
            max_retries=3,
            default_retry_delay=0,
            on_failure=lambda *args: self.failures.append(args),
            after_return=lambda *args: None,
        )
        self.policies[name] = TaskPolicy(name=name, task=task, **policy)
        return self.policies[name]

    def publish(self, message: Outgoing) -> None:
        errors = self.broker.publisher().publish([message], deadline=time.monotonic() + 5)
        assert errors == [None]

    def send(self, name: str = "early", task_id: str | None = None, **headers: Any) -> str:
        task_id = task_id or uuid.uuid4().hex
        self.send_raw({"lang": "py", "task": name, "id": task_id, **headers})
        return task_id

    def send_raw(self, headers: Any, body: bytes = b"[[1], {}, {}]", **properties: Any) -> None:
        given = {"content_type": "application/json", "content_encoding": "utf-8", **properties}
        raw = headers if isinstance(headers, bytes) else json.dumps(headers).encode()
        self.publish(
            Outgoing(
                body=body, headers=LazyObject(raw=raw), properties=LazyObject(value=given), routing_key="q"
            )
        )

    def job(self, task_id: str) -> Job:
        """Wait until the pool has this task."""
        wait_until(lambda: any(job.id == task_id for job in self.pool.held.values()))
        return next(job for job in self.pool.held.values() if job.id == task_id)

    def report(self, method: str, *args: Any, **kwargs: Any) -> None:
        self.core.call_soon(lambda: getattr(self.pool.reports, method)(*args, **kwargs))

    def end(
        self,
        task_id: str,
        verdict: Verdict = Verdict.SUCCESS,
        runtime: float = 0.5,
        detail: str = "",
        aside: float = 0.0,
    ) -> None:
        """Let a task end."""
        job = self.job(task_id)
        del self.pool.held[job.tag]
        self.report("finished", [(job.tag, Outcome(verdict, runtime, detail, aside=aside))])

    def lose(self, task_id: str, *, began: bool = True, exitcode: int = -9) -> None:
        """Let a task's process die."""
        job = self.job(task_id)
        del self.pool.held[job.tag]
        self.report("lost", job.tag, exitcode, began=began)

    def settled(self) -> None:
        """Wait until this worker holds nothing."""
        wait_until(lambda: not self.state.runs and not self.core.crew.errands)

    def dead(self) -> list[Any]:
        return self.broker.dead("q")


logging.getLogger("celery").setLevel(logging.DEBUG)
