"""A child: it reads jobs, runs them one after another and reports in batches.

Results and reports of brief tasks are collected for some milliseconds, unless they are acknowledged late: what has
ended then would run again if this process, or the worker, died meanwhile. So the end of such a task is told at once; if
there is more to do its result goes with that, for the core to store. Results never wait for a task that is not
known to be brief: before such a task, and when nothing is left to do, everything is flushed. If a task that was
thought to be brief turns out not to be, the core *pokes* the child with a signal whose handler runs in the
midst of the task: it hands back the jobs that wait behind it and flushes.

The poke is SIGURG, which a process that has no handler for it ignores.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from celery import _foreign, exceptions
from celery.app import coroutines
from celery.app.jobs import Job, Outcome, Verdict
from celery.concurrency.interrupt import in_body, in_plain_body
from celery.concurrency.pace import is_brief
from celery.concurrency.prefork.frames import PIECE, JobReader, Note, Record, encode_records
from celery.concurrency.prefork.memory import MemoryWatch

if TYPE_CHECKING:
    from types import FrameType

    from celery.concurrency.base import Runner
    from celery.concurrency.prefork.board import Board

logger = logging.getLogger("celery.pool")

POKE = signal.SIGURG
SOFT_LIMIT = signal.SIGUSR1
#: Results of more bytes are stored here: for the core they would be more work than a round trip is worth, and memory.
_LEFT = 64 * 1024
#: So few results are not stored as long as there are more jobs to run. With more, the core is to hear that there is room.
_FEW = 16
#: Reports of brief tasks wait at most about this long (seconds).
HOLD = 0.005


class Child:
    """The child's loop.

    Args:
        sock: the stream to the core; end of file means: no more jobs, end.
        slot: this child's place on the board.
        runner: runs the tasks.
        max_memory: KiB, or None.
    """

    def __init__(
        self, sock: socket.socket, board: Board, slot: int, runner: Runner, max_memory: int | None
    ) -> None:
        self._sock = sock
        self._board = board
        self._slot = slot
        self._runner = runner
        self._memory = MemoryWatch(max_memory)
        self._reader = JobReader()
        self._jobs: deque[Job] = deque()
        self._out: list[Record] = []
        self._unstored: list[tuple[int, int, Outcome]] = []  # place in `_out`, tag, outcome
        self._oldest = 0.0  # when the first of `_out` began to wait
        self._together = False  # the jobs that are being run came together
        self._current: Job | None = None
        self._begun = 0.0
        # A handler acts by itself only where the main code is not in the midst of the same thing; else it leaves a
        # word for it.
        self._in_task = False
        self._idle = False
        self._poked = False
        self._dismissed = False
        self._soft_raised = False
        self._retiring = False
        self._last_signal = 0
        self._condemned = 0  # tag of the job in which `WorkerTerminate` was raised

    def serve(self) -> int:
        """Run jobs until the core says that this is all.

        Returns:
            0, or the negative number of the signal by which this process should end.

        Raises:
            SystemExit: a task wants this process to end.
        """
        self._install_handlers()
        self._send((Note.READY, os.getpid(), self._memory.resident()))
        try:
            while not self._last_signal and self._step():
                pass
        finally:
            self._flush()
        return -self._last_signal

    def _step(self) -> bool:
        if self._dismissed and not self._retiring:
            self._retire(0)
        if self._poked:
            self._poked = False
            self._give_back()
        if not self._jobs and not (0 < len(self._unstored) < _FEW and self._may_hold() and self._take()):
            self._flush()
            return self._receive()
        job = self._jobs.popleft()
        hold = is_brief(job) and not job.prompt
        if self._out and not (hold and self._may_hold()):
            self._flush()
        self._run(job, hold)
        if job.prompt:
            self._send_out()
        return True

    def _may_hold(self) -> bool:
        """Whether what has ended may wait for more."""
        return time.monotonic() - self._oldest <= HOLD

    # -- one job

    def _run(self, job: Job, hold: bool) -> None:
        now = time.monotonic()
        if not self._out:
            self._oldest = now
        if job.announce:
            self._out.append((Note.STARTED, job.tag, time.time()))
            if not is_brief(job):  # if it turns out not to be, a poke sends this
                self._send_out()
        self._soft_raised = False
        self._current = job
        self._begun = now
        self._board.begin(self._slot, job.tag, now)
        self._in_task = True
        try:
            outcome = self._runner.run(job, defer=hold, leave=_LEFT if job.prompt and self._together else 0)
        except SystemExit:
            self._in_task = False
            raise
        except BaseException as exc:  # noqa: BLE001 - whatever a task does, the child goes on
            self._in_task = False
            outcome = self._failure(exc)
        self._in_task = False
        self._board.end(self._slot)
        self._current = None
        if hold:
            self._unstored.append((len(self._out), job.tag, outcome))
        self._out.append((Note.DONE, job.tag, outcome))
        if self._memory.limit is not None and not self._retiring:
            self._check_memory()

    def _failure(self, exc: BaseException) -> Outcome:
        logger.error("Running a task failed outside of the task itself: %r", exc, exc_info=exc)
        return Outcome(Verdict.INTERNAL, time.monotonic() - self._begun, repr(exc)[:1000])

    def _check_memory(self) -> None:
        verdict = self._memory.check()
        if verdict is Note.GROWN:
            self._out.append((Note.GROWN, 0, self._memory.last))
        elif verdict is Note.RETIRE:
            self._retire(self._memory.last)

    def _retire(self, reason: float) -> None:
        self._retiring = True
        self._send((Note.RETIRE, 0, reason))
        self._give_back()

    # -- the stream

    def _receive(self) -> bool:
        self._idle = True
        if self._dismissed and not self._retiring:  # came just before we said that we are idle
            self._retire(0)
        try:
            piece = self._sock.recv(PIECE)
        except ConnectionError:
            return False
        finally:
            self._idle = False
        self._poked = False  # it was about jobs that have ended by now
        if not piece:
            return False
        self._jobs.extend(self._reader.feed(piece))
        self._together = len(self._jobs) > 1
        if self._retiring:
            self._give_back()
        return True

    def _take(self) -> bool:
        """Take the jobs that have come meanwhile, if any."""
        try:
            piece = self._sock.recv(PIECE, socket.MSG_DONTWAIT)
        except (BlockingIOError, ConnectionError):
            return False
        self._jobs.extend(self._reader.feed(piece))
        self._together = True
        if self._retiring:
            self._give_back()
        return bool(self._jobs)

    def _flush(self) -> None:
        """Store what the runner has deferred, then report it."""
        if self._unstored:
            try:
                self._runner.flush()
            except Exception as exc:
                logger.exception("The results of %d tasks could not be stored", len(self._unstored))
                for place, tag, outcome in self._unstored:
                    unstored = Outcome(Verdict.UNSTORED, outcome.runtime, repr(exc)[:1000])
                    self._out[place] = (Note.DONE, tag, unstored)
            self._unstored.clear()
        self._send_out()

    def _send_out(self) -> None:
        if self._out and not self._unstored:
            out, self._out = self._out, []
            self._send(*out)

    def _send(self, *records: Record) -> None:
        try:
            self._sock.sendall(encode_records(records))
        except ConnectionError:
            os._exit(1)  # the core is gone, and the spawner is about to end us

    def _give_back(self) -> None:
        """Return every job that has not begun, also those that are still in the socket."""
        while True:
            try:
                piece = self._sock.recv(PIECE, socket.MSG_DONTWAIT)
            except (BlockingIOError, ConnectionError):
                break
            if not piece:
                break
            self._jobs.extend(self._reader.feed(piece))
        if self._jobs:
            tags = [job.tag for job in self._jobs]
            self._jobs.clear()
            self._send(*((Note.RETURNED, tag, 0.0) for tag in tags))

    # -- signals, in the main thread between two bytecodes

    def _install_handlers(self) -> None:
        signal.signal(POKE, self._on_poke)
        signal.signal(SOFT_LIMIT, self._on_soft_limit)
        for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_group_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _on_poke(self, signum: int, frame: FrameType | None) -> None:
        if not self._in_task:
            self._poked = True
            return
        self._in_task = False
        try:
            self._give_back()
            if self._out and in_plain_body(frame):
                self._flush()
        finally:
            self._in_task = True

    def _on_soft_limit(self, signum: int, frame: FrameType | None) -> None:
        job = self._current
        if not self._in_task or job is None or job.soft_time_limit is None or self._soft_raised:
            return
        if time.monotonic() - self._begun < job.soft_time_limit:
            return  # it was meant for the job before
        exception = _foreign.raised_class(exceptions.SoftTimeLimitExceeded)
        ident = threading.get_ident()
        here = in_body(frame, _ROOT) and not coroutines.is_waiting(ident)
        if not here and not coroutines.interrupt(exception(), ident):
            return  # in code of ours, where it must not be raised: the core sends the signal again
        self._soft_raised = True
        self._in_task = False
        self._send((Note.SOFT, job.tag, 0.0))
        self._in_task = True
        if here:
            raise exception

    def _on_group_signal(self, signum: int, frame: FrameType | None) -> None:
        """A terminal or a service manager signals all processes of a worker: running tasks go on, the core decides.

        SIGTERM to a child alone replaces it when its task has ended. What the core means for the running task
        is announced on the board, and ends the task (by `WorkerTerminate`) and the child.
        """
        job = self._current
        if job is not None and self._board.condemned(self._slot) == job.tag:
            if not self._in_task or self._condemned == job.tag:
                return  # it comes again; or it has been raised already
            self._last_signal = signum
            ident = threading.get_ident()
            if in_body(frame, _ROOT) and not coroutines.is_waiting(ident):
                self._condemned = job.tag
                raise exceptions.WorkerTerminate(-signum)
            if coroutines.interrupt(exceptions.WorkerTerminate(-signum), ident):
                self._condemned = job.tag
        elif signum == signal.SIGTERM and not self._retiring:
            self._dismissed = True
            if self._in_task or self._idle:
                self._retire(0)


_ROOT = Child.serve.__code__.co_filename
