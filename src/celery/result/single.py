"""The result of one task."""

from __future__ import annotations

import contextlib
import datetime
from typing import TYPE_CHECKING, Any, Generic, NoReturn, cast

from celery import states
from celery._state import app_or_default
from celery.exceptions import ImproperlyConfigured, TimeoutError  # noqa: A004 - the public name

from .base import ResultBase, result_from_tuple
from .guards import assert_may_wait
from .progress import Tracker, everything_of
from .workflows import workflow_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from typing import Self

    from typing_extensions import TypeVar

    from celery.app.base import Celery

    from .progress import Progress
    from .workflows import Workflow

    T = TypeVar("T", covariant=True, default=Any)
    Meta = dict[str, Any]
    ResultTuple = tuple[tuple[str, Any], Any]
else:
    from typing import TypeVar

    T = TypeVar("T", covariant=True)


#: Seconds in which the steps that follow a failed one are told, usually much less.
_TOLD_IN = 5.0


class AsyncResult(ResultBase, Generic[T]):
    """Ask how a task is doing, wait for it, get what it returned.

    Args:
        id: the task's id.
        backend: where its result is stored; default: the app's.
        task_name: kept for callers; the stored result knows the name (`result_extended`).
        app: default: the current one.
        parent: the result of the task before this one in a chain.

    Raises:
        ValueError: no id.
    """

    TimeoutError = TimeoutError

    #: The app of classes made for one (`app.AsyncResult`).
    app: Celery = cast("Celery", None)
    #: The task's id.
    id: str = cast("str", None)

    def __init__(
        self,
        id: str,  # noqa: A002 - Celery's name
        backend: Any = None,
        task_name: str | None = None,
        app: Celery | None = None,
        parent: ResultBase | None = None,
    ) -> None:
        if id is None:
            raise ValueError(f"AsyncResult requires valid id, not {type(id)}")
        self.app = app_or_default(app or self.app)
        self.id = id
        self._backend = backend
        self.parent = parent
        self._cache: Meta | None = None
        self._ignored = False
        self._callbacks: list[tuple[Callable[[Any], object], Callable[[BaseException], object] | None]] = []

    @property
    def backend(self) -> Any:
        """Where the result is stored. The app's backend is not made before it is needed."""
        if self._backend is None:
            self._backend = self.app.backend
        return self._backend

    @backend.setter
    def backend(self, backend: Any) -> None:
        self._backend = backend

    # -- waiting

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Callable[[str, Any], object] | None = None,
        on_message: Callable[[Meta], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        disable_sync_subtasks: bool = True,
        EXCEPTION_STATES: frozenset[str] = states.EXCEPTION_STATES,
        PROPAGATE_STATES: frozenset[str] = states.PROPAGATE_STATES,
        *,
        throw: bool | None = None,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> T:
        """Wait until the task is over and return what it returned.

        Args:
            timeout: seconds; None: wait for ever.
            propagate: raise the exception of a task that failed or was revoked; else it is returned.
            interval: seconds between two looks, where the backend can only be asked.
            no_ack: for backends that consume results as messages.
            follow_parents: raise the exception of an earlier task in the chain as soon as it is known.
            callback: called with id and value when the result is there.
            on_message: called with every state seen on the way, as a mapping.
            on_interval: called every `interval` seconds while waiting.
            disable_sync_subtasks: refuse to wait inside a task.
            throw: another name of `propagate`.
            on_progress: called with a `Progress` as this task, and those before it in the chain, get on.

        Raises:
            TimeoutError: the task was not over in time.
            RuntimeError: called inside a task, and there is something to wait for.
            Exception: that of the task.
        """
        propagate = propagate if throw is None else throw
        if self.ignored:
            return cast("T", None)
        assert_may_wait(self, disable_sync_subtasks)
        if propagate and follow_parents and self.parent is not None:
            on_interval = self._watching_parents(on_interval)
        if on_progress is not None:
            options = {"timeout": timeout, "interval": interval, "on_interval": on_interval}
            with Tracker(self, on_progress, on_message) as tracker:
                for _ in tracker.follow(self.backend, **options):
                    pass
            return cast("T", self.maybe_throw(propagate=propagate, callback=callback))
        if self._cache is None:
            self.backend.add_pending_result(self)
            value = self.backend.wait_for_pending(
                self,
                timeout=timeout,
                interval=interval,
                on_interval=on_interval,
                no_ack=no_ack,
                propagate=propagate,
                callback=callback,
                on_message=on_message,
            )
            return cast("T", value)
        if propagate:
            self.maybe_throw(callback=callback)
        return cast("T", self.result)

    wait = get

    async def aget(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - as `get`
        propagate: bool = True,
        interval: float = 0.5,
        *,
        disable_sync_subtasks: bool = True,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> T:
        """As `get`, without blocking the event loop. `await result` is the same, without options.

        Raises:
            TimeoutError, RuntimeError, Exception: as `get`.
        """
        if self.ignored:
            return cast("T", None)
        if on_progress is not None:
            assert_may_wait(self, disable_sync_subtasks)
            with Tracker(self, on_progress) as tracker:
                async for _ in tracker.afollow(self.backend, timeout=timeout, interval=interval):
                    pass
        if self._cache is None:
            assert_may_wait(self, disable_sync_subtasks)
            self._maybe_set_cache(await self.backend.await_for(self.id, timeout=timeout, interval=interval))
        return cast("T", self.maybe_throw(propagate=propagate))

    def __await__(self) -> Generator[Any, None, T]:
        return self.aget().__await__()

    def _watching_parents(self, on_interval: Callable[[], object] | None) -> Callable[[], object]:
        def watch() -> None:
            # A header's failure is told by its body.
            before = [one for one in self._parents() if getattr(one, "results", None) is None]
            going_on = self._going_on(before)
            for parent in reversed(before):
                if parent.id not in going_on:
                    parent.maybe_throw()
            if on_interval is not None:
                on_interval()

        watch()
        return watch

    def _going_on(self, parents: Sequence[Any]) -> set[str]:
        """The ids of those that are known not to be over yet; asks the store once for all of them."""
        backend = self.backend
        unknown = [
            one
            for one in parents
            if type(one) is type(self) and one._cache is None and one.backend is backend
        ]
        if len(unknown) < 2:
            return set()
        metas = backend.get_task_metas([one.id for one in unknown])
        for one in unknown:
            one._maybe_set_cache(metas[one.id])
        return {one.id for one in unknown if one._cache is None}

    def _parents(self) -> Iterator[Any]:
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    def then(
        self,
        callback: Callable[[Self], object],
        on_error: Callable[[BaseException], object] | None = None,
        weak: bool = False,
    ) -> Self:
        """Call `callback(result)` when the task is over: at once if it is, else from a thread of the library's.

        Args:
            on_error: called with the exception instead, if the task failed.
            weak: for backends that keep track of pending results.

        Returns:
            This result.
        """
        if self._cache is None:
            self._get_task_meta()
        if self._cache is not None:
            self._tell(callback, on_error)
            return self
        self._callbacks.append((callback, on_error))
        if len(self._callbacks) == 1:
            self.backend.add_pending_result(self, weak=weak)
            self.backend.when_ready(self.id, self._maybe_set_cache)
        return self

    def _tell(
        self, callback: Callable[[Any], object], on_error: Callable[[BaseException], object] | None
    ) -> None:
        meta = self._cache or {}
        if on_error is not None and meta.get("status") in states.PROPAGATE_STATES:
            on_error(meta["result"])
        else:
            callback(self)

    # -- asking

    def ready(self) -> bool:
        """Whether the task is over, one way or another."""
        return self.state in states.READY_STATES

    def successful(self) -> bool:
        """Whether the task returned."""
        return self.state == states.SUCCESS

    def failed(self) -> bool:
        """Whether the task raised."""
        return self.state == states.FAILURE

    def exists(self) -> bool:
        """Whether the backend knows anything about this id."""
        return bool(self.backend.task_result_exists(self.id))

    @property
    def state(self) -> str:
        """PENDING (not known, or not begun), STARTED, RETRY, FAILURE, SUCCESS, REVOKED, or a state of the task's own."""
        state: str = self._get_task_meta()["status"]
        return state

    status = state

    @property
    def result(self) -> Any:
        """What the task returned, the exception it raised, or what came with a state of its own."""
        return self._get_task_meta()["result"]

    info = result

    @property
    def traceback(self) -> str | None:
        """The text of the traceback of a task that failed."""
        return self._get_task_meta().get("traceback")

    @property
    def children(self) -> list[Any] | None:
        """Results of the tasks that this one has called; None until it is over."""
        return self._get_task_meta().get("children")

    @property
    def date_done(self) -> datetime.datetime | None:
        """When the task was over (UTC)."""
        done = self._get_task_meta().get("date_done")
        return datetime.datetime.fromisoformat(done) if isinstance(done, str) and done else done or None

    @property
    def name(self) -> str | None:
        """The task's name. This and the following need `result_extended`."""
        return self._get_task_meta().get("name")

    @property
    def args(self) -> Any:
        """What the task was called with."""
        return self._get_task_meta().get("args")

    @property
    def kwargs(self) -> Any:
        """What the task was called with."""
        return self._get_task_meta().get("kwargs")

    @property
    def worker(self) -> str | None:
        """Who ran it."""
        return self._get_task_meta().get("worker")

    @property
    def retries(self) -> int | None:
        """How often it was retried."""
        return self._get_task_meta().get("retries")

    @property
    def queue(self) -> str | None:
        """The queue (routing key) it came by."""
        return self._get_task_meta().get("queue")

    @property
    def task_id(self) -> str:
        """The same as `id`."""
        return self.id

    @task_id.setter
    def task_id(self, id: str) -> None:  # noqa: A002 - Celery's name
        self.id = id

    @property
    def ignored(self) -> bool:
        """Whether the task was called with `ignore_result`: then there is nothing to wait for."""
        return getattr(self, "_ignored", False)

    @ignored.setter
    def ignored(self, value: bool) -> None:
        self._ignored = value

    @property
    def supports_native_join(self) -> bool:
        """Whether the backend can wait for many results at once."""
        return bool(self.backend.supports_native_join)

    def workflow(self) -> Workflow:
        """All that is stored of the workflow that this is of, and what this result itself knows; also while it runs.

        Raises:
            NotImplementedError: results are disabled.
        """
        return workflow_of(self)

    def forget(self) -> None:
        """Remove the result (and those of the tasks before it in the chain) from the backend."""
        self._cache = None
        if self.parent is not None:
            self.parent.forget()
        self.backend.forget(self.id)

    def resume(self, force: bool = False) -> Self:
        """Run again what failed of the workflow that this is the result of, and what depends on it; not what succeeded.

        Args:
            force: although somebody else has begun to: if that was broken off.

        Returns:
            This result, to be waited for.

        Raises:
            ResumeError: there is nothing to resume, or something that is needed is not stored.
            OperationalError: the broker did not take the messages; `force` tries again.
        """
        self._await_the_end()
        for result in everything_of(self):  # also if it fails: somebody else may have resumed it
            result._unknow_failure()
        self.backend.resume([self.id], force=force)
        return self

    async def aresume(self, force: bool = False) -> Self:
        """`resume` that does not block the event loop."""
        import asyncio  # noqa: PLC0415 - heavy, and only needed by those who have it already

        return await asyncio.to_thread(self.resume, force)

    def _await_the_end(self) -> None:
        """Wait a little, if a step before has failed: this one will be told at once."""
        before = [one for one in self._parents() if getattr(one, "results", None) is None]
        if not self.ready() and any(one.failed() for one in before):
            with contextlib.suppress(TimeoutError):
                self.backend.wait_for(self.id, timeout=_TOLD_IN, interval=0.05)

    def _unknow_failure(self) -> None:
        if self._cache is not None and self._cache["status"] in states.PROPAGATE_STATES:
            self._cache = None

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Tell all workers not to run the task.

        Args:
            terminate: stop it, if it runs already.
            signal: what it is stopped with; default: TERM.
            wait: for the workers' replies, and return them.
            timeout: seconds to wait for replies.
        """
        return self.app.control.revoke(
            self.id, connection=connection, terminate=terminate, signal=signal, reply=wait, timeout=timeout
        )

    def revoke_by_stamped_headers(
        self,
        headers: dict[str, Any],
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Tell all workers not to run tasks that carry these stamps; else as `revoke`."""
        return self.app.control.revoke_by_stamped_headers(
            headers, connection=connection, terminate=terminate, signal=signal, reply=wait, timeout=timeout
        )

    # -- the meta

    def _get_task_meta(self) -> Meta:
        if self._cache is None:
            return self._maybe_set_cache(self.backend.get_task_meta(self.id))
        return self._cache

    def _maybe_set_cache(self, meta: Meta) -> Meta:
        """Keep a meta that is final, and tell those who asked by `then`."""
        if not meta or meta["status"] not in states.READY_STATES:
            return meta
        cache = self._set_cache(self.backend.meta_from_decoded(meta))
        callbacks, self._callbacks = self._callbacks, []
        for callback, on_error in callbacks:
            self._tell(callback, on_error)
        return cache

    def _set_cache(self, meta: Meta) -> Meta:
        children = meta.get("children")
        if children:
            meta = {**meta, "children": [result_from_tuple(child, self.app) for child in children]}
        self._cache = meta
        return meta

    # -- raising

    def maybe_throw(
        self, propagate: bool = True, callback: Callable[[str, Any], object] | None = None
    ) -> Any:
        """Return the value as far as it is known; raise it if the task failed or was revoked.

        Args:
            propagate: raise; else return the exception.
            callback: called with id and value.
        """
        meta = self._get_task_meta()
        value = meta["result"]
        if propagate and meta["status"] in states.PROPAGATE_STATES:
            self.throw(value, self._to_remote_traceback(meta.get("traceback")))
        if callback is not None:
            callback(self.id, value)
        return value

    maybe_reraise = maybe_throw

    def throw(self, exc: Any, tb: Any = None) -> NoReturn:
        """Raise `exc`; anything that is no exception is wrapped in one."""
        if not isinstance(exc, BaseException):
            exc = Exception(exc)
        raise exc.with_traceback(tb) if tb is not None else exc

    def _to_remote_traceback(self, text: str | None) -> Any:
        """The worker's traceback as an object, if `task_remote_tracebacks` asks for it.

        Raises:
            ImproperlyConfigured: it does, and tblib is not installed.
        """
        if not text or not self.app.conf.task_remote_tracebacks:
            return None
        try:
            from tblib import Traceback  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - an extra
        except ImportError:
            raise ImproperlyConfigured(
                "task_remote_tracebacks needs the tblib library: pip install 'celery[tblib]'"
            ) from None
        return Traceback.from_string(text).as_traceback()

    # -- itself

    def as_tuple(self) -> ResultTuple:
        """`((id, parent as a tuple or None), None)`."""
        return (self.id, self.parent and self.parent.as_tuple()), None

    serializable = as_tuple

    def as_list(self) -> list[str]:
        """The ids of this task and of those before it in the chain."""
        ids = [self.id]
        if self.parent is not None:
            ids.extend(self.parent.as_list())
        return ids

    def __str__(self) -> str:
        return str(self.id)

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return bool(other.id == self.id)
        if isinstance(other, str):
            return other == self.id
        return NotImplemented

    def __copy__(self) -> Self:
        return type(self)(self.id, self._backend, None, self.app, self.parent)

    def __reduce__(self) -> Any:
        return type(self), self.__reduce_args__()

    def __reduce_args__(self) -> tuple[Any, ...]:
        return self.id, self.backend, None, None, self.parent
