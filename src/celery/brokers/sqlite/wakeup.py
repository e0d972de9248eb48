"""Waking a process that waits for something to appear in the store.

A `Listener` is a datagram socket with an address that fits into a table; `nudge` sends an empty
datagram there. Nothing is lost if one goes astray: who waits looks by itself every second or so.
On Linux the socket has an abstract name and leaves no file behind; elsewhere it is a UDP
socket on the loopback interface.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_ABSTRACT = sys.platform == "linux"
_UDP = "udp:"


class Listener:
    """Somewhere to be woken. Use it with `select` on `fileno()`, then `drain()`.

    Attributes:
        address: text to be stored where those who nudge will find it.
    """

    def __init__(self) -> None:
        if _ABSTRACT:
            self.address = f"celery-{os.getpid()}-{os.urandom(6).hex()}"
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.bind("\0" + self.address)
        else:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.bind(("127.0.0.1", 0))
            self.address = f"{_UDP}{self._socket.getsockname()[1]}"
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """The descriptor to wait for; -1 once closed."""
        return self._socket.fileno()

    def drain(self) -> int:
        """Take all nudges that have come; return how many they were."""
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(16)
                count += 1
        return count

    def close(self) -> None:
        """Stop listening; a second call does nothing."""
        self._socket.close()

    def __del__(self) -> None:
        self.close()  # of a thread that has ended without


# Sending needs no state, so these serve all threads, and children after a fork.
_senders: dict[int, socket.socket] = {}


def _sender(family: int) -> socket.socket:
    sender = _senders.get(family)
    if sender is None:
        fresh = socket.socket(family, socket.SOCK_DGRAM)
        fresh.setblocking(False)
        sender = _senders.setdefault(family, fresh)
    return sender


@atexit.register
def _close_senders() -> None:
    while _senders:
        _senders.popitem()[1].close()


def nudge(addresses: Iterable[str]) -> list[str]:
    """Wake the listeners at `addresses`; never blocks.

    Returns:
        The addresses at which nobody listens any more.
    """
    gone: list[str] = []
    for address in addresses:
        try:
            if address.startswith(_UDP):
                _sender(socket.AF_INET).sendto(b"!", ("127.0.0.1", int(address[len(_UDP) :])))
            else:
                _sender(socket.AF_UNIX).sendto(b"!", "\0" + address)
        except BlockingIOError:
            pass  # its queue is full, so it will wake anyway
        except OSError:
            gone.append(address)
    return gone
