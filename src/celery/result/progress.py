"""How far a workflow is: told to whoever waits for its result, as each of its tasks ends.

What counts are the tasks whose results the awaited one knows: itself, its members if it is a set, and those before
it (`parent`): of a chain every step, of a chord the header and the body.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery import states

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from typing import Self

    Meta = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a workflow is.

    Attributes:
        done: tasks that are over, one way or another.
        total: tasks in all, as far as the awaited result knows them.
        failed: of those over, the tasks that failed or were revoked.
        state: of the whole: PENDING while nothing is known; the state of the awaited task, if that is known;
            else STARTED. Of a set that is over: SUCCESS, or FAILURE if any task failed.
        newest: id of the task that ended last; None if none has.
        info: what a task that is not over stored last by `update_state(meta=...)`, else None.
        info_id: id of that task.
    """

    done: int
    total: int
    failed: int
    state: str
    newest: str | None = None
    info: Any = None
    info_id: str | None = None

    @property
    def fraction(self) -> float:
        """`done` of `total`, from 0 to 1."""
        return self.done / self.total if self.total else 1.0

    @property
    def over(self) -> bool:
        """Whether what is waited for is over, one way or another."""
        return self.state in states.READY_STATES


class Tracker:
    """Counts what is known of a result and of those before it, and tells.

    Args:
        result: what is waited for: of one task, or a set.
        tell: called with a `Progress` at the beginning, and whenever there is something new. If it has a method
            `close`, that is called at the end, however it comes.
        on_message: called with every meta of a task that is waited for.
    """

    def __init__(
        self,
        result: Any,
        tell: Callable[[Progress], object],
        on_message: Callable[[Meta], object] | None = None,
    ) -> None:
        self._tell = tell
        self._on_message = on_message
        self._leaves: dict[str, list[Any]] = {}
        self._wanted = {leaf.id for leaf in members_of(result)}
        self._single = None if hasattr(result, "results") else result.id
        for leaf in everything_of(result):
            self._leaves.setdefault(leaf.id, []).append(leaf)
        self._states: dict[str, str] = {
            task_id: leaves[0]._cache["status"]
            for task_id, leaves in self._leaves.items()
            if leaves[0]._cache is not None
        }
        self._failed = sum(state in states.PROPAGATE_STATES for state in self._states.values())
        self._open: set[str] = self._leaves.keys() - self._states.keys()
        self._out = self._wanted & self._open
        self._newest: str | None = None
        self._info: tuple[Any, str | None] = (None, None)

    def follow(self, backend: Any, **options: Any) -> Iterator[tuple[str, Meta]]:
        """Yield id and meta of each task that is waited for, as it is over.

        Args:
            options: for the backend's `updates`.
        """
        self.tell()
        if not self._out:
            return
        with contextlib.closing(backend.updates(self._ids(backend), **options)) as updates:
            for meta in updates:
                if self._heard(meta):
                    yield str(meta["task_id"]), meta
                if not self._out:
                    return

    async def afollow(self, backend: Any, **options: Any) -> AsyncIterator[tuple[str, Meta]]:
        """As `follow`, without blocking the event loop."""
        self.tell()
        if not self._out:
            return
        async with contextlib.aclosing(backend.aupdates(self._ids(backend), **options)) as updates:
            async for meta in updates:
                if self._heard(meta):
                    yield str(meta["task_id"]), meta
                if not self._out:
                    return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Nobody waits any longer: whoever was told is closed, if that can be."""
        close = getattr(self._tell, "close", None)
        if close is not None:
            close()

    def tell(self) -> None:
        """Tell how far it is."""
        info, info_id = self._info
        done, total = len(self._leaves) - len(self._open), len(self._leaves)
        self._tell(Progress(done, total, self._failed, self._state(), self._newest, info, info_id))

    def _ids(self, backend: Any) -> list[str]:
        """Those to hear of, the first steps first: what comes together is then told in that order."""
        ids = [task_id for task_id in reversed(self._leaves) if task_id in self._open]
        for task_id in ids:
            backend.add_pending_result(self._leaves[task_id][0])
        return ids

    def _heard(self, meta: Meta) -> bool:
        """Take in what is new of a task; True if it is waited for, and over."""
        task_id, state = str(meta["task_id"]), meta["status"]
        if task_id not in self._open:
            return False
        self._states[task_id] = state
        if self._on_message is not None and task_id in self._wanted:
            self._on_message(meta)
        if state not in states.READY_STATES:
            own = state not in states.ALL_STATES
            self._info = (meta.get("result"), task_id) if own else self._info_without(task_id)
            self.tell()
            return False
        self._open.discard(task_id)
        self._failed += state in states.PROPAGATE_STATES
        self._newest, self._info = task_id, self._info_without(task_id)
        for leaf in self._leaves[task_id]:
            leaf._maybe_set_cache(dict(meta))
        wanted = task_id in self._out
        self._out.discard(task_id)
        if not (self._out or self._failed):
            self._open = set()  # those before it succeeded, although not all of that was heard
        self.tell()
        return wanted

    def _info_without(self, task_id: str) -> tuple[Any, str | None]:
        return (None, None) if self._info[1] == task_id else self._info

    def _state(self) -> str:
        if self._single is not None and self._single in self._states:
            return self._states[self._single]
        if self._single is None and not self._out:
            return states.FAILURE if self._failed else states.SUCCESS
        return states.STARTED if self._states else states.PENDING


def members_of(result: Any) -> Iterator[Any]:
    """The tasks whose ends are waited for."""
    stack = [result]
    while stack:
        node = stack.pop()
        results = getattr(node, "results", None)
        if results is not None:
            stack.extend(results)
        elif not node.ignored:
            yield node


def everything_of(result: Any) -> Iterator[Any]:
    """The same, and the tasks before them: from the last to the first."""
    stack, seen = [result], set()
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.parent is not None:
            stack.append(node.parent)
        results = getattr(node, "results", None)
        if results is not None:
            stack.extend(results)
        elif not node.ignored:
            yield node
