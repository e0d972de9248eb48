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

from .arrivals import Harvest, aarrivals, arrivals, is_unknown, leaves_of
from .base import ResultBase
from .guards import assert_may_wait
from .progress import everything_of, members_of
from .single import T

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
    from typing import Self

    from .progress import Progress

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

    def _failed_join_report(self) -> Iterator[Any]:
        """The members known to have failed or been revoked; for stores of third parties that count chords."""
        for result, state in zip(list(leaves_of(self)), self._states(), strict=True):
            if state in states.PROPAGATE_STATES:
                yield result

    def completed_count(self) -> int:
        """How many members are over and returned."""
        found = iter(self._states())
        sizes = [len(list(leaves_of(r))) if isinstance(r, ResultSet) else 1 for r in self.results]
        return sum(set(islice(found, size)) <= {states.SUCCESS} for size in sizes)

    def _states(self) -> list[str]:
        """The states of all leaves, read in one go."""
        leaves = list(leaves_of(self))
        out = {leaf.id: leaf for leaf in leaves if is_unknown(leaf)}
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
        """Tell all workers, in one message, not to run these tasks. Arguments as `AsyncResult.revoke`."""
        return self.app.control.revoke(
            [leaf.id for leaf in leaves_of(self)],
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
        assert_may_wait(self, disable_sync_subtasks)
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
        assert_may_wait(self, disable_sync_subtasks)
        harvest = Harvest(self, propagate, callback)
        found = arrivals(
            self,
            timeout=timeout,
            interval=interval,
            no_ack=no_ack,
            on_message=on_message,
            on_interval=on_interval,
            on_progress=on_progress,
        )
        with contextlib.closing(found):
            for leaf in found:
                harvest.add(leaf)
        return harvest.values()

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
        assert_may_wait(self)
        for leaf in arrivals(self, timeout=timeout, interval=interval):
            yield leaf.maybe_throw(propagate=propagate)

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
        assert_may_wait(self, disable_sync_subtasks)
        harvest = Harvest(self, propagate, callback)
        found = aarrivals(self, timeout=timeout, interval=interval, on_progress=on_progress)
        async with contextlib.aclosing(found):
            async for leaf in found:
                harvest.add(leaf)
        return harvest.values()

    ajoin = aget

    def __await__(self) -> Generator[Any, None, list[T]]:
        return self.aget().__await__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        """`async for result in results`: the result of each task, those of members that are sets included, as it
        is over."""
        async for leaf in aarrivals(self):
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
        for _ in arrivals(self):
            pass
        while self._callbacks:
            try:
                self._tell(*self._callbacks.pop(0))
            except Exception:
                logger.exception("A function that was to be called with results raised an exception")

    def _tell(
        self, callback: Callable[[Any], object], on_error: Callable[[BaseException], object] | None
    ) -> None:
        bad = next((leaf for leaf in leaves_of(self) if leaf.state in states.PROPAGATE_STATES), None)
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
        return f"<{type(self).__name__}: [{', '.join(name_of(r) for r in self.results)}]>"

    def __reduce__(self) -> Any:
        return type(self), self.__reduce_args__()

    def __reduce_args__(self) -> tuple[Any, ...]:
        return (self.results,)


def name_of(result: Any) -> str:
    """The id of a result, as it is shown in the list of a set."""
    return str(getattr(result, "id", result))
