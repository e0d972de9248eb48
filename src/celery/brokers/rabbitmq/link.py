"""One blocking connection: for publishers, fetchers and operators' questions. One user at a time."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from celery.brokers.base import BrokerError, BrokerRefused
from celery.net import stream
from celery.wire.amqp.connection import Connection, State, channel_error
from celery.wire.amqp.errors import PRECONDITION_FAILED, Closed, ProtocolError
from celery.wire.amqp.frames import Command, Message, method

from .errors import refused, refused_connection, unavailable
from .requests import Request, replies_to

if TYPE_CHECKING:
    from collections.abc import Callable

    from .endpoint import Endpoint

#: The channel for requests; 1 is for messages.
ASKING = 2
SENDING = 1


class Link:
    """An open connection.

    No heartbeats are agreed upon: nobody would send them between two calls. What a dead peer would leave open,
    TCP's keepalive ends; whoever waits for an answer has a deadline.

    Args:
        deadline: `time.monotonic()` value until when it must be open.
        on_event: gets what comes on `SENDING`.

    Raises:
        BrokerUnavailable, BrokerRefused: as they say.
    """

    def __init__(
        self, endpoint: Endpoint, deadline: float, on_event: Callable[[Command | Message], None] | None = None
    ) -> None:
        self.endpoint = endpoint
        self.machine = Connection(endpoint.login)
        self._on_event = on_event
        self._asking = False
        self._answers: list[Command | Message] = []
        self._failed = False
        try:
            self._stream = stream.Stream(
                stream.connect(endpoint.place, min(deadline, time.monotonic() + endpoint.timeout))
            )
        except OSError as exc:
            raise unavailable(endpoint, exc) from exc
        try:
            self._shake_hands(deadline)
        except BaseException:
            self.abandon()
            raise

    def _shake_hands(self, deadline: float) -> None:
        until = min(deadline, time.monotonic() + self.endpoint.timeout)
        self.send(self.machine.begin(), until)
        while self.machine.state is not State.OPEN:
            self.wait(until)

    @property
    def usable(self) -> bool:
        """False once it failed, or if the peer has hung up meanwhile; reads what came in unasked."""
        if self._failed:
            return False
        if self._stream.is_silent:
            return True
        try:
            self.drain()
        except BrokerError:
            return False
        return True

    def drain(self, *, to_the_end: bool = True) -> None:
        """See to what has come in, without waiting for more.

        Args:
            to_the_end: look whether the peer has hung up after it, too.

        Raises:
            BrokerUnavailable, BrokerRefused: the connection is of no more use.
        """
        while True:
            try:
                data = self._stream.take()
            except OSError as exc:
                self.abandon()
                raise self._trouble(exc) from exc
            if not data:
                return
            self._take(data, time.monotonic() + 1.0)
            if not to_the_end and self._stream.is_emptied_by(data):
                return

    def fileno(self) -> int:
        """Of the socket."""
        return self._stream.fileno()

    def send(self, data: bytes, deadline: float) -> None:
        """Write all of it.

        Raises:
            BrokerUnavailable: it could not be written in time.
        """
        try:
            self._stream.send(data, deadline)
        except OSError as exc:
            self.abandon()
            raise self._trouble(exc) from exc

    def wait(self, deadline: float) -> None:
        """Wait for something to come, and see to it.

        Raises:
            BrokerUnavailable, BrokerRefused: the connection is of no more use.
        """
        self._take(self._receive(deadline), deadline)

    def hears(self, expected: bytes, deadline: float) -> bool:
        """As `wait`; True if just these bytes came: nobody is told of them."""
        data = self._receive(deadline)
        if data == expected and not self.machine.midway:
            return True
        self._take(data, deadline)
        return False

    def _receive(self, deadline: float) -> bytes:
        try:
            return self._stream.receive(deadline)
        except OSError as exc:
            self.abandon()
            raise self._trouble(exc) from exc

    def _take(self, data: bytes, deadline: float) -> None:
        try:
            events = self.machine.receive(data)
        except ProtocolError as exc:
            self.abandon()
            raise self._trouble(exc) from exc
        except ValueError as exc:
            self.abandon()
            raise refused_login(self.endpoint, exc) from exc
        out = self.machine.reply()
        if out:
            self.send(out, deadline)
        for event in events:
            if event.channel == ASKING:
                self._answers.append(event)
            elif self._on_event is not None:
                self._on_event(event)
        if self.machine.state is State.CLOSED:
            self.abandon()
            closed = self.machine.close_error
            if closed is None:
                raise unavailable(self.endpoint, "the connection is closed")
            raise refused_connection(self.endpoint, closed)

    def _trouble(self, cause: BaseException) -> BrokerError:
        if self.machine.blocked and isinstance(cause, TimeoutError):
            return unavailable(
                self.endpoint, f"the broker takes no messages at present: {self.machine.blocked} (alarm)"
            )
        return unavailable(self.endpoint, cause)

    def ask(self, name: str, deadline: float, **values: Any) -> Command | Message:
        """Call a method on the channel for requests, and wait for its answer.

        Raises:
            Closed: the broker refused it.
            BrokerUnavailable: there was no answer.
        """
        opening = b"" if self._asking else method(ASKING, "channel.open")
        expected = (*replies_to(name), "channel.close") + (() if self._asking else ("channel.open-ok",))
        self._asking = True
        self.send(opening + method(ASKING, name, **values), deadline)
        while True:
            while not self._answers:
                self.wait(deadline)
            answer = self._answers.pop(0)
            if isinstance(answer, Message):
                return answer
            if answer.name == "channel.close":
                self._asking = False
                self._answers.clear()
                raise channel_error(answer)
            if answer.name in expected and answer.name != "channel.open-ok":
                return answer

    def tell(self, name: str, deadline: float, **values: Any) -> None:
        """Call a method that has no answer on the channel for requests."""
        self.send(method(ASKING, name, **values), deadline)

    def carry_out(self, request: Request, deadline: float) -> Command | Message | None:
        """As `ask`; what the broker refuses is an error of the port, or None if the request tolerates it.

        Raises:
            BrokerRefused, BrokerUnavailable: as they say.
        """
        try:
            return self.ask(request.method, deadline, **request.values)
        except Closed as closed:
            if request.tolerant and closed.code == PRECONDITION_FAILED:
                return None
            raise refused(self.endpoint, closed, request.what) from closed

    def abandon(self) -> None:
        """Close the socket, without a word."""
        self._failed = True
        self._stream.close()

    def close(self) -> None:
        """Say goodbye, and close."""
        if not self._failed:
            with contextlib.suppress(BrokerError):
                until = time.monotonic() + 1.0
                self.send(self.machine.close(), until)
                while self.machine.state is not State.CLOSED:
                    self.wait(until)
            self.abandon()


def consume(queue: str, limit: int) -> bytes:
    """Frames that consume a queue of our own on the channel for messages, under its name."""
    return method(SENDING, "basic.qos", prefetch_count=limit) + method(
        SENDING, "basic.consume", queue=queue, consumer_tag=queue, nowait=True
    )


def refused_login(endpoint: Endpoint, cause: ValueError) -> BrokerError:
    """The way to log in makes no sense to the broker."""
    return BrokerRefused(f"{endpoint.name}: {cause} (broker_login_method)")
