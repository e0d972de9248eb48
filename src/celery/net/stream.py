"""Blocking byte streams with deadlines, over TCP, unix sockets and TLS."""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tls import TLS

_CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Place:
    """Where to connect: a unix socket's path, or a host and port.

    Attributes:
        tls: None for none.
        keepalive: TCP keepalive; `keepalive_options` are pairs of a `socket.TCP_KEEP*` number and its value.
    """

    host: str = ""
    port: int = 0
    path: str = ""
    tls: TLS | None = None
    keepalive: bool = True
    keepalive_options: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.path or f"{host}:{self.port}"


def configure(sock: socket.socket, place: Place) -> None:
    """Set what a connection needs: no delay, keepalive."""
    if sock.family == getattr(socket, "AF_UNIX", None):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if place.keepalive:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in place.keepalive_options:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def connect(place: Place, deadline: float) -> socket.socket:
    """Connect, and shake hands if it is TLS.

    Args:
        deadline: `time.monotonic()` value.

    Raises:
        OSError: it did not work; `TimeoutError` when the deadline is over.
    """
    seconds = max(deadline - time.monotonic(), 0.001)
    if place.path:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(seconds)
            sock.connect(place.path)
        except BaseException:
            sock.close()
            raise
    else:
        sock = socket.create_connection((place.host, place.port), seconds)
    try:
        configure(sock, place)
        if place.tls is not None:
            sock.settimeout(max(deadline - time.monotonic(), 0.001))
            name = place.tls.server_hostname or place.host or None
            sock = place.tls.context.wrap_socket(sock, server_hostname=name)
        # `Stream` waits: a timeout of the socket would start anew with each byte.
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


#: Seconds that one system call waits at most, where the system itself can do that.
_SLICE = 1.0


class Stream:
    """A connected socket; every call has a deadline (`time.monotonic()`), and raises `OSError` when it fails.

    A stream that raised is of no more use. One user at a time. On a plain socket the system waits, in one call; with TLS,
    and where sockets are not what they seem (gevent), `poll` does.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._poll: Any = select.poll() if hasattr(select, "poll") else None
        self._slice = 0.0
        self._incoming: Any = None  # a poll of what comes in
        if type(sock) is socket.socket and type(sock).__module__ == "socket" and os.name == "posix":
            sock.setblocking(True)
            self._wait_at_most(_SLICE)

    def _wait_at_most(self, seconds: float) -> None:
        self._slice = seconds
        whole = int(seconds)
        value = struct.pack("ll", whole, max(int((seconds - whole) * 1e6), 1))
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of it."""
        view: Any = data
        while True:
            try:
                sent = self._sock.send(view)
            except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError):
                self._wait(deadline, writing=True)
                continue
            except ssl.SSLWantReadError:
                self._wait(deadline, writing=False)
                continue
            if sent == len(view):
                return
            view = memoryview(view)[sent:]

    def receive(self, deadline: float) -> bytes:
        """Wait for bytes and return what is there; `ConnectionResetError` at the end of the stream."""
        if self._slice:
            self._fit(deadline)
        while True:
            try:
                data = self._sock.recv(_CHUNK)
            except (BlockingIOError, InterruptedError, ssl.SSLWantReadError):
                self._wait(deadline, writing=False)
                continue
            except ssl.SSLWantWriteError:
                self._wait(deadline, writing=True)
                continue
            if not data:
                raise ConnectionResetError(errno.ECONNRESET, "Connection closed by server")
            return data

    def take(self) -> bytes:
        """What is there already, without waiting: nothing if there is nothing; raises as `receive`."""
        try:
            data = self._sock.recv(_CHUNK, socket.MSG_DONTWAIT) if self._slice else self._sock.recv(_CHUNK)
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return b""
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "Connection closed by server")
        return data

    @property
    def is_silent(self) -> bool:
        """Whether nothing has come in, surely: no bytes, no end, no error."""
        if not self._slice or self._poll is None:
            return False
        if self._incoming is None:
            self._incoming = select.poll()
            self._incoming.register(self._sock, select.POLLIN)
        return not self._incoming.poll(0)

    def is_emptied_by(self, data: bytes) -> bool:
        """Whether what `take` gave was surely all: a poll of the descriptor tells of what comes after it."""
        return bool(self._slice) and len(data) < _CHUNK

    def _fit(self, deadline: float) -> None:
        """Have the system wait no longer than until the deadline."""
        left = deadline - time.monotonic()
        if left < self._slice:
            self._wait_at_most(max(left, 0.001))
        elif self._slice < _SLICE <= left:
            self._wait_at_most(_SLICE)

    def is_quiet(self) -> bool:
        """Whether the other side has neither said anything unasked nor hung up."""
        try:
            return not self._ready(0.0, writing=False)
        except (OSError, ValueError):
            return False

    def _ready(self, seconds: float, *, writing: bool) -> bool:
        if self._poll is None:
            sock = [self._sock]
            return any(select.select([] if writing else sock, sock if writing else [], [], seconds))
        self._poll.register(self._sock, select.POLLOUT if writing else select.POLLIN)
        return bool(self._poll.poll(seconds * 1000))

    def _wait(self, deadline: float, *, writing: bool) -> None:
        left = deadline - time.monotonic()
        if self._slice and left > 0:
            self._fit(deadline)  # the system has waited, and will again
            return
        if left <= 0 or not self._ready(left, writing=writing):
            raise TimeoutError(errno.ETIMEDOUT, "timed out")

    def fileno(self) -> int:
        """Of the socket."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close it, at once."""
        self._sock.close()
