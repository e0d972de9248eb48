"""Results as messages: `rpc://`. A worker sends a result to the queue that the caller named in its message.

A process has one such queue, for all of its threads and event loops; it exists from the first call on. What has come in
is kept until somebody asks for it, at most as long as results live. Only the process that called a task can get its result.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import threading
import time
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, NamedTuple

from celery import states
from celery._state import task_join_will_block
from celery.brokers.base import BrokerError, BrokerUnavailable, Outgoing, Replies, ReplyingBroker
from celery.brokers.topology import Exchange
from celery.message.headers import LazyObject
from celery.net.readable import readable
from celery.utils import uuid

from .base import BaseBackend
from .encoding import unreadable
from .rows import Rows
from .simple_chords import NoChords
from .waiting import Hub, hub_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from celery.brokers.base import Broker, Delivery

    from .chords import Chords

    Meta = dict[str, Any]

logger = logging.getLogger(__name__)

#: Seconds for one attempt to send results.
_PATIENCE = 10.0
#: Results that were read are remembered for those who ask again, this many.
_REMEMBERED = 1000

E_NO_CHORDS = """\
The "rpc" result backend does not support chords!

Note that a group chained with a task is also upgraded to be a chord,
as this pattern requires synchronization.

Result backends that supports chords: Redis, Database, Memcached, and more."""


class _Row(NamedTuple):
    """A result that is ready to be sent."""

    task_id: str
    correlation_id: str
    address: str
    value: bytes | str


class _NoChords(NoChords):
    def ensure_allowed(self) -> None:
        """Refuse, in Celery's words."""
        raise NotImplementedError(E_NO_CHORDS)


class _Inbox:
    """What has come in: ids and metas. Safe for threads.

    Args:
        seconds: how long what nobody asks for is kept; None: as long as the process lives.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._new: OrderedDict[str, tuple[float, Meta]] = OrderedDict()
        self._read: OrderedDict[str, Meta] = OrderedDict()

    def put(self, metas: Mapping[str, Meta]) -> None:
        now = time.monotonic()
        with self._lock:
            for task_id, meta in metas.items():
                self._new[task_id] = (now, meta)
                self._new.move_to_end(task_id)
            while self._seconds and self._new and now - next(iter(self._new.values()))[0] > self._seconds:
                self._new.popitem(last=False)

    def get(self, task_id: str) -> Meta | None:
        with self._lock:
            found = self._new.get(task_id)
            if found is None:
                return self._read.get(task_id)
            if found[1]["status"] in states.READY_STATES:
                del self._new[task_id]
                self._read[task_id] = found[1]
                if len(self._read) > _REMEMBERED:
                    self._read.popitem(last=False)
            return found[1]

    def forget(self, task_id: str) -> None:
        with self._lock:
            self._new.pop(task_id, None)
            self._read.pop(task_id, None)


class _Own:
    """What one app has in this process. A fork gets another one.

    Attributes:
        name: of the reply queue.
    """

    def __init__(self, app: Any, expires: float | None) -> None:
        self.app = app
        self.name: str = uuid()
        self.inbox = _Inbox(expires)
        self._expires = expires
        self._replies: Replies | None = None

    @property
    def replies(self) -> Replies:
        """The receiving end, made when first needed."""
        replies = self._replies
        if replies is None:
            with _process.lock:
                replies = self._replies
                if replies is None:
                    broker = self.app.broker_for_read()
                    replies = self._replies = _replies(broker, self.name, self._expires)
        return replies


class _Process:
    lock = threading.RLock()


_process = _Process()
#: By the app's identity.
_owned: dict[int, _Own] = {}
#: Reply queues of the processes that this one was forked from.
_inherited: set[str] = set()


def _in_child() -> None:
    _inherited.update(own.name for own in _owned.values())
    _owned.clear()
    _process.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


class _Listener:
    """See `waiting.Wakeable`."""

    def __init__(self, source: _Source, replies: Replies) -> None:
        self._source = source
        self.replies = replies
        self.wait = replies.wait
        self.fileno = replies.fileno
        self.wake = replies.wake
        self.close = replies.close

    def collect(self) -> Mapping[str, Meta]:
        """Take what has come."""
        return self._source.take(self.replies)


class _Source:
    """See `waiting.Source`: what came in for this process."""

    arm_blocks = True
    peek_blocks = True

    def __init__(self, backend: RPCBackend) -> None:
        self._backend = backend
        self._listener: _Listener | None = None

    def listen(self) -> _Listener:
        self._listener = _Listener(self, self._backend.replies)
        return self._listener

    def arm(self, task_ids: Sequence[str], listener: Any) -> Mapping[str, Meta]:
        listener.replies.prepare()
        return self._known(task_ids)

    def disarm(self, task_ids: Sequence[str], listener: Any) -> None:
        """Whatever comes is kept."""

    def peek(self, task_ids: Sequence[str]) -> Mapping[str, Meta]:
        replies = self._backend.replies
        replies.check()
        self.take(replies)
        return self._known(task_ids)

    def take(self, replies: Replies) -> Mapping[str, Meta]:
        """Read what has come, keep it, and return it by id."""
        metas: dict[str, Meta] = {}
        for delivery in replies.collect():
            meta = self._backend.meta_of(delivery)
            if meta is not None:
                metas[meta["task_id"]] = meta
        if metas:
            self._backend.inbox.put(metas)
        return metas

    def _known(self, task_ids: Sequence[str]) -> Mapping[str, Meta]:
        get = self._backend.inbox.get
        return {task_id: meta for task_id in task_ids if (meta := get(task_id)) is not None}


class RPCBackend(BaseBackend):
    """Results as messages. Needs a broker; does no chords, keeps no groups.

    Args:
        url: `rpc://`; results go through the app's broker.
    """

    supports_autoexpire = True
    supports_native_join = True
    persistent = False
    keeps_results = False

    def __init__(self, app: Any, url: str | None = None, **kwargs: Any) -> None:
        super().__init__(app, url=url or "rpc://", **kwargs)
        persistent = self.prepare_persistent(kwargs.get("persistent"))
        self._delivery_mode = 2 if persistent else 1
        self.persistent = persistent
        self._rows: Rows[_Row] = Rows(self._send, self._insist_on_storing, _Row._make)

    @property
    def is_async(self) -> bool:
        """Results are consumed as messages."""
        return True

    def make_chords(self) -> Chords:
        """There are none: who reads a result takes it away."""
        return _NoChords(self, "rpc results are read once, by whoever called the task")

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """The broker may come back."""
        return isinstance(exc, BrokerUnavailable)

    # -- where results come in

    @property
    def oid(self) -> str:
        """The name of this process's reply queue."""
        return self._mine().name

    def is_inherited(self, address: str) -> bool:
        """Whether a reply queue is that of a process from which this one was forked: nobody here hears it."""
        return address in _inherited

    def reply_address(self) -> str:
        """Where results shall go, as a message says; the queue exists when this returns, unless a task calls: it does
        not wait.

        Raises:
            OperationalError: the broker cannot be reached.
        """
        if not task_join_will_block():
            try:
                self.replies.prepare()
            except BrokerError as error:
                from celery.brokers.publishing import publish_error  # noqa: PLC0415 - rarely needed

                raise publish_error("", error) from error
        return self.oid

    def _mine(self) -> _Own:
        """What belongs to this process: all backends of one app share it."""
        own = _owned.get(id(self.app))
        if own is None:
            with _process.lock:
                own = _owned.get(id(self.app))
                if own is None:
                    own = _owned[id(self.app)] = _Own(self.app, self.expires)
        return own

    @property
    def inbox(self) -> _Inbox:
        """What has come in and was not asked for."""
        return self._mine().inbox

    @property
    def replies(self) -> Replies:
        """This process's end of its reply queue."""
        return self._mine().replies

    def hub(self) -> Hub:
        """Who tells those that wait."""
        return hub_of(("rpc", self.oid), _Source(self))

    def meta_of(self, delivery: Delivery) -> Meta | None:
        """Read a result; None if the message is none."""
        task_id = ""
        try:
            task_id = str(delivery.properties.value.get("correlation_id") or "")
            meta: Meta = self.decode_result(delivery.body)
        except Exception as exc:  # noqa: BLE001 - one bad message must not stop those who wait for others
            if not task_id:
                logger.warning("A message that is no result came in: %r", exc)
                return None
            return unreadable(task_id, exc)
        meta.setdefault("task_id", task_id)
        return meta

    def _get_task_meta_for(self, task_id: str) -> Meta:
        found = _Source(self).peek((task_id,)).get(task_id)
        return {"status": states.PENDING, "result": None} if found is None else found

    def _forget(self, task_id: str) -> None:
        self.inbox.forget(task_id)

    # -- where they go out

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        address = getattr(request, "reply_to", None)
        if not address:
            return result  # nobody asked for it
        meta = self._get_result_meta(result, state, traceback, request)
        meta["task_id"] = task_id
        row = _Row(task_id, getattr(request, "correlation_id", None) or task_id, address, self.encode(meta))
        self._rows.keep(row, state, request)
        return result

    def _send(self, rows: Sequence[_Row]) -> None:
        outcomes = (
            self.app.broker_for_write()
            .publisher()
            .publish([self._message(row) for row in rows], deadline=time.monotonic() + _PATIENCE)
        )
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    def _message(self, row: _Row) -> Outgoing:
        return Outgoing(
            row.value.encode() if isinstance(row.value, str) else row.value,
            LazyObject(value={}),
            LazyObject(
                value={
                    "content_type": self.content_type,
                    "content_encoding": self.content_encoding,
                    "correlation_id": row.correlation_id,
                    "delivery_mode": self._delivery_mode,
                    "priority": 0,
                }
            ),
            routing_key=row.address,
            mandatory=False,  # who asked for it may be gone
        )


def _replies(broker: Broker, name: str, expires: float | None) -> Replies:
    if isinstance(broker, ReplyingBroker):
        return broker.replies(name, expires=expires)
    return _Mailed(broker, name, expires)


class _Mailed:
    """See `Replies`: over a mailbox, which a thread of its own reads."""

    def __init__(self, broker: Broker, name: str, expires: float | None) -> None:
        self._broker = broker
        self._name = name
        self._expires = expires or 365 * 86400.0
        self._batch: deque[Delivery] = deque()
        self._wake, self._waker = socket.socketpair()
        for end in (self._wake, self._waker):
            end.setblocking(False)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._error: Exception | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def prepare(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._error = None
                self._ready.clear()
                self._thread = threading.Thread(target=self._run, name="celery-replies", daemon=True)
                self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error

    def check(self) -> None:
        with contextlib.suppress(BrokerError):
            self.prepare()

    def _run(self) -> None:
        try:
            asyncio.run(self._read())
        except Exception as error:  # noqa: BLE001 - whoever prepares again hears of it
            self._error = error
        finally:
            self._ready.set()

    async def _read(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        box = await self._broker.mailbox(self._name, Exchange(), self._name, expires=self._expires)
        self._ready.set()
        try:
            while True:
                self._batch.extend(await box.receive())
                self.wake()
        except asyncio.CancelledError:
            await box.aclose()

    def wait(self, seconds: float) -> bool:
        return readable(self._wake, seconds)

    def fileno(self) -> int:
        return self._wake.fileno()

    def collect(self) -> list[Delivery]:
        with contextlib.suppress(BlockingIOError, InterruptedError):
            self._wake.recv(65536)
        found = []
        with contextlib.suppress(IndexError):
            while True:
                found.append(self._batch.popleft())
        return found

    def wake(self) -> None:
        with contextlib.suppress(OSError):
            self._waker.send(b".")

    def close(self) -> None:
        loop, task, thread = self._loop, self._task, self._thread
        if loop is not None and task is not None and thread is not None and thread.is_alive():
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(task.cancel)
            thread.join(2.0)
        self._wake.close()
        self._waker.close()
