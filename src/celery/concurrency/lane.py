"""One thread that runs tasks: the slots of the threads pool, and the whole of solo."""

from __future__ import annotations

import ctypes
import logging
import queue
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery import _foreign, exceptions
from celery.app import coroutines
from celery.app.jobs import Job, Outcome, Verdict
from celery.concurrency.interrupt import in_body
from celery.utils.frames import frames_of_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.concurrency.base import Runner
    from celery.concurrency.mailbox import Mailbox

logger = logging.getLogger("celery.pool")


@dataclass(slots=True)
class Begun:
    """A lane has begun a job that was to be announced."""

    tag: int
    at: float


@dataclass(slots=True)
class Ended:
    """A job has ended."""

    tag: int
    outcome: Outcome


@dataclass(slots=True)
class Left:
    """A lane's thread has ended."""

    lane: Lane


class Lane:
    """Takes jobs from a queue that it may share with others, and runs them in the thread that calls `work`.

    Args:
        jobs: `None` in it ends one lane.
        runner: makes what runs the tasks; called in the thread.

    Attributes:
        current: the running job.
        begun: when it began (monotonic).
        softened: tag of the job in which the soft limit's exception was raised.
    """

    def __init__(
        self,
        app: Any,
        jobs: queue.SimpleQueue[Job | None],
        mailbox: Mailbox[Begun | Ended | Left],
        runner: Callable[[], Runner],
    ) -> None:
        self._app = app
        self._jobs = jobs
        self._mailbox = mailbox
        self._make_runner = runner
        self._runner: Runner | None = None
        self._lock = threading.Lock()  # between the end of a job and an exception meant for it
        self.ident = 0
        self.current: Job | None = None
        self.begun = 0.0
        self.softened = 0
        self._followed = False  # others waited when the job before this one began
        self._condemned: Job | None = None  # in which the pool has raised `WorkerTerminate`

    def work(self, glance: float | None = None) -> None:
        """Run jobs until told to leave.

        Args:
            glance: seconds for which the thread sleeps at most. The main thread must not sleep for ever: a signal that
                comes just before it falls asleep is heard when it wakes.
        """
        self.ident = threading.get_ident()
        try:
            self._app.set_current()
            self._runner = self._make_runner()
            while (job := self._next(glance)) is not None:
                self._mailbox.post(Ended(job.tag, self._run(job)))
        finally:
            coroutines.close_loop()
            self._mailbox.post(Left(self))

    def _next(self, glance: float | None) -> Job | None:
        while True:
            try:
                return self._jobs.get(timeout=glance)
            except queue.Empty:
                continue

    def _run(self, job: Job) -> Outcome:
        assert self._runner is not None
        if job.announce:
            self._mailbox.post(Begun(job.tag, time.time()))
        outcome: Outcome | None = None
        # With more to do it does not wait for the result store; what comes alone is stored here, which is faster.
        followed = not self._jobs.empty()
        leave, self._followed = followed or self._followed, followed
        self.begun = time.monotonic()
        self.current = job
        try:
            outcome = self._runner.run(job, leave=sys.maxsize if leave else 0)
            self._finish()
        except BaseException as exc:
            if isinstance(exc, exceptions.WorkerTerminate) and self._condemned is job:
                self._finish()
                raise
            # Whatever a task does, the lane goes on. Also a soft limit's exception that came when the body had just ended.
            self._finish()
            if outcome is None:
                logger.error("Running a task failed outside of the task itself: %r", exc, exc_info=exc)
                runtime = time.monotonic() - self.begun
                outcome = Outcome(Verdict.INTERNAL, runtime, repr(exc)[:1000])
        return outcome

    def _finish(self) -> None:
        with self._lock:
            self.current = None

    # -- from the core's thread

    def raise_in(self, job: Job, exception: type[BaseException]) -> bool:
        """Raise an exception in the body of `job`.

        Returns:
            False if the body does not run at this moment: try again as long as the job is not over. In the body it
            is raised when the thread next runs Python code; what blocks in C ends first.
        """
        with self._lock:
            if self.current is not job:
                return False
            if issubclass(exception, exceptions.WorkerTerminate):
                self._condemned = job
            in_user_code = in_body(frames_of_threads().get(self.ident), _ROOT)
            if in_user_code and not coroutines.is_waiting(self.ident):
                raise_in_thread(self.ident, exception)
                return True
            return coroutines.interrupt(exception(), self.ident)

    def soften(self, job: Job) -> bool:
        """Raise the soft limit's exception in the body of `job`; False as for `raise_in`."""
        if self.softened != job.tag and self.raise_in(
            job, _foreign.raised_class(exceptions.SoftTimeLimitExceeded)
        ):
            self.softened = job.tag
            return True
        return False


def raise_in_thread(ident: int, exception: type[BaseException]) -> None:
    """Have the interpreter raise `exception()` in another thread."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(exception))


_ROOT = Lane.work.__code__.co_filename
