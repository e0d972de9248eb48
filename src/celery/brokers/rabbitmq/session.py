"""One connection on an event loop, for consumers: opened, kept alive, given up when the peer is silent.

Channel 1 carries messages and what is said about them, channel 2 requests. Whoever owns the session gets
all that comes on channel 1; nothing here waits for a message.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, cast

from celery.net import aio
from celery.wire.amqp.connection import Connection, State, channel_error
from celery.wire.amqp.errors import PRECONDITION_FAILED, Closed, ProtocolError
from celery.wire.amqp.frames import HEARTBEAT, Command, Message, method

from .errors import refused, refused_connection, unavailable
from .keeper import Keeper
from .link import ASKING, SENDING, refused_login
from .requests import Request, replies_to

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.brokers.base import BrokerError

    from .endpoint import Endpoint

logger = logging.getLogger(__name__)

#: Seconds for the answer to one request.
PATIENCE = 30.0


class Session(asyncio.Protocol):
    """An open connection; made by `open_session`.

    Args:
        on_events: gets what comes on channel 1, in batches.
        on_lost: called once, with why, when the connection is gone and nobody had asked for that.

    Attributes:
        ticked: monotonic time of the last look at the clock: how long this process may have stood still.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        on_events: Callable[[list[Command | Message]], None],
        on_lost: Callable[[BrokerError], None],
    ) -> None:
        self.endpoint = endpoint
        self.machine = Connection(endpoint.login, heartbeat=endpoint.heartbeat)
        self.ticked = time.monotonic()
        self._on_events = on_events
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._error: BrokerError | None = None
        self._closing = False
        self._heard = self._spoke = self.ticked
        self._timer: asyncio.TimerHandle | None = None
        self._asking = False
        self._turn = asyncio.Lock()
        self._answer: tuple[tuple[str, ...], asyncio.Future[Command | Message]] | None = None
        self._keeper: Keeper | None = None
        self._high = 1 << 20
        self._full = False  # something waits because the system's buffer is full (without a keeper: a lot)

    # -- the life of a connection

    async def opened(self) -> None:
        """Return when it is open.

        Raises:
            BrokerUnavailable, BrokerRefused: it will not be.
        """
        try:
            async with asyncio.timeout(self.endpoint.timeout):
                await self._opened
        except TimeoutError as exc:
            self.abort(unavailable(self.endpoint, exc))
            raise unavailable(self.endpoint, exc) from exc

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        made = self._transport = cast("asyncio.Transport", transport)
        made.set_write_buffer_limits(high=self._high)
        made.write(self.machine.begin())

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._heard = time.monotonic()
        machine = self.machine
        try:
            events = machine.receive(data)
        except ProtocolError as exc:
            self.abort(unavailable(self.endpoint, exc))
            return
        except ValueError as exc:
            self.abort(refused_login(self.endpoint, exc))
            return
        out = machine.reply()
        if out:
            self.write(out)
        if machine.state is State.CLOSED:
            closed = machine.close_error
            self.abort(None if closed is None else refused_connection(self.endpoint, closed))
        elif not self._opened.done() and machine.state is State.OPEN:
            self._start_beating()
            self._opened.set_result(None)
        if events:
            self._dispatch(events)

    def _dispatch(self, events: list[Command | Message]) -> None:
        mine = [event for event in events if event.channel == SENDING]
        if len(mine) != len(events):
            for event in events:
                if event.channel == ASKING:
                    self._answered(event)
        if mine:
            self._on_events(mine)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if self._timer is not None:
            self._timer.cancel()
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.close()
        error = self._error or unavailable(self.endpoint, exc or "the broker closed the connection")
        if not self._opened.done():
            self._opened.set_exception(error)
            self._opened.exception()  # whoever waits for it may have given up
        if self._answer is not None and not self._answer[1].done():
            self._answer[1].set_exception(error)
        if not self._gone.done():
            self._gone.set_result(None)
            if not self._opened.cancelled() and self._opened.exception() is None and not self._closing:
                self._on_lost(error)

    def abort(self, error: BrokerError | None) -> None:
        """Drop the connection at once, for this reason."""
        if self._error is None:
            self._error = error
        if self._transport is not None:
            self._transport.abort()

    @property
    def open(self) -> bool:
        return self.machine.open and not self._gone.done() and self._error is None

    def ensure_open(self) -> None:
        """Raise what ended the connection, if something did.

        Raises:
            BrokerUnavailable, BrokerRefused: it is of no more use.
        """
        if not self.open:
            raise self._error or unavailable(self.endpoint, "the connection is closed")

    async def close(self) -> None:
        """Say goodbye, and close; returns when the broker has heard everything, or soon after."""
        self._closing = True
        if self.open:
            self.write(self.machine.close())
            try:
                async with asyncio.timeout(2.0):
                    await self._gone
            except TimeoutError:
                logger.debug("%s did not answer our goodbye", self.endpoint.name)
        self.abort(None)

    # -- heartbeats

    def quiet_for(self) -> float:
        """Seconds since the peer was last heard of; 0 if it need not say anything."""
        return time.monotonic() - self._heard if self.machine.heartbeat else 0.0

    def _start_beating(self) -> None:
        beat = self.machine.heartbeat
        if beat:
            rate = max(self.endpoint.options.heartbeat_rate, 2.0)
            self._timer = self._loop.call_later(beat / rate, self._beat, beat / rate)

    def guard(self) -> None:
        """Have heartbeats sent from outside while a task holds the interpreter's lock.

        Nobody but this process can write into a TLS connection: there it does nothing.
        """
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        if self.machine.heartbeat and self.endpoint.place.tls is None and sock is not None and self.open:
            self._keeper = Keeper(sock.fileno(), self.machine.heartbeat)
            # So we hear at once when the rest of a frame must wait: nobody may write into the middle of it.
            self._high = 0
            if self._transport is not None:
                self._transport.set_write_buffer_limits(high=0)

    def _tell_keeper(self, wrote: float) -> None:
        if self._keeper is not None:
            self._keeper.wrote(wrote, midway=self._full)

    def _beat(self, every: float) -> None:
        now = time.monotonic()
        stood_still = now - self.ticked > 2 * every + 1.0
        self.ticked = now
        beat = self.machine.heartbeat
        # After a stall of our own what the peer said may still wait in the socket.
        if now - self._heard > 2 * beat and not stood_still:
            self.abort(
                unavailable(self.endpoint, f"no sign of life for {2 * beat:.0f} seconds (broker_heartbeat)")
            )
            return
        if now - self._spoke >= beat / 2 - every:
            self.write(HEARTBEAT)
        self._tell_keeper(self._spoke)
        self._timer = self._loop.call_later(every, self._beat, every)

    # -- writing

    def write(self, data: bytes) -> None:
        """Send; returns at once."""
        if self._transport is not None:
            self._spoke = time.monotonic()
            self._transport.write(data)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._full = True
        self._tell_keeper(time.monotonic())

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._full = False
        self._tell_keeper(time.monotonic())

    # -- requests

    async def ask(self, name: str, **values: Any) -> Command | Message:
        """Call a method on the channel for requests and wait for its answer; one at a time.

        Raises:
            Closed: the broker refused it.
            BrokerUnavailable: there was no answer.
        """
        async with self._turn:
            self.ensure_open()
            opening = b"" if self._asking else method(ASKING, "channel.open")
            self._asking = True
            future: asyncio.Future[Command | Message] = self._loop.create_future()
            self._answer = (replies_to(name), future)
            self.write(opening + method(ASKING, name, **values))
            try:
                async with asyncio.timeout(PATIENCE):
                    return await future
            except TimeoutError as exc:
                error = unavailable(self.endpoint, f"no answer to {name} in {PATIENCE:.0f} seconds")
                self.abort(error)
                raise error from exc
            finally:
                self._answer = None

    def _answered(self, event: Command | Message) -> None:
        closed = isinstance(event, Command) and event.name == "channel.close"
        if closed:
            self._asking = False
        if self._answer is None or self._answer[1].done():
            return
        names, future = self._answer
        if isinstance(event, Message):
            future.set_result(event)
        elif closed:
            future.set_exception(channel_error(event))
        elif event.name in names:
            future.set_result(event)

    async def carry_out(self, request: Request) -> Command | Message | None:
        """As `ask`; what the broker refuses is an error of the port, or None if the request tolerates it."""
        try:
            return await self.ask(request.method, **request.values)
        except Closed as closed:
            if request.tolerant and closed.code == PRECONDITION_FAILED:
                return None
            raise refused(self.endpoint, closed, request.what) from closed


async def open_session(
    endpoint: Endpoint,
    on_events: Callable[[list[Command | Message]], None],
    on_lost: Callable[[BrokerError], None],
) -> Session:
    """Connect.

    Raises:
        BrokerUnavailable, BrokerRefused: as they say.
    """
    try:
        session = await aio.connect(
            endpoint.place, lambda: Session(endpoint, on_events, on_lost), endpoint.timeout
        )
    except OSError as exc:
        raise unavailable(endpoint, exc) from exc
    try:
        await session.opened()
    except BaseException:
        session.abort(None)
        raise
    return session
