"""The asyncio face of the client: `Link` is one connection, `AsyncClient` keeps one for an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from celery.brokers.base import BrokerError, BrokerUnavailable
from celery.net.aio import connect
from celery.net.backoff import Backoff
from celery.wire.resp import ErrorReply, Parser, ProtocolError, Push, pack, pack_all

from .connection import check_greeting, greeting
from .errors import ELSEWHERE, translate
from .locate import locator_of
from .script import Script

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

    from celery.wire.resp import Argument, Command

    from .locate import Locator
    from .settings import Settings, Target

    OnReplies = Callable[[list[Any]], None]


class _Pending:
    """Replies to come of one write, and who wants them."""

    __slots__ = ("count", "done", "replies", "since")

    def __init__(self, count: int, done: OnReplies | asyncio.Future[list[Any]], since: float) -> None:
        self.count = count
        self.done = done
        self.since = since
        self.replies: list[Any] = []


class Link(asyncio.Protocol):
    """One connection on an event loop. Replies come in the order of the writes.

    Args:
        on_push: called with what the server says unasked.
        on_lost: called once when the connection has ended, however that came; None after `close`.
    """

    def __init__(
        self,
        where: str,
        on_push: Callable[[list[Any]], None] | None = None,
        on_lost: Callable[[BrokerError], None] | None = None,
    ) -> None:
        self.where = where
        self.hello: dict[bytes, Any] = {}
        self.target: Target | None = None
        self.heard_at = 0.0
        self._on_push = on_push
        self.on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = Parser()
        self._pending: deque[_Pending] = deque()
        self._error: BrokerError | None = None

    @classmethod
    async def open(
        cls,
        settings: Settings,
        locator: Locator,
        *,
        on_push: Callable[[list[Any]], None] | None = None,
        on_lost: Callable[[BrokerError], None] | None = None,
        scripts: Iterable[Script] = (),
    ) -> Link:
        """Find the server, connect and greet, and make scripts known; takes one `connect_timeout` at most.

        Raises:
            BrokerUnavailable, BrokerRefused: it did not work.
        """
        where = settings.url
        until = time.monotonic() + settings.connect_timeout
        link: Link | None = None
        target: Target | None = None
        try:
            if locator.immediate:
                target = locator.locate(until)
            else:
                target = await asyncio.to_thread(locator.locate, until)
            if len(settings.targets) > 1 or not locator.immediate:
                where = str(target.place)
            link = await connect(target.place, lambda: cls(where, on_push), until - time.monotonic())
            commands = [
                *greeting(target, settings.client_name),
                *(("SCRIPT", "LOAD", s.text) for s in scripts),
            ]
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + until - time.monotonic()):
                replies = await link.send(pack_all(commands), len(commands))
            link.hello, link.target = check_greeting(target, replies), target
        except (OSError, ErrorReply, BrokerError) as error:
            if link is not None:
                link.close()
            settings.gave_up(target)
            raise translate(error, where) from error
        except BaseException:
            if link is not None:
                link.close()
            raise
        link.on_lost = on_lost
        if link._error is not None:
            raise link._error
        return link

    # -- commands ---------------------------------------------------------------------------------
    @property
    def is_open(self) -> bool:
        """Whether it can still be used, as far as is known."""
        return self._error is None and self._transport is not None

    @property
    def pending(self) -> int:
        """How many writes wait for replies."""
        return len(self._pending)

    @property
    def silent_for(self) -> float:
        """Seconds for which the server has left unanswered what it was asked."""
        if not self._pending:
            return 0.0
        return self._loop.time() - max(self.heard_at, self._pending[0].since)

    @property
    def is_shared(self) -> bool:
        """Whether somebody waits for a reply who has not given up."""
        return any(not (isinstance(one.done, asyncio.Future) and one.done.done()) for one in self._pending)

    def send(self, data: bytes, count: int) -> asyncio.Future[list[Any]]:
        """Write packed commands; their replies, errors of single commands among them.

        The future fails with `BrokerUnavailable` if the connection is lost first.
        """
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        self.write(data, count, future)
        return future

    def write(self, data: bytes, count: int, done: OnReplies | asyncio.Future[list[Any]]) -> None:
        """Write packed commands; `done` is called with the replies, or not at all if the connection is lost."""
        if self._error is not None or self._transport is None:
            if isinstance(done, asyncio.Future):
                done.set_exception(self._error or BrokerUnavailable(f"{self.where}: not connected"))
            return
        self._pending.append(_Pending(count, done, self._loop.time()))
        self._transport.write(data)

    def tell(self, *command: Argument) -> None:
        """Write one command and forget its reply."""
        self.write(pack(*command), 1, ignore)

    # -- asyncio.Protocol -------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._parser.feed(data)
        self.heard_at = self._loop.time()
        pending = self._pending
        try:
            for reply in self._parser.replies():
                if type(reply) is Push:
                    if self._on_push is not None:
                        self._on_push(reply)
                    continue
                current = pending[0]
                current.replies.append(reply)
                if len(current.replies) == current.count:
                    pending.popleft()
                    done = current.done
                    if not isinstance(done, asyncio.Future):
                        done(current.replies)
                    elif not done.done():
                        done.set_result(current.replies)
        except ProtocolError as error:
            self.abort(f"this is not Redis' protocol: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        reason = exc if isinstance(exc, OSError) else ConnectionResetError("Connection closed by server")
        self._fail(translate(reason, self.where))

    def _fail(self, error: BrokerError) -> None:
        if self._error is not None:
            return
        self._error = error
        pending, self._pending = self._pending, deque()
        for one in pending:
            if isinstance(one.done, asyncio.Future) and not one.done.done():
                one.done.set_exception(error)
        on_lost, self.on_lost = self.on_lost, None
        if on_lost is not None:
            on_lost(error)

    def abort(self, why: str) -> None:
        """Give this connection up: `on_lost` is called."""
        if self._transport is not None:
            self._transport.abort()
        self._fail(BrokerUnavailable(f"{self.where}: {why}"))

    def close(self) -> None:
        """Close it; what is pending fails."""
        self.on_lost = None
        if self._transport is not None:
            # What was written must be gone before; a server that does not read must not keep us.
            if self._transport.get_write_buffer_size() == 0:
                self._transport.close()
            else:
                self._transport.abort()
        self._fail(BrokerUnavailable(f"{self.where}: closed"))


def ignore(replies: list[Any]) -> None:
    """For replies that nobody wants."""


class AsyncClient:
    """See `client`. All calls on the loop it was made on."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._loop = asyncio.get_running_loop()
        self._locator = locator_of(settings)
        self._link: Link | None = None
        self._connecting: asyncio.Task[Link] | None = None
        self._closed = False
        self._guard: AsyncGenerator[None, None] | None = None

    @classmethod
    def of(cls, settings: Settings) -> AsyncClient:
        """The client that the running loop shares for these settings."""
        loop = asyncio.get_running_loop()
        clients = _shared.setdefault(loop, {})
        # Settings hold unhashable parts; equal ones come from the same object anyway.
        client = clients.get(id(settings))
        if client is None or client.settings is not settings:
            client = clients[id(settings)] = cls(settings)
            guard = client._guard = _until_shutdown(client)
            # Begun, so that the loop knows of it and closes it when it shuts down.
            with contextlib.suppress(StopIteration):
                guard.asend(None).send(None)
        return client

    # -- calls ------------------------------------------------------------------------------------
    async def call(self, *command: Argument, deadline: float | None = None, again: bool = False) -> Any:
        """Carry out one command and return its reply. Raises like `Client.call`."""
        (reply,) = await self.pipeline((command,), deadline=deadline, again=again)
        if isinstance(reply, ErrorReply):
            raise translate(reply, self.settings.url) from reply
        return reply

    async def run(
        self,
        script: Script,
        keys: Sequence[Argument],
        arguments: Sequence[Argument] = (),
        *,
        deadline: float | None = None,
        again: bool = False,
    ) -> Any:
        """Run a script and return its reply. Raises like `call`."""
        return await self.call(*script.call(keys, arguments), deadline=deadline, again=again)

    async def pipeline(
        self, commands: Sequence[Command], *, deadline: float | None = None, again: bool = False
    ) -> list[Any]:
        """Carry out commands in one write. See `Client.pipeline`."""
        until = time.monotonic() + self.settings.timeout if deadline is None else deadline
        replies = await self.send(pack_all(commands), len(commands), until, again=again)
        for index, reply in enumerate(replies):
            if isinstance(reply, ErrorReply) and reply.code == "NOSCRIPT":
                full = Script.in_full(commands[index])
                if full is not None:
                    (replies[index],) = await self.send(pack(*full), 1, until, again=again)
        return replies

    async def send(self, data: bytes, count: int, deadline: float, *, again: bool = False) -> list[Any]:
        """`pipeline` for commands that are packed already, `count` of them."""
        backoff = Backoff(first=0.05, longest=1.0)
        while True:
            try:
                return await self._send(data, count, deadline)
            except BrokerUnavailable:
                pause = backoff.next()
                if not again or time.monotonic() + pause >= deadline:
                    raise
                await asyncio.sleep(pause)

    async def _send(self, data: bytes, count: int, deadline: float) -> list[Any]:
        link, began = self._link, time.monotonic()
        try:
            async with asyncio.timeout(max(deadline - time.monotonic(), 0.001)):
                if link is None or not link.is_open:
                    link = await self._connected()
                replies = await link.send(data, count)
        except TimeoutError:
            if link is not None:
                if time.monotonic() - began >= self.settings.connect_timeout:
                    self.settings.gave_up(link.target)
                # Others may have more time than this call had.
                if not link.is_shared or link.silent_for >= self.settings.connect_timeout:
                    link.abort("no answer in time")
            raise BrokerUnavailable(f"{self.settings.url}: no answer in time") from None
        if any(type(reply) is ErrorReply and reply.code in ELSEWHERE for reply in replies):
            link.abort("it is not the one to talk to any more")
        return replies

    async def _connected(self) -> Link:
        """The link, made anew if need be; all who ask meanwhile wait for the same."""
        task = self._connecting
        if task is None or task.done():
            task = self._connecting = self._loop.create_task(self._connect())
            task.add_done_callback(_retrieved)
        return await asyncio.shield(task)

    async def _connect(self) -> Link:
        error: BrokerError | None = None
        for _ in self.settings.targets:
            try:
                link = await Link.open(self.settings, self._locator, on_lost=self._lost)
            except BrokerError as failure:
                error = failure
                continue
            if self._closed:
                link.close()
                raise BrokerUnavailable(f"{self.settings.url}: closed")
            self._link = link
            return link
        assert error is not None
        raise error

    def _lost(self, error: BrokerError) -> None:
        self._link = None

    def close(self) -> None:
        """Close the connection; what is pending fails."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        link, self._link = self._link, None
        if link is not None:
            link.close()


def _retrieved(task: asyncio.Task[Link]) -> None:
    """Nobody may be left to hear of a failure."""
    if not task.cancelled():
        task.exception()


_shared: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, AsyncClient]] = (
    weakref.WeakKeyDictionary()
)


async def _until_shutdown(client: AsyncClient) -> AsyncGenerator[None, None]:
    """Ends when the loop shuts down its generators, and the client with it."""
    try:
        yield
    finally:
        client.close()
        clients = _shared.get(asyncio.get_running_loop())
        if clients is not None:
            clients.pop(id(client.settings), None)
