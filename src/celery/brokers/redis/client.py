"""A Redis client with a blocking and an asyncio face, for the broker's driver and the result backend.

**Blocking**: `Client` is safe for threads and forks, and opens one connection a process, when first used::

    client = Client(settings.read("redis://host/0"))
    client.call("SET", "key", b"value", deadline=time.monotonic() + 5)
    stored, heard = client.pipeline([("SETEX", key, 60, data), ("PUBLISH", key, data)], deadline=...)
    client.run(SCRIPT, keys=["a"], arguments=[1], deadline=...)      # SCRIPT = Script("return ...")

Threads that call at the same time share one write and one read (whoever has the connection speaks for all who wait), so more
connections would not be faster. Commands of one `pipeline` are never torn apart, so `MULTI` ... `EXEC` may be in
it. Commands that block in the server (`BLPOP`, `SUBSCRIBE`) have no place here: open a `Connection` for them.

**asyncio**: `AsyncClient` is the same for one event loop; `AsyncClient.of(settings)` gives the one that the running loop
shares, which is closed when the loop shuts its generators down (`asyncio.run` does)::

    client = AsyncClient.of(settings)
    await client.call("GET", key, deadline=...)
    await client.pipeline([...], deadline=...)

**Errors**: `BrokerUnavailable` (cannot be reached, did not answer, is a replica, is full: trying again may help),
`BrokerRefused` (it said no: trying again is no use), both with server, cause and what to do, without password. `call` and
`run` raise; `pipeline` returns `ErrorReply` values in place unless the whole failed. A deadline is a
`time.monotonic()` value; without one, `Settings.timeout` seconds count. With `again=True` commands are sent again after a lost
connection, until the deadline: only for what may be carried out twice.
"""

from __future__ import annotations

import atexit
import logging
import os
import time
import weakref
from typing import TYPE_CHECKING, Any

from celery.brokers.base import BrokerError, BrokerUnavailable
from celery.net.backoff import Backoff
from celery.net.turns import Turn, Turns
from celery.utils.locks import TAKEN
from celery.wire.resp import ErrorReply, pack_all

from .connection import Connection
from .errors import ELSEWHERE, translate
from .locate import locator_of
from .script import Script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery.wire.resp import Argument, Command

    from .locate import Locator
    from .settings import Settings, Target

logger = logging.getLogger("celery.brokers.redis")

#: A connection that was idle for so many seconds is looked at before it is used.
_STALE_AFTER = 0.5
#: At most so many bytes go out in one write for several callers.
_WRITE_AT_ONCE = 1 << 20


class _Ticket(Turn):
    """What one caller wants."""

    __slots__ = ("count", "data", "deadline", "error", "replies")

    def __init__(self, data: bytes, count: int, deadline: float) -> None:
        super().__init__()
        self.data = data
        self.count = count
        self.deadline = deadline
        self.replies: list[Any] | None = None
        self.error: BrokerError | None = None


class Client:
    """See the module. Making one does no I/O.

    Args:
        locator: finds the server instead of the one that the settings ask for.
    """

    def __init__(self, settings: Settings, locator: Locator | None = None) -> None:
        self.settings = settings
        self._locator = locator or locator_of(settings)
        self._turns: Turns[_Ticket] = Turns(self._serve)
        self._connection: Connection | None = None
        self._target: Target | None = None
        self._used_at = 0.0
        _clients.add(self)

    # -- calls ------------------------------------------------------------------------------------
    def call(self, *command: Argument, deadline: float | None = None, again: bool = False) -> Any:
        """Carry out one command and return its reply.

        Raises:
            BrokerUnavailable, BrokerRefused: see the module.
        """
        (reply,) = self.pipeline((command,), deadline=deadline, again=again)
        if isinstance(reply, ErrorReply):
            raise translate(reply, self.settings.url) from reply
        return reply

    def run(
        self,
        script: Script,
        keys: Sequence[Argument],
        arguments: Sequence[Argument] = (),
        *,
        deadline: float | None = None,
        again: bool = False,
    ) -> Any:
        """Run a script and return its reply. Raises like `call`."""
        return self.call(*script.call(keys, arguments), deadline=deadline, again=again)

    def pipeline(
        self, commands: Sequence[Command], *, deadline: float | None = None, again: bool = False
    ) -> list[Any]:
        """Carry out commands in one write; one reply each, `ErrorReply` values among them.

        Raises:
            BrokerUnavailable, BrokerRefused: nothing can be said about any of them.
        """
        until = time.monotonic() + self.settings.timeout if deadline is None else deadline
        replies = self.send(pack_all(commands), len(commands), until, again=again)
        unknown = [
            index
            for index, reply in enumerate(replies)
            if isinstance(reply, ErrorReply) and reply.code == "NOSCRIPT" and Script.in_full(commands[index])
        ]
        if unknown:
            full = [command for index in unknown if (command := Script.in_full(commands[index])) is not None]
            answers = self.send(pack_all(full), len(full), until, again=again)
            for index, answer in zip(unknown, answers, strict=True):
                replies[index] = answer
        return replies

    def send(self, data: bytes, count: int, deadline: float, *, again: bool = False) -> list[Any]:
        """`pipeline` for commands that are packed already, `count` of them."""
        if not again:
            return self._send(data, count, deadline)
        backoff = Backoff(first=0.05, longest=1.0)
        while True:
            try:
                return self._send(data, count, deadline)
            except BrokerUnavailable:
                pause = backoff.next()
                if time.monotonic() + pause >= deadline:
                    raise
                time.sleep(pause)

    def _send(self, data: bytes, count: int, deadline: float) -> list[Any]:
        replies: list[Any] = self._turns.alone(self._send_alone, data, count, deadline)
        if replies is not TAKEN:
            return replies
        ticket = _Ticket(data, count, deadline)
        if not self._turns.wait(ticket, deadline):
            raise BrokerUnavailable(f"{self.settings.url}: no answer in time")
        if ticket.error is not None:
            raise ticket.error
        assert ticket.replies is not None
        return ticket.replies

    # -- by one thread at a time ---------------------------------------------------------------------------
    def _serve(self) -> None:
        """Speak for all who wait, not for those who come meanwhile: one of them does."""
        left = len(self._turns.waiting)
        while left > 0:
            batch: list[_Ticket] = []
            size, began = 0, time.monotonic()
            try:
                while size < _WRITE_AT_ONCE and (ticket := self._turns.take(batch)) is not None:
                    size += len(ticket.data)
                if not batch:
                    return
                left -= len(batch)
                self._carry_out(batch)
            except (OSError, ErrorReply, BrokerError) as error:
                self._note_silence(error, began)
                self._end(batch, translate(error, self._where()))
            except BaseException:
                self._end(batch, BrokerUnavailable(f"{self._where()}: the thread that sent was interrupted"))
                raise
            finally:
                for ticket in batch:
                    ticket.done()

    def _end(self, batch: list[_Ticket], error: BrokerError) -> None:
        self._disconnect()
        for ticket in batch:
            ticket.error = error

    def _send_alone(self, data: bytes, count: int, deadline: float) -> list[Any]:
        """`_serve` for one caller while nobody else waits."""
        began = time.monotonic()
        try:
            replies = self._connected(deadline).send(data, count, deadline)
        except (OSError, ErrorReply, BrokerError) as error:
            self._note_silence(error, began)
            self._disconnect()
            raise translate(error, self._where()) from error
        except BaseException:
            self._disconnect()
            raise
        self._used_at = time.monotonic()
        for reply in replies:
            if type(reply) is ErrorReply and reply.code in ELSEWHERE:
                self._disconnect()  # the next call finds the right server
                break
        return replies

    def _note_silence(self, error: BaseException, since: float) -> None:
        """A server that was silent for longer than connecting may take is given up, if there are others."""
        if isinstance(error, TimeoutError) and time.monotonic() - since >= self.settings.connect_timeout:
            self.settings.gave_up(self._target)

    def _carry_out(self, batch: list[_Ticket]) -> None:
        deadline = max(ticket.deadline for ticket in batch)
        connection = self._connected(deadline)
        if len(batch) == 1:
            replies = batch[0].replies = connection.send(batch[0].data, batch[0].count, deadline)
        else:
            data = b"".join([ticket.data for ticket in batch])
            replies = connection.send(data, sum(ticket.count for ticket in batch), deadline)
            start = 0
            for ticket in batch:
                ticket.replies = replies[start : start + ticket.count]
                start += ticket.count
        self._used_at = time.monotonic()
        if any(type(reply) is ErrorReply and reply.code in ELSEWHERE for reply in replies):
            self._disconnect()  # the next call finds the right server

    def _connected(self, deadline: float) -> Connection:
        connection = self._connection
        if connection is not None:
            if time.monotonic() - self._used_at < _STALE_AFTER or connection.is_quiet():
                return connection
            self._disconnect()
        last: BrokerError | None = None
        for _ in self.settings.targets:
            until = min(deadline, time.monotonic() + self.settings.connect_timeout)
            where = self.settings.url
            target = None
            try:
                target = self._locator.locate(until)
                where = self._where_of(target.place)
                connection = Connection.open(target, until, name=self.settings.client_name)
            except (OSError, ErrorReply, BrokerError) as error:
                last = translate(error, where)
                self.settings.gave_up(target)
                continue
            self._connection, self._target = connection, target
            return connection
        assert last is not None
        raise last

    def _where_of(self, place: object) -> str:
        return (
            self.settings.url if len(self.settings.targets) == 1 and self._locator.immediate else str(place)
        )

    def _where(self) -> str:
        return self.settings.url

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # -- ends -------------------------------------------------------------------------------------
    def close(self) -> None:
        """Close the connection; a later call opens another one."""
        with self._turns.connection():
            self._disconnect()

    def after_fork(self) -> None:
        """In a child: the connection is the parent's. Closing our end of it tells the server nothing."""
        self._turns = Turns(self._serve)
        self._disconnect()


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _after_fork() -> None:
    for client in list(_clients):
        client.after_fork()


@atexit.register
def _at_exit() -> None:
    for client in list(_clients):
        client._disconnect()  # no lock: a thread that waits for an answer must not hold up the exit


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def __getattr__(name: str) -> Any:
    if name == "AsyncClient":  # a program that only calls `delay` need not load asyncio
        from .aio import AsyncClient  # noqa: PLC0415 - as above

        return AsyncClient
    raise AttributeError(name)
