"""Waiting for results: one hub per store and process, for any number of waiting threads and coroutines.

Everybody who waits has an *entry*: the ids that are still out, and what has come in. What becomes known is
dispatched to the entries of all who asked, whoever found out.

A store that other processes write to has a *listener*, which can be slept on until something that we asked for was
stored. Some listeners hear the results themselves, others only that there is something to read. One of the waiting
threads *leads*: it sleeps on the listener, takes (or reads) the results of everybody's ids in one go, and dispatches
them; the others sleep on their own events. When the leader has what it wanted it wakes another one, who leads. An event
loop with waiting coroutines watches the listener's descriptor too. A store inside this process needs no listener:
whoever stores dispatches.

News may get lost (a crash between commit and nudge, a cut connection), so somebody looks every `LOOK_EVERY` seconds,
and everybody before giving up.
Hubs belong to a process: after a fork the child makes its own.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import logging
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from celery.exceptions import TimeoutError  # noqa: A004 - the public name
from celery.states import READY_STATES
from celery.utils.locks import TAKEN, Bell, holding

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Mapping, Sequence

    Meta = dict[str, Any]

logger = logging.getLogger(__name__)

#: Seconds between looks that nobody asked for.
LOOK_EVERY = 1.0


class Wakeable(Protocol):
    """Somewhere to sleep until something was stored that we armed for. Safe to use from many threads."""

    def wait(self, seconds: float) -> bool:
        """Sleep until there is something to collect, at most so long; False if there is nothing."""

    def fileno(self) -> int:
        """A descriptor for event loops that is readable while there is something to collect; always the same."""

    def collect(self) -> Mapping[str, Meta] | None:
        """Take what has come: the results themselves, or None: the store must be looked at."""

    def wake(self) -> None:
        """End the sleep of whoever sleeps."""

    def close(self) -> None: ...


class Source(Protocol):
    """A store that can tell when a result changes."""

    @property
    def arm_blocks(self) -> bool:
        """Whether `arm` may take longer than an event loop can wait."""

    @property
    def peek_blocks(self) -> bool:
        """Whether `peek` may."""

    def listen(self) -> Wakeable | None:
        """A new listener; None if results are dispatched by whoever stores them."""

    def arm(self, task_ids: Sequence[str], listener: Wakeable | None) -> Mapping[str, Meta]:
        """Ask to be told about these, and return those that are there already (in any state), unless the listener
        will hear of them too."""

    def disarm(self, task_ids: Sequence[str], listener: Wakeable | None) -> None:
        """These are not waited for any longer, although they did not become ready."""

    def peek(self, task_ids: Sequence[str]) -> Mapping[str, Meta]:
        """Those of these results that are there, in any state."""


class _Entry:
    """One who waits."""

    __slots__ = ("bell", "fresh", "guest", "out", "seen", "wake")

    def __init__(self, task_ids: Sequence[str], wake: Callable[[], object] | None = None) -> None:
        self.out = set(task_ids)
        self.fresh: deque[Meta] = deque()
        self.seen: dict[str, Meta] = {}
        self.bell = Bell()
        self.wake: Callable[[], object] = self.bell.ring if wake is None else wake
        #: It does not wait for the bell, so it cannot lead.
        self.guest = wake is not None

    def offer(self, task_id: str, meta: Meta) -> bool:
        """Take in what is new; True if it was."""
        if task_id not in self.out or self.seen.get(task_id) == meta:
            return False
        if meta["status"] in READY_STATES:
            self.out.discard(task_id)
            self.seen.pop(task_id, None)
        else:
            self.seen[task_id] = meta
        self.fresh.append(meta)
        return True


class _Pump:
    """A thread that waits for those who left a function to be called."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._lock = threading.Lock()
        self._entry = _Entry(())
        self._calls: dict[_Entry, Callable[[Meta], object]] = {}
        self._running = False

    def add(self, task_id: str, call: Callable[[Meta], object]) -> None:
        entry = _Entry((task_id,), lambda: self._hub.poke(self._entry))
        with self._lock:
            self._calls[entry] = call
            start, self._running = not self._running, True
        self._hub.join(entry)
        if start:
            threading.Thread(target=self._run, name="celery-results", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._hub.pause(self._entry, time.monotonic() + LOOK_EVERY)
            self._entry.fresh.clear()
            for entry in list(self._calls):
                self._deliver(entry)
            with self._lock:
                if not self._calls:
                    self._running = False
                    return

    def _deliver(self, entry: _Entry) -> None:
        while entry.fresh:
            meta = entry.fresh.popleft()
            if meta["status"] in READY_STATES:
                call = self._calls.pop(entry)
                self._hub.leave(entry, (str(meta["task_id"]),))
                try:
                    call(meta)
                except Exception:
                    logger.exception("A function that was to be called with a result raised an exception")


class Hub:
    """Who waits for what, in this process, of one store.

    Args:
        source: the store. Its methods are called from whichever thread finds something to do.
    """

    def __init__(self, source: Source) -> None:
        self.pid = os.getpid()
        self._source = source
        self._lock = threading.Lock()
        self._entries: dict[str, list[_Entry]] = {}
        self._members: set[_Entry] = set()
        self._leading = threading.Lock()
        self._leader: _Entry | None = None
        self._leader_thread = 0
        self._listener: Wakeable | None = None
        self._listening = False
        self._looked = 0.0
        self._loops: dict[asyncio.AbstractEventLoop, int] = {}
        self._pump = _Pump(self)

    # -- the waiting

    def updates(
        self,
        task_ids: Sequence[str],
        *,
        timeout: float | None = None,
        interval: float = LOOK_EVERY,
        on_interval: Callable[[], object] | None = None,
    ) -> Iterator[Meta]:
        """Yield every new state of these results as it becomes known, until all are ready.

        Args:
            timeout: seconds for all of them together; None: no limit.
            interval: seconds between calls of `on_interval`.

        Raises:
            TimeoutError: not all were ready in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        entry = _Entry(task_ids)
        with self._member(entry):
            self.dispatch(self._source.arm(task_ids, self._listener))
            while True:
                while entry.fresh:
                    yield entry.fresh.popleft()
                if not entry.out:
                    return
                now = time.monotonic()
                until = now + (interval if on_interval else LOOK_EVERY)
                if deadline is not None:
                    if now >= deadline:
                        self._look_again(entry)
                        continue
                    until = min(until, deadline)
                self.pause(entry, until)
                if on_interval is not None:
                    on_interval()

    async def aupdates(self, task_ids: Sequence[str], *, timeout: float | None = None) -> AsyncIterator[Meta]:  # noqa: ASYNC109 - Celery's name; works without cancelling
        """As `updates`, awaited. Only the first registration, which writes, leaves the loop's thread."""
        import asyncio  # noqa: PLC0415 - heavy, and only needed by those who have it already

        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        ready = asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(ready.set)

        entry = _Entry(task_ids, wake)
        with self._member(entry), self._watched_by(loop):
            self.dispatch(await self._arm_aside(asyncio, task_ids))
            while True:
                while entry.fresh:
                    yield entry.fresh.popleft()
                if not entry.out:
                    return
                pause = LOOK_EVERY
                if deadline is not None:
                    pause = min(pause, deadline - loop.time())
                    if pause <= 0:
                        await asyncio.to_thread(self._look_again, entry)
                        continue
                try:
                    async with asyncio.timeout(pause):
                        await ready.wait()
                    ready.clear()
                except builtins.TimeoutError:
                    if self._look_is_due():
                        await asyncio.to_thread(self._look)

    async def _arm_aside(self, asyncio: Any, task_ids: Sequence[str]) -> Mapping[str, Meta]:
        if self._listener is None or not self._source.arm_blocks:
            return self._source.arm(task_ids, self._listener)
        found: Mapping[str, Meta] = await asyncio.to_thread(self._source.arm, task_ids, self._listener)
        return found

    def dispatch(self, metas: Mapping[str, Meta]) -> None:
        """Tell everybody who waits for these what became of them. Callable from any thread."""
        with self._lock:
            to_wake = [
                entry
                for task_id, meta in metas.items()
                for entry in self._entries.get(task_id, ())
                if entry.offer(task_id, meta)
            ]
            for task_id, meta in metas.items():
                if (
                    meta["status"] in READY_STATES
                ):  # nobody waits for it any longer, so it is not looked for again
                    self._entries.pop(task_id, None)
            leader = self._leader
        for entry in to_wake:
            entry.wake()
            if entry is leader and self._leader_thread != threading.get_ident() and self._listener:
                self._listener.wake()  # it sleeps on the listener, not for its bell

    def changed(self, task_id: str) -> None:
        """This result was stored by this process: tell those that wait for it."""
        if task_id in self._entries:
            self.dispatch(self._source.peek((task_id,)))

    def when_ready(self, task_id: str, call: Callable[[Meta], object]) -> None:
        """Call `call(meta)` from a thread of ours, once the task is over."""
        self._pump.add(task_id, call)

    # -- inside

    @contextlib.contextmanager
    def _member(self, entry: _Entry) -> Iterator[None]:
        task_ids = tuple(entry.out)
        self._listen()
        try:
            self._enter(entry, task_ids)
            yield
        finally:
            self.leave(entry, task_ids)

    def join(self, entry: _Entry) -> None:
        """Add one who waits, and offer what is known already."""
        task_ids = tuple(entry.out)
        self._enter(entry, task_ids)
        self.dispatch(self._source.arm(task_ids, self._listener))

    def _enter(self, entry: _Entry, task_ids: Sequence[str]) -> None:
        self._listen()
        with self._lock:
            self._members.add(entry)
            for task_id in task_ids:
                self._entries.setdefault(task_id, []).append(entry)

    def leave(self, entry: _Entry, task_ids: Sequence[str]) -> None:
        """Remove one who waited for these."""
        with self._lock:
            self._members.discard(entry)
            for task_id in task_ids:
                waiting = self._entries.get(task_id, [])
                if entry in waiting:
                    waiting.remove(entry)
                    if not waiting:
                        del self._entries[task_id]
            orphans = [task_id for task_id in entry.out if task_id not in self._entries]
        if orphans:
            self._source.disarm(orphans, self._listener)
        if self._leader is None and self._listener is not None:
            self._promote(entry)  # it may have been woken to lead, and had its result already

    def poke(self, entry: _Entry) -> None:
        """Let the thread that pauses for `entry` go on."""
        entry.fresh.append({})
        entry.bell.ring()
        with self._lock:
            leads = self._leader is entry and self._leader_thread != threading.get_ident()
        if leads and self._listener is not None:
            self._listener.wake()

    def _listen(self) -> None:
        if self._listening:
            return
        with self._lock:
            if not self._listening:
                self._listener = self._source.listen()
                self._listening = True

    def pause(self, entry: _Entry, until: float) -> None:
        """Sleep until there is something for `entry`, or until the time `until` (monotonic) has come."""
        if self._listener is None or not self._led(entry, self._listener, until):
            entry.bell.wait(until)

    def _led(self, entry: _Entry, listener: Wakeable, until: float) -> bool:
        """Lead, and then hand that on; False if somebody else leads."""
        done: Any = None
        try:
            done = holding(self._leading, 0, self._lead, entry, listener, until)
        finally:
            if done is not TAKEN:
                self._promote(entry)
        return done is not TAKEN

    def _lead(self, entry: _Entry, listener: Wakeable, until: float) -> None:
        try:
            with self._lock:
                self._leader, self._leader_thread = entry, threading.get_ident()
            while not entry.fresh:
                left = until - time.monotonic()
                if left <= 0:
                    return
                if listener.wait(min(left, LOOK_EVERY)):
                    self._collect(listener)
                else:
                    self._look()
        finally:
            self._leader = None

    def _collect(self, listener: Wakeable) -> None:
        found = listener.collect()
        if found is None:
            self._look()
        elif found:
            self.dispatch(found)

    def _promote(self, retiring: _Entry) -> None:
        """Wake one of those who follow: it will find that nobody leads."""
        with self._lock:
            followers = (e for e in self._members if e is not retiring and not e.guest and not e.fresh)
            heir = next(followers, None)
        if heir is not None:
            heir.bell.ring()

    def _look(self) -> None:
        self._looked = time.monotonic()
        with self._lock:
            task_ids = list(self._entries)
        if task_ids:
            self.dispatch(self._source.peek(task_ids))

    def _look_is_due(self) -> bool:
        return time.monotonic() - self._looked >= LOOK_EVERY / 2

    def _look_again(self, entry: _Entry) -> None:
        """The last look of one whose time is up.

        Raises:
            TimeoutError: there was nothing new.
        """
        self.dispatch(self._source.peek(list(entry.out)))
        if not entry.fresh:
            raise TimeoutError("The operation timed out.")

    @contextlib.contextmanager
    def _watched_by(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Let a loop watch the listener for as long as one of its coroutines waits."""
        listener = self._listener
        if listener is None:
            yield
            return
        with self._lock:
            users = self._loops[loop] = self._loops.get(loop, 0) + 1
        if users == 1:
            loop.add_reader(listener.fileno(), self._on_readable, loop, listener)
        try:
            yield
        finally:
            with self._lock:
                users = self._loops[loop] = self._loops[loop] - 1
                if not users:
                    del self._loops[loop]
            if not users:
                loop.remove_reader(listener.fileno())

    def _on_readable(self, loop: asyncio.AbstractEventLoop, listener: Wakeable) -> None:
        found = listener.collect()
        if found:
            self.dispatch(found)
        elif found is None and self._source.peek_blocks:
            loop.run_in_executor(None, self._look)
        elif found is None:
            self._look()

    def close(self) -> None:
        """Close the listener. Takes no lock: after a fork another thread may have held it."""
        listener, self._listener, self._listening = self._listener, None, False
        if listener is not None:
            listener.close()


_hubs: dict[Hashable, Hub] = {}


def hub_of(key: Hashable, source: Source) -> Hub:
    """The hub of a store in this process, made if there is none.

    Args:
        key: what identifies the store: all backends of one key share a hub.
    """
    hub = _hubs.get(key)
    if hub is None or hub.pid != os.getpid():
        if hub is not None:
            hub.close()
            _hubs.pop(key, None)
        hub = _hubs.setdefault(key, Hub(source))
    return hub


@atexit.register
def _close_hubs() -> None:
    for hub in _hubs.values():
        hub.close()
