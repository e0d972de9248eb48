"""From a pool's job to an outcome: decode, run, say how it ended."""

from __future__ import annotations

import inspect
import logging
import sys
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from celery import states
from celery.app import coroutines
from celery.app.context import Context
from celery.app.jobs import Outcome, Verdict
from celery.backends.encoding import store_exception
from celery.exceptions import WorkerTerminate
from celery.message.body import JSON_PROPERTIES, decode_body, plain_arguments
from celery.message.errors import MalformedMessage
from celery.message.serializers import prepare_accept_content
from celery.message.steps import chained_arguments
from celery.utils.log import end_lines
from celery.utils.saferepr import saferepr

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from celery.app.jobs import Job

logger = logging.getLogger("celery.app.trace")

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode
_VERDICTS = {
    states.FAILURE: Verdict.FAILURE,
    states.RETRY: Verdict.RETRY,
    states.IGNORED: Verdict.IGNORE,
}
#: Characters of an exception's or a result's text that an outcome carries.
_DETAIL = 1024
#: Characters of an encoded exception that an outcome carries; longer ones are left out.
_ERROR = 64 * 1024
#: Content type of nearly every body.
JSON = "application/json"
_NO_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
_BACKSLASH = ord("\\")
#: What `Task.Request` is if nobody sets it.
_REQUEST = "celery.worker.request:Request"


class JobRunner:
    """Runs jobs in this process or thread; knows nothing of pools and messages beyond the job.

    Safe to use from many threads. Keeps nothing of a task once it has ended.

    Args:
        app: whose tasks these are.
        hostname: node name of the worker.
    """

    def __init__(self, app: Any, hostname: str) -> None:
        self.app = app
        self.hostname = hostname
        self._accept = prepare_accept_content(app.conf.accept_content, setting="accept_content")
        self._reads_json = self._accept is None or JSON in self._accept
        self._tasks = app.tasks
        self._loglevel = logger.getEffectiveLevel()
        self._deferring = False

    def build(self, task: Any) -> Callable[..., Any]:
        """Make the tracer of a task."""
        raise NotImplementedError

    def run(self, job: Job, *, defer: bool = False, leave: int = 0) -> Outcome:
        """Run one job to its end.

        Args:
            defer: results may be buffered until `flush`: what `Outcome` says about storing holds only then. Only who
                runs all jobs of this runner in one thread may ask for it.
            leave: a result of at most so many bytes may be left in `Outcome.row`, for the caller to have it stored.

        Raises:
            WorkerTerminate: the pool raised it in the task to end this process. Nothing else.
        """
        prepared = self._prepare(job)
        if isinstance(prepared, Outcome):
            return prepared
        task, request = prepared
        if defer and not self._deferring:
            self._deferring = True
            self.app.backend.defer()
        if leave:
            request._may_leave = leave
        started = monotonic()
        try:
            traced = self._tracer(task)(request.id, request.args, request.kwargs, request)
        except WorkerTerminate:
            if request._left:
                task.backend._rows.store(request._left)
            raise
        except BaseException as exc:  # noqa: BLE001 - a tracer that a tool has put in
            return _broken(task, exc, monotonic() - started, request)
        finally:
            end_lines()
        outcome = _outcome(task, traced, request, monotonic() - started)
        if not job.prompt:
            outcome.aside = request._stored_in
        return outcome

    async def arun(self, job: Job) -> Outcome:
        """Run one job on the running event loop: an `async def` task natively, any other in a thread of the
        loop's executor.

        Raises:
            asyncio.CancelledError: whoever runs this was cancelled.
        """
        prepared = self._prepare(job)
        if isinstance(prepared, Outcome):
            return prepared
        task, request = prepared
        tracer = self._tracer(task)
        request._may_leave = sys.maxsize
        started = monotonic()
        try:
            arguments = (request.id, request.args, request.kwargs, request)
            native: Callable[..., Awaitable[Any]] | None = getattr(inspect.unwrap(tracer), "arun", None)
            if native is not None:
                traced = await native(*arguments)
            else:
                traced = await coroutines.in_thread(True, _in_thread, tracer, *arguments)
        except Exception as exc:  # noqa: BLE001 - a tracer that a tool has put in
            return _broken(task, exc, monotonic() - started, request)
        finally:
            end_lines()
        return _outcome(task, traced, request, monotonic() - started)

    def flush(self) -> None:
        """Store what was buffered by `run(..., defer=True)` in this thread.

        Raises:
            BackendStoreError: the store does not take it, after retries.
        """
        self._deferring = False
        self.app.backend.flush()

    def _tracer(self, task: Any) -> Callable[..., Any]:
        tracer: Callable[..., Any] | None = task.__trace__
        if tracer is None:
            tracer = task.__trace__ = self.build(task)
        return tracer

    def _prepare(self, job: Job) -> tuple[Any, Context] | Outcome:
        """Return the task and its request, or why there is none."""
        try:
            args, kwargs, embed = self._body(job)
            task = self._tasks[job.name]
            known = {
                "id": job.id,
                "args": args,
                "kwargs": kwargs,
                "called_directly": False,
                "hostname": self.hostname,
                "delivery_info": job.delivery_info,
                "loglevel": self._loglevel,
                "ignore_result": job.ignore_result,
                "group": job.group,
                "parent_id": job.parent_id,
                **embed,
                "_claim": job.claim,
            }
            request = Context.of_message(known, job.headers, job.properties, at_once=_is_unusual(job.headers))
        except (MalformedMessage, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            return Outcome(Verdict.INVALID, 0.0, _bounded(str(exc)))
        except KeyError as exc:
            return Outcome(Verdict.INVALID, 0.0, _bounded(repr(exc)))
        return task, request

    def _body(self, job: Job) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
        """The arguments, and what is embedded."""
        if self._reads_json and not job.compressed and job.properties.startswith(JSON_PROPERTIES):
            plain = plain_arguments(job.body)
            if plain is not None:
                return *plain, _NO_EMBED
            chained = chained_arguments(job.body)
            if chained is not None:
                return chained
        properties = _decode(job.properties)
        compression = _decode(job.headers).get("compression") if job.compressed else None
        content_type, encoding = map(properties.get, ("content_type", "content_encoding"))
        args, kwargs, embed = decode_body(job.body, content_type, encoding, compression, self._accept)
        return args, kwargs, {key: embed.get(key) for key in _NO_EMBED}


def _is_unusual(headers: bytes) -> bool:
    """Whether headers could be readable for the core, which reads some of them, and not as a whole."""
    return not headers.isascii() or _BACKSLASH in headers


def _bounded(text: str) -> str:
    return text if len(text) <= _DETAIL else f"{text[: _DETAIL - 3]}..."


def _in_thread(tracer: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return tracer(*arguments)
    finally:
        end_lines()


def _broken(task: Any, exc: BaseException, runtime: float, request: Context) -> Outcome:
    logger.critical("Task %s: the tracer itself raised %r", task.name, exc, exc_info=exc)
    return Outcome(Verdict.INTERNAL, runtime, _bounded(repr(exc)), row=_row(request))


def _row(request: Context) -> Any:
    """Take what the store has left."""
    return request._left.pop() if request._left else None


def _outcome(task: Any, traced: Any, request: Context, elapsed: float) -> Outcome:
    retval, info, runtime, retstr = traced
    trouble = request.trouble
    if trouble is not None:
        verdict, exc = trouble
        return Outcome(verdict, elapsed, _bounded(repr(exc)), row=_row(request))
    if info is None:
        runtime = elapsed if runtime is None else runtime
        return Outcome(Verdict.SUCCESS, runtime, retstr or "", row=_row(request))
    exc = info.retval
    if info.state == states.REJECTED:
        verdict = Verdict.REQUEUE if getattr(exc, "requeue", False) else Verdict.REJECT
        return Outcome(verdict, elapsed, _bounded(str(getattr(exc, "reason", exc))), row=_row(request))
    verdict = _VERDICTS.get(info.state, Verdict.FAILURE)
    cause = getattr(exc, "exc", None) if verdict is Verdict.RETRY else exc
    traceback = getattr(retval, "traceback", "") if verdict in (Verdict.FAILURE, Verdict.RETRY) else ""
    error = _error_of(task, exc) if verdict is Verdict.FAILURE else ""
    return Outcome(verdict, elapsed, saferepr(cause, _DETAIL), traceback, error, _row(request))


def _error_of(task: Any, exc: BaseException) -> str:
    """The exception for `on_failure` of the task's own request class, which runs where the worker is."""
    if task.Request == _REQUEST:
        return ""
    try:
        text = _encode(store_exception(exc, "json", _encode)).decode()
    except Exception as error:  # noqa: BLE001 - whatever a `repr` of the user's raises; its text is reported
        logger.debug("exception not encoded: %r", error)
        return ""
    return text if len(text) <= _ERROR else ""
