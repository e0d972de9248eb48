"""What the pool reports: settle deliveries by it, and tell those who want to know."""

from __future__ import annotations

import logging
import signal as _signal
from typing import TYPE_CHECKING

import msgspec

from celery.app.einfo import ExceptionInfo
from celery.app.jobs import Verdict
from celery.backends.encoding import restore_exception
from celery.brokers.base import Settlement
from celery.exceptions import InvalidTaskError, TimeLimitExceeded, WorkerLostError

from .acks import AGAIN, CUT_SHORT, DONE, GIVEN_BACK, after_hard_limit, after_loss, after_run
from .discards import record_terminated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery.app.jobs import Outcome

    from .acks import Ending
    from .crew import Crew
    from .runs import Run
    from .storing import Ended

logger = logging.getLogger("celery.worker.request")


class RemoteFailure(Exception):
    """What a task raised in its process, as text: for what cannot be made anew here."""


def describe_exit(exitcode: int) -> str:
    """`signal 9 (SIGKILL)` or `exitcode 3`."""
    if exitcode >= 0:
        return f"exitcode {exitcode}"
    try:
        name = _signal.Signals(-exitcode).name
    except ValueError:
        name = "unknown"
    return f"signal {-exitcode} ({name})"


class PoolReports:
    """The `Reports` of a worker.

    Args:
        broke: called when the pool cannot go on.
        store: stores results that were left to the core; `finished` then hears of their tasks again.
    """

    def __init__(
        self, crew: Crew, broke: Callable[[BaseException], None], store: Callable[[Sequence[Ended]], None]
    ) -> None:
        self._crew = crew
        self._broke = broke
        self._store = store

    # -- Reports ----------------------------------------------------------------------------------
    def started(self, tag: int, pid: int, at: float) -> None:
        run = self._crew.state.runs.get(tag)
        if run is None:
            return
        run.started_at, run.pid = at, pid
        if run.request is not None:
            run.request.time_start, run.request.worker_pid = at, pid
        if (tell := self._crew.events.tasks) is not None:
            tell.started(run, at)
        if "on_accepted" in run.policy.hooks:
            self._crew.extension.call(self._crew.requests.of(run).on_accepted, pid, at)

    def finished(self, batch: Sequence[tuple[int, Outcome]]) -> None:
        crew = self._crew
        runs, ran, settle = crew.state.runs, crew.dispatcher.times.ran, crew.settler.settle
        tell = crew.events.tasks
        names: list[str] = []
        left: list[Ended] = []
        grouped = False
        for tag, outcome in batch:
            run = runs.get(tag)
            grouped = grouped or (run is not None and run.headers.group is not None)
            if outcome.row is not None:
                if run is not None:
                    crew.state.deactivate(run)  # a shutdown waits for its result, and has nothing to stop
                left.append((tag, run, outcome))
                continue
            if run is None:
                continue
            verdict, name = outcome.verdict, run.headers.task
            names.append(name)
            ran(name, outcome.runtime - outcome.aside)
            if run.policy.hooks:
                self._tell(run, outcome)
            if tell is not None:
                tell.ended(run, outcome)
            if verdict is Verdict.SUCCESS:
                settle(run, DONE)
            elif verdict >= Verdict.INTERNAL:
                self._unusual(run, outcome)
            else:
                settle(run, after_run(run.policy, verdict, outcome.detail))
        if left:
            self._store(left)
        if grouped:  # it may have been the last member of a chord
            crew.sweeps.expect()
        crew.state.count(names)
        crew.dispatcher.pump()

    def soft_limit(self, tag: int) -> None:
        run = self._crew.state.runs.get(tag)
        if run is None:
            return
        _, soft = run.policy.limits(run.headers.timelimit)
        logger.warning("Soft time limit (%ss) exceeded for %s[%s]", _number(soft), run.name, run.id)
        if "on_timeout" in run.policy.hooks:
            self._crew.extension.call(self._crew.requests.of(run).on_timeout, True, soft)

    def hard_limit(self, tag: int) -> None:
        run = self._crew.state.runs.get(tag)
        if run is None:
            return
        self._crew.state.deactivate(run)
        hard, _ = run.policy.limits(run.headers.timelimit)
        logger.error("Hard time limit (%ss) exceeded for %s[%s]", _number(hard), run.name, run.id)
        self._crew.dispatcher.times.ran(run.headers.task, hard or 0.0)
        if "on_timeout" in run.policy.hooks:
            self._crew.extension.call(self._crew.requests.of(run).on_timeout, False, hard)
        self._crew.errands.start(
            self._fail(run, TimeLimitExceeded(_number(hard)), after_hard_limit(run.policy))
        )

    def lost(self, tag: int, exitcode: int, *, began: bool) -> None:
        crew = self._crew
        crew.sweeps.expect()
        run = crew.state.runs.get(tag)
        if run is None:
            return
        crew.state.deactivate(run)
        if run.fenced and not began:
            crew.state.remove(run)
        elif run.fenced:
            crew.settler.settle(run, AGAIN if run.adrift else DONE)
        elif not began:
            self._not_begun(run)
        elif run.terminated is not None:
            crew.errands.start(record_terminated(crew, run, run.terminated))
        elif run.cancelled:
            crew.settler.settle(run, CUT_SHORT)
        elif crew.abandoning:
            self.abandon(run)
        else:
            crew.errands.start(self._after_loss(run, exitcode))

    def broken(self, error: BaseException) -> None:
        self._broke(error)

    def roomy(self) -> None:
        self._crew.dispatcher.pump()

    # -- what follows -----------------------------------------------------------------------------
    def _not_begun(self, run: Run) -> None:
        """It waited in a slot that is gone (or was taken back from it): run it elsewhere."""
        crew = self._crew
        run.cancelled, run.terminated = False, None
        if crew.stopping and not run.revoked:
            crew.settler.settle(run, GIVEN_BACK)
            return
        crew.dispatcher.returned(run)
        crew.dispatcher.pump()

    def abandon(self, run: Run) -> None:
        """This worker ends before the run could: give it back, or record that it was cut short."""
        crew = self._crew
        crew.state.deactivate(run)
        if run.policy.acks_late or not run.begun:
            logger.warning("Task %s[%s] was stopped with this worker: back in the queue", run.name, run.id)
            if (tell := crew.events.tasks) is not None:
                tell.cancelled(run)
            crew.settler.settle(run, GIVEN_BACK)
            return
        logger.error(
            "Task %s[%s] was stopped with this worker. It had been acknowledged before it ran, so it is not "
            "repeated: recorded as failed",
            run.name,
            run.id,
        )
        error = WorkerLostError("The worker was shut down before the task ended.")
        crew.errands.start(self._fail(run, error, DONE, tell_task=False))

    async def _after_loss(self, run: Run, exitcode: int) -> None:
        crew, policy = self._crew, run.policy
        error = WorkerLostError(f"Worker exited prematurely: {describe_exit(exitcode)}.")
        deliveries, most = run.delivery.deliveries, crew.options.max_deliveries
        ending = after_loss(policy, deliveries, most)
        logger.error("Task handler raised error: %r (task %s[%s])", error, run.name, run.id)
        if ending is AGAIN:
            if await crew.recorder.succeeded_before(run):
                ending = DONE
            else:
                logger.warning(
                    "Task %s[%s] goes back to its queue (delivery %d of %s)",
                    run.name,
                    run.id,
                    deliveries,
                    most or "any",
                )
        elif policy.acks_late and policy.retry_on_worker_lost and await crew.recorder.resent(run, error):
            logger.info("Task %s[%s] retry: %r", run.name, run.id, error)
        else:
            await self._fail(run, error, ending, tell_task=False)
            return
        crew.settler.settle(run, ending)
        crew.dispatcher.pump()

    async def _fail(self, run: Run, error: Exception, ending: Ending, *, tell_task: bool = True) -> None:
        """Store FAILURE, then settle. A late acknowledgement does not leave before the result is stored."""
        crew = self._crew
        stored = await crew.recorder.failed(run, error, tell_task=tell_task)
        if not stored and run.begun:
            crew.settler.leave(run)
            crew.dispatcher.pump()
            return
        if not stored and run.policy.acks_late and ending.settlement is Settlement.ACK:
            ending = AGAIN
        crew.settler.settle(run, ending)
        crew.dispatcher.pump()

    async def _refuse(self, run: Run, error: Exception, ending: Ending) -> None:
        """Tell whoever waits for it that its body could not be read; then set it aside, told or not."""
        await self._crew.recorder.unreadable(run, error)
        self._crew.settler.settle(run, ending)
        self._crew.dispatcher.pump()

    def _unusual(self, run: Run, outcome: Outcome) -> None:
        """The body could not be read, or its outcome could not be stored."""
        crew, verdict, detail = self._crew, outcome.verdict, outcome.detail
        ending = after_run(run.policy, verdict, detail)
        if verdict is Verdict.INTERNAL:
            crew.state.deactivate(run)
            crew.errands.start(self._fail(run, RemoteFailure(detail), ending, tell_task=False))
            return
        if verdict is Verdict.INVALID:
            properties = run.properties.value
            logger.critical(
                "Can't decode message body: %s [type:%r encoding:%r headers:%s]\n\nbody: %r (%db)",
                detail,
                properties.get("content_type"),
                properties.get("content_encoding"),
                run.raw_headers.value,
                run.body[:1024],
                len(run.body),
            )
            crew.state.deactivate(run)
            crew.errands.start(self._refuse(run, InvalidTaskError(detail), ending))
            return
        if verdict is Verdict.UNSTORED:
            logger.error("The result of task %s[%s] could not be stored: %s", run.name, run.id, detail)
            if ending is AGAIN and crew.stopping:
                ending = CUT_SHORT  # that this worker cannot wait for the store is no fault of the task's
            elif crew.stopping and run.begun and not run.fenced:
                crew.settler.leave(run)  # acknowledged before: who waits for it is told, if not of its result
                return
        crew.settler.settle(run, ending)

    def _tell(self, run: Run, outcome: Outcome) -> None:
        """Call the hooks of the task's own request class."""
        hooks, verdict, call = run.policy.hooks, outcome.verdict, self._crew.extension.call
        if verdict is Verdict.SUCCESS:
            if "on_success" in hooks:
                call(self._crew.requests.of(run).on_success, (False, outcome.detail, outcome.runtime))
            return
        if verdict is Verdict.RETRY:
            if "on_retry" in hooks:
                call(self._crew.requests.of(run).on_retry, _remote_info(outcome))
        elif verdict is Verdict.FAILURE and "on_failure" in hooks:
            call(self._crew.requests.of(run).on_failure, _remote_info(outcome))


def _remote_info(outcome: Outcome) -> ExceptionInfo:
    """What is known here of an exception that was raised in another process."""
    error = _error_of(outcome)
    info = ExceptionInfo((type(error), error, None))
    if outcome.traceback:
        info._text = outcome.traceback
    return info


def _error_of(outcome: Outcome) -> BaseException:
    """The exception, if its class is known in this process."""
    if outcome.error:
        try:
            error = restore_exception(msgspec.json.decode(outcome.error))
        except Exception as exc:  # noqa: BLE001 - what it names may be anything by now
            logger.debug("exception not restored: %r", exc)
        else:
            if error is not None:
                return error
    return RemoteFailure(outcome.detail)


def _number(seconds: float | None) -> float | int | None:
    """5 rather than 5.0, as people write limits."""
    if seconds is not None and seconds == int(seconds):
        return int(seconds)
    return seconds
