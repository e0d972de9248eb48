"""Tracing: what a worker does around the body of a task.

`build_tracer` makes the function that runs a task. Tools replace it (`celery.app.trace.build_tracer = ...`), so it is
looked up here whenever one is made. The steps are in `app.execution`, what each outcome does is in
`app.outcome`; here are the log lines, and `JobRunner`, by which pools run what they are given.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from celery import _state, signals
from celery.app import coroutines, forking, outcome
from celery.app import runner as _runner
from celery.app.context import Context
from celery.app.einfo import ExceptionInfo
from celery.app.einfo import clear_frames as traceback_clear
from celery.app.execution import IGNORE_STATES, Run, TaskPlan
from celery.exceptions import Ignore, InvalidTaskError, Reject, Retry, WorkerTerminate
from celery.local import Proxy
from celery.states import EXCEPTION_STATES, FAILURE, IGNORED, REJECTED, RETRY, STARTED, SUCCESS
from celery.utils.nodenames import gethostname
from celery.utils.saferepr import saferepr

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = (
    "EXCEPTION_STATES",
    "FAILURE",
    "IGNORED",
    "IGNORE_STATES",
    "REJECTED",
    "RETRY",
    "STARTED",
    "SUCCESS",
    "Context",
    "Ignore",
    "InvalidTaskError",
    "JobRunner",
    "Reject",
    "Retry",
    "TraceInfo",
    "build_tracer",
    "reset_worker_optimizations",
    "setup_worker_optimizations",
    "trace_task",
    "traceback_clear",
)

logger = logging.getLogger(__name__)

#: Log formats; assign to change them.
LOG_RECEIVED = "Task %(name)s[%(id)s] received"
LOG_SUCCESS = "Task %(name)s[%(id)s] succeeded in %(runtime)ss: %(return_value)s"
LOG_FAILURE = "Task %(name)s[%(id)s] %(description)s: %(exc)s"
LOG_INTERNAL_ERROR = "Task %(name)s[%(id)s] %(description)s: %(exc)s"
LOG_IGNORED = "Task %(name)s[%(id)s] %(description)s"
LOG_REJECTED = "Task %(name)s[%(id)s] %(exc)s"
LOG_RETRY = "Task %(name)s[%(id)s] retry: %(exc)s"


class log_policy_t(NamedTuple):  # noqa: N801, RUF100 - the public name
    """How an outcome is logged."""

    format: str
    description: str
    severity: int
    traceback: int
    mail: int


log_policy_reject = log_policy_t(LOG_REJECTED, "rejected", logging.WARNING, 1, 1)
log_policy_ignore = log_policy_t(LOG_IGNORED, "ignored", logging.INFO, 0, 0)
log_policy_internal = log_policy_t(LOG_INTERNAL_ERROR, "INTERNAL ERROR", logging.CRITICAL, 1, 1)
log_policy_expected = log_policy_t(LOG_FAILURE, "raised expected", logging.INFO, 0, 0)
log_policy_unexpected = log_policy_t(LOG_FAILURE, "raised unexpected", logging.ERROR, 1, 1)


class trace_ok_t(NamedTuple):  # noqa: N801, RUF100 - the public name
    """What a tracer returns.

    Attributes:
        retval: the return value, or an `ExceptionInfo`.
        info: None after success, else a `TraceInfo`.
        runtime: seconds, of the body and storing; None unless it succeeded.
        retstr: short text of the return value.
    """

    retval: Any
    info: Any
    runtime: float | None
    retstr: str | None


class TraceInfo:
    """How a task ended that did not succeed.

    Args:
        state: its state.
        retval: the exception.
    """

    __slots__ = ("retval", "state")

    def __init__(self, state: str, retval: Any = None) -> None:
        self.state = state
        self.retval = retval

    def handle_error_state(self, task: Any, req: Any, eager: bool = False, call_errbacks: bool = True) -> Any:
        """Do what this state requires, as the tracer does it itself; returns an `ExceptionInfo`."""
        store = not eager or bool(task.store_eager_result)
        if self.state == RETRY:
            return self.handle_retry(task, req, store_errors=store, call_errbacks=call_errbacks)
        if self.state == FAILURE:
            return self.handle_failure(task, req, store_errors=store, call_errbacks=call_errbacks)
        if self.state == REJECTED:
            return self.handle_reject(task, req)
        return self.handle_ignore(task, req)

    def handle_reject(self, task: Any, req: Any, **kwargs: Any) -> ExceptionInfo:
        """Log the rejection."""
        return self._logged(task, req, self._einfo())

    def handle_ignore(self, task: Any, req: Any, **kwargs: Any) -> ExceptionInfo:
        """Log that the task asked to be ignored."""
        return self._logged(task, req, self._einfo())

    def handle_retry(self, task: Any, req: Any, store_errors: bool = True, **kwargs: Any) -> Any:
        """Store and announce a retry."""
        einfo = outcome.retry(task, req, self.retval, store=store_errors, eager=False)
        _log_retry(task, req, self.retval)
        return einfo

    def handle_failure(
        self, task: Any, req: Any, store_errors: bool = True, call_errbacks: bool = True, **kwargs: Any
    ) -> Any:
        """Store and announce a failure."""
        einfo = outcome.fail(
            task, req, self.retval, store=store_errors, call_errbacks=call_errbacks, eager=False
        )
        return self._logged(task, req, einfo)

    def _einfo(self) -> ExceptionInfo:
        exc = self.retval
        return ExceptionInfo((type(exc), exc, getattr(exc, "__traceback__", None)))

    def _logged(self, task: Any, req: Any, einfo: ExceptionInfo) -> ExceptionInfo:
        _log_error(task, req, einfo, self.retval)
        return einfo


# -- log lines


def get_log_policy(task: Any, einfo: Any, exc: BaseException) -> log_policy_t:
    """How to log that the task raised `exc`."""
    if isinstance(exc, Reject):
        return log_policy_reject
    if isinstance(exc, Ignore):
        return log_policy_ignore
    if einfo.internal:
        return log_policy_internal
    if task.throws and isinstance(exc, task.throws):
        return log_policy_expected
    return log_policy_unexpected


def get_task_name(request: Any, default: str) -> str:
    """The name to show: the `shadow` of the call, else the task's own."""
    return getattr(request, "shadow", None) or default


def info(fmt: str, context: dict[str, Any]) -> None:
    """Log `fmt % context`, and keep the context on the record as `data`."""
    logger.info(fmt, context, extra={"data": context})


def _args_of(request: Any) -> dict[str, str]:
    return {
        "args": request.get("argsrepr") or saferepr(request.args),
        "kwargs": request.get("kwargsrepr") or saferepr(request.kwargs),
    }


def _log_success(run: Run) -> None:
    if logger.isEnabledFor(logging.INFO):
        context = {
            "id": run.uuid,
            "name": get_task_name(run.request, run.plan.task.name),
            "return_value": run.retstr,
            "runtime": run.runtime,
            **_args_of(run.request),
        }
        info(LOG_SUCCESS, context)


def _log_retry(task: Any, request: Any, reason: Any) -> None:
    info(LOG_RETRY, {"id": request.id, "name": get_task_name(request, task.name), "exc": str(reason)})


def _log_error(task: Any, request: Any, einfo: ExceptionInfo, raised: BaseException) -> None:
    """Log how a task ended; `einfo` may hold a stand-in for what it raised, if that cannot be pickled."""
    exc = einfo.exception
    policy = get_log_policy(task, einfo, raised)
    if not logger.isEnabledFor(policy.severity):
        return
    context = {
        "hostname": request.hostname,
        "id": request.id,
        "name": get_task_name(request, task.name),
        "exc": saferepr(exc),
        "traceback": einfo.traceback,
        **_args_of(request),
        "description": policy.description,
        "internal": einfo.internal,
    }
    logger.log(
        policy.severity,
        _format_of(policy),
        context,
        exc_info=einfo.exc_info if policy.traceback else None,
        extra={"data": context},
    )


def _format_of(policy: log_policy_t) -> str:
    """The format in force: the module's variable may have been assigned since."""
    if policy is log_policy_reject:
        return LOG_REJECTED
    if policy is log_policy_ignore:
        return LOG_IGNORED
    if policy is log_policy_internal:
        return LOG_INTERNAL_ERROR
    return LOG_FAILURE


def _report(run: Run) -> None:
    if run.info is None:
        _log_success(run)
    elif run.state == RETRY:
        _log_retry(run.plan.task, run.request, run.value)
    else:
        _log_error(run.plan.task, run.request, run.result, run.info.retval)


# -- errors of ours


def _internal(run: Run, exc: BaseException) -> ExceptionInfo:
    _signal_internal_error(run.plan.task, run.uuid, run.args, run.kwargs, run.request, exc)
    return report_internal_error(run.plan.task, exc)


def _signal_internal_error(
    task: Any, uuid: str, args: Any, kwargs: Any, request: Any, exc: BaseException
) -> None:
    if signals.task_internal_error.receivers:
        einfo = ExceptionInfo((type(exc), exc, exc.__traceback__), internal=True)
        signals.task_internal_error.send(
            sender=task,
            task_id=uuid,
            args=args,
            kwargs=kwargs,
            request=request,
            exception=exc,
            traceback=exc.__traceback__,
            einfo=einfo,
        )


def report_internal_error(task: Any, exc: BaseException) -> ExceptionInfo:
    """Warn about an exception that came from outside the task's body; return its `ExceptionInfo`."""
    einfo = ExceptionInfo((type(exc), exc, exc.__traceback__), internal=True)
    try:
        warnings.warn(
            f"Exception raised outside body: {exc!r}:\n{einfo.traceback}", RuntimeWarning, stacklevel=2
        )
    except RuntimeWarning:
        logger.error("Exception raised outside body of %s: %r", task.name, exc, exc_info=einfo.exc_info)
    return einfo


# -- tracers


def task_has_custom(task: Any, attr: str) -> bool:
    """Whether the task's class (or one of its bases that is not ours) defines `attr`."""
    for cls in task.__class__.__mro__:  # of the task, should this be a proxy
        if attr in vars(cls):
            return not _is_stock(cls)
    return False


def _is_stock(cls: type) -> bool:
    return cls is object or cls.__module__.startswith("celery.app.task") or cls.__module__ == "typing"


def _handler(task: Any, name: str) -> Callable[..., Any] | None:
    if task_has_custom(task, name) or name in vars(task):
        handler: Callable[..., Any] = getattr(task, name)
        return handler
    return None


def _plan(name: str, task: Any, app: Any, loader: Any, hostname: str | None, **given: Any) -> TaskPlan:
    eager = given["eager"]
    conf = app.conf
    has_call = task_has_custom(task, "__call__") or "__call__" in vars(task)
    return TaskPlan(
        task=task,
        app=app,
        fun=task if has_call else task.run,
        has_call=has_call,
        is_coroutine=inspect.iscoroutinefunction(task.run),
        hostname=hostname,
        eager=eager,
        propagate=given["propagate"],
        store_errors=bool(given["store_errors"] and task.store_errors_even_if_ignored),
        store_eager=bool(task.store_eager_result),
        track_started=bool(not eager and task.track_started),
        deduplicate=bool(
            not eager
            and conf.worker_deduplicate_successful_tasks
            and task.acks_late
            and task.backend.persistent
        ),
        inherit_priority=bool(conf.task_inherit_parent_priority),
        repr_maxsize=task.resultrepr_maxsize,
        before_start=_handler(task, "before_start"),
        on_success=_handler(task, "on_success"),
        after_return=_handler(task, "after_return"),
        report=_report,
        internal=_internal,
        make_info=TraceInfo,
        cleanup=None if eager else _cleanup(task, loader or app.loader),
    )


def _cleanup(task: Any, loader: Any) -> Callable[[], None] | None:
    """What the backend and the loader want done after each task; None if that is nothing."""
    wanted = [
        hook
        for owner, hook in ((task.backend, "process_cleanup"), (loader, "on_process_cleanup"))
        if not _is_ours(type(owner), hook)
    ]
    if not wanted:
        return None

    def cleanup() -> None:
        for owner, hook in ((task.backend, "process_cleanup"), (loader, "on_process_cleanup")):
            try:
                getattr(owner, hook)()
            except Exception as exc:
                logger.exception("Process cleanup failed: %r", exc)  # noqa: TRY401, RUF100 - as Celery

    return cleanup


def _is_ours(cls: type, hook: str) -> bool:
    """Whether the method is the do-nothing one of a base class."""
    for base in cls.__mro__:
        if hook in vars(base):
            return base.__module__ in {"celery.backends.base", "celery.loaders.base"}
    return True


def build_tracer(
    name: str,
    task: Any,
    loader: Any = None,
    hostname: str | None = None,
    store_errors: bool = True,
    Info: Any = TraceInfo,
    eager: bool = False,
    propagate: bool = False,
    app: Any = None,
    monotonic: Callable[[], float] = monotonic,
    trace_ok_t: Any = trace_ok_t,
    IGNORE_STATES: frozenset[str] = IGNORE_STATES,
) -> Callable[..., Any]:
    """Make the function that runs one task.

    Args:
        name: the task's.
        task: the task.
        loader, app: where to find settings and hooks; default: the task's own.
        hostname: of the worker.
        store_errors: store failures of tasks that ignore results, if they ask for it.
        eager: for `Task.apply`.
        propagate: let the body's exception through (eager only).

    Returns:
        `trace_task(uuid, args, kwargs, request=None) -> trace_ok_t`. It raises nothing unless eager. For an
        `async def` task it runs the coroutine on this thread's private loop; its attribute `arun` is the
        same to be awaited.
    """
    plan = _plan(
        name,
        task._get_current_object() if isinstance(task, Proxy) else task,
        app or task.app,
        loader,
        hostname or gethostname(),
        store_errors=store_errors,
        eager=eager,
        propagate=propagate,
    )
    tracer = _tracer(plan, trace_ok_t)
    if plan.is_coroutine:
        tracer.arun = _async_tracer(plan, trace_ok_t)  # type: ignore[attr-defined]
    return tracer


def _tracer(plan: TaskPlan, ended: Any) -> Callable[..., Any]:
    fun = plan.fun
    is_coroutine = plan.is_coroutine

    def trace_task(uuid: str, args: Any, kwargs: Any, request: Any = None) -> Any:
        run = Run.of(plan, uuid, args, kwargs, request)
        run.enter()
        try:
            try:
                if run.begin():
                    try:
                        value = fun(*args, **kwargs)
                        if is_coroutine and inspect.iscoroutine(value):
                            value = coroutines.run(value)
                    except WorkerTerminate:
                        run.terminated()
                        raise
                    except BaseException as exc:  # noqa: BLE001 - whatever a task raises is its outcome
                        run.stay(exc)
                        run.raised(exc)
                    else:
                        if run.generation != forking.generation:  # spares a call in nearly every run
                            run.stay()
                        error = run.returned(value)
                        if error is not None:
                            run.raised(error)
            except Exception as exc:  # noqa: BLE001 - ours: reported, never raised in a worker
                run.broke(exc)
        finally:
            run.end()
        return ended(run.result, run.info, run.runtime, run.retstr)

    return trace_task


def _async_tracer(plan: TaskPlan, ended: Any) -> Callable[..., Any]:
    """The same to be awaited; what may block is done in a thread."""
    fun = plan.fun
    in_thread = coroutines.in_thread

    async def atrace_task(uuid: str, args: Any, kwargs: Any, request: Any = None) -> Any:
        run = Run.of(plan, uuid, args, kwargs, request)
        run.enter()
        try:
            try:
                if await in_thread(plan.track_started or plan.deduplicate, run.begin):
                    try:
                        value = await fun(*args, **kwargs)
                    except BaseException as exc:
                        if coroutines.is_cancelled_from_outside(exc):
                            run.abandon()
                            raise
                        run.stay(exc)
                        await in_thread(True, run.raised, exc)
                    else:
                        run.stay()
                        error = await in_thread(run.has_io, run.returned, value)
                        if error is not None:
                            await in_thread(True, run.raised, error)
            except Exception as exc:  # noqa: BLE001 - ours: reported, never raised in a worker
                run.broke(exc)
        finally:
            run.end()
        return ended(run.result, run.info, run.runtime, run.retstr)

    return atrace_task


def trace_task(task: Any, uuid: str, args: Any, kwargs: Any, request: Any = None, **opts: Any) -> Any:
    """Run a task as a worker does; an error of ours is in the result, it is not raised."""
    request = request or {}
    try:
        if getattr(task, "__trace__", None) is None:
            task.__trace__ = build_tracer(task.name, task, **opts)
        return task.__trace__(uuid, args, kwargs, request)
    except Exception as exc:  # noqa: BLE001 - a tool's tracer may raise
        _signal_internal_error(task, uuid, args, kwargs, request, exc)
        return trace_ok_t(report_internal_error(task, exc), TraceInfo(FAILURE, exc), 0.0, None)


class JobRunner(_runner.JobRunner):
    """Runs what pools are given. See `celery.app.runner.JobRunner`."""

    def build(self, task: Any) -> Callable[..., Any]:
        """Make the tracer of a task."""
        return build_tracer(task.name, task, self.app.loader, self.hostname, app=self.app)


def setup_worker_optimizations(app: Any, hostname: str | None = None) -> None:
    """Prepare this process for running tasks of `app`: it becomes the current and default app, and every task
    gets its tracer."""
    hostname = hostname or gethostname()
    app.set_current()
    app.set_default()
    app.finalize()
    for task in app.tasks.values():
        task.__trace__ = build_tracer(task.name, task, app.loader, hostname, app=app)


def reset_worker_optimizations(app: Any = None) -> None:
    """Undo `setup_worker_optimizations`."""
    for task in (app or _state.get_current_app()).tasks.values():
        vars(task).pop("__trace__", None)
