"""Context-local storage, and a thread that takes its process down when it crashes."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from contextlib import contextmanager
from contextvars import ContextVar
from threading import TIMEOUT_MAX as THREAD_TIMEOUT_MAX
from threading import get_ident
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from celery.local import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = (
    "Local",
    "LocalManager",
    "LocalStack",
    "bgThread",
    "bound_open_broker_sockets",
    "default_socket_timeout",
    "get_ident",
)

T = TypeVar("T")


@contextmanager
def default_socket_timeout(timeout: float | None) -> Iterator[None]:
    """Set the default timeout of new sockets, in seconds, for the time of a block (whole process)."""
    import socket  # noqa: PLC0415 - most programs never come here

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def bound_open_broker_sockets(connection: Any, timeout: float | None) -> Iterator[None]:
    """Give the open sockets of a kombu connection a timeout for the time of a block.

    Args:
        connection: a `kombu.Connection`; one that is not connected has no sockets.
        timeout: seconds; None changes nothing.
    """
    changed = []
    for sock in _open_broker_sockets(connection) if timeout is not None else ():
        before = sock.gettimeout()
        # Never loosen, and leave non-blocking sockets to the loop that owns them.
        if before is None or before > timeout:
            sock.settimeout(timeout)
            changed.append((sock, before))
    try:
        yield
    finally:
        for sock, before in changed:
            if sock.fileno() >= 0:
                sock.settimeout(before)


def _open_broker_sockets(connection: Any) -> list[Any]:
    live = getattr(connection, "_connection", None)
    candidates = [getattr(getattr(live, "transport", None), "sock", None), getattr(live, "sock", None)]
    for channel in list(getattr(live, "channels", None) or ()):
        clients = (getattr(channel, "client", None), getattr(channel, "subclient", None))
        candidates += [getattr(getattr(client, "connection", None), "_sock", None) for client in clients]
    return [sock for sock in candidates if hasattr(sock, "settimeout")]


class bgThread(threading.Thread):  # noqa: N801, RUF100 - the public name
    """A daemon thread that calls `body()` until `stop()`; if that raises, the process ends.

    Its owner counts on it: a process that goes on without would be worse than one that is restarted.
    """

    def __init__(self, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(name=name or type(self).__name__, daemon=True, **kwargs)
        # Celery's names; note that Thread has a private `_is_stopped` of its own.
        self.__is_shutdown = threading.Event()
        self.__is_stopped = threading.Event()

    @property
    def _is_shutdown(self) -> threading.Event:
        return self.__is_shutdown

    def body(self) -> None:
        """One round of work."""
        raise NotImplementedError

    def on_crash(self, msg: str, *fmt: Any, **kwargs: Any) -> None:
        """Say on stderr that and why the thread crashed."""
        print(msg.format(*fmt), file=sys.stderr)  # noqa: T201 - logging may be what is broken
        traceback.print_exc(None, sys.stderr)

    def run(self) -> None:
        try:
            while not self.__is_shutdown.is_set():
                try:
                    self.body()
                except Exception as exc:  # noqa: BLE001 - whatever it was: the process ends
                    try:
                        self.on_crash("{0!r} crashed: {1!r}", self.name, exc)
                        self.__is_stopped.set()
                    finally:
                        sys.stderr.flush()
                        os._exit(1)
        finally:
            self.__is_stopped.set()

    def stop(self) -> None:
        """Ask the thread to end after the present round and wait for it."""
        self.__is_shutdown.set()
        self.__is_stopped.wait()
        if self.is_alive():
            self.join(THREAD_TIMEOUT_MAX)


def release_local(local: Local | LocalStack[Any]) -> None:
    """Forget what the present context holds in `local`."""
    local.__release_local__()


class Local:
    """Attributes of which every thread and asyncio task has its own."""

    __slots__ = ("__storage",)

    def __init__(self) -> None:
        storage: ContextVar[dict[str, Any]] = ContextVar("celery_local")
        object.__setattr__(self, "_Local__storage", storage)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self.__storage.get({}).items())

    def __call__(self, proxy: str) -> Proxy:
        """A proxy for the attribute called `proxy`."""
        return Proxy(getattr, (self, proxy))

    def __release_local__(self) -> None:
        self.__storage.set({})

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__storage.get({})[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        # Copied, never changed in place: a context made from this one shares the old mapping.
        self.__storage.set({**self.__storage.get({}), name: value})

    def __delattr__(self, name: str) -> None:
        values = dict(self.__storage.get({}))
        if name not in values:
            raise AttributeError(name)
        del values[name]
        self.__storage.set(values)


class LocalStack(Generic[T]):
    """A stack of which every thread and asyncio task has its own.

    A task made within a context starts with what that context holds; what it pushes, only it sees.
    """

    # Nested pairs: pushing shares all that lies below, and no context can change another's.
    def __init__(self) -> None:
        self._top: ContextVar[tuple[T, Any] | None] = ContextVar("celery_stack", default=None)

    def push(self, obj: T) -> None:
        """Put `obj` on top."""
        self._top.set((obj, self._top.get()))

    def pop(self) -> T | None:
        """Take the top off and return it; None if the stack is empty."""
        node = self._top.get()
        if node is None:
            return None
        self._top.set(node[1])
        return node[0]

    def __call__(self) -> Any:
        """A proxy for whatever is on top; touching it while the stack is empty is a RuntimeError."""
        return Proxy(self._lookup)

    def _lookup(self) -> T:
        node = self._top.get()
        if node is None:
            raise RuntimeError("object unbound")
        return node[0]

    def __release_local__(self) -> None:
        self._top.set(None)

    def __len__(self) -> int:
        return len(self.stack)

    def __bool__(self) -> bool:
        return self._top.get() is not None

    @property
    def stack(self) -> list[T]:
        """What it holds, lowest first (a copy)."""
        return _flatten(self._top.get())

    @property
    def top(self) -> T | None:
        """What is on top; None if the stack is empty."""
        node = self._top.get()
        return None if node is None else node[0]


def _flatten(node: tuple[T, Any] | None) -> list[T]:
    items: list[T] = []
    while node is not None:
        items.append(node[0])
        node = node[1]
    items.reverse()
    return items


_LocalStack = LocalStack
_FastLocalStack = LocalStack


class LocalManager:
    """Releases several locals at once.

    Args:
        locals: one or several `Local` or `LocalStack`.
        ident_func: what tells contexts apart, for those who ask; default: the thread's ident.
    """

    def __init__(
        self,
        locals: Local | LocalStack[Any] | Iterable[Any] | None = None,  # noqa: A002 - the public name
        ident_func: Callable[[], Any] | None = None,
    ) -> None:
        if locals is None:
            self.locals: list[Any] = []
        elif isinstance(locals, (Local, LocalStack)):
            self.locals = [locals]
        else:
            self.locals = list(locals)
        self.ident_func: Callable[[], Any] = ident_func or get_ident

    def get_ident(self) -> Any:
        """What tells the present context from others."""
        return self.ident_func()

    def cleanup(self) -> None:
        """Release everything (to be called at the end of a request)."""
        for local in self.locals:
            release_local(local)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} storages: {len(self.locals)}>"
