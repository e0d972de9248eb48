"""A picture of a cluster, made of its events.

    >>> state = State()
    >>> _ = state.event({"type": "task-received", "uuid": "1", "name": "add", "hostname": "w1", "clock": 1, "timestamp": 9.0})
    >>> state.tasks["1"]
    <Task: add(1) RECEIVED clock:1>

Events may come in any order, and more than once. What a task was said to be first never overrides what it was said to be
later, by the order of states: it only fills in what is not known yet.
"""

from __future__ import annotations

import threading
import weakref
from bisect import insort
from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from celery import states
from celery._public import publish
from celery.utils.lru import LRUCache

from .entities import TASK_EVENT_TO_STATE, Task, Worker, heartbeat_expires

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from . import entities

__all__ = ("TASK_EVENT_TO_STATE", "State", "Task", "Worker", "heartbeat_expires")

#: Children that are known before their parent: of so many parents.
_UNBORN = 10_000


class CallableDefaultdict(defaultdict[Any, Any]):
    """A `defaultdict` that can also be called, with what it was made for: `tasks_by_type`.

    Args:
        fun: what a call does.
    """

    def __init__(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self.fun = fun
        super().__init__(*args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fun(*args, **kwargs)


class _Moment(NamedTuple):
    """When something was said of a task."""

    clock: int
    timestamp: float
    id: str
    task: weakref.ref[Task]

    @property
    def when(self) -> tuple[int, float, str]:
        return self[:3]


def _when(moment: _Moment) -> tuple[int, float, str]:
    return moment[:3]


class State:
    """Workers and tasks, as the events that were handed to `event` tell of them. Safe to use from many threads.

    Args:
        callback: called with this and each event, when that was taken note of.
        workers, tasks: what is known already.
        max_workers_in_memory, max_tasks_in_memory: of more, those that were not heard of for longest are forgotten.
        on_node_join, on_node_leave: called with a `Worker` that came or went.

    Attributes:
        workers: `Worker` by node name.
        tasks: `Task` by id.
        event_count, task_count: events, and tasks received, so far.
    """

    Worker: type[entities.Worker] = Worker
    Task: type[entities.Task] = Task
    event_count = 0
    task_count = 0
    #: So many moments are kept for each task.
    heap_multiplier = 4

    def __init__(
        self,
        callback: Callable[[Any, dict[str, Any]], Any] | None = None,
        workers: Mapping[str, entities.Worker] | None = None,
        tasks: Mapping[str, entities.Task] | None = None,
        taskheap: Any = None,
        max_workers_in_memory: int = 5000,
        max_tasks_in_memory: int = 10000,
        on_node_join: Callable[[entities.Worker], Any] | None = None,
        on_node_leave: Callable[[entities.Worker], Any] | None = None,
        tasks_by_type: Any = None,
        tasks_by_worker: Any = None,
    ) -> None:
        self.event_callback = callback
        self.workers = LRUCache(max_workers_in_memory)
        self.tasks = LRUCache(max_tasks_in_memory)
        self.workers.update(workers or {})
        self.max_workers_in_memory = max_workers_in_memory
        self.max_tasks_in_memory = max_tasks_in_memory
        self.on_node_join = on_node_join
        self.on_node_leave = on_node_leave
        self._mutex = threading.RLock()
        self._taskheap: list[_Moment] = []
        self._unborn: dict[str, weakref.WeakSet[entities.Task]] = {}
        self.tasks_by_type = CallableDefaultdict(self._tasks_by_type, weakref.WeakSet)
        self.tasks_by_worker = CallableDefaultdict(self._tasks_by_worker, weakref.WeakSet)
        for uuid, task in (tasks or {}).items():
            task.cluster_state = self
            self.tasks[uuid] = task
        for task in self.tasks.values():
            self._index(task)
            self._join_family(task)
        self.rebuild_taskheap()

    # -- events -----------------------------------------------------------------------------------
    def event(self, event: dict[str, Any]) -> Any:
        """Take note of an event.

        Returns:
            `((object, whether it is new), what happened)`, what happened being `received` of `task-received`; None for an
            event that is not about a worker or a task.
        """
        with self._mutex:
            made = self._event(event)
        if self.event_callback is not None:
            self.event_callback(self, event)
        return made

    def _event(self, event: dict[str, Any]) -> Any:
        self.event_count += 1
        group, _, subject = event["type"].partition("-")
        fields = {name: value for name, value in event.items() if name != "type"}
        if group == "worker":
            return self._worker_event(subject, fields), subject
        if group == "task":
            return self._task_event(subject, fields), subject
        return None

    def worker_event(self, type_: str, fields: dict[str, Any]) -> Any:
        """Take note of what a worker says; `type_` is `online`, `heartbeat`, ..."""
        return self.event({**fields, "type": f"worker-{type_}"})[0]

    def task_event(self, type_: str, fields: dict[str, Any]) -> Any:
        """Take note of what is said of a task; `type_` is `received`, `started`, ..."""
        return self.event({**fields, "type": f"task-{type_}"})[0]

    def _worker_event(self, subject: str, fields: dict[str, Any]) -> tuple[entities.Worker, bool]:
        hostname = fields.pop("hostname")
        timestamp, received = fields.pop("timestamp", None), fields.pop("local_received", None)
        worker = self.workers.get(hostname)
        created = worker is None
        if worker is None:
            worker = self.workers[hostname] = self.Worker(hostname)
        was_alive = not created and bool(worker.heartbeats)
        worker.event(subject, timestamp, received, fields)
        if subject == "offline":
            if self.on_node_leave is not None:
                self.on_node_leave(worker)
        elif not was_alive and self.on_node_join is not None:
            self.on_node_join(worker)
        return worker, created

    def _task_event(self, subject: str, fields: dict[str, Any]) -> tuple[entities.Task, bool]:
        uuid, hostname = fields.pop("uuid"), fields.pop("hostname", None)
        timestamp, received = fields.pop("timestamp", None), fields.pop("local_received", None)
        clock = fields.get("clock") or 0
        task = self.tasks.get(uuid)
        created = task is None
        if task is None:
            task = self.tasks[uuid] = self.Task(uuid, cluster_state=self)
        if subject == "sent":
            task.client = hostname
            origin = hostname or ""
        else:
            worker = self._worker_of(hostname)
            worker.clock = max(worker.clock, clock)
            task.worker = worker
            origin = worker.id
        if subject == "received":
            self.task_count += 1
        self._remember(_Moment(clock, timestamp or 0.0, origin, weakref.ref(task)))
        task.event(subject, timestamp, received, fields)
        self._index(task)
        if created or task.parent_id is not None:
            self._join_family(task)
        return task, created

    def _worker_of(self, hostname: Any) -> entities.Worker:
        worker: entities.Worker | None = self.workers.get(hostname)
        if worker is None:
            worker = self.workers[hostname] = self.Worker(hostname)
        return worker

    def _index(self, task: entities.Task) -> None:
        if task.name is not None:
            self.tasks_by_type[task.name].add(task)
        if task.worker is not None:
            self.tasks_by_worker[task.worker.hostname].add(task)

    def _join_family(self, task: entities.Task) -> None:
        """Know its parent, and children that came before it."""
        assert task.uuid is not None
        if (unborn := self._unborn.pop(task.uuid, None)) is not None:
            task.children.update(unborn)
        if task.parent_id is None or task.parent_id == task.uuid:
            return
        parent = self.tasks.data.get(task.parent_id)
        if parent is not None:
            parent.children.add(task)
            return
        self._unborn.setdefault(task.parent_id, weakref.WeakSet()).add(task)
        if len(self._unborn) > _UNBORN:
            del self._unborn[next(iter(self._unborn))]

    def _remember(self, moment: _Moment) -> None:
        heap = self._taskheap
        if not heap or heap[-1].when <= moment.when:
            heap.append(moment)
        else:
            insort(heap, moment, key=_when)
        most = self.max_tasks_in_memory * self.heap_multiplier
        if len(heap) > most + most // 10:  # not one by one: all that follow are moved
            del heap[: len(heap) - most]

    # -- asking -----------------------------------------------------------------------------------
    def get_or_create_worker(self, hostname: str, **kwargs: Any) -> tuple[entities.Worker, bool]:
        """A worker by its node name, and whether it is new here; `kwargs` are set on it."""
        with self._mutex:
            worker = self.workers.get(hostname)
            if worker is not None:
                worker.update(kwargs)
                return worker, False
            worker = self.workers[hostname] = self.Worker(hostname, **kwargs)
            return worker, True

    def get_or_create_task(self, uuid: str) -> tuple[entities.Task, bool]:
        """A task by its id, and whether it is new here."""
        with self._mutex:
            task = self.tasks.get(uuid)
            if task is not None:
                return task, False
            task = self.tasks[uuid] = self.Task(uuid, cluster_state=self)
            return task, True

    def itertasks(self, limit: int | None = None) -> Iterator[tuple[str, entities.Task]]:
        """Ids and tasks, those first that were not heard of for longest."""
        with self._mutex:
            pairs = list(self.tasks.items())
        return islice(iter(pairs), limit or None)

    def tasks_by_time(
        self, limit: int | None = None, reverse: bool = True
    ) -> Iterator[tuple[str, entities.Task]]:
        """Ids and tasks by the time at which something was last said of them, the latest first."""
        with self._mutex:
            moments = list(self._taskheap)
        return islice(self._each_once(moments[::-1] if reverse else moments), limit or None)

    tasks_by_timestamp = tasks_by_time

    @staticmethod
    def _each_once(moments: Iterable[_Moment]) -> Iterator[tuple[str, entities.Task]]:
        seen: set[str] = set()
        for moment in moments:
            task = moment.task()
            if task is not None and task.uuid is not None and task.uuid not in seen:
                seen.add(task.uuid)
                yield task.uuid, task

    def _tasks_by_type(
        self, name: str, limit: int | None = None, reverse: bool = True
    ) -> Iterator[tuple[str, entities.Task]]:
        """Ids and tasks of that name, by time."""
        found = (pair for pair in self.tasks_by_time(reverse=reverse) if pair[1].name == name)
        return islice(found, limit or None)

    def _tasks_by_worker(
        self, hostname: str, limit: int | None = None, reverse: bool = True
    ) -> Iterator[tuple[str, entities.Task]]:
        """Ids and tasks that this worker has had, by time."""
        found = (
            pair
            for pair in self.tasks_by_time(reverse=reverse)
            if pair[1].worker is not None and pair[1].worker.hostname == hostname
        )
        return islice(found, limit or None)

    def task_types(self) -> list[str]:
        """Names of the tasks that were heard of, sorted."""
        return sorted(self.tasks_by_type)

    def alive_workers(self) -> Iterator[entities.Worker]:
        """Workers that were heard of lately."""
        with self._mutex:
            workers = list(self.workers.values())
        return (worker for worker in workers if worker.alive)

    # -- the whole --------------------------------------------------------------------------------
    def freeze_while(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `fun` while no event is taken note of; return its answer. `clear_after=True`: forget all then."""
        clear_after = kwargs.pop("clear_after", False)
        with self._mutex:
            try:
                return fun(*args, **kwargs)
            finally:
                if clear_after:
                    self._clear()

    def clear_tasks(self, ready: bool = True) -> None:
        """Forget tasks: those that have ended, or all (`ready=False`)."""
        with self._mutex:
            self._clear_tasks(ready)

    def _clear_tasks(self, ready: bool = True) -> None:
        kept = [(uuid, task) for uuid, task in self.tasks.items() if task.state not in states.READY_STATES]
        self.tasks.clear()
        if ready:
            self.tasks.update(kept)
            alive = {id(task) for _, task in kept}
            self._taskheap[:] = [moment for moment in self._taskheap if id(moment.task()) in alive]
        else:
            self._taskheap[:] = []

    def clear(self, ready: bool = True) -> None:
        """Forget workers, counts and tasks; see `clear_tasks`."""
        with self._mutex:
            self._clear(ready)

    def _clear(self, ready: bool = True) -> None:
        self.workers.clear()
        self._clear_tasks(ready)
        self.event_count = 0
        self.task_count = 0

    def rebuild_taskheap(self) -> None:
        """Make the order in time anew, from what is known of each task."""
        with self._mutex:
            moments = [
                _Moment(task.clock or 0, task.timestamp or 0.0, task.origin or "", weakref.ref(task))
                for task in self.tasks.values()
            ]
            self._taskheap[:] = sorted(moments, key=_when)

    def __reduce__(self) -> Any:
        with self._mutex:
            return _made_anew, (
                State if type(self).__module__ == __name__ else type(self),
                self.__reduce_args__(),
            )

    def __reduce_args__(self) -> tuple[Any, ...]:
        return (
            self.event_callback,
            dict(self.workers),
            dict(self.tasks),
            None,
            self.max_workers_in_memory,
            self.max_tasks_in_memory,
            self.on_node_join,
            self.on_node_leave,
        )

    def __repr__(self) -> str:
        return f"<State: events={self.event_count} tasks={self.task_count}>"


def _made_anew(cls: type[State], arguments: tuple[Any, ...]) -> State:
    return cls(*arguments)


publish(globals(), "Task", "Worker", "heartbeat_expires")
