"""The one connection of a process on which results arrive: `SUBSCRIBE`, and `MGET` in the same write.

A result is published under its own key when it is stored. Whoever waits subscribes to the key and, behind that on the
same connection, reads it: so either the answer holds the result or the message comes. What arrives is taken by
whoever has time (`collect`), for everybody. What is ready is unsubscribed at once.

A lost connection is made again when the store is looked at (at once, and then every second or so), with all
subscriptions; what was stored meanwhile is found by looking once more. A silent one is pinged, and given up when it
does not answer.

Redis limits what may wait to be read by a subscriber, and hangs up when it is more. So only the first look goes this
way; all others (`Source.peek`) use an ordinary connection.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import selectors
import socket
import ssl
import threading
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from celery.brokers.base import BrokerError
from celery.brokers.redis.connection import Connection
from celery.brokers.redis.errors import translate
from celery.net.stream import Stream, connect
from celery.states import READY_STATES
from celery.wire.resp import ErrorReply, Parser, ProtocolError, Push, pack, pack_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from celery.brokers.redis.locate import Locator
    from celery.brokers.redis.settings import Settings

    Meta = dict[str, Any]

logger = logging.getLogger(__name__)

#: Seconds of silence after which a connection is pinged, and seconds that it may take to answer.
QUIET = 10.0
#: Keys read or subscribed by one command.
AT_ONCE = 500
#: Subscriptions that are of no more use are ended with the next write that has another reason, or when they are so many.
STALE = 16
_CHUNK = 1 << 16  # with more the C library maps memory for every read
_PING = pack("PING")


class Subscription:
    """Hears of results as they are stored: a listener for `celery.backends.waiting.Hub`.

    Args:
        settings, locator: where Redis is.
        read: makes a meta of a key and what is stored under it.
        quiet: seconds of silence before a ping.
    """

    def __init__(
        self,
        settings: Settings,
        locator: Locator,
        read: Callable[[str, bytes], Meta],
        quiet: float = QUIET,
    ) -> None:
        self._settings = settings
        self._locator = locator
        self._read = read
        self._quiet = quiet
        self._lock = threading.Lock()
        self._keys: set[str] = set()
        self._stale: dict[str, None] = {}  # subscribed and not wanted any longer, in order
        self._sock: socket.socket | None = None
        self._stream: Stream | None = None
        self._parser = Parser()
        #: What the answers to come belong to: keys that are read, or None for a ping.
        self._asked: deque[Sequence[str] | None] = deque()
        #: Subscriptions that are not confirmed yet, by key. What comes before that is of an earlier one, and old.
        self._unconfirmed: Counter[str] = Counter()
        #: Subscriptions made again and not yet confirmed; after the last the store must be looked at.
        self._again = 0
        self._heard = self._asking = 0.0  # when something came last; since when there is an answer to come
        self._told = ""
        self._woken = False
        self._selector = selectors.DefaultSelector()
        self._wakeup, self._waker = socket.socketpair()
        for end in (self._wakeup, self._waker):
            end.setblocking(False)
        self._selector.register(self._wakeup, selectors.EVENT_READ)

    @property
    def connected(self) -> bool:
        """Whether `want` will not have to connect."""
        return self._stream is not None

    # -- wanting

    def want(self, keys: Sequence[str]) -> None:
        """Hear of these from now on, and of what they hold already."""
        with self._lock:
            fresh = [key for key in keys if key not in self._keys]
            self._keys.update(fresh)
            if self._stream is None:
                self._connect()
                return
            try:
                self._unconfirmed.update(fresh)
                self._send(self._unsubscribing() + _subscribe(fresh) + self._reading(keys))
            except BaseException:  # cut short: what is asked and what is answered do not fit any longer
                self._lost(InterruptedError(errno.EINTR, "interrupted"))
                raise

    def forget(self, keys: Iterable[str]) -> None:
        """Do not hear of these any longer."""
        with self._lock:
            known = [key for key in keys if key in self._keys]
            self._keys.difference_update(known)
            self._stale.update(dict.fromkeys(known))
            if len(self._stale) >= STALE:
                self._send(self._unsubscribing())

    def check(self) -> None:
        """Called now and then while nothing comes: connect again, or make sure that it still lives."""
        now = time.monotonic()
        with self._lock:
            if self._stream is None:
                if self._keys:
                    self._connect()
            elif self._asked:
                if now - max(self._heard, self._asking) >= self._quiet:
                    self._lost(TimeoutError())
                    self._connect()
            elif now - self._heard >= self._quiet:
                self._asking = now
                self._asked.append(None)
                self._send(_PING)

    def _unsubscribing(self) -> bytes:
        stale, self._stale = self._stale, {}
        return pack("UNSUBSCRIBE", *stale) if stale else b""

    def _reading(self, keys: Sequence[str]) -> bytes:
        chunks = [keys[at : at + AT_ONCE] for at in range(0, len(keys), AT_ONCE)]
        if not self._asked:
            self._asking = time.monotonic()
        self._asked.extend(chunks)
        return pack_all(("MGET", *chunk) for chunk in chunks)

    # -- hearing

    def wait(self, seconds: float) -> bool:
        """See `Wakeable.wait`."""
        return bool(self._selector.select(max(0.0, seconds)))

    def fileno(self) -> int:
        """See `Wakeable.fileno`."""
        return self._selector.fileno()

    def wake(self) -> None:
        """See `Wakeable.wake`."""
        self._woken = True
        with contextlib.suppress(OSError):
            self._waker.send(b".")

    def collect(self) -> Mapping[str, Meta] | None:
        """See `Wakeable.collect`."""
        found: dict[str, bytes] = {}
        with self._lock:
            if self._woken:
                self._woken = False
                with contextlib.suppress(BlockingIOError):
                    self._wakeup.recv(4096)
            look = self._take(found)
        if not found:
            return None if look else {}
        metas = {key: self._read(key, value) for key, value in found.items()}
        self.forget(key for key, meta in metas.items() if meta["status"] in READY_STATES)
        return None if look else {str(meta["task_id"]): meta for meta in metas.values()}

    def _take(self, found: dict[str, bytes]) -> bool:
        """Read what has come into `found`, later over earlier; True if the store must be looked at."""
        if self._sock is None:
            return False
        look = False
        try:
            for data in _available(self._sock):
                self._heard = time.monotonic()
                self._parser.feed(data)
                for reply in self._parser.replies():
                    look = self._understand(reply, found) or look
        except (OSError, ErrorReply, ProtocolError) as error:
            self._lost(error)
            return True
        except BaseException:  # cut short: something was taken and not understood
            self._lost(InterruptedError(errno.EINTR, "interrupted"))
            raise
        return look

    def _understand(self, reply: Any, found: dict[str, bytes]) -> bool:
        """One thing that the server said; True if the store must be looked at.

        Raises:
            ErrorReply: it was an error.
        """
        if type(reply) is Push:
            kind = reply[0]
            if kind == b"message":
                key = reply[1].decode()
                if key not in self._unconfirmed:
                    found[key] = reply[2]
            elif kind == b"subscribe":
                self._confirmed(reply[1].decode())
                if self._again:
                    self._again -= 1
                    return not self._again
            return False
        if isinstance(reply, ErrorReply):
            raise reply
        keys = self._asked.popleft()
        if keys is not None:
            answers = zip(keys, reply, strict=True)
            old = self._unconfirmed
            found.update((key, value) for key, value in answers if value is not None and key not in old)
        return False

    def _confirmed(self, key: str) -> None:
        if self._unconfirmed[key] > 1:
            self._unconfirmed[key] -= 1
        else:
            del self._unconfirmed[key]

    # -- the connection; all under the lock

    def _connect(self) -> None:
        deadline = time.monotonic() + self._settings.connect_timeout
        where = self._settings.url
        target = None
        try:
            target = self._locator.locate(deadline)
            sock = connect(target.place, deadline)
            try:
                Connection(sock, where).greet(target, self._settings.client_name, deadline)
            except BaseException:
                sock.close()
                raise
        except (OSError, ErrorReply, BrokerError) as error:
            self._settings.gave_up(target)
            self._tell(error)
            return
        try:
            self._sock, self._stream, self._parser = sock, Stream(sock), Parser()
            self._selector.register(sock, selectors.EVENT_READ)
            self._heard = time.monotonic()
            self._again = len(self._keys)
            self._send(_subscribe(list(self._keys)))
        except BaseException:  # cut short
            self._lost(InterruptedError(errno.EINTR, "interrupted"))
            raise
        self.wake()  # whoever sleeps does not know of this socket yet

    def _send(self, data: bytes) -> None:
        if self._stream is None:
            return
        try:
            self._stream.send(data, time.monotonic() + self._settings.timeout)
        except OSError as error:
            self._lost(error)
            self.wake()

    def _lost(self, error: Exception) -> None:
        self._tell(error)
        if self._sock is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(self._sock)
            self._sock.close()
        self._sock = self._stream = None
        self._again = 0
        self._asked.clear()
        self._stale.clear()
        self._unconfirmed.clear()

    def _tell(self, error: Exception) -> None:
        text = str(translate(error, self._settings.url))
        if text != self._told:
            level = logging.WARNING if self._keys else logging.DEBUG
            logger.log(level, "The connection on which results arrive is lost, making it again: %s", text)
            self._told = text

    def close(self) -> None:
        """Close it. Takes no lock: after a fork another thread may have held it."""
        self._selector.close()
        for end in (self._wakeup, self._waker, self._sock):
            if end is not None:
                end.close()
        self._sock = self._stream = None


def _subscribe(keys: Sequence[str]) -> bytes:
    return b"".join(pack("SUBSCRIBE", *keys[at : at + AT_ONCE]) for at in range(0, len(keys), AT_ONCE))


def _available(sock: socket.socket) -> Iterator[bytes]:
    """What can be read now without waiting.

    Raises:
        OSError: the connection has ended.
    """
    tls = isinstance(sock, ssl.SSLSocket)
    while True:
        try:
            data = sock.recv(_CHUNK)
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        if not data:
            raise ConnectionResetError("Connection closed by server")
        yield data
        if len(data) < _CHUNK and not tls:  # TLS hands out one record at a time
            return
