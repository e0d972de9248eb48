"""Subscriptions for threads: a connection of its own, on which somebody waits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from celery.brokers.base import BrokerError
from celery.wire.resp import ErrorReply, pack

from .connection import Connection
from .errors import translate
from .locate import locator_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .settings import Settings


class Subscriber:
    """Waits for messages of channels; one thread at a time. Not for use after a fork: `close` it and make another.

    Args:
        on_message: called with (channel, data) by `wait`.
    """

    def __init__(self, settings: Settings, on_message: Callable[[str, bytes], None]) -> None:
        self._settings = settings
        self._locator = locator_of(settings)
        self._on_message = on_message
        self._connection: Connection | None = None
        self.channels: set[str] = set()

    def subscribe(self, channels: Iterable[str], deadline: float) -> None:
        """Subscribe; connects if need be (and then to all channels so far).

        Raises:
            BrokerUnavailable, BrokerRefused: the connection is lost.
        """
        new = [channel for channel in channels if channel not in self.channels]
        self.channels.update(new)
        if self._connection is None:
            self.connect(deadline)
        elif new:
            self._say("SUBSCRIBE", new, deadline)

    def unsubscribe(self, channels: Iterable[str], deadline: float) -> None:
        """Undo `subscribe`. Raises like it."""
        old = [channel for channel in channels if channel in self.channels]
        self.channels.difference_update(old)
        if old and self._connection is not None:
            self._say("UNSUBSCRIBE", old, deadline)

    def connect(self, deadline: float) -> None:
        """Connect anew, and subscribe to everything again. Raises like `subscribe`."""
        self.close()
        until = min(deadline, time.monotonic() + self._settings.connect_timeout)
        target = None
        try:
            target = self._locator.locate(until)
            self._connection = Connection.open(
                target, until, name=self._settings.client_name, on_push=self._pushed
            )
        except (OSError, ErrorReply, BrokerError) as error:
            self._settings.gave_up(target)
            raise translate(error, self._settings.url) from error
        if self.channels:
            self._say("SUBSCRIBE", sorted(self.channels), deadline)

    def wait(self, deadline: float) -> bool:
        """Wait for something to arrive; False if nothing did. Raises like `subscribe`."""
        if self._connection is None:
            self.connect(deadline)
        assert self._connection is not None
        try:
            self._connection.wait(deadline)
        except TimeoutError:
            return False
        except OSError as error:
            self.close()
            raise translate(error, self._settings.url) from error
        return True

    def ping(self, deadline: float) -> None:
        """Make sure that the server is still there. Raises like `subscribe`."""
        self._exchange(pack("PING"), 1, deadline)

    def _say(self, word: str, channels: list[str], deadline: float) -> None:
        # The confirmations come as pushes, so a ping marks their end.
        self._exchange(pack(word, *channels) + pack("PING"), 1, deadline)

    def _exchange(self, data: bytes, count: int, deadline: float) -> None:
        connection = self._connection
        assert connection is not None
        try:
            replies = connection.send(data, count, deadline)
        except OSError as error:
            self.close()
            raise translate(error, self._settings.url) from error
        for reply in replies:
            if isinstance(reply, ErrorReply):
                raise translate(reply, self._settings.url)

    def _pushed(self, push: list[Any]) -> None:
        if push[0] == b"message":
            self._on_message(push[1].decode(), push[2])

    def fileno(self) -> int:
        """Of the connection, for those who wait on several things; -1 without one."""
        return -1 if self._connection is None else self._connection.fileno()

    def close(self) -> None:
        """Close the connection; the channels are remembered."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
