"""The spawner: a process with one thread that does nothing but fork children, reap them and signal them.

It is forked from the worker before any loop, thread or connection exists there, with the application loaded. So a
child forked at any later time inherits no loop, no lock that another thread holds and no connection, and most
of its memory is shared. It ends, and takes all children with it, when the worker does.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.concurrency.prefork.board import Board

#: Both ways: what, then three numbers.
RECORD = struct.Struct("<Iiii")
#: Signals that a terminal or a service manager sends to the whole group; the core alone decides what they mean.
GROUP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1
#: Seconds in which a process stops that is not waiting for a device.
_STOPS_WITHIN = 0.02


class Order(IntEnum):
    """What the core asks for."""

    FORK = 1  # slot, number, index
    SIGNAL = 2  # pid, signum
    EXECUTE = 3  # pid, slot: kill the child if it runs the job that the board condemns


class News(IntEnum):
    """What the spawner tells."""

    CHILD = 1  # slot, pid; the child's socket comes along
    EXIT = 2  # pid, exit code as of `os.waitstatus_to_exitcode`
    FAILED = 3  # slot, errno: could not fork


@dataclass(frozen=True, slots=True)
class Birth:
    """What a new child is told about itself.

    Attributes:
        sock: the child's end of the stream to the core.
        slot: its place on the board.
        number: counts up with every child of this worker, from 1.
        index: 1 to the pool's size; a replacement takes the place of its predecessor.
    """

    sock: socket.socket
    slot: int
    number: int
    index: int


class Spawner:
    """The spawner's whole life, in its own process.

    It is made before that is forked: memory that it wrote after its fork, it would share with its children, but not with the
    core.

    Args:
        board: where children say what they run.
        live: what a child does, from its birth to its end.
        before_fork: called before each fork with the child's name.
    """

    def __init__(
        self,
        board: Board,
        live: Callable[[Birth], NoReturn],
        before_fork: Callable[[int], None],
    ) -> None:
        self._board = board
        self._live = live
        self._before_fork = before_fork
        self._children: set[int] = set()
        self._inbox = bytearray()
        self._inherited = {number: signal.getsignal(number) for number in signal.valid_signals()}
        self._die_with_me = _parent_death_signal()
        self._core_fd = -1
        self._collects = gc.isenabled()

    def run(self, control: socket.socket, core_pid: int) -> NoReturn:
        """Serve the core until it is gone, then end all children and this process.

        Args:
            control: the stream to the core; end of file means that the core is gone.
            core_pid: of the worker.
        """
        self._control = control
        try:
            self._settle_in(core_pid)
            self._serve()
        finally:
            self._end_children()
            os._exit(0)

    def _settle_in(self, core_pid: int) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._inherited.items():
            if callable(handler):
                signal.signal(number, signal.SIG_DFL)
        for number in GROUP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        self._wakeup = os.pipe()
        for end in self._wakeup:
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, _note)
        signal.set_wakeup_fd(self._wakeup[1], warn_on_full_buffer=False)
        if hasattr(os, "pidfd_open"):
            with suppress(OSError):
                self._core_fd = os.pidfd_open(core_pid)
        # What exists now is shared by all children and never garbage: the collector need not touch it.
        gc.disable()
        gc.freeze()

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wakeup[0], select.POLLIN)
        if self._core_fd >= 0:
            # The end of file may not come if a process forked by the core holds a copy of its socket.
            poll.register(self._core_fd, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self._wakeup[0] in ready:
                self._reap()
            if self._core_fd in ready or (self._control.fileno() in ready and not self._obey()):
                return

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._wakeup[0], 4096):
                pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._has_ended(pid, status)

    def _has_ended(self, pid: int, status: int) -> None:
        if pid in self._children:
            self._children.discard(pid)
            self._tell(News.EXIT, pid, os.waitstatus_to_exitcode(status))

    def _obey(self) -> bool:
        try:
            piece = self._control.recv(65536)
        except ConnectionError:
            return False
        if not piece:
            return False
        self._inbox += piece
        whole = len(self._inbox) // RECORD.size * RECORD.size
        orders = list(RECORD.iter_unpack(bytes(self._inbox[:whole])))
        del self._inbox[:whole]
        for what, first, second, third in orders:
            if what == Order.FORK:
                self._fork(first, second, third)
            elif first in self._children:  # not reaped yet, so the number is still its own
                with suppress(ProcessLookupError):
                    if what == Order.SIGNAL:
                        os.kill(first, second)
                    elif (status := execute(self._board, first, second)) is not None:
                        self._has_ended(first, status)
        return True

    def _fork(self, slot: int, number: int, index: int) -> None:
        ours, theirs = socket.socketpair()
        self._before_fork(number)
        try:
            pid = os.fork()
        except OSError as exc:
            ours.close()
            theirs.close()
            self._tell(News.FAILED, slot, exc.errno or 0)
            return
        if pid == 0:
            self._become_child(ours)
            self._live(Birth(theirs, slot, number, index))
        theirs.close()
        self._children.add(pid)
        self._tell(News.CHILD, slot, pid, ours)
        ours.close()

    def _become_child(self, core_end: socket.socket) -> None:
        spawner = os.getppid()
        if self._die_with_me is not None:
            self._die_with_me()
            if os.getppid() != spawner:
                os._exit(1)
        signal.set_wakeup_fd(-1)
        for number in (*GROUP_SIGNALS, signal.SIGCHLD):
            kept = signal.SIG_IGN if self._inherited[number] is signal.SIG_IGN else signal.SIG_DFL
            signal.signal(number, kept)
        core_end.close()
        self._control.close()
        for fd in (*self._wakeup, self._core_fd):
            if fd >= 0:
                os.close(fd)
        if self._collects:
            gc.enable()

    def _tell(self, what: News, first: int, second: int, sock: socket.socket | None = None) -> None:
        record = RECORD.pack(what, first, second, 0)
        with suppress(ConnectionError):  # the core is gone: `_obey` will see it
            if sock is None:
                self._control.sendall(record)
            else:
                socket.send_fds(self._control, [record], [sock.fileno()])

    def _end_children(self) -> None:
        for pid in self._children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in self._children:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def execute(board: Board, pid: int, slot: int) -> int | None:
    """Kill a child for the job that the board condemns, and not for the next one, which it may begin at any moment: it is
    stopped while we look. One that does not stop at once goes on: whoever wants it dead asks again.

    Returns:
        The child's wait status, if it had ended by itself; else None.

    Raises:
        ProcessLookupError: there is no such process.
    """
    os.kill(pid, signal.SIGSTOP)
    until = time.monotonic() + _STOPS_WITHIN
    while time.monotonic() < until:
        waited, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if waited and not os.WIFSTOPPED(status):
            return status
        if waited:
            running = board.running(slot)
            if running is not None and running[0] == board.condemned(slot):
                os.kill(pid, signal.SIGKILL)
            break
        time.sleep(0.0002)
    os.kill(pid, signal.SIGCONT)
    return None


def _note(signum: int, frame: object) -> None:
    """A handler that does nothing: a signal must have one to reach the wake-up descriptor."""


def _parent_death_signal() -> Callable[[], None] | None:
    """A function that makes the kernel kill the calling process when its parent dies; None where there is none."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def die_with_parent() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    return die_with_parent
