"""The tasks of a set as they end: one waiter for all of them, in this thread or on the event loop."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from .progress import Tracker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator

    from .progress import Progress
    from .sets import ResultSet

    Meta = dict[str, Any]
    Callback = Callable[[str, Any], object]


def leaves_of(results: Iterable[Any]) -> Iterator[Any]:
    """The results of single tasks, those of members that are sets included, in order."""
    for result in results:
        if _is_set(result):
            yield from leaves_of(result)
        else:
            yield result


def is_unknown(leaf: Any) -> bool:
    """Whether a leaf must be asked for; not if it is final already, or never will be."""
    return leaf._cache is None and not leaf.ignored


def arrivals(
    results: ResultSet[Any],
    *,
    no_ack: bool = True,
    on_message: Callable[[Meta], object] | None = None,
    on_progress: Callable[[Progress], object] | None = None,
    **options: Any,
) -> Generator[Any]:
    """Every leaf, as it becomes ready.

    Args:
        options: `timeout`, `interval` and `on_interval`, as `ResultSet.get` has them.
    """
    tracker = None if on_progress is None else Tracker(results, on_progress, on_message)
    out: dict[str, list[Any]] = {}
    with tracker or contextlib.nullcontext():
        yield from _here(results, out)
        if tracker is not None:
            found = tracker.follow(results.backend, **options)
        elif out:
            found = results.backend.get_many(list(out), no_ack=no_ack, on_message=on_message, **options)
        else:
            return
        for task_id, meta in found:
            yield from _settle(out.pop(task_id, ()), meta)


async def aarrivals(
    results: ResultSet[Any], *, on_progress: Callable[[Progress], object] | None = None, **options: Any
) -> AsyncGenerator[Any]:
    """`arrivals` without blocking the event loop."""
    tracker = None if on_progress is None else Tracker(results, on_progress)
    out: dict[str, list[Any]] = {}
    with tracker or contextlib.nullcontext():
        for leaf in _here(results, out):
            yield leaf
        if tracker is not None:
            found = tracker.afollow(results.backend, **options)
        elif out:
            found = results.backend.aget_many(list(out), **options)
        else:
            return
        async for task_id, meta in found:
            for leaf in _settle(out.pop(task_id, ()), meta):
                yield leaf


class Harvest:
    """What one who waits for a set gets: the values in the end, or a call for each as it arrives.

    Args:
        propagate: raise the exception of a task that failed.
        callback: called with id and value of each member; there are no values then.
    """

    def __init__(self, results: ResultSet[Any], propagate: bool, callback: Callback | None) -> None:
        self._results = results
        self._propagate = propagate
        self._callback = callback
        self._direct = {id(r) for r in results.results}

    def add(self, leaf: Any) -> None:
        """Take one that has arrived."""
        callback = self._callback if id(leaf) in self._direct else None
        if leaf.ignored:
            if callback is not None:
                callback(leaf.id, None)
        else:
            leaf.maybe_throw(propagate=self._propagate, callback=callback)

    def values(self) -> list[Any]:
        """The values of all members, in order, when all have arrived; a list for a member that is a set."""
        if self._callback is None:
            return [_value(result) for result in self._results]
        for result in self._results:
            if _is_set(result):
                self._callback(getattr(result, "id", ""), _value(result))
        return []


def _here(results: ResultSet[Any], out: dict[str, list[Any]]) -> Iterator[Any]:
    """The leaves that are ready; the others are collected in `out`, by id."""
    for leaf in leaves_of(results):
        if is_unknown(leaf):
            results.backend.add_pending_result(leaf)
            out.setdefault(leaf.id, []).append(leaf)
        else:
            yield leaf


def _settle(leaves: Iterable[Any], meta: Meta) -> Iterator[Any]:
    for leaf in leaves:
        leaf._maybe_set_cache(dict(meta))
        yield leaf


def _is_set(result: Any) -> bool:
    return getattr(result, "results", None) is not None


def _value(result: Any) -> Any:
    if _is_set(result):
        return [_value(member) for member in result]
    return None if result.ignored else result.result
