"""Workers and tasks as their events tell of them."""

from __future__ import annotations

import logging
import time
import weakref
from bisect import insort
from typing import TYPE_CHECKING, Any

from celery import states

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .state import State

logger = logging.getLogger("celery.events.state")

#: A worker counts as gone when nothing was heard of it for so many percent of its interval.
HEARTBEAT_EXPIRE_WINDOW = 200
#: Seconds by which a worker's clock may be off before that is said.
HEARTBEAT_DRIFT_MAX = 16
#: What a worker's heartbeats are kept for: the last few of them.
HEARTBEAT_MAX = 4

DRIFT_WARNING = "Substantial drift from %s may mean clocks are out of sync.  Current drift is %s seconds.  [orig: %s recv: %s]"

#: What the last word of a task event says about its state.
TASK_EVENT_TO_STATE: dict[str, str] = {
    "sent": states.PENDING,
    "received": states.RECEIVED,
    "started": states.STARTED,
    "failed": states.FAILURE,
    "retried": states.RETRY,
    "succeeded": states.SUCCESS,
    "revoked": states.REVOKED,
    "rejected": states.REJECTED,
}


def heartbeat_expires(
    timestamp: float, freq: float = 60, expire_window: float = HEARTBEAT_EXPIRE_WINDOW
) -> float:
    """Unix time at which a worker that was heard of at `timestamp` counts as gone.

    >>> heartbeat_expires(100.0, freq=2)
    104.0
    """
    return float(timestamp) + float(freq) * (float(expire_window) / 1e2)


class Worker:
    """What is known of a worker.

    Attributes:
        heartbeats: unix times at which it was heard of, the last four, in order.
        freq: seconds between two.
        active, processed, loadavg: what it said last.
    """

    heartbeat_max = HEARTBEAT_MAX
    expire_window = HEARTBEAT_EXPIRE_WINDOW

    _fields = (
        *("hostname", "pid", "freq", "heartbeats", "clock", "active", "processed", "loadavg"),
        *("sw_ident", "sw_ver", "sw_sys"),
    )
    __slots__ = (*_fields, "__dict__", "__weakref__")

    def __init__(
        self,
        hostname: str | None = None,
        pid: int | None = None,
        freq: float = 60,
        heartbeats: list[float] | None = None,
        clock: int = 0,
        active: int | None = None,
        processed: int | None = None,
        loadavg: Any = None,
        sw_ident: str | None = None,
        sw_ver: str | None = None,
        sw_sys: str | None = None,
    ) -> None:
        self.hostname = hostname
        self.pid = pid
        self.freq = freq
        self.heartbeats = [] if heartbeats is None else heartbeats
        self.clock = clock or 0
        self.active = active
        self.processed = processed
        self.loadavg = loadavg
        self.sw_ident = sw_ident
        self.sw_ver = sw_ver
        self.sw_sys = sw_sys

    def event(
        self,
        type_: str | None,
        timestamp: float | None = None,
        local_received: float | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Take note of an event.

        Args:
            type_: `online`, `heartbeat`, `offline`, ...
            timestamp: when it happened there; local_received: when it came here.
        """
        for name, value in (fields or {}).items():
            setattr(self, name, value)
        if type_ == "offline":
            self.heartbeats.clear()
            return
        if not local_received or not timestamp:
            return
        drift = abs(int(local_received) - int(timestamp))
        if drift > HEARTBEAT_DRIFT_MAX:
            _warn_drift(self.hostname, drift, local_received, timestamp)
        insort(self.heartbeats, local_received)
        del self.heartbeats[: -self.heartbeat_max]

    def update(self, f: Mapping[str, Any], **kw: Any) -> None:
        """Set attributes."""
        for name, value in {**f, **kw}.items():
            setattr(self, name, value)

    @property
    def status_string(self) -> str:
        """`ONLINE` or `OFFLINE`."""
        return "ONLINE" if self.alive else "OFFLINE"

    @property
    def heartbeat_expires(self) -> float:
        """Unix time at which it counts as gone, unless it is heard of before."""
        return heartbeat_expires(self.heartbeats[-1], self.freq, self.expire_window)

    @property
    def alive(self) -> bool:
        """Whether it was heard of lately."""
        return bool(self.heartbeats) and time.time() < self.heartbeat_expires

    @property
    def id(self) -> str:
        """`hostname.pid`."""
        return f"{self.hostname}.{self.pid}"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Worker):
            return self.hostname == other.hostname
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.hostname)

    def __reduce__(self) -> Any:
        return type(self), tuple(getattr(self, name) for name in self._fields)

    def __repr__(self) -> str:
        return f"<Worker: {self.hostname} ({self.status_string} clock:{self.clock})>"


_warned: set[str | None] = set()


def _warn_drift(hostname: str | None, drift: int, received: float, timestamp: float) -> None:
    """Once for each host."""
    if hostname not in _warned:
        _warned.add(hostname)
        logger.warning(DRIFT_WARNING, hostname, drift, _date(timestamp), _date(received))


def _date(timestamp: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(timestamp))


class Task:
    """What is known of a task. Times are unix times; what is not known is None.

    Attributes:
        client: node name of whoever sent it; worker: the `Worker` that has it.
        args, kwargs, result, exception, traceback: texts.
        timestamp, clock: of the event that says most.
        children: tasks that name it as their parent, a weak set.
    """

    name: str | None = None
    received: float | None = None
    sent: float | None = None
    started: float | None = None
    succeeded: float | None = None
    failed: float | None = None
    retried: float | None = None
    revoked: float | None = None
    rejected: float | None = None
    args: str | None = None
    kwargs: str | None = None
    eta: str | None = None
    expires: str | None = None
    retries: int | None = None
    worker: Worker | None = None
    result: str | None = None
    exception: str | None = None
    timestamp: float | None = None
    runtime: float | None = None
    traceback: str | None = None
    exchange: str | None = None
    routing_key: str | None = None
    root_id: str | None = None
    parent_id: str | None = None
    client: str | None = None
    state: str = states.PENDING
    clock: int = 0

    _fields = (
        *(
            "uuid",
            "name",
            "state",
            "received",
            "sent",
            "started",
            "rejected",
            "succeeded",
            "failed",
            "retried",
        ),
        *(
            "revoked",
            "args",
            "kwargs",
            "eta",
            "expires",
            "retries",
            "worker",
            "result",
            "exception",
            "timestamp",
        ),
        *("runtime", "traceback", "exchange", "routing_key", "clock", "client", "root", "root_id", "parent"),
        *("parent_id", "children"),
    )
    _info_fields = (
        *(
            "args",
            "kwargs",
            "retries",
            "result",
            "eta",
            "runtime",
            "expires",
            "exception",
            "exchange",
            "routing_key",
        ),
        *("root_id", "parent_id"),
    )
    #: Fields that an event of a state may still add when the task is known to be further; of others, all.
    merge_rules = {  # noqa: RUF012 - Celery's name, and its kind
        states.RECEIVED: ("name", "args", "kwargs", "parent_id", "root_id", "retries", "eta", "expires"),
    }

    def __init__(
        self,
        uuid: str | None = None,
        cluster_state: State | None = None,
        children: Iterable[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.uuid = uuid
        self.cluster_state = cluster_state
        found: Iterable[Task] = ()
        if cluster_state is not None:
            known = cluster_state.tasks
            found = [known[child] for child in children or () if child in known]
        self.children: weakref.WeakSet[Task] = weakref.WeakSet(found)
        for name, value in kwargs.items():
            setattr(self, name, value)

    def event(
        self,
        type_: str,
        timestamp: float | None = None,
        local_received: float | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Take note of an event.

        Args:
            type_: `sent`, `received`, ...; of one that is not known, the state is that word.
        """
        state = TASK_EVENT_TO_STATE.get(type_) or type_.upper()
        given = dict(fields or {})
        setattr(self, type_, timestamp)
        before = states.precedence(state) > states.precedence(self.state)
        if before and states.RETRY not in (state, self.state):
            keep = self.merge_rules.get(state, given)
            for name in keep:
                if given.get(name) is not None and getattr(self, name, None) is None:
                    setattr(self, name, given[name])
            return
        given.update(state=state, timestamp=timestamp)
        for name, value in given.items():
            setattr(self, name, value)

    def info(self, fields: Iterable[str] | None = None, extra: Iterable[str] | None = None) -> dict[str, Any]:
        """What is worth showing of it, of these fields and more ones; what is not known is left out."""
        names = [*(self._info_fields if fields is None else fields), *(extra or ())]
        found = ((name, getattr(self, name, None)) for name in names)
        return {name: value for name, value in found if value is not None}

    def as_dict(self) -> dict[str, Any]:
        """Every field; other tasks by their ids."""
        shown = {
            name: getattr(self, name) for name in self._fields if name not in ("root", "parent", "children")
        }
        shown["root"], shown["parent"] = self.root_id, self.parent_id
        shown["children"] = [child.uuid for child in self.children]
        return {name: shown[name] for name in self._fields}

    @property
    def ready(self) -> bool:
        """Whether it has ended."""
        return self.state in states.READY_STATES

    @property
    def id(self) -> str | None:
        """Its `uuid`."""
        return self.uuid

    @property
    def origin(self) -> str | None:
        """Who has it, or has sent it."""
        return self.client if self.worker is None else self.worker.id

    @property
    def parent(self) -> Task | None:
        """The task that sent it, if it is known."""
        return self._other(self.parent_id)

    @property
    def root(self) -> Task | None:
        """The task that began the workflow, if it is known."""
        return self._other(self.root_id)

    def _other(self, uuid: str | None) -> Task | None:
        if uuid is None or self.cluster_state is None:
            return None
        found: Task | None = self.cluster_state.tasks.data.get(uuid)
        return found

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Task):
            return self.uuid == other.uuid
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.uuid)

    def __reduce__(self) -> Any:
        return _depickle_task, (type(self), self.as_dict())

    def __repr__(self) -> str:
        return f"<Task: {self.name}({self.uuid}) {self.state} clock:{self.clock}>"


def _depickle_task(cls: type[Task], fields: dict[str, Any]) -> Task:
    kept = {name: value for name, value in fields.items() if name not in ("root", "parent", "children")}
    return cls(**kept)
