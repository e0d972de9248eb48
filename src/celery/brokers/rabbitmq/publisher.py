"""Sending: one connection a process, one write and one wait for all threads that send at once.

Whoever has the connection sends for all who wait, in one buffer, and waits until the broker has confirmed every message.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from celery.brokers.base import BrokerError, BrokerRefused, BrokerUnavailable, Unroutable
from celery.brokers.delaying import takes_delayed
from celery.net.aside import Aside
from celery.net.turns import Turn, Turns
from celery.utils.locks import TAKEN
from celery.wire.amqp.confirms import Confirms
from celery.wire.amqp.connection import channel_error
from celery.wire.amqp.errors import NOT_FOUND, Closed
from celery.wire.amqp.frames import Command, Message, acknowledgement, content, method

from .delays import Ladder
from .errors import refused, unavailable, unroutable
from .link import SENDING, Link
from .messages import encoded
from .requests import declare_queue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery.brokers.base import Outgoing
    from celery.brokers.topology import Queue

    from .nodes import Nodes

logger = logging.getLogger(__name__)

#: Messages in one write; and how many may be on their way unconfirmed.
_AT_ONCE = 500
_UNCONFIRMED = 2000
#: Seconds that a call may have taken until here: a countdown of 10 is one of 10, not of 9.
_MEANWHILE = 0.25


class _Ticket(Turn):
    """One call of `publish` that waits for its messages to be confirmed."""

    __slots__ = ("batch", "deadline", "on_done", "outcomes")

    def __init__(self, batch: Sequence[Outgoing], deadline: float) -> None:
        super().__init__()
        self.batch = batch
        self.deadline = deadline
        self.on_done: Callable[[_Ticket], None] | None = None
        self.outcomes: list[BrokerError | None] = [None] * len(batch)


class _Lone:
    """A call of `publish` with one message, by the thread that sends it."""

    __slots__ = ("batch", "outcomes")

    def __init__(self, batch: Sequence[Outgoing]) -> None:
        self.batch = batch
        self.outcomes: list[BrokerError | None] = [None]


class _Item:
    """One message on its way."""

    __slots__ = ("confirmed", "index", "outgoing", "returned", "ticket")

    def __init__(self, ticket: _Ticket | _Lone, index: int) -> None:
        self.ticket = ticket
        self.index = index
        self.outgoing = ticket.batch[index]
        self.returned = False
        self.confirmed = False

    def fail(self, error: BrokerError) -> None:
        self.ticket.outcomes[self.index] = error


class RabbitPublisher:
    """The `Publisher` of a RabbitMQ URL.

    After a fork the child has a connection of its own.
    """

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        transport = nodes.options.transport_options
        self._confirms_on = bool(transport.get("confirm_publish", True))
        self._reset()
        nodes.after_fork(self._reset)

    def _reset(self) -> None:
        self._turns: Turns[_Ticket] = Turns(self._send_all)
        self._aside = Aside(self._serve)
        self._link: Link | None = None
        self._forget()

    def _forget(self) -> None:
        """What was known of the broker through a connection that is gone."""
        self._confirms: Confirms[_Item] = Confirms()
        self._declared: dict[str, Queue] = {}
        self._exchanges: set[str] = set()
        self._frames: dict[tuple[str, str, bool], bytes] = {}
        self._channel_error: Closed | None = None
        self._ladder: Ladder | None = None

    # -- the port

    def publish(self, batch: Sequence[Outgoing], *, deadline: float) -> list[BrokerError | None]:
        """See `Publisher.publish`."""
        if len(batch) == 1:
            outcomes = self._turns.alone(self._send_alone, batch, deadline)
            if outcomes is not None and outcomes is not TAKEN:
                return outcomes  # type: ignore[no-any-return]
        ticket = _Ticket(batch, deadline)
        if not self._turns.wait(ticket, deadline):
            raise BrokerUnavailable(f"{self._nodes.name}: other threads were sending until the deadline")
        return _result(ticket)

    async def apublish(self, batch: Sequence[Outgoing], *, deadline: float) -> list[BrokerError | None]:
        """See `Publisher.apublish`: a thread sends, for all tasks of the loop that send at once."""
        ticket = _Ticket(batch, deadline)

        def put(tell: Callable[[_Ticket], None]) -> None:
            ticket.on_done = tell
            self._turns.waiting.append(ticket)

        await self._aside.made(put, deadline)
        return _result(ticket)

    def _serve(self, deadline: float) -> None:
        with self._turns.connection():
            self._send_all()

    def close(self) -> None:
        """See `Publisher.close`."""
        self._aside.close()
        with self._turns.connection():
            link, self._link = self._link, None
            if link is not None:
                link.close()

    # -- by one thread at a time

    def _send_alone(self, batch: Sequence[Outgoing], deadline: float) -> list[BrokerError | None] | None:
        """Send one message where others went before it, as nearly all go; None if there is more to do: it was not sent,
        or is to be sent once more."""
        link, outgoing = self._link, batch[0]
        if link is None or self._confirms or not self._confirms_on or not self._is_known(outgoing):
            return None
        head = self._frames.get((outgoing.exchange, outgoing.routing_key, outgoing.mandatory))
        if head is None:
            return None
        item = _Item(_Lone(batch), 0)
        try:
            if not link.usable or self._channel_error is not None:
                return None
            try:
                message = content(SENDING, encoded(outgoing), outgoing.body, link.machine.frame_max)
            except ValueError:
                return None
            number = self._confirms.sent(item)
            link.send(head + message, deadline)
            if link.hears(acknowledgement(SENDING, number), deadline):
                self._confirms.settle(number, multiple=False)
                return item.ticket.outcomes
            while self._confirms:
                self._wait(link, deadline)
        except BrokerError as error:
            self._give_up(error, [item])
        except BaseException:
            self._drop()
            raise
        return None if item.returned and outgoing.declare else _result(item.ticket)

    def _is_known(self, outgoing: Outgoing) -> bool:
        """Whether nothing need be declared, looked for or delayed before it is sent."""
        if outgoing.exchange and (outgoing.due is not None or outgoing.exchange not in self._exchanges):
            return False
        for queue in outgoing.declare:
            known = self._declared.get(queue.name)
            if known is not queue and known != queue:
                return False
        return True

    def _send_all(self) -> None:
        tickets: list[_Ticket] = []
        try:
            while self._turns.take(tickets) is not None:
                pass
            if not tickets:
                return
            self._send(tickets, max(ticket.deadline for ticket in tickets))
        except BrokerError as error:
            for ticket in tickets:
                ticket.outcomes = [error] * len(ticket.batch)
        except BaseException:
            self._drop()
            for ticket in tickets:
                ticket.outcomes = [unavailable(self._nodes.now, "interrupted")] * len(ticket.batch)
            raise
        finally:
            for ticket in tickets:
                ticket.done()
                if ticket.on_done is not None:
                    ticket.on_done(ticket)

    def _send(self, tickets: list[_Ticket], deadline: float) -> None:
        link = self._connected(deadline)
        items = [_Item(ticket, index) for ticket in tickets for index in range(len(ticket.batch))]
        again = self._send_items(link, items, deadline)
        if again and self._link is link:
            # A queue that we had declared is gone: declare it anew, once.
            self._declared.clear()
            for item in again:
                item.returned = item.confirmed = False
                item.ticket.outcomes[item.index] = None
            self._send_items(link, again, deadline)

    def _send_items(self, link: Link, items: list[_Item], deadline: float) -> list[_Item]:
        """Send messages and wait for what becomes of them; return those that a new declaration may help."""
        try:
            for start in range(0, len(items), _AT_ONCE):
                buffer = self._encode(link, items[start : start + _AT_ONCE], deadline)
                if buffer:
                    link.send(buffer, deadline)
                if not self._confirms_on:
                    for item in items[start : start + _AT_ONCE]:
                        item.confirmed = True
                while len(self._confirms) > _UNCONFIRMED:
                    self._wait(link, deadline)
            while self._confirms:
                self._wait(link, deadline)
        except BrokerError as error:
            self._give_up(error, items)
            return []
        return [item for item in items if item.returned and item.outgoing.declare]

    def _wait(self, link: Link, deadline: float) -> None:
        if self._channel_error is None:
            link.wait(deadline)
        if self._channel_error is not None:
            # Whose message it was is found out when they are sent again.
            raise unavailable(link.endpoint, f"cannot publish: {self._channel_error}")

    def _give_up(self, error: BrokerError, items: list[_Item]) -> None:
        """Nothing more will be heard of what is on its way."""
        for item in items:
            if not item.confirmed and item.ticket.outcomes[item.index] is None:
                item.fail(error)
        self._drop()

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.abandon()
        self._forget()

    def _connected(self, deadline: float) -> Link:
        link = self._link
        if link is not None:
            if link.usable and self._channel_error is None:
                return link
            self._drop()
        link = self._nodes.connect(deadline, self._on_event)
        self._forget()
        start = method(SENDING, "channel.open")
        if self._confirms_on:
            start += method(SENDING, "confirm.select")
        link.send(start, deadline)
        self._link = link
        return link

    def _encode(self, link: Link, items: list[_Item], deadline: float) -> bytes:
        parts: list[bytes] = []
        frame_max = link.machine.frame_max
        confirms_on, sent, frames = self._confirms_on, self._confirms.sent, self._frames
        for item in items:
            outgoing = item.outgoing
            try:
                exchange, key = self._prepared(link, outgoing, deadline)
                where = (exchange, key, outgoing.mandatory and confirms_on)
                head = frames.get(where)
                if head is None:
                    head = self._frame(where)
                message = content(SENDING, encoded(outgoing), outgoing.body, frame_max)
            except BrokerUnavailable:
                raise
            except Unroutable as error:
                # Nobody minds that a message which is not mandatory goes nowhere.
                if outgoing.mandatory:
                    item.fail(error)
                item.confirmed = True
                continue
            except BrokerError as error:
                item.fail(error)
                continue
            except ValueError as error:
                item.fail(BrokerRefused(f"{link.endpoint.name}: the message cannot be sent: {error}"))
                continue
            if confirms_on:
                sent(item)
            parts.append(head)
            parts.append(message)
        return b"".join(parts)

    def _frame(self, where: tuple[str, str, bool]) -> bytes:
        exchange, key, mandatory = where
        if len(self._frames) > 1000:
            self._frames.clear()
        made = self._frames[where] = method(
            SENDING, "basic.publish", exchange=exchange, routing_key=key, mandatory=mandatory
        )
        return made

    def _prepared(self, link: Link, outgoing: Outgoing, deadline: float) -> tuple[str, str]:
        """Declare what a message needs; return the exchange and routing key to publish it with."""
        for queue in outgoing.declare:
            known = self._declared.get(queue.name)
            if known is not queue and known != queue:
                for request in declare_queue(queue):
                    link.carry_out(request, deadline)
                self._declared[queue.name] = queue
                self._exchanges.add(queue.exchange.name)
        exchange = outgoing.exchange
        if exchange and exchange not in self._exchanges:
            self._look_for(link, outgoing, deadline)
        if outgoing.due is not None and exchange:
            return self._delayed(link, outgoing, deadline)
        return exchange, outgoing.routing_key

    def _look_for(self, link: Link, outgoing: Outgoing, deadline: float) -> None:
        """Publishing to an exchange that is not there would close the channel, and take others' messages along."""
        try:
            link.ask("exchange.declare", deadline, exchange=outgoing.exchange, passive=True, type="direct")
        except Closed as closed:
            if closed.code == NOT_FOUND:
                raise unroutable(outgoing.exchange, outgoing.routing_key) from closed
            raise refused(
                link.endpoint, closed, f"cannot publish to exchange {outgoing.exchange!r}"
            ) from closed
        self._exchanges.add(outgoing.exchange)

    def _delayed(self, link: Link, outgoing: Outgoing, deadline: float) -> tuple[str, str]:
        """Where a message goes that is not due yet: straight into the delay exchanges.

        Its worker waits for what is left of a second. Not where a way out of them is not known: then the worker parks it.
        """
        seconds = int((outgoing.due or 0.0) - time.time() + _MEANWHILE)
        queues = [q for q in outgoing.declare if q.exchange.name == outgoing.exchange and takes_delayed(q)]
        if not queues or seconds < 1:
            return outgoing.exchange, outgoing.routing_key
        if self._ladder is None:
            self._ladder = Ladder(self._nodes.options.delayed_queue_type)
        for queue in queues:
            for request in self._ladder.missing(queue):
                link.carry_out(request, deadline)
        return self._ladder.entry(seconds, outgoing.routing_key)

    # -- what the broker says

    def _on_event(self, event: Command | Message) -> None:
        if isinstance(event, Message):
            self._returned(event)
        elif event.name in ("basic.ack", "basic.nack"):
            settled = self._confirms.settle(event.values["delivery_tag"], event.values["multiple"])
            for item in settled:
                item.confirmed = True
                if event.name == "basic.nack":
                    item.fail(
                        BrokerRefused(
                            f"{self._nodes.name}: queue {item.outgoing.routing_key!r} refused the message: it is full"
                            " (x-overflow: reject-publish) or cannot work at present"
                        )
                    )
        elif event.name == "channel.close":
            self._channel_error = channel_error(event)

    def _returned(self, message: Message) -> None:
        exchange, key = message.exchange.decode(), message.routing_key.decode()
        for item in self._confirms.waiting():
            sent = item.outgoing
            if not item.returned and sent.body == message.body and self._is(sent, exchange, key):
                item.returned = True
                item.fail(unroutable(exchange, key))
                return

    @staticmethod
    def _is(sent: Outgoing, exchange: str, key: str) -> bool:
        return (sent.exchange, sent.routing_key) == (exchange, key) or (
            sent.due is not None and exchange != ""
        )


def _result(ticket: _Ticket | _Lone) -> list[BrokerError | None]:
    outcomes = ticket.outcomes
    first: Any = outcomes[0] if outcomes else None
    if isinstance(first, BrokerUnavailable) and all(isinstance(o, BrokerUnavailable) for o in outcomes):
        raise first
    if isinstance(first, BrokerRefused) and all(outcome is first for outcome in outcomes):
        raise first
    return outcomes
