"""Making the public `Request` of a run, when somebody wants it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery.brokers.base import Settlement
from celery.exceptions import TaskRevokedError

from .acks import AGAIN, DONE, Ending
from .request import Controls, Message, Request

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from celery.app.jobs import Job
    from celery.concurrency.base import Pool

    from .extension import ExtensionThread
    from .runs import Run


logger = logging.getLogger("celery.worker.request")


class RunControls(Controls):
    """What a request may ask of the worker it was received by; safe from any thread."""

    def __init__(self, run: Run, factory: Requests) -> None:
        self._run = run
        self._factory = factory
        self.job: Job | None = None

    @property
    def acknowledged(self) -> bool:  # type: ignore[override]  # the base class is a worker that is gone
        return self._run.begun

    def submit(self) -> None:
        job, self.job = self.job, None
        if job is not None:
            self._factory.on_loop(self._factory.pool.submit, [job])

    def terminate(self, signum: int) -> None:
        self._factory.on_loop(self._factory.pool.terminate, self._run.tag, signum)

    def acknowledge(self) -> None:
        if self.job is not None:  # it was never handed over
            self.settle(DONE)
        else:
            self._factory.on_loop(self._factory.acknowledge, self._run)

    def settle(self, ending: Ending) -> None:
        """End the delivery now, whatever the run will do."""
        self._factory.on_loop(self._factory.settle, self._run, ending)


class Requests:
    """Makes requests, at most one a run.

    Args:
        settle: ends a delivery (`Settler.settle`), called on the loop.
        acknowledge: acknowledges one that is not to end yet, called on the loop.
    """

    def __init__(
        self,
        app: Any,
        hostname: str,
        pool: Pool,
        extension: ExtensionThread,
        settle: Callable[[Run, Ending], None],
        acknowledge: Callable[[Run], None],
    ) -> None:
        self.pool = pool
        self.settle = settle
        self.acknowledge = acknowledge
        self._app = app
        self._hostname = hostname
        self._extension = extension
        self._loop: asyncio.AbstractEventLoop | None = None
        #: Sends events, for the methods of requests.
        self.eventer: Any = None

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say which loop the worker's core runs on."""
        self._loop = loop

    def on_loop(self, fun: Callable[..., Any], *args: Any) -> None:
        """Call `fun` on the worker's loop; nothing happens if that has ended."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(fun, *args)

    def of(self, run: Run) -> Request:
        """The request of a run."""
        if run.request is None:
            run.request = self._make(run)
        return run.request

    def submit(self, run: Run, job: Job) -> None:
        """Let the run's own `execute_using_pool` hand it over."""
        request = self.of(run)
        controls = request.controls
        if isinstance(controls, RunControls):
            controls.job = job
        self._extension.call(self._hand_over, run, request)

    def _hand_over(self, run: Run, request: Request) -> None:
        """On the extension thread. Whatever the user's method raises, the run comes to an end."""
        try:
            request.execute_using_pool(self.pool)
        except TaskRevokedError:
            logger.info("Task %s[%s] was refused by its request", run.name, run.id)
            self.on_loop(self.settle, run, DONE)
        except Exception:
            logger.exception("Request.execute_using_pool raised for %s[%s]; it runs", run.name, run.id)
            request.controls.submit()

    def _make(self, run: Run) -> Request:
        controls = RunControls(run, self)

        def acknowledge(*_args: Any) -> None:
            controls.acknowledge()

        def reject(_logger: Any, _errors: Any, requeue: bool = False) -> None:
            controls.settle(AGAIN if requeue else Ending(Settlement.BURY, "rejected by its request"))

        fields = {
            "on_ack": acknowledge,
            "on_reject": reject,
            "hostname": self._hostname,
            "eventer": self.eventer,
            "app": self._app,
            "task": run.policy.task,
            "body": run.body,
            "headers": run.raw_headers.value,
            "controls": controls,
        }
        message = Message(run.delivery, run.raw_headers, run.properties, run.body)
        try:
            request = (run.policy.request_class or Request)(message, **fields)
        except Exception:
            logger.exception("The request class of %s raised; the usual one is used", run.name)
            request = Request(message, **fields)
        request.time_limits = run.policy.limits(run.headers.timelimit)
        request.time_start = run.started_at
        request.worker_pid = run.pid
        return request
