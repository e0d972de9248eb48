"""What the parent records about tasks that can no longer do so themselves.

Their process died, their hard limit passed, they were revoked, they expired, nobody knows them:
the result is stored here, on a thread (backends block), and only then is the message settled.
User code that belongs to it (`on_failure`, signal receivers) runs on the extension thread.
"""

from __future__ import annotations

import asyncio
import datetime as _dt
import logging
import time
from typing import TYPE_CHECKING, Any

from celery import signals, states
from celery.app.context import Context
from celery.app.einfo import ExceptionInfo
from celery.backends.claims import ClaimLost
from celery.brokers.base import Outgoing
from celery.exceptions import BackendError
from celery.message.body import decode_body
from celery.message.headers import LazyObject

from .lanes import Lane
from .request import Message
from .runs import delivery_info

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.brokers.base import Delivery

    from .events import EventSender
    from .extension import ExtensionThread
    from .runs import Run

logger = logging.getLogger("celery.worker.aftermath")

#: States of tasks that do not run, as far as the store knows.
_WAITING = frozenset((states.PENDING, states.RECEIVED, states.REJECTED, states.RETRY))
#: What storing came to when another worker has the message by now.
_NOT_OURS = "not ours"


class Recorder:
    """Stores outcomes that no task process will store.

    Args:
        publish: sends one message to the broker, blocking (for retries of lost tasks).
        events: tells what it records.
        accept: content types that may be read.
    """

    def __init__(
        self,
        app: Any,
        extension: ExtensionThread,
        hostname: str,
        publish: Callable[[Outgoing], None],
        events: EventSender,
        accept: frozenset[str] | None = None,
    ) -> None:
        self._app = app
        self._extension = extension
        self._hostname = hostname
        self._publish = publish
        self._events = events
        self._accept = accept
        self._threads = Lane("celery-results")
        self._busy: set[asyncio.Future[Any]] = set()

    @property
    def pending(self) -> int:
        """How many outcomes are still being stored."""
        return len(self._busy)

    # -- what can have happened -------------------------------------------------------------------
    async def failed(self, run: Run, exc: BaseException, *, tell_task: bool) -> bool:
        """Store FAILURE for a run of ours, unless it had stored SUCCESS before it was lost.

        Args:
            tell_task: call the task's `on_failure` and `after_return` too.

        Returns:
            True if an outcome is stored (or none is wanted), False if the backend would not have it.
        """
        stored = await self._in_thread(self._store_failure, run, exc)
        if stored == "kept":
            logger.info("Task %s[%s] had succeeded before its process was lost", run.name, run.id)
            return True
        if stored == _NOT_OURS:
            return True
        if stored != "failed":
            if (tell := self._events.tasks) is not None:
                tell.failed(run, exc)
            self._extension.call(self._tell_failure, run, exc, tell_task)
        return bool(stored != "failed")

    async def refused(
        self, delivery: Delivery, headers: LazyObject, properties: LazyObject, body: bytes, exc: Exception
    ) -> bool:
        """Store FAILURE for a message that names a task nobody knows here."""
        context = self._context(headers, properties, delivery, body)
        stored = await self._in_thread(self._mark_failure, self._app.backend, context, exc, True)
        if (tell := self._events.tasks) is not None:
            tell.unknown(context.id or "", exc)
        return stored is not False

    async def unreadable(self, run: Run, exc: Exception) -> None:
        """Store FAILURE for a run of ours whose body cannot be read."""
        await self._in_thread(self._store_unreadable, run, exc)

    async def revoked(self, run: Run, *, expired: bool = False, signum: int | None = None) -> bool:
        """Store REVOKED, and send `task_revoked`.

        Args:
            signum: by which it was terminated while it ran.
        """
        reason = "expired" if expired else "revoked" if signum is None else "terminated"
        stored = await self._in_thread(self._store_revoked, run, reason)
        if (tell := self._events.tasks) is not None:
            tell.revoked(run, terminated=signum is not None, signum=signum, expired=expired)
        if signals.task_revoked:
            self._extension.call(self._tell_revoked, run, expired, signum)
        return stored is not False

    async def mark_revoked(self, ids: list[str]) -> None:
        """Store REVOKED for tasks that are not here, and of which nothing is known but that they wait."""
        await self._in_thread(self._mark_revoked, ids)

    async def resent(self, run: Run, exc: BaseException) -> bool:
        """Publish a lost run again, as `retry()` would. False: its retries are used up, or it could not be sent."""
        task = run.policy.task
        limit = task.max_retries
        if limit is not None and run.headers.retries >= limit:
            return False
        sent = bool(await self._in_thread(self._resend, run, exc))
        if sent and (tell := self._events.tasks) is not None:
            tell.retried(run, exc)
        return sent

    async def succeeded_before(self, run: Run) -> bool:
        """Say whether the result of this id is SUCCESS already."""
        done = bool(await self._in_thread(self._is_success, run))
        if done:
            await self._in_thread(self._count_again, run)
        return done

    async def drain(self, seconds: float) -> bool:
        """Wait until everything is stored; False if that took longer than `seconds`."""
        if self._busy:
            await asyncio.wait(set(self._busy), timeout=seconds)
        return not self._busy

    def close(self) -> None:
        """End the thread; what it has not begun is dropped. One that is still in the result store is not waited for."""
        self._threads.shutdown(wait=not self._busy, cancel_futures=True)

    # -- on the thread ----------------------------------------------------------------------------
    async def _in_thread(self, fun: Callable[..., Any], *args: Any) -> Any:
        future = asyncio.get_running_loop().run_in_executor(self._threads, fun, *args)
        self._busy.add(future)
        try:
            return await future
        except ClaimLost as lost:
            logger.warning("%s", lost)
            return _NOT_OURS
        except BackendError as exc:
            logger.critical("Could not store what became of a task: %s", exc)
            return "failed" if fun == self._store_failure else False
        except Exception as exc:
            logger.critical("Could not store what became of a task: %r", exc, exc_info=exc)
            return "failed" if fun == self._store_failure else False
        finally:
            self._busy.discard(future)

    def _context(
        self, headers: LazyObject, properties: LazyObject, delivery: Delivery, body: bytes
    ) -> Context:
        """The request as the task would have seen it; without the body's part if that cannot be decoded."""
        given = properties.value
        fields: dict[str, Any] = {
            **headers.value,
            "properties": given,
            "reply_to": given.get("reply_to"),
            "correlation_id": given.get("correlation_id"),
            "hostname": self._hostname,
            "delivery_info": delivery_info(delivery),
            "called_directly": False,
            "is_eager": False,
            "_claim": delivery.claim,
            "args": (),
            "kwargs": {},
        }
        try:
            args, kwargs, embed = decode_body(
                body,
                given.get("content_type"),
                given.get("content_encoding"),
                fields.get("compression"),
                self._accept,
            )
            fields.update(args=args, kwargs=kwargs)
            fields.update({key: embed.get(key) for key in ("callbacks", "errbacks", "chain", "chord")})
        except Exception as exc:  # noqa: BLE001 - whatever a hostile body makes a decoder raise
            logger.debug("body not decoded: %r", exc)
        return Context(fields)

    def _context_of(self, run: Run, *, readable: bool = True) -> Context:
        body = run.body if readable else b""
        context = self._context(run.raw_headers, run.properties, run.delivery, body)
        if context.ignore_result is None:
            context.ignore_result = bool(run.policy.task.ignore_result)
        return context

    async def sweep_chords(self) -> int:
        """Send the bodies and members of chords that are due, and whose sender could not; return how many those were."""
        if not await self._in_thread(self._sweeps):
            return 0
        count = int(await self._in_thread(self._sweep))
        if count:
            logger.info("Sent %d bodies and members of chords that were left behind", count)
        return count

    def _sweeps(self) -> bool:
        return bool(self._app.backend.chords.sweeps)

    def _sweep(self) -> int:
        backend = self._app.backend
        try:
            return int(backend.chords.sweep())
        except Exception as exc:
            if not backend.exception_safe_to_retry(exc):
                raise
            logger.warning("Could not look after chords, later again: %s", exc)
            return 0

    def _count_again(self, run: Run) -> None:
        """The process that stored the success may have died before its chord knew."""
        context = self._context_of(run)
        if context.chord:
            backend = run.policy.task.backend
            backend.chords.again(context, states.SUCCESS, backend.get_result(run.id))

    def _is_success(self, run: Run) -> bool:
        try:
            state = run.policy.task.backend.get_state(run.id)
        except NotImplementedError:  # results are disabled
            return False
        return bool(state == states.SUCCESS)

    def _store_failure(self, run: Run, exc: BaseException) -> str:
        task = run.policy.task
        if self._is_success(run):
            self._count_again(run)
            return "kept"
        context = self._context_of(run)
        wanted = not context.ignore_result or bool(task.store_errors_even_if_ignored)
        self._mark_failure(task.backend, context, exc, wanted)
        return "stored"

    def _store_unreadable(self, run: Run, exc: Exception) -> None:
        task, context = run.policy.task, self._context_of(run, readable=False)
        wanted = not context.ignore_result or bool(task.store_errors_even_if_ignored)
        self._mark_failure(task.backend, context, exc, wanted)

    def _mark_failure(self, backend: Any, context: Context, exc: BaseException, store: bool) -> None:
        backend.mark_as_failure(context.id, exc, request=context, store_result=store)

    def _store_revoked(self, run: Run, reason: str) -> None:
        context = self._context_of(run)
        run.policy.task.backend.mark_as_revoked(
            run.id, reason, request=context, store_result=not context.ignore_result
        )

    def _mark_revoked(self, ids: list[str]) -> None:
        backend = self._app.backend
        if not backend.keeps_results:
            return
        for task_id in ids:
            try:
                waits = backend.get_state(task_id) in _WAITING
                if waits:
                    backend.mark_as_revoked(task_id, "revoked")
            except NotImplementedError:  # results are disabled
                return

    def _resend(self, run: Run, exc: BaseException) -> bool:
        task = run.policy.task
        due = time.time() + (task.default_retry_delay or 0)
        headers = dict(run.raw_headers.value)
        headers["retries"] = run.headers.retries + 1
        headers["eta"] = _dt.datetime.fromtimestamp(due, _dt.UTC).isoformat()
        context = self._context_of(run)
        task.backend.mark_as_retry(run.id, exc, request=context, store_result=not context.ignore_result)
        delivery = run.delivery
        self._publish(
            Outgoing(
                body=run.body,
                headers=LazyObject(value=headers),
                properties=run.properties,
                exchange=delivery.exchange,
                routing_key=delivery.routing_key or delivery.queue,
                priority=delivery.priority or 0,
                due=due,
            )
        )
        return True

    # -- on the extension thread ------------------------------------------------------------------
    def _tell_failure(self, run: Run, exc: BaseException, tell_task: bool) -> None:
        task = run.policy.task
        context = self._context_of(run)
        einfo = ExceptionInfo((type(exc), exc, exc.__traceback__))
        if tell_task:
            task.on_failure(exc, run.id, context.args, context.kwargs, einfo)
            task.after_return(states.FAILURE, exc, run.id, context.args, context.kwargs, None)
        if signals.task_failure:
            signals.task_failure.send(
                sender=task,
                task_id=run.id,
                exception=exc,
                args=context.args,
                kwargs=context.kwargs,
                traceback=exc.__traceback__,
                einfo=einfo,
            )
        if run.request is not None and "on_failure" in run.policy.hooks:
            run.request.on_failure(einfo)

    def _tell_revoked(self, run: Run, expired: bool, signum: int | None) -> None:
        request = run.request or Message(run.delivery, run.raw_headers, run.properties, run.body)
        signals.task_revoked.send(
            sender=run.policy.task,
            request=request,
            terminated=signum is not None,
            signum=signum,
            expired=expired,
        )
