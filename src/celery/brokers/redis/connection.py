"""One blocking connection to a Redis server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.brokers.base import BrokerRefused, BrokerUnavailable
from celery.net.stream import Stream
from celery.net.stream import connect as connect_stream
from celery.wire.resp import INCOMPLETE, ErrorReply, Parser, ProtocolError, Push, pack_all

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

    from celery.wire.resp import Command

    from .settings import Target

#: The oldest server with all the commands we use.
OLDEST = (6, 2)


def greeting(target: Target, name: str) -> list[Command]:
    """The commands that open a connection; `check_greeting` reads the replies."""
    hello: list[Any] = ["HELLO", 3]
    if target.password is not None:
        hello += ["AUTH", target.username or "default", target.password]
    elif target.username is not None:
        hello += ["AUTH", target.username, ""]
    if name:
        hello += ["SETNAME", name.replace(" ", "_")]
    commands: list[Command] = [hello]
    if target.database:
        commands.append(("SELECT", target.database))
    return commands


def check_greeting(target: Target, replies: list[Any]) -> dict[bytes, Any]:
    """The server's answer to `HELLO`.

    Raises:
        ErrorReply: it said no.
        BrokerRefused: it is too old.
        BrokerUnavailable: it is a replica and we need the master.
    """
    hello = replies[0]
    if isinstance(hello, ErrorReply):
        if "unknown command" in str(hello):
            raise BrokerRefused(f"{target.place}: Redis {OLDEST[0]}.{OLDEST[1]} or newer is needed")
        raise hello
    for reply in replies[1:]:
        if isinstance(reply, ErrorReply):
            raise reply
    version = tuple(int(part) for part in hello[b"version"].split(b".")[:2] if part.isdigit())
    if hello.get(b"server") in (b"redis", b"valkey") and version < OLDEST:
        raise BrokerRefused(
            f"{target.place}: Redis {OLDEST[0]}.{OLDEST[1]} or newer is needed, it is {hello[b'version'].decode()}"
        )
    if target.master and hello.get(b"role", b"master") != b"master":
        raise BrokerUnavailable(f"{target.place}: it is a replica now, not the master")
    return hello  # type: ignore[no-any-return]


class Connection:
    """Commands in, replies out, one user at a time. Whatever it raises, it is of no more use then.

    Args:
        sock: connected.
        where: the server, for messages.
    """

    def __init__(self, sock: socket.socket, where: str) -> None:
        self._stream = Stream(sock)
        self._parser = Parser()
        self.where = where
        self.hello: dict[bytes, Any] = {}

    @classmethod
    def open(cls, target: Target, deadline: float, *, name: str = "") -> Connection:
        """Connect and greet.

        Raises:
            OSError, ErrorReply, BrokerError: see `errors.translate`.
        """
        made = cls(connect_stream(target.place, deadline), str(target.place))
        try:
            made.greet(target, name, deadline)
        except BaseException:
            made.close()
            raise
        return made

    def greet(self, target: Target, name: str, deadline: float) -> None:
        """Log in, choose RESP3 and the database."""
        if not target.master and target.password is None and target.username is None:
            name = ""  # sentinels have fewer commands
        self.hello = check_greeting(target, self.exchange(greeting(target, name), deadline))

    def exchange(self, commands: Iterable[Command], deadline: float) -> list[Any]:
        """Send commands in one write and wait for all replies; errors of single commands are among them."""
        all_of_them = list(commands)
        return self.send(pack_all(all_of_them), len(all_of_them), deadline)

    def send(self, data: bytes, count: int, deadline: float) -> list[Any]:
        """`exchange` for packed commands."""
        self._stream.send(data, deadline)
        return self._read(count, deadline)

    def _read(self, count: int, deadline: float) -> list[Any]:
        replies: list[Any] = []
        get = self._parser.get
        try:
            while len(replies) < count:
                reply = get()
                if reply is INCOMPLETE:
                    self._parser.feed(self._stream.receive(deadline))
                elif type(reply) is not Push:
                    replies.append(reply)
        except ProtocolError as error:
            raise ConnectionResetError(f"this is not Redis' protocol: {error}") from error
        return replies

    def is_quiet(self) -> bool:
        """False if the server has hung up, or something waits to be read."""
        return self._stream.is_quiet()

    def close(self) -> None:
        """Close it, at once and without a word."""
        self._stream.close()
