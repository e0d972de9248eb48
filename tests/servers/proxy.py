"""A TCP proxy that misbehaves on demand: cut, stalled, slow, half-open and reset connections."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections import deque
from typing import Self

#: With this on, close sends RST instead of FIN.
_RESET = struct.pack("ii", 1, 0)


class _Way:
    """One direction of one connection."""

    def __init__(self, source: socket.socket, target: socket.socket, upstream: bool) -> None:
        self.source, self.target, self.upstream = source, target, upstream
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.ended = False


class Proxy:
    """Listens on `port` and forwards to a loopback port.

    All of the switches may be thrown at any time, and concern open connections too.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._lock = threading.RLock()
        self._ways: list[_Way] = []
        self._stalled = False
        self._delay = 0.0
        self._refusing = False
        self._reset_after: int | None = None
        self._closing = False
        self.accepted = 0
        self._wake, self._waker = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing = True
        self._poke()
        self._thread.join(5)
        self.cut()
        self._server.close()
        self._wake.close()
        self._waker.close()

    # -- switches
    def cut(self, *, reset: bool = False) -> None:
        """Close every connection (with RST instead of FIN if `reset`)."""
        with self._lock:
            for way in self._ways:
                self._close(way, reset=reset)
            self._ways.clear()
        self._poke()

    def stall(self) -> None:
        """Forward nothing; nobody is told (a half-open link, a cable pulled out)."""
        self._stalled = True
        self._poke()

    def flow(self) -> None:
        """Forward again, also what has piled up."""
        self._stalled = False
        self._poke()

    def forget(self) -> None:
        """Make every open connection half-open for ever; new ones work."""
        with self._lock:
            for way in self._ways:
                way.ended = True
        self._poke()

    def delay(self, seconds: float) -> None:
        """Let everything take this long on its way, each way."""
        self._delay = seconds

    def refuse(self, refusing: bool = True) -> None:
        """Close new connections at once."""
        self._refusing = refusing

    def reset_after(self, count: int) -> None:
        """Reset the connection on which the `count`-th byte from now towards the client falls, in mid-frame."""
        self._reset_after = count

    # -- the thread
    def _poke(self) -> None:
        with contextlib.suppress(OSError):
            self._waker.send(b".")

    def _run(self) -> None:
        while not self._closing:
            with selectors.DefaultSelector() as selector:
                selector.register(self._server, selectors.EVENT_READ)
                selector.register(self._wake, selectors.EVENT_READ)
                with self._lock:
                    readable = [] if self._stalled else [way for way in self._ways if not way.ended]
                    for way in readable:
                        selector.register(way.source, selectors.EVENT_READ, way)
                    due = [way.waiting[0][0] for way in readable if way.waiting]
                pause = max(0.0, min(due) - time.monotonic()) if due else None
                for key, _ in selector.select(pause):
                    if key.fileobj is self._server:
                        self._accept()
                    elif key.fileobj is self._wake:
                        self._wake.recv(4096)
                    else:
                        self._receive(key.data)
            if not self._stalled:
                with self._lock:
                    for way in list(self._ways):
                        self._send_due(way)

    def _accept(self) -> None:
        client, _ = self._server.accept()
        if self._refusing:
            client.close()
            return
        try:
            server = socket.create_connection(("127.0.0.1", self.target), 5)
        except OSError:
            client.close()
            return
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.accepted += 1
        with self._lock:
            self._ways += [_Way(client, server, True), _Way(server, client, False)]

    def _receive(self, way: _Way) -> None:
        try:
            data = way.source.recv(65536)
        except OSError:
            data = b""
        with self._lock:
            if way not in self._ways or way.ended:
                return
            if not data:
                self._drop(way)
                return
            if not way.upstream and self._reset_after is not None:
                if len(data) >= self._reset_after:
                    with contextlib.suppress(OSError):
                        way.target.sendall(data[: self._reset_after])
                    self._reset_after = None
                    self._drop(way, reset=True)
                    return
                self._reset_after -= len(data)
            way.waiting.append((time.monotonic() + self._delay, data))

    def _send_due(self, way: _Way) -> None:
        while way.waiting and way.waiting[0][0] <= time.monotonic() and not way.ended:
            _, data = way.waiting.popleft()
            try:
                way.target.sendall(data)
            except OSError:
                self._drop(way)
                return

    def _drop(self, way: _Way, *, reset: bool = False) -> None:
        """End a connection in both directions."""
        for other in [other for other in self._ways if other.source in (way.source, way.target)]:
            while other.waiting and not reset:
                with contextlib.suppress(OSError):
                    other.target.sendall(other.waiting.popleft()[1])
                    continue
                break
            self._ways.remove(other)
        self._close(way, reset=reset)

    @staticmethod
    def _close(way: _Way, *, reset: bool) -> None:
        for end in (way.source, way.target):
            with contextlib.suppress(OSError):
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.close()
