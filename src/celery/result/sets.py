"""The results of many tasks: asked and waited for together, with one waiter for all of them."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic

from celery import states
from celery._state import app_or_default
from celery.exceptions import ImproperlyConfigured, ResumeError

from .base import ResultBase, control_of
from .guards import assert_will_not_block, task_join_will_block
from .progress import Tracker, everything_of, members_of
from .single import T
from .workflows import workflow_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator
    from typing import Self

    from .progress import Progress
    from .workflows import Workflow

    Meta = dict[str, Any]
    Callback = Callable[[str, Any], object]


logger = logging.getLogger(__name__)


class ResultSet(ResultBase, Generic[T]):
    """Results of many tasks, in order. A member may be a set itself: its value is then a list.

    Args:
        results: the members.
        app: default: that of the first member, else the current one.
        ready_barrier: something whose `then(call)` calls `call` when all are ready; default: this looks itself.
    """

    results: list[Any]

    def __init__(
        self,
        results: Iterable[Any],
        app: Any = None,
        ready_barrier: Any = None,
        **kwargs: Any,
    ) -> None:
        if app is not None:
            self.app = app
        self.results = list(results)
        self._barrier = ready_barrier
        self._callbacks: list[tuple[Callable[[Any], object], Callable[[BaseException], object] | None]] = []

    @property
    def app(self) -> Any:
        """The application."""
        if self.__dict__.get("_app") is None:
            first = getattr(self.results[0], "app", None) if self.results else None
            if first is None:
                return app_or_default()
            self._app = first
        return self._app

    @app.setter
    def app(self, app: Any) -> None:
        self._app = app

    @property
    def backend(self) -> Any:
        """Where the results are stored."""
        return self.app.backend

    # -- the members

    def add(self, result: Any) -> None:
        """Add a result at the end, unless it is there."""
        if result not in self.results:
            self.results.append(result)

    def remove(self, result: Any) -> None:
        """Remove a result, given itself or its id.

        Raises:
            KeyError: it is not there.
        """
        if isinstance(result, str):
            result = self.app.AsyncResult(result)
        try:
            self.results.remove(result)
        except ValueError:
            raise KeyError(result) from None

    def discard(self, result: Any) -> None:
        """As `remove`, but it need not be there."""
        with contextlib.suppress(KeyError):
            self.remove(result)

    def update(self, results: Iterable[Any]) -> None:
        """Add those that are not there."""
        for result in results:
            self.add(result)

    def clear(self) -> None:
        """Remove all."""
        self.results[:] = []

    def __iter__(self) -> Iterator[Any]:
        return iter(self.results)

    def __getitem__(self, index: Any) -> Any:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def _leaves(self) -> Iterator[Any]:
        for result in self.results:
            if isinstance(result, ResultSet):
                yield from result._leaves()
            else:
                yield result

    # -- asking

    def ready(self) -> bool:
        """Whether all tasks are over, one way or another."""
        return all(state in states.READY_STATES for state in self._states())

    def waiting(self) -> bool:
        """Whether any task is not over."""
        return not self.ready()

    def successful(self) -> bool:
        """Whether all tasks returned."""
        return all(state == states.SUCCESS for state in self._states())

    def failed(self) -> bool:
        """Whether any task raised."""
        return any(state == states.FAILURE for state in self._states())

    def completed_count(self) -> int:
        """How many members are over and returned."""
        found = iter(self._states())
        sizes = [len(list(r._leaves())) if isinstance(r, ResultSet) else 1 for r in self.results]
        return sum(set(islice(found, size)) <= {states.SUCCESS} for size in sizes)

    def _states(self) -> list[str]:
        """The states of all leaves, read in one go."""
        leaves = list(self._leaves())
        out = {leaf.id: leaf for leaf in leaves if _unknown(leaf)}
        metas = self.backend.get_task_metas(list(out)) if out else {}
        for leaf in leaves:
            if leaf.id in out and leaf.id in metas:
                leaf._maybe_set_cache(metas[leaf.id])
        return [metas[leaf.id]["status"] if leaf.id in metas else leaf.state for leaf in leaves]

    @property
    def supports_native_join(self) -> bool | None:
        """Whether the backend can wait for many results at once; None if there are none."""
        return bool(self.results[0].supports_native_join) if self.results else None

    def maybe_throw(self, callback: Callback | None = None, propagate: bool = True) -> None:
        """Raise the exception of the first member that failed or was revoked, as far as that is known.

        Args:
            callback: called with id and value of each task.
            propagate: raise.
        """
        for result in self.results:
            result.maybe_throw(callback=callback, propagate=propagate)

    maybe_reraise = maybe_throw

    # -- doing something to all

    def forget(self) -> None:
        """Remove all results from the backend."""
        for result in self.results:
            result.forget()

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
        for result in everything_of(self):  # also if it fails: somebody else may have resumed it
            result._unknow_failure()
        ids = [leaf.id for leaf in members_of(self)]
        if self.backend.keeps_results:
            metas = self.backend.get_task_metas(ids)
            # Who was broken off may have forgotten a failure, and not have sent the task.
            wanted = {states.FAILURE, states.PENDING} if force else {states.FAILURE}
            ids = [task_id for task_id in ids if metas[task_id]["status"] in wanted]
        if not ids:
            raise ResumeError("There is nothing to resume: no member has failed (yet).")
        self.backend.resume(ids, force=force)
        return self

    async def aresume(self, force: bool = False) -> Self:
        """`resume` that does not block the event loop."""
        import asyncio  # noqa: PLC0415 - heavy, and only needed by those who have it already

        return await asyncio.to_thread(self.resume, force)

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Tell all workers, in one message, not to run these tasks. Arguments as `AsyncResult.revoke`.

        Raises:
            NotImplementedError: the app has no remote control.
        """
        return control_of(self.app).revoke(
            [leaf.id for leaf in self._leaves()],
            connection=connection,
            terminate=terminate,
            signal=signal,
            reply=wait,
            timeout=timeout,
        )

    # -- waiting

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callback | None = None,
        no_ack: bool = True,
        on_message: Callable[[Meta], object] | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], object] | None = None,
        *,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> list[T]:
        """Wait until all tasks are over and return what they returned, in order.

        Args:
            timeout: seconds for all of them together; None: wait for ever.
            propagate: raise the exception of a task that failed or was revoked; else it is in the list.
            interval: seconds between two looks, where the backend can only be asked.
            callback: called with id and value of each member; the list is then empty.
            no_ack: for backends that consume results as messages.
            on_message: called with every state seen on the way, as a mapping; with the last of each, if the backend can
                only be asked.
            disable_sync_subtasks: refuse to wait inside a task.
            on_interval: called every `interval` seconds while waiting.
            on_progress: called with a `Progress` as these tasks, and those before them, get on.

        Raises:
            TimeoutError: not all were over in time.
            RuntimeError: called inside a task, and there is something to wait for.
            ImproperlyConfigured: `on_message`, and the backend can only be asked for one result after the other.
            Exception: that of a task.
        """
        options: dict[str, Any] = {
            "timeout": timeout,
            "propagate": propagate,
            "interval": interval,
            "callback": callback,
            "no_ack": no_ack,
            "on_message": on_message,
            "disable_sync_subtasks": disable_sync_subtasks,
            "on_interval": on_interval,
        }
        if on_progress is not None:  # any store can be asked for the states of all
            return self.join_native(**options, on_progress=on_progress)
        return self.join_native(**options) if self.supports_native_join else self.join(**options)

    def join(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callback | None = None,
        no_ack: bool = True,
        on_message: Callable[[Meta], object] | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], object] | None = None,
    ) -> list[T]:
        """As `get`, waiting for one member after the other: the first that failed, in order, is raised."""
        self._may_wait(disable_sync_subtasks)
        if on_message is not None:
            raise ImproperlyConfigured("Backend does not support on_message callback")
        deadline = None if timeout is None else time.monotonic() + timeout
        values: list[T] = []
        for result in self.results:
            value = result.get(
                timeout=None if deadline is None else max(0.0, deadline - time.monotonic()),
                propagate=propagate,
                interval=interval,
                no_ack=no_ack,
                on_interval=on_interval,
                disable_sync_subtasks=disable_sync_subtasks,
            )
            if callback is None:
                values.append(value)
            else:
                callback(result.id, value)
        return values

    def join_native(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callback | None = None,
        no_ack: bool = True,
        on_message: Callable[[Meta], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        disable_sync_subtasks: bool = True,
        *,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> list[T]:
        """As `get`, with one waiter for all: a failure is raised as soon as it is known, and `callback` is called
        in the order in which the tasks end."""
        self._may_wait(disable_sync_subtasks)
        told = _Telling(self, propagate, callback)
        arrivals = self._arrivals(
            timeout=timeout,
            interval=interval,
            no_ack=no_ack,
            on_message=on_message,
            on_interval=on_interval,
            on_progress=on_progress,
        )
        with contextlib.closing(arrivals):
            for leaf in arrivals:
                told.arrived(leaf)
        return told.values()

    def iter_native(
        self,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Callable[[Meta], object] | None = None,
        on_interval: Callable[[], object] | None = None,
    ) -> Iterator[tuple[str, Any]]:
        """Yield id and meta of each task as it is over; of a member that is a set, id and members at once."""
        found: Iterator[tuple[str, Any]] = self.backend.iter_native(
            self,
            timeout=timeout,
            interval=interval,
            no_ack=no_ack,
            on_message=on_message,
            on_interval=on_interval,
        )
        return found

    def iterate(
        self, timeout: float | None = None, propagate: bool = True, interval: float = 0.5
    ) -> Iterator[Any]:
        """Yield the value of each task, those of members that are sets included, as it is over."""
        self._may_wait(True)
        for leaf in self._arrivals(timeout=timeout, interval=interval):
            yield leaf.maybe_throw(propagate=propagate)

    def _may_wait(self, disable_sync_subtasks: bool) -> None:
        if disable_sync_subtasks and task_join_will_block() and not self.ready():
            assert_will_not_block()

    def _arrivals(
        self,
        *,
        no_ack: bool = True,
        on_message: Callable[[Meta], object] | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        **options: Any,
    ) -> Generator[Any]:
        """Every leaf, as it becomes ready."""
        tracker = None if on_progress is None else Tracker(self, on_progress, on_message)
        out: dict[str, list[Any]] = {}
        with tracker or contextlib.nullcontext():
            yield from self._here(out)
            if tracker is not None:
                found = tracker.follow(self.backend, **options)
            elif out:
                found = self.backend.get_many(list(out), no_ack=no_ack, on_message=on_message, **options)
            else:
                return
            for task_id, meta in found:
                yield from _settle(out.pop(task_id, ()), meta)

    def _here(self, out: dict[str, list[Any]]) -> Iterator[Any]:
        """The leaves that are ready; the others are collected in `out`, by id."""
        for leaf in self._leaves():
            if _unknown(leaf):
                self.backend.add_pending_result(leaf)
                out.setdefault(leaf.id, []).append(leaf)
            else:
                yield leaf

    # -- waiting, awaited

    async def aget(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - as `get`
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callback | None = None,
        *,
        disable_sync_subtasks: bool = True,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> list[T]:
        """As `get`, without blocking the event loop. `await results` is the same, without options."""
        self._may_wait(disable_sync_subtasks)
        told = _Telling(self, propagate, callback)
        arrivals = self._aarrivals(timeout=timeout, interval=interval, on_progress=on_progress)
        async with contextlib.aclosing(arrivals):
            async for leaf in arrivals:
                told.arrived(leaf)
        return told.values()

    ajoin = aget

    def __await__(self) -> Generator[Any, None, list[T]]:
        return self.aget().__await__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        """`async for result in results`: the result of each task, those of members that are sets included, as it
        is over."""
        async for leaf in self._aarrivals():
            yield leaf

    async def _aarrivals(
        self, *, on_progress: Callable[[Progress], object] | None = None, **options: Any
    ) -> AsyncGenerator[Any]:
        tracker = None if on_progress is None else Tracker(self, on_progress)
        out: dict[str, list[Any]] = {}
        with tracker or contextlib.nullcontext():
            for leaf in self._here(out):
                yield leaf
            if tracker is not None:
                found = tracker.afollow(self.backend, **options)
            elif out:
                found = self.backend.aget_many(list(out), **options)
            else:
                return
            async for task_id, meta in found:
                for leaf in _settle(out.pop(task_id, ()), meta):
                    yield leaf

    # -- being told

    def then(
        self,
        callback: Callable[[Self], object],
        on_error: Callable[[BaseException], object] | None = None,
        weak: bool = False,
    ) -> Self:
        """Call `callback(results)` when all tasks are over: at once if they are, else from a thread of the library's.

        Args:
            on_error: called with the first exception instead, if a task failed or was revoked.
            weak: for backends that keep track of pending results.

        Returns:
            This set.
        """
        if self._barrier is not None:
            self._barrier.then(lambda *_: self._tell(callback, on_error))
        elif self.ready():
            self._tell(callback, on_error)
        else:
            self._callbacks.append((callback, on_error))
            if len(self._callbacks) == 1:
                threading.Thread(target=self._watch, name="celery-result-set", daemon=True).start()
        return self

    def _watch(self) -> None:
        for _ in self._arrivals():
            pass
        while self._callbacks:
            try:
                self._tell(*self._callbacks.pop(0))
            except Exception:
                logger.exception("A function that was to be called with results raised an exception")

    def _tell(
        self, callback: Callable[[Any], object], on_error: Callable[[BaseException], object] | None
    ) -> None:
        bad = next((leaf for leaf in self._leaves() if leaf.state in states.PROPAGATE_STATES), None)
        if on_error is not None and bad is not None:
            on_error(bad.result)
        else:
            callback(self)

    # -- itself

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ResultSet):
            return other.results == self.results
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # members come and go

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{', '.join(_name(r) for r in self.results)}]>"

    def __reduce__(self) -> Any:
        return type(self), self.__reduce_args__()

    def __reduce_args__(self) -> tuple[Any, ...]:
        return (self.results,)


class GroupResult(ResultSet[T]):
    """The result of a group: a `ResultSet` with an id, which can be saved and found again.

    Args:
        id: the group's id.
        results: of its members.
        parent: the result of the task before the group in a chain.
    """

    #: The group's id.
    id: str | None = None

    def __init__(
        self,
        id: str | None = None,  # noqa: A002 - Celery's name
        results: Iterable[Any] | None = None,
        parent: Any = None,
        **kwargs: Any,
    ) -> None:
        self.id = id
        self.parent = parent
        super().__init__(() if results is None else results, **kwargs)

    @property
    def children(self) -> list[Any]:
        """The members."""
        return self.results

    def workflow(self) -> Workflow:
        """All that is stored of the workflow that this is of, and what this result itself knows; also while it runs.

        Raises:
            NotImplementedError: results are disabled.
        """
        return workflow_of(self)

    def save(self, backend: Any = None) -> Any:
        """Store which results these are, so that `restore` finds them by the group's id.

        Raises:
            ValueError: the group has no id.
            NotImplementedError: the backend cannot.
        """
        return (backend or self.backend).save_group(self.id, self)

    def delete(self, backend: Any = None) -> None:
        """Remove what `save` stored."""
        (backend or self.backend).delete_group(self.id)

    @classmethod
    def restore(cls, id: str, backend: Any = None, app: Any = None) -> Any:  # noqa: A002 - Celery's name
        """The group saved under an id; None if there is none."""
        own: Any = vars(cls).get("app")  # of a class made for an app
        return (backend or app_or_default(app or own).backend).restore_group(id)

    def as_tuple(self) -> Any:
        """`((id, parent as a tuple or None), [members as tuples])`."""
        return (self.id, self.parent and self.parent.as_tuple()), [r.as_tuple() for r in self.results]

    serializable = as_tuple

    def __bool__(self) -> bool:
        return bool(self.id or self.results)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            return (other.id, other.results, other.parent) == (self.id, self.results, self.parent)
        if isinstance(other, str):
            return other == self.id
        return NotImplemented

    def __hash__(self) -> int:  # type: ignore[override]  # it has an id
        return hash(self.id)

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id} [{', '.join(_name(r) for r in self.results)}]>"

    def __reduce_args__(self) -> tuple[Any, ...]:
        return self.id, self.results, self.parent


class _Telling:
    """What one who waits for a set wants to be told of."""

    def __init__(self, results: ResultSet[Any], propagate: bool, callback: Callback | None) -> None:
        self._results = results
        self._propagate = propagate
        self._callback = callback
        self._direct = {id(r) for r in results.results}

    def arrived(self, leaf: Any) -> None:
        callback = self._callback if id(leaf) in self._direct else None
        if leaf.ignored:
            if callback is not None:
                callback(leaf.id, None)
        else:
            leaf.maybe_throw(propagate=self._propagate, callback=callback)

    def values(self) -> list[Any]:
        if self._callback is None:
            return [_value(result) for result in self._results]
        for result in self._results:
            if isinstance(result, ResultSet):
                self._callback(getattr(result, "id", ""), _value(result))
        return []


def _value(result: Any) -> Any:
    if isinstance(result, ResultSet):
        return [_value(member) for member in result]
    return None if result.ignored else result.result


def _name(result: Any) -> str:
    return str(getattr(result, "id", result))


def _unknown(leaf: Any) -> bool:
    """Whether a leaf must be asked for; not if it is final already, or never will be."""
    return leaf._cache is None and not leaf.ignored


def _settle(leaves: Iterable[Any], meta: Meta) -> Iterator[Any]:
    for leaf in leaves:
        leaf._maybe_set_cache(dict(meta))
        yield leaf
