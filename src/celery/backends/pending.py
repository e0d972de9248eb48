"""Waiting for a result: by the store's hub if it has one, else by looking every so often."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

from celery import states
from celery.exceptions import ImproperlyConfigured, TimeoutError  # noqa: A004 - the public name
from celery.result import ResultSet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

    from .waiting import Hub

Meta = dict[str, Any]


class SyncBackendMixin:
    """Waiting for results: by the store's hub if it has one, else by looking every so often."""

    def wait_for_pending(
        self: Any,
        result: Any,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Callable[[Meta], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        callback: Callable[[str, Any], object] | None = None,
        propagate: bool = True,
    ) -> Any:
        """Wait until a result is ready, and return its value.

        Args:
            on_message: called with every meta seen on the way; needs a store that can tell when results change.
            callback: called with id and value at the end.

        Raises:
            TimeoutError: it was not ready in time.
            ImproperlyConfigured: `on_message`, and the store can only be asked.
        """
        self._ensure_not_eager()
        if on_message is not None and self.hub() is None:
            raise ImproperlyConfigured("Backend does not support on_message callback")
        more = {} if on_message is None else {"on_message": on_message}
        meta = self.wait_for(
            result.id, timeout=timeout, interval=interval, on_interval=on_interval, no_ack=no_ack, **more
        )
        if meta:
            result._maybe_set_cache(meta)
            return result.maybe_throw(propagate=propagate, callback=callback)
        return None

    def wait_for(
        self: Any,
        task_id: str,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_interval: Callable[[], object] | None = None,
        on_message: Callable[[Meta], object] | None = None,
    ) -> Meta:
        """Wait until a task is over and return its meta.

        Args:
            timeout: seconds; None: for ever.
            interval: seconds between two looks, where the store must be asked, and between calls of `on_interval`.

        Raises:
            TimeoutError: it was not over in time.
        """
        self._ensure_not_eager()
        self.flush()
        hub: Hub | None = self.hub()
        if hub is None:
            return _poll(self, task_id, timeout, interval, on_interval)
        updates = hub.updates((task_id,), timeout=timeout, interval=interval, on_interval=on_interval)
        with contextlib.closing(updates):  # type: ignore[type-var]  # it is a generator
            for meta in updates:
                if on_message is not None:
                    on_message(meta)
                if meta["status"] in states.READY_STATES:
                    return meta
        raise AssertionError("updates ended before the result was ready")

    async def await_for(self: Any, task_id: str, timeout: float | None = None, interval: float = 0.5) -> Meta:  # noqa: ASYNC109 - as `wait_for`
        """As `wait_for`, without blocking the event loop."""
        self._ensure_not_eager()
        self.flush()
        hub: Hub | None = self.hub()
        if hub is None:
            return await _apoll(self, task_id, timeout, interval)
        updates = hub.aupdates((task_id,), timeout=timeout)
        async with contextlib.aclosing(updates):  # type: ignore[type-var]  # it is a generator
            async for meta in updates:
                if meta["status"] in states.READY_STATES:
                    return meta
        raise AssertionError("updates ended before the result was ready")

    # -- many at once

    def updates(
        self: Any,
        task_ids: Sequence[str],
        timeout: float | None = None,
        interval: float = 0.5,
        on_interval: Callable[[], object] | None = None,
    ) -> Iterator[Meta]:
        """Yield every new state of these tasks as it becomes known, until all are over.

        Args:
            timeout: seconds for all of them; None: for ever.
            interval: seconds between two looks, where the store must be asked, and between calls of `on_interval`.

        Raises:
            TimeoutError: not all were over in time.
        """
        self._ensure_not_eager()
        self.flush()
        hub: Hub | None = self.hub()
        if hub is None:
            found = _poll_updates(self, task_ids, timeout, interval, on_interval)
        else:
            found = hub.updates(task_ids, timeout=timeout, interval=interval, on_interval=on_interval)
        with contextlib.closing(found):  # type: ignore[type-var]  # it is a generator
            yield from found

    async def aupdates(
        self: Any,
        task_ids: Sequence[str],
        timeout: float | None = None,  # noqa: ASYNC109 - as `updates`
        interval: float = 0.5,
    ) -> AsyncIterator[Meta]:
        """As `updates`, without blocking the event loop."""
        self._ensure_not_eager()
        self.flush()
        hub: Hub | None = self.hub()
        if hub is None:
            found = _apoll_updates(self, task_ids, timeout, interval)
        else:
            found = hub.aupdates(task_ids, timeout=timeout)
        async with contextlib.aclosing(found):  # type: ignore[type-var]  # it is a generator
            async for meta in found:
                yield meta

    def get_many(
        self: Any,
        task_ids: Iterable[str],
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Callable[[Meta], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        max_iterations: int | None = None,
        READY_STATES: frozenset[str] = states.READY_STATES,
    ) -> Iterator[tuple[str, Meta]]:
        """Yield id and meta of each of these tasks as it is over.

        Args:
            timeout: seconds for all of them; None: for ever.
            on_message: called with every meta seen on the way; of a store that can only be asked, with the last of each.
            max_iterations: look this often at most.

        Raises:
            TimeoutError: not all were over in time.
        """
        out = list(dict.fromkeys(str(task_id) for task_id in task_ids))
        self.flush()
        hub = self.hub()
        if hub is None or max_iterations or READY_STATES != states.READY_STATES:
            found = _poll_many(self, out, timeout, interval, on_interval, max_iterations, READY_STATES)
            metas = (meta for _, meta in found)
        else:
            metas = hub.updates(out, timeout=timeout, interval=interval, on_interval=on_interval)
        for meta in metas:
            if on_message is not None:
                on_message(meta)
            if meta["status"] in READY_STATES:
                yield str(meta["task_id"]), meta

    async def aget_many(
        self: Any,
        task_ids: Iterable[str],
        timeout: float | None = None,  # noqa: ASYNC109 - as `get_many`
        interval: float = 0.5,
    ) -> AsyncIterator[tuple[str, Meta]]:
        """As `get_many`, without blocking the event loop."""
        out = list(dict.fromkeys(str(task_id) for task_id in task_ids))
        self.flush()
        hub: Hub | None = self.hub()
        if hub is None:
            async for found in _apoll_many(self, out, timeout, interval):
                yield found
            return
        updates = hub.aupdates(out, timeout=timeout)
        async with contextlib.aclosing(updates):  # type: ignore[type-var]  # it is a generator
            async for meta in updates:
                if meta["status"] in states.READY_STATES:
                    yield str(meta["task_id"]), meta

    def iter_native(
        self: Any,
        result: Any,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Callable[[Meta], object] | None = None,
        on_interval: Callable[[], object] | None = None,
    ) -> Iterator[tuple[str, Any]]:
        """Yield id and meta of each member of a result set as it is over; id and members of those that are sets
        themselves come first."""
        out: dict[str, list[Any]] = {}
        for node in result.results:
            if isinstance(node, ResultSet):
                yield getattr(node, "id", ""), node.results
            elif node._cache:
                yield node.id, node._cache
            else:
                out.setdefault(node.id, []).append(node)
        if not out:
            return
        for task_id, meta in self.get_many(
            list(out),
            timeout=timeout,
            interval=interval,
            no_ack=no_ack,
            on_message=on_message,
            on_interval=on_interval,
        ):
            for node in out[task_id]:
                node._maybe_set_cache(dict(meta))
            yield task_id, meta

    # -- one

    def when_ready(self: Any, task_id: str, call: Callable[[Meta], object]) -> None:
        """Call `call(meta)` from a thread of the library's, once the task is over."""
        hub: Hub | None = self.hub()
        if hub is not None:
            hub.when_ready(task_id, call)
            return

        def wait() -> None:
            call(self.wait_for(task_id))

        threading.Thread(target=wait, name=f"celery-result-{task_id}", daemon=True).start()

    def hub(self) -> Hub | None:
        """Who tells those that wait; None: this store can only be asked."""
        return None

    def add_pending_result(self, result: Any, weak: bool = False) -> Any:
        """Called before a result is waited for; returns it."""
        return result

    def remove_pending_result(self, result: Any) -> Any:
        """Called when a result is not waited for any longer; returns it."""
        return result

    @property
    def is_async(self) -> bool:
        """Whether results are consumed as messages, as with rpc."""
        return False


def _poll(
    backend: Any,
    task_id: str,
    timeout: float | None,
    interval: float,
    on_interval: Callable[[], object] | None,
) -> Meta:
    """Look every `interval` seconds."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        meta: Meta = backend.get_task_meta(task_id)
        if meta["status"] in states.READY_STATES:
            return meta
        if on_interval is not None:
            on_interval()
        time.sleep(_nap(backend, deadline, interval))


async def _apoll(backend: Any, task_id: str, timeout: float | None, interval: float) -> Meta:  # noqa: ASYNC109 - as `_poll`
    import asyncio  # noqa: PLC0415 - heavy, and only needed by those who have it already

    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        meta: Meta = await asyncio.to_thread(backend.get_task_meta, task_id)
        if meta["status"] in states.READY_STATES:
            return meta
        await asyncio.sleep(_nap(backend, deadline, interval))


def _poll_many(
    backend: Any,
    out: Sequence[str],
    timeout: float | None,
    interval: float,
    on_interval: Callable[[], object] | None,
    max_iterations: int | None,
    ready_states: frozenset[str],
) -> Iterator[tuple[str, Meta]]:
    deadline = None if timeout is None else time.monotonic() + timeout
    iterations = 0
    while out:
        found = _ready_ones(backend, out, ready_states)
        yield from found.items()
        out = [task_id for task_id in out if task_id not in found]
        iterations += 1
        if not out or (max_iterations and iterations >= max_iterations):
            return
        if on_interval is not None:
            on_interval()
        time.sleep(_nap(backend, deadline, interval))


async def _apoll_many(
    backend: Any,
    out: Sequence[str],
    timeout: float | None,  # noqa: ASYNC109 - as `_poll_many`
    interval: float,
) -> AsyncIterator[tuple[str, Meta]]:
    import asyncio  # noqa: PLC0415 - as above

    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        found = await asyncio.to_thread(_ready_ones, backend, out, states.READY_STATES)
        for item in found.items():
            yield item
        out = [task_id for task_id in out if task_id not in found]
        if not out:
            return
        await asyncio.sleep(_nap(backend, deadline, interval))


def _poll_updates(
    backend: Any,
    task_ids: Sequence[str],
    timeout: float | None,
    interval: float,
    on_interval: Callable[[], object] | None,
) -> Iterator[Meta]:
    deadline = None if timeout is None else time.monotonic() + timeout
    news = _News(backend, task_ids)
    while True:
        yield from news.look()
        if not news.out:
            return
        if on_interval is not None:
            on_interval()
        time.sleep(_nap(backend, deadline, interval))


async def _apoll_updates(
    backend: Any,
    task_ids: Sequence[str],
    timeout: float | None,  # noqa: ASYNC109 - as `_poll_updates`
    interval: float,
) -> AsyncIterator[Meta]:
    import asyncio  # noqa: PLC0415 - as above

    deadline = None if timeout is None else time.monotonic() + timeout
    news = _News(backend, task_ids)
    while True:
        for meta in await asyncio.to_thread(news.look):
            yield meta
        if not news.out:
            return
        await asyncio.sleep(_nap(backend, deadline, interval))


class _News:
    """What is new of these tasks since the last look.

    Attributes:
        out: those that are not over.
    """

    def __init__(self, backend: Any, task_ids: Sequence[str]) -> None:
        self._backend = backend
        self._seen: dict[str, tuple[str, str]] = {}
        self.out = list(task_ids)

    def look(self) -> list[Meta]:
        metas = self._backend.get_task_metas(self.out)
        news = []
        for task_id in self.out:
            meta = metas[task_id]
            # An exception is made anew by each look; what is final is not looked at again.
            final = meta["status"] in states.READY_STATES
            told = meta["status"], "" if final else repr(meta.get("result"))
            if meta["status"] != states.PENDING and self._seen.get(task_id) != told:
                self._seen[task_id] = told
                news.append({"task_id": task_id, **meta})
        self.out = [task_id for task_id in self.out if metas[task_id]["status"] not in states.READY_STATES]
        return news


def _ready_ones(backend: Any, task_ids: Sequence[str], ready_states: frozenset[str]) -> dict[str, Meta]:
    metas = backend.get_task_metas(task_ids)
    return {task_id: meta for task_id, meta in metas.items() if meta["status"] in ready_states}


def _nap(backend: Any, deadline: float | None, interval: float) -> float:
    pause: float = min(interval, backend.subpolling_interval or interval)
    if deadline is None:
        return pause
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("The operation timed out.")
    return min(pause, left)
