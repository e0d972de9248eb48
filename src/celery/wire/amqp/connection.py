"""One connection as a machine: what to say when, from the first byte to the last.

    machine = Connection(credentials, vhost, ...)
    send(machine.begin())
    while ...:
        for event in machine.receive(data):   # commands and messages once it is open
            ...
        send(machine.reply())                 # what the machine itself has to say

| state | the broker says | we say | next |
|---|---|---|---|
| START | connection.start | connection.start-ok | TUNE |
| TUNE | connection.secure | connection.secure-ok | TUNE |
| TUNE | connection.tune | connection.tune-ok, connection.open | OPENING |
| OPENING | connection.open-ok | | OPEN |
| any | connection.close | connection.close-ok | CLOSED |
| CLOSING | connection.close-ok | | CLOSED |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from . import spec
from .errors import ChannelClosed, ConnectionClosed, ProtocolError
from .frames import FRAME_MAX, Command, Message, Reader, method
from .values import longstr, shortstr

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What we ask of the broker; it may give less.
CHANNEL_MAX = 2047

#: What this client can do, told to the broker.
CAPABILITIES = {
    "publisher_confirms": True,
    "consumer_cancel_notify": True,
    "basic.nack": True,
    "connection.blocked": True,
    "authentication_failure_close": True,
    "per_consumer_qos": True,
    "exchange_exchange_bindings": True,
}


class State(Enum):
    """Where a connection stands."""

    START = "start"
    TUNE = "tune"
    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are.

    Attributes:
        mechanism: PLAIN, AMQPLAIN or EXTERNAL.
        client: what to tell the broker about this program.
    """

    user: str = "guest"
    password: str = "guest"
    vhost: str = "/"
    mechanism: str = "PLAIN"
    client: Mapping[str, Any] = field(default_factory=dict)

    def response(self) -> bytes:
        """The answer to the broker's challenge.

        Raises:
            ValueError: the mechanism is unknown.
        """
        if self.mechanism == "PLAIN":
            return b"\0" + self.user.encode() + b"\0" + self.password.encode()
        if self.mechanism == "AMQPLAIN":
            return b"".join(
                shortstr(name) + b"S" + longstr(value)
                for name, value in (("LOGIN", self.user), ("PASSWORD", self.password))
            )
        if self.mechanism == "EXTERNAL":
            return b""
        raise ValueError(
            f"broker_login_method {self.mechanism!r} is unknown: expected PLAIN, AMQPLAIN or EXTERNAL"
        )


class Connection:
    """The machine.

    Args:
        heartbeat: seconds that we propose; 0: none.

    Attributes:
        heartbeat: what was agreed upon.
        server: what the broker told about itself.
        blocked: why the broker takes no messages at present; None if it does.
        close_error: why the broker closed the connection.
    """

    def __init__(self, login: Login, *, heartbeat: float = 0.0) -> None:
        self.state = State.START
        self.heartbeat = heartbeat
        self.frame_max = FRAME_MAX
        self.channel_max = CHANNEL_MAX
        self.server: dict[str, Any] = {}
        self.blocked: str | None = None
        self.close_error: ConnectionClosed | None = None
        self._login = login
        self._reader = Reader()
        self._out: list[bytes] = []

    def begin(self) -> bytes:
        """The first bytes."""
        return spec.HEADER

    def reply(self) -> bytes:
        """What the machine has to say since the last call."""
        out, self._out = self._out, []
        return b"".join(out)

    def close(self) -> bytes:
        """Say goodbye; `CLOSED` comes with the answer."""
        if self.state in (State.CLOSED, State.CLOSING):
            return b""
        self.state = State.CLOSING
        return method(0, "connection.close", code=200, text="Bye")

    @property
    def open(self) -> bool:
        return self.state is State.OPEN

    @property
    def midway(self) -> bool:
        """The beginning of a frame came in, and not its end."""
        return self._reader.midway

    def receive(self, data: bytes) -> list[Command | Message]:
        """Take bytes; return what is for the caller, in order.

        A `channel.close` is answered and handed on. A `connection.close` is answered; it ends the list.

        Raises:
            ProtocolError: what came is no AMQP, or out of place.
            ValueError: the mechanism of the login is unknown.
        """
        if self.state is State.START and data[:4] == b"AMQP":
            raise ProtocolError("the broker speaks another version of AMQP")
        events = self._reader.feed(data)
        if self.state is State.OPEN and not any(type(e) is Command and _concerns_us(e) for e in events):
            return events
        return [event for event in events if not self._handled(event)]

    def _handled(self, event: Command | Message) -> bool:
        """See to an event that is the machine's own business."""
        if self.state is State.CLOSED:
            return True
        if isinstance(event, Message):
            if self.state not in (State.OPEN, State.CLOSING):
                raise ProtocolError("a message before the connection is open")
            return False
        if event.channel:
            if event.name == "channel.close":
                self._reader.forget(event.channel)
                self._out.append(method(event.channel, "channel.close-ok"))
            elif event.name == "channel.flow":
                self._out.append(method(event.channel, "channel.flow-ok", active=event.values["active"]))
            return False
        self._advance(event)
        return True

    def _advance(self, event: Command) -> None:
        name, values = event.name, event.values
        if name == "connection.close":
            offender = spec.BY_ID.get(values["class_id"] << 16 | values["method_id"])
            self.close_error = ConnectionClosed(
                values["code"], values["text"], offender.name if offender else ""
            )
            self._out.append(method(0, "connection.close-ok"))
            self.state = State.CLOSED
        elif name == "connection.close-ok" and self.state is State.CLOSING:
            self.state = State.CLOSED
        elif name == "connection.start" and self.state is State.START:
            self._start(values)
        elif name == "connection.secure" and self.state is State.TUNE:
            self._out.append(method(0, "connection.secure-ok", response=self._login.response()))
        elif name == "connection.tune" and self.state is State.TUNE:
            self._tune(values)
        elif name == "connection.open-ok" and self.state is State.OPENING:
            self.state = State.OPEN
        elif name == "connection.blocked":
            self.blocked = values["reason"] or "low on resources"
        elif name == "connection.unblocked":
            self.blocked = None
        elif name != "connection.update-secret-ok":
            raise ProtocolError(f"{name} out of place")

    def _start(self, values: dict[str, Any]) -> None:
        self.server = values["server_properties"]
        offered = values["mechanisms"].decode("utf-8", "replace").split()
        if offered and self._login.mechanism not in offered:
            raise ValueError(
                f"the broker does not offer the login method {self._login.mechanism}; it has {', '.join(offered)}"
            )
        self._out.append(
            method(
                0,
                "connection.start-ok",
                client_properties={**self._login.client, "capabilities": CAPABILITIES},
                mechanism=self._login.mechanism,
                response=self._login.response(),
                locale="en_US",
            )
        )
        self.state = State.TUNE

    def _tune(self, values: dict[str, Any]) -> None:
        self.frame_max = self._reader.frame_max = min(values["frame_max"] or FRAME_MAX, FRAME_MAX)
        self.channel_max = min(values["channel_max"] or CHANNEL_MAX, CHANNEL_MAX)
        offered = values["heartbeat"]
        # We want what we want: the broker's figure counts only if it is the shorter one.
        beat = (
            round(self.heartbeat)
            if not offered or not self.heartbeat
            else min(offered, round(self.heartbeat))
        )
        self.heartbeat = float(beat)
        self._out.append(
            method(
                0,
                "connection.tune-ok",
                channel_max=self.channel_max,
                frame_max=self.frame_max,
                heartbeat=beat,
            )
            + method(0, "connection.open", virtual_host=self._login.vhost)
        )
        self.state = State.OPENING


def _concerns_us(event: Command) -> bool:
    return event.channel == 0 or event.name in ("channel.close", "channel.flow")


def channel_error(event: Command) -> ChannelClosed:
    """The error that a `channel.close` tells of."""
    offender = spec.BY_ID.get(event.values["class_id"] << 16 | event.values["method_id"])
    return ChannelClosed(event.values["code"], event.values["text"], offender.name if offender else "")
