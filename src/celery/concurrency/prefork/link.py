"""The core's end of the spawner: start it, send it orders, hear its news."""

from __future__ import annotations

import os
import socket
import sys
import warnings
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from celery.concurrency.prefork.spawner import RECORD, News, Order

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_CLOEXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
#: Ends of sockets that only this process may hold: any process forked from it closes them, or else the other
#: side would not see that this process has died.
_private: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def keep_private(sock: socket.socket) -> None:
    """See to it that no forked process keeps a copy of `sock`."""
    _private.add(sock)


def _close_private() -> None:
    for sock in list(_private):
        sock.close()
    _private.clear()


os.register_at_fork(after_in_child=_close_private)


class Listener(Protocol):
    """Who hears the spawner's news."""

    def born(self, slot: int, pid: int, sock: socket.socket) -> None: ...

    def exited(self, pid: int, exitcode: int) -> None: ...

    def unborn(self, slot: int, errno: int) -> None:
        """The spawner could not fork."""

    def gone(self) -> None:
        """The spawner has ended, and with it every child."""


class Link:
    """A running spawner.

    Args:
        serve: what the new process does, given its end of the socket and the core's pid; never returns.
    """

    def __init__(self, serve: Callable[[socket.socket, int], object]) -> None:
        self._sock, theirs = socket.socketpair()
        self._sock.setblocking(False)
        keep_private(self._sock)
        core_pid = os.getpid()
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        self.pid = _fork_quietly()
        if self.pid == 0:
            try:
                serve(theirs, core_pid)
            except BaseException:  # noqa: BLE001 - last stop of this process
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(70)
        theirs.close()
        self._inbox = bytearray()
        self._socks: list[int] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: Listener | None = None

    def attach(self, loop: asyncio.AbstractEventLoop, listener: Listener) -> None:
        """Hear the spawner's news on `loop`."""
        self._loop, self._listener = loop, listener
        loop.add_reader(self._sock.fileno(), self._readable)

    def fork(self, slot: int, number: int, index: int) -> None:
        """Ask for a child; `Listener.born` or `unborn` will tell."""
        self._order(Order.FORK, slot, number, index)

    def signal(self, pid: int, signum: int) -> None:
        """Send a signal to a child. Nothing happens if it has ended."""
        self._order(Order.SIGNAL, pid, signum, 0)

    def execute(self, pid: int, slot: int) -> None:
        """Kill a child if, and only if, it still runs the job that the board condemns."""
        self._order(Order.EXECUTE, pid, slot, 0)

    def hang_up(self) -> None:
        """Tell the spawner to kill all children and to end; `Listener.gone` will tell."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Hang up and forget the spawner; for one that was never attached, or that is gone."""
        if self._sock.fileno() < 0:
            return
        if self._loop is not None:
            self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def _order(self, what: Order, first: int, second: int, third: int) -> None:
        # Orders are a few bytes each and few are under way: the socket's buffer never fills.
        with suppress(ConnectionError):
            self._sock.send(RECORD.pack(what, first, second, third))

    def _readable(self) -> None:
        assert self._listener is not None
        try:
            piece, fds, _, _ = socket.recv_fds(self._sock, 65536, 16, _CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return
        except ConnectionError:
            piece, fds = b"", []
        self._socks.extend(fds)
        if not piece:
            self.close()
            self._listener.gone()
            return
        self._inbox += piece
        whole = len(self._inbox) // RECORD.size * RECORD.size
        news = list(RECORD.iter_unpack(bytes(self._inbox[:whole])))
        del self._inbox[:whole]
        for what, first, second, _third in news:
            if what == News.CHILD:
                self._listener.born(first, second, _adopt(self._socks.pop(0)))
            elif what == News.EXIT:
                self._listener.exited(first, second)
            else:
                self._listener.unborn(first, second)


def _adopt(fd: int) -> socket.socket:
    os.set_inheritable(fd, False)
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    keep_private(sock)
    return sock


def _fork_quietly() -> int:
    with warnings.catch_warnings():
        # Python warns of forking while other threads run. Only this thread goes on in the new process,
        # and it takes no lock that another one could hold there: it waits on a socket and forks.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()
