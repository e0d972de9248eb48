"""What this worker holds, has run and was told to forget.

`WorkerState` belongs to one `WorkController`. The module's names (`active_requests`, `revoked`,
`total_count`, ...) are Celery's, and show the state of the worker that was started last in this
process.
"""

from __future__ import annotations

import os
import platform
import sys
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, MutableSet
from typing import TYPE_CHECKING, Any

import celery
from celery.exceptions import ImproperlyConfigured, WorkerShutdown, WorkerTerminate
from celery.utils.collections import LimitedSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .request import Request
    from .runs import Run

__all__ = (
    "SOFTWARE_INFO",
    "active_requests",
    "maybe_shutdown",
    "reserved_requests",
    "revoked",
    "scheduled_requests",
    "task_accepted",
    "task_ready",
    "task_reserved",
    "task_scheduled",
    "total_count",
)

#: Software and version of this worker, sent with its events.
SOFTWARE_INFO = {"sw_ident": "py-celery", "sw_ver": celery.__version__, "sw_sys": platform.system()}


def _limit(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    try:
        return int(text) if text else default
    except ValueError:
        raise ImproperlyConfigured(f"environment variable {name} must be an integer, not {text!r}") from None


REVOKES_MAX = _limit("CELERY_WORKER_REVOKES_MAX", 50_000)
SUCCESSFUL_MAX = _limit("CELERY_WORKER_SUCCESSFUL_MAX", 1_000)
REVOKE_EXPIRES = _limit("CELERY_WORKER_REVOKE_EXPIRES", 10_800)
SUCCESSFUL_EXPIRES = _limit("CELERY_WORKER_SUCCESSFUL_EXPIRES", 10_800)

#: Ids that must not run (50,000 at most, the oldest after three hours first).
revoked: Any = LimitedSet(maxlen=REVOKES_MAX, expires=REVOKE_EXPIRES)
#: Header values whose messages must not run.
revoked_stamps: dict[str, Any] = {}
#: Runs by task name since the process began, over all workers of this process.
total_count: Counter[str] = Counter()
#: `[number of runs]`, for those who count without names.
all_total_count: list[int] = [0]

#: Set to an exit code (or True) and the worker ends: warm, or at once.
should_stop: int | bool | None = None
should_terminate: int | bool | None = None


class WorkerState:
    """Deliveries in flight, and counts.

    Attributes:
        runs: everything received and not settled, by tag.
        ids: the run of each id; the latest if an id is here twice.
        request_of: makes the public view of a run.
    """

    def __init__(self, request_of: Callable[[Run], Request] | None = None) -> None:
        self.runs: dict[int, Run] = {}
        self.ids: dict[str, Run] = {}
        self.totals: Counter[str] = Counter()
        self.request_of = request_of
        self.active = 0

    def add(self, run: Run) -> None:
        """Take charge of a received delivery."""
        self.runs[run.tag] = run
        self.ids[run.headers.id] = run

    def activate(self, run: Run) -> None:
        """The pool has it now."""
        if not run.active:
            run.active = True
            self.active += 1

    def deactivate(self, run: Run) -> None:
        """The pool has it no longer."""
        if run.active:
            run.active = False
            self.active -= 1

    def remove(self, run: Run) -> None:
        """It is settled, or not ours any more."""
        if run.active:
            run.active = False
            self.active -= 1
        self.runs.pop(run.tag, None)
        task_id = run.headers.id
        if self.ids.get(task_id) is run:
            del self.ids[task_id]

    def count(self, names: Iterable[str]) -> None:
        """One more run of each of these tasks has ended."""
        for name in names:
            self.totals[name] += 1
            total_count[name] += 1
            all_total_count[0] += 1


class _Current:
    """Which worker's state the module's names show."""

    state: WorkerState = WorkerState()


def use(state: WorkerState) -> None:
    """Make the module's names show `state`."""
    _Current.state = state


def current() -> WorkerState:
    """The state that the module's names show."""
    return _Current.state


class RequestsView(MutableSet[Any]):
    """A live set of requests: those of the current worker that a condition picks, and any added by hand."""

    def __init__(self, picks: Callable[[Run], bool]) -> None:
        self._picks = picks
        self._added: weakref.WeakSet[Any] = weakref.WeakSet()

    def _shown(self) -> list[Any]:
        state = _Current.state
        if state.request_of is None:
            return []
        return [state.request_of(run) for run in list(state.runs.values()) if self._picks(run)]

    def __iter__(self) -> Iterator[Any]:
        shown = self._shown()
        return iter(shown + [request for request in self._added if request not in shown])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, request: object) -> bool:
        return request in self._added or request in self._shown()

    def add(self, request: Any) -> None:
        self._added.add(request)

    def discard(self, request: Any) -> None:
        self._added.discard(request)

    def clear(self) -> None:
        """Forget what was added by hand."""
        self._added.clear()

    def __repr__(self) -> str:
        return f"{{{', '.join(map(repr, self))}}}"


class RequestsById(Mapping[str, Any]):
    """A live mapping of task id to request."""

    def __iter__(self) -> Iterator[str]:
        return (request.id for request in reserved_requests)

    def __len__(self) -> int:
        return len(reserved_requests)

    def __getitem__(self, task_id: str) -> Any:
        for request in reserved_requests:
            if request.id == task_id:
                return request
        raise KeyError(task_id)


#: Everything received and not settled.
reserved_requests = RequestsView(lambda run: True)
#: What the pool has.
active_requests = RequestsView(lambda run: run.active)
#: Always empty of our own: messages that are not due wait in the broker.
scheduled_requests = RequestsView(lambda run: False)
#: Ids of late-acknowledged tasks that succeeded, for `worker_deduplicate_successful_tasks`.
successful_requests: Any = LimitedSet(maxlen=SUCCESSFUL_MAX, expires=SUCCESSFUL_EXPIRES)
requests = RequestsById()


def task_reserved(request: Any) -> None:
    """Show a request as reserved."""
    reserved_requests.add(request)
    scheduled_requests.discard(request)


def task_scheduled(request: Any) -> None:
    """Show a request as waiting for its time."""
    scheduled_requests.add(request)


def task_accepted(request: Any) -> None:
    """Show a request as active, and count it."""
    active_requests.add(request)
    total_count[request.name] += 1
    all_total_count[0] += 1


def task_ready(request: Any, successful: bool = False) -> None:
    """Show a request no longer."""
    if successful:
        successful_requests.add(request.id)
    for view in (reserved_requests, active_requests, scheduled_requests):
        view.discard(request)


def revoke_stamps(headers: Mapping[str, Any]) -> None:
    """Remember stamps whose messages must not run.

    Args:
        headers: a value, or a list of values, by stamp.
    """
    for header, given in headers.items():
        values = given if isinstance(given, (list, tuple, set)) else [given]
        known = revoked_stamps.setdefault(header, LimitedSet(maxlen=REVOKES_MAX, expires=REVOKE_EXPIRES))
        known.update(list(values))


def revoked_by(stamps: Mapping[str, Any] | None) -> dict[str, Any]:
    """Which of a message's stamps are revoked."""
    found: dict[str, Any] = {}
    for header, given in (stamps or {}).items():
        known = revoked_stamps.get(header)
        if not known:
            continue
        values = given if isinstance(given, (list, tuple, set)) else [given]
        hits = [value for value in values if _is_hashable(value) and value in known]
        if hits:
            found[header] = hits
    return found


def _is_hashable(value: Any) -> bool:
    return type(value).__hash__ is not None


def merge_revoked(task_ids: Iterable[str]) -> None:
    """Add ids that other workers know as revoked."""
    revoked.update(task_ids)


def reset_state() -> None:
    """Forget what was added by hand, and every count."""
    for view in (reserved_requests, active_requests, scheduled_requests):
        view.clear()
    total_count.clear()
    all_total_count[:] = [0]
    revoked.clear()
    revoked_stamps.clear()
    successful_requests.clear()


def __getattr__(name: str) -> Any:
    if name == "Persistent":
        from .statedb import Persistent  # noqa: PLC0415 - few workers keep a file

        return Persistent
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def told_to(value: int | bool | None) -> bool:
    """Whether `should_stop` or `should_terminate` says yes: 0 is an exit code, so it does."""
    return value is not None and value is not False


def maybe_shutdown() -> None:
    """Raise `WorkerTerminate` or `WorkerShutdown` if the worker was told to end.

    Raises:
        WorkerTerminate: `should_terminate` is set.
        WorkerShutdown: `should_stop` is set.
    """
    module = sys.modules[__name__]
    if told_to(module.should_terminate):
        raise WorkerTerminate(module.should_terminate)
    if told_to(module.should_stop):
        raise WorkerShutdown(module.should_stop)
