"""What a worker says about its tasks, while task events are on."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from celery.app.einfo import ExceptionInfo
from celery.app.jobs import Verdict
from celery.message import events
from celery.utils.time import utcoffset

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.app.clock import LamportClock
    from celery.app.jobs import Outcome

    from .runs import Run


class TaskEvents:
    """Makes the events of tasks that want any (`Task.send_events`). All calls on the core's loop.

    Args:
        add: has an event sent.

    Attributes:
        offset: hours by which local time is behind UTC.
    """

    __slots__ = ("_add", "_forward", "_hostname", "_pid", "offset")

    def __init__(self, hostname: str, clock: LamportClock, add: Callable[[Any], None]) -> None:
        self._hostname = hostname
        self._pid = os.getpid()
        self._forward = clock.forward
        self._add = add
        self.offset = utcoffset()

    # Written out for each: these three are made for every task (`benchmarks`, "worker path, events").
    def received(self, run: Run, now: float) -> None:
        """It came in. `now`: unix time."""
        if run.policy.send_events:
            headers = run.headers
            self._add(
                events.TaskReceived(
                    self._hostname,
                    self.offset,
                    self._pid,
                    self._forward(),
                    headers.id,
                    headers.shadow or headers.task,
                    headers.argsrepr,
                    headers.kwargsrepr,
                    headers.root_id,
                    headers.parent_id,
                    headers.retries,
                    headers.eta,
                    headers.expires,
                    now,
                )
            )

    def started(self, run: Run, at: float) -> None:
        """Its body began to run at unix time `at`."""
        if run.policy.send_events:
            self._add(
                events.TaskStarted(
                    self._hostname, self.offset, self._pid, self._forward(), run.headers.id, at
                )
            )

    def ended(self, run: Run, outcome: Outcome) -> None:
        """Its body ended."""
        if not run.policy.send_events:
            return
        verdict, now = outcome.verdict, time.time()
        if verdict is Verdict.SUCCESS:
            self._add(
                events.TaskSucceeded(
                    self._hostname,
                    self.offset,
                    self._pid,
                    self._forward(),
                    run.headers.id,
                    outcome.detail,
                    outcome.runtime,
                    now,
                )
            )
        elif verdict is Verdict.FAILURE:
            self._add(events.TaskFailed(*self._common(run), outcome.detail, outcome.traceback, now))
        elif verdict is Verdict.RETRY:
            self._add(events.TaskRetried(*self._common(run), outcome.detail, outcome.traceback, now))
        elif verdict in (Verdict.REJECT, Verdict.REQUEUE):
            again = verdict is Verdict.REQUEUE
            self._add(events.TaskRejected(*self._common(run), again, again, now))

    def failed(self, run: Run, error: BaseException) -> None:
        """It failed without being able to say so."""
        if run.policy.send_events:
            self._add(events.TaskFailed(*self._common(run), repr(error), _text_of(error), time.time()))

    def unknown(self, task_id: str, error: BaseException) -> None:
        """Nobody knows its task."""
        common = self._hostname, self.offset, self._pid, self._forward(), task_id
        exception = BaseException.__repr__(error)  # its own one is a sentence
        self._add(events.TaskUnreadable(*common, exception, time.time()))

    def retried(self, run: Run, error: BaseException) -> None:
        """It was lost, and is sent again."""
        if run.policy.send_events:
            self._add(events.TaskRetried(*self._common(run), repr(error), _text_of(error), time.time()))

    def revoked(
        self, run: Run, *, terminated: bool = False, signum: int | str | None = None, expired: bool = False
    ) -> None:
        """It was not to run, or was ended by a signal."""
        if run.policy.send_events:
            self._add(events.TaskRevoked(*self._common(run), terminated, signum, expired, time.time()))

    def cancelled(self, run: Run) -> None:
        """It was ended before its time, and is offered again."""
        if run.policy.send_events:
            self._add(events.TaskCancelled(*self._common(run), time.time()))

    def _common(self, run: Run) -> tuple[str, float, int, int, str]:
        return self._hostname, self.offset, self._pid, self._forward(), run.headers.id


def _text_of(error: BaseException) -> str:
    """The traceback of an exception that was made here, as text."""
    return ExceptionInfo((type(error), error, error.__traceback__)).traceback
