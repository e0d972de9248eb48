"""One run of one task, in steps.

A tracer (`app.trace.build_tracer`) is only this: `begin`, the body, `returned` or `raised`, `end`. Everything that
does not change between runs is in a `TaskPlan`, made once per task; a task whose class overrides no handler, in a
process where no signal is connected, pays for none of them.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from celery import _state, signals, states
from celery.app import forking, outcome
from celery.app.context import Context
from celery.app.einfo import ExceptionInfo, clear_frames
from celery.app.jobs import Verdict
from celery.brokers import patience
from celery.exceptions import EncodeError, Ignore, OperationalError, Reject, Retry, WorkerLostError
from celery.utils.saferepr import saferepr

if TYPE_CHECKING:
    from collections.abc import Callable

#: After these states nothing is final, so `after_return` is not called.
IGNORE_STATES = frozenset({states.IGNORED, states.RETRY, states.REJECTED})

#: Results whose `repr` is short and safe.
_PLAIN = (int, float, bool, type(None))


class TaskPlan(msgspec.Struct, eq=False):
    """What all runs of a task have in common.

    Attributes:
        fun: the body as a worker calls it: the task itself if its class defines `__call__`, else its `run`.
        has_call: the task's class defines `__call__`.
        before_start, on_success, after_return: the task's handler, None if not overridden.
        eager: run by `apply()`: nothing is sent or stored unless asked for, errors of handlers propagate.
        propagate: raise the body's exception (eager only).
        report: log one ended run (success, state, run).
        internal: tell about an error of ours; returns its `ExceptionInfo`.
        make_info: `TraceInfo(state, retval)`.
    """

    task: Any
    app: Any
    fun: Callable[..., Any]
    has_call: bool
    is_coroutine: bool
    hostname: str | None
    eager: bool
    propagate: bool
    store_errors: bool
    store_eager: bool
    track_started: bool
    deduplicate: bool
    inherit_priority: bool
    repr_maxsize: int
    before_start: Callable[..., Any] | None
    on_success: Callable[..., Any] | None
    after_return: Callable[..., Any] | None
    report: Callable[[Run], None]
    internal: Callable[[Run, BaseException], ExceptionInfo]
    make_info: Callable[[str, Any], Any]
    cleanup: Callable[[], Any] | None


class Run(msgspec.Struct, eq=False):
    """The state of one run.

    Attributes:
        state: how it ended.
        value: the return value, or the exception.
        result: the return value, or an `ExceptionInfo`.
        info: None after success, else a `TraceInfo`.
        propagating: the exception goes on to the caller: nothing more is done.
        generation: of the process in which it was begun, see `forking`.
    """

    plan: TaskPlan
    uuid: str
    args: Any
    kwargs: Any
    request: Context
    store: bool
    started: float
    state: str = states.SUCCESS
    value: Any = None
    result: Any = None
    info: Any = None
    runtime: float | None = None
    retstr: str | None = None
    propagating: bool = False
    generation: int = 0

    @classmethod
    def of(cls, plan: TaskPlan, uuid: str, args: Any, kwargs: Any, request: Any) -> Run:
        """A run that has not begun."""
        if type(request) is not Context:
            request = Context(request or {}, args=args, called_directly=False, kwargs=kwargs)
        if request.id is None:
            request.id = uuid
        store = (plan.store_eager or not plan.eager) and not outcome.ignores_result(plan.task, request)
        return cls(plan, uuid, args, kwargs, request, store, monotonic(), generation=forking.generation)

    # -- steps

    def enter(self) -> None:
        """Make this the current task and its request; undone by `end`."""
        _state.push_current_task(self.plan.task)
        self.plan.task.request_stack.push(self.request)
        if self.plan.has_call:
            self.request.entering = True

    @property
    def has_io(self) -> bool:
        """Whether ending well means to talk to a broker or a store."""
        request = self.request
        stores = self.store and not self._leaves_result()
        return bool(stores or request.callbacks or request._following() or request.chord)

    def _leaves_result(self) -> bool:
        """Whether the store may leave a success to whoever runs this. When it is stored, handlers of successes are called,
        and a member of a chord is counted."""
        plan = self.plan
        return (
            self.request._may_leave > 0
            and not self.request.chord
            and plan.on_success is None
            and not signals.task_success.receivers
            and plan.task.backend._rows is not None
        )

    def begin(self) -> bool:
        """Do what comes before the body; False if the body must not run."""
        plan = self.plan
        task = plan.task
        if plan.deduplicate and self._done_before():
            return False
        if self.request.celeriac_mark is not None and self._sent_twice():
            return False
        if signals.task_prerun.receivers:
            signals.task_prerun.send(
                sender=task, task_id=self.uuid, task=task, args=self.args, kwargs=self.kwargs
            )
        if plan.track_started and self.store:
            outcome.mark_started(task, self.request)
        if plan.before_start is not None:
            try:
                plan.before_start(self.uuid, self.args, self.kwargs)
            except Exception as exc:  # noqa: BLE001 - the user's code
                self.raised(exc)
                return False
        return True

    def stay(self, exc: BaseException | None = None) -> None:
        """The body is over; a process that it has forked ends here."""
        if self.generation != forking.generation and not self.plan.eager:
            forking.leave(exc)

    def returned(self, value: Any) -> Exception | None:
        """The body returned.

        Returns:
            None, or what it is to have `raised` instead: its value cannot be encoded, or what follows it not be sent.
        """
        self.value = self.result = value
        try:
            self._succeeded(value)
        except Reject as exc:
            self._rejected(exc)  # by a handler: the success is stored
            self.plan.report(self)
        except (EncodeError, OperationalError) as exc:
            if self.plan.propagate:
                raise
            return exc
        return None

    def raised(self, exc: BaseException) -> None:
        """The body (or what belongs to it) raised."""
        plan = self.plan
        if isinstance(exc, outcome.Replaced):
            error = self.returned(exc.value)
            if error is not None:
                self.raised(error)
            return
        if isinstance(exc, Ignore):
            self._ended(states.IGNORED, exc, ExceptionInfo((type(exc), exc, exc.__traceback__)))
            self._leave(exc)
        elif isinstance(exc, Reject):
            self._rejected(exc)
            if not exc.requeue:
                self._leave(exc, store=self.store or plan.store_errors)
        elif isinstance(exc, Retry):
            self._ended(states.RETRY, exc, None)
            self.result = self._stored(outcome.retry, exc, store=self.store)
        else:
            self._failed(exc)
        if self.result is not None:
            plan.report(self)

    def abandon(self) -> None:
        """Whoever runs this gave up on it: nothing more is done, nothing is stored."""
        self.propagating = True

    def terminated(self) -> None:
        """The pool ends this process, and the worker tells what became of the task. Only who follows the task's
        signals is told, as Celery does, that it is over: tracing tools close their spans."""
        self.abandon()
        self._postrun(None, None)

    def end(self) -> None:
        """Do what comes after everything, and leave the stack."""
        plan = self.plan
        try:
            if not self.propagating:
                self._after()
        except Exception as exc:  # noqa: BLE001 - the user's code, or ours
            self.broke(exc)
        finally:
            plan.task.request_stack.pop()
            _state.pop_current_task()
            if self.info is not None and not plan.eager and isinstance(self.value, BaseException):
                clear_frames(self.value)

    def broke(self, exc: BaseException) -> None:
        """Something outside the body went wrong: nothing is known about what was stored."""
        if self.plan.eager:
            self.propagating = True
            raise exc
        self.request.trouble = (Verdict.INTERNAL, exc)
        self.value = exc
        self.result = self.plan.internal(self, exc)
        self.info = self.plan.make_info(states.FAILURE, exc)
        self.state = states.FAILURE

    # -- parts of the steps

    def _done_before(self) -> bool:
        """Whether this is a redelivery of a task whose success is stored already."""
        if not (self.request.delivery_info or {}).get("redelivered"):
            return False
        if self.plan.task.backend.get_state(self.uuid) != states.SUCCESS:
            return False
        outcome.logger.info(
            "Task %(name)s[%(id)s] %(description)s",
            {
                "name": self.plan.task.name,
                "id": self.uuid,
                "description": "Task already completed successfully.",
            },
        )
        return True

    def _sent_twice(self) -> bool:
        """Whether this is the body of a chord that was sent before, and is run by who got it first."""
        request = self.request
        if self.plan.eager:
            return False
        backend, mark = self.plan.task.backend, request.celeriac_mark
        if backend._insist_on_storing(
            lambda: backend.chords.admit(self.uuid, mark), f"that {self.uuid} runs"
        ):
            return False
        request.replaced = True  # the other has its place
        self.raised(
            Ignore("The body of this chord was sent twice: the other message is the one that counts.")
        )
        return True

    def _rejected(self, exc: Reject) -> None:
        self._ended(states.REJECTED, exc, ExceptionInfo((type(exc), exc, exc.__traceback__)))

    def _leave(self, exc: BaseException, *, store: bool = False) -> None:
        """Tell the workflow, and if `store` whoever waits, that nothing will come of this task."""
        if not self.plan.eager:
            try:
                outcome.unfinished(self.plan.task, self.request, exc, store=store)
            except Exception as error:  # noqa: BLE001 - reported
                self.request.trouble = (Verdict.UNSTORED, error)

    def _succeeded(self, value: Any) -> None:
        plan = self.plan
        request = self.request
        task = plan.task
        if request.callbacks or request._following():
            self._send_links(value)
        if (self.store or request.chord) and request.trouble is None:
            began = monotonic()
            try:
                if self._leaves_result():
                    request._left = []  # only now: what the task itself stores is stored at once
                task.backend.mark_as_done(self.uuid, value, request, self.store)
                if plan.on_success is not None or signals.task_success.receivers:
                    task.backend.flush()
                elif request._is_light:
                    request._stored_in = monotonic() - began
            except EncodeError:
                raise
            except Exception as exc:
                if plan.eager:
                    raise
                request.trouble = (Verdict.UNSTORED, exc)
        self.runtime = monotonic() - self.started
        if plan.on_success is not None:
            outcome.call_handler(
                "on_success", plan.on_success, value, self.uuid, self.args, self.kwargs, eager=plan.eager
            )
        if signals.task_success.receivers:
            signals.task_success.send(sender=task, result=value, runtime=self.runtime)
        self.retstr = self._repr(value)
        plan.report(self)

    def _send_links(self, value: Any) -> None:
        plan, request = self.plan, self.request
        try:
            outcome.send_links(
                plan.task, request, value, eager=plan.eager, inherit_priority=plan.inherit_priority
            )
        except OperationalError as exc:
            if not patience.gave_up(exc):
                raise
            request.trouble = (Verdict.UNSTORED, exc)  # the worker ends: not stored, it runs again elsewhere

    def _failed(self, exc: BaseException) -> None:
        plan = self.plan
        if plan.propagate or (plan.eager and not isinstance(exc, Exception)):
            self.propagating = True
            raise exc
        if isinstance(exc, (SystemExit, KeyboardInterrupt)):
            # Stored as it is, it would end whoever asks for the result.
            exc = WorkerLostError(f"Task raised {exc!r}").with_traceback(exc.__traceback__)
        self._ended(states.FAILURE, exc, None)
        store = self.store or bool(plan.store_errors and not plan.eager)
        self.result = self._stored(outcome.fail, exc, store=store, call_errbacks=True)
        if self.result is not None and self.result.exception is not exc:
            self.value = self.result.exception

    def _stored(self, end: Callable[..., Any], exc: BaseException, **options: Any) -> Any:
        plan = self.plan
        try:
            return end(plan.task, self.request, exc, eager=plan.eager, **options)
        except Reject as rejected:
            self._ended(states.REJECTED, rejected, None)
            return ExceptionInfo((type(rejected), rejected, rejected.__traceback__))
        except Exception as error:
            if plan.eager:
                raise
            self.request.trouble = (Verdict.UNSTORED, error)
            return ExceptionInfo((type(exc), exc, exc.__traceback__))

    def _ended(self, state: str, exc: BaseException, einfo: ExceptionInfo | None) -> None:
        self.state = state
        self.value = exc
        self.result = einfo
        self.info = self.plan.make_info(state, exc)

    def _after(self) -> None:
        plan = self.plan
        if plan.after_return is not None and not self._is_quiet():
            outcome.call_handler(
                "after_return",
                plan.after_return,
                self.state,
                self.value,
                self.uuid,
                self.args,
                self.kwargs,
                None,
                eager=plan.eager,
            )
        self._postrun(self.value, self.state)
        if plan.cleanup is not None:
            plan.cleanup()

    def _is_quiet(self) -> bool:
        """Whether `after_return` is not told: nothing is final, or it ended by no `Exception`."""
        exc = self.value if self.state == states.FAILURE else None
        return self.state in IGNORE_STATES or (
            isinstance(exc, BaseException) and not isinstance(exc, Exception)
        )

    def _postrun(self, retval: Any, state: str | None) -> None:
        task = self.plan.task
        if signals.task_postrun.receivers:
            signals.task_postrun.send(
                sender=task,
                task_id=self.uuid,
                task=task,
                args=self.args,
                kwargs=self.kwargs,
                retval=retval,
                state=state,
            )

    def _repr(self, value: Any) -> str:
        if type(value) in _PLAIN:
            return repr(value)
        return saferepr(value, self.plan.repr_maxsize)
