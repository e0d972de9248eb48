"""Commands to workers, as messages: a fanout exchange to all of them, a queue of one's own for what they answer.

The form is Celery's ("pidbox"), so both kinds of workers answer both kinds of programs.
"""

from __future__ import annotations

import asyncio
import fnmatch
import re
import threading
import time
import warnings
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from celery.app.addresses import shown
from celery.brokers import publishing
from celery.brokers.base import BrokerError, Outgoing, Unroutable
from celery.brokers.topology import Exchange
from celery.exceptions import DuplicateNodenameWarning, OperationalError
from celery.message.headers import LazyObject
from celery.message.serializers import dumps, loads, prepare_accept_content
from celery.utils.uuids import uuid

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from celery.brokers.base import Broker, Delivery

T = TypeVar("T")
#: `{node name: what it says}`.
Reply = dict[str, Any]

DUPLICATE = """\
Received multiple replies from node {0}: {1}.
Please make sure you give each node a unique nodename using
the celery worker `-n` option.\
"""
#: Seconds to wait for replies, unless somebody says otherwise.
WAIT = 1.0
#: Seconds that a command may take to get to the broker.
WITHIN = 10.0


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes:
        destination: node names; None: every node, or those that match `pattern`.
        matcher: how `pattern` is meant: `glob` or `pcre`.
    """

    method: str
    arguments: dict[str, Any]
    destination: tuple[str, ...] | None = None
    pattern: str | None = None
    matcher: str | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for replies.

    Attributes:
        timeout: seconds; None: for ever.
        limit: replies after which nobody waits for more; None: no limit.
        quiet: after the first reply, only until so many seconds have passed without another; None: no such rule.
    """

    timeout: float | None = WAIT
    limit: int | None = None
    quiet: float | None = None


def request_exchange(namespace: str) -> Exchange:
    """Where commands are published."""
    return Exchange(f"{namespace}.pidbox", "fanout", durable=False)


def reply_exchange(namespace: str) -> Exchange:
    """Where replies are published."""
    return Exchange(f"reply.{namespace}.pidbox", "direct", durable=False)


def matches(pattern: str, matcher: str | None, name: str) -> bool:
    """Whether a pattern means this node.

    Raises:
        ValueError: an unknown matcher, or no regular expression.
    """
    if matcher in (None, "glob"):
        return fnmatch.fnmatchcase(name, pattern)
    if matcher == "pcre":
        try:
            return re.match(pattern, name) is not None
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    raise ValueError(f"matcher must be 'glob' or 'pcre', not {matcher!r}")


def addressed(destination: Any) -> tuple[str, ...] | None:
    """The node names that a destination stands for: one without `@` may be short for `celery@NAME`."""
    if not destination:
        return None
    names = [destination] if isinstance(destination, str) else list(destination)
    return tuple(one for name in names for one in ((name,) if "@" in name else (name, f"celery@{name}")))


def count(destination: Any) -> int | None:
    """How many nodes a destination names; None for all there are."""
    if not destination:
        return None
    return 1 if isinstance(destination, str) else len(destination)


def packed(
    body: Any,
    headers: dict[str, Any],
    exchange: str,
    key: str = "",
    *,
    mandatory: bool = False,
    mode: int = 2,
) -> Outgoing:
    """A message of remote control.

    Args:
        mode: AMQP's delivery mode; 1: it need not survive the broker.
    """
    content_type, encoding, data = dumps(body, "json")
    properties = {"content_type": content_type, "content_encoding": encoding, "delivery_mode": mode}
    return Outgoing(
        data, LazyObject(value=headers), LazyObject(value=properties), exchange, key, mandatory=mandatory
    )


def unpacked(delivery: Delivery, accept: frozenset[str] | None) -> Any:
    """The body of a message of remote control.

    Raises:
        ContentDisallowed, DecodeError: as its content type demands.
    """
    said = delivery.properties.value
    return loads(delivery.body, said.get("content_type"), said.get("content_encoding"), accept)


def run_aside(make: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine to its end on a loop of its own, in a thread of its own; also where a loop runs already."""

    return _in_thread(lambda: asyncio.run(_awaited(make))).result()


async def arun_aside(make: Callable[[], Awaitable[T]]) -> T:
    """`run_aside`, awaited."""
    return await call_aside(lambda: asyncio.run(_awaited(make)))


async def call_aside(call: Callable[[], T]) -> T:
    """Make a call that may block, in a thread of its own."""
    return await asyncio.wrap_future(_in_thread(call))


async def _awaited(make: Callable[[], Awaitable[T]]) -> T:
    return await make()


def _in_thread(call: Callable[[], T]) -> Future[T]:
    outcome: Future[T] = Future()
    threading.Thread(target=_settle, args=(outcome, call), name="celery-control", daemon=True).start()
    return outcome


def _settle(outcome: Future[T], call: Callable[[], T]) -> None:
    try:
        outcome.set_result(call())
    except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
        outcome.set_exception(error)


class Broadcaster:
    """Sends commands for an app, and collects what is answered.

    Args:
        connection: a kombu connection: its broker is used, instead of the app's.
        aside: coroutines run on a loop that nobody else uses (`run_aside`), so they may block it.
    """

    def __init__(self, app: Any, connection: Any = None, *, aside: bool = False) -> None:
        self._app = app
        self._aside = aside
        self._connection = connection

    @property
    def namespace(self) -> str:
        """The setting `control_exchange`."""
        return str(self._app.conf.control_exchange)

    def _broker(self) -> Broker:
        connection = self._connection
        broker: Broker = (
            self._app.broker_for_write()
            if connection is None
            else self._app.broker_at(connection.as_uri(include_password=True))
        )
        if not broker.capabilities.fanout:
            raise OperationalError(
                f"{shown(broker.url)}: this broker has no fanout, so workers "
                "cannot be reached by remote control. Use Redis, RabbitMQ or the embedded store for that."
            )
        return broker

    def message(
        self, command: Command, *, expires: float = 0, ticket: str | None = None, mandatory: bool = False
    ) -> Outgoing:
        """A command as a message.

        Args:
            expires: unix time after which nobody waits for replies; 0: nobody waits at all.
            ticket: by which replies are known; None for none.
        """
        body: dict[str, Any] = {
            "method": command.method,
            "arguments": command.arguments,
            "destination": None if command.destination is None else list(command.destination),
            "pattern": command.pattern,
            "matcher": command.matcher,
        }
        if ticket is not None:
            exchange = reply_exchange(self.namespace).name
            body |= {"ticket": ticket, "reply_to": {"exchange": exchange, "routing_key": ticket}}
        headers = {"clock": self._app.clock.forward(), "expires": expires}
        return packed(body, headers, request_exchange(self.namespace).name, mandatory=mandatory)

    def _deadline(self) -> float:
        within = self._app.conf.task_publish_timeout
        return time.monotonic() + (WITHIN if within is None else within)

    # -- without replies --------------------------------------------------------------------------
    def send(self, command: Command, *, mandatory: bool = False) -> bool:
        """Tell the workers.

        Args:
            mandatory: find out whether anybody is there.

        Returns:
            False if it is known that nobody is.

        Raises:
            OperationalError: the broker cannot be reached, or has no fanout.
        """
        return self._publish(self._broker(), self.message(command, mandatory=mandatory))

    def _publish(self, broker: Broker, message: Outgoing) -> bool:
        policy, deadline = self._app.amqp.snapshot.policy, self._deadline()
        outcomes = publishing.publish(broker.publisher(), [message], policy, deadline, url=broker.url)
        return _heard(outcomes, broker.url)

    async def _apublish(self, broker: Broker, message: Outgoing) -> bool:
        if self._aside:  # a connection for one message, and for this loop alone, would be a waste
            return self._publish(broker, message)
        policy, deadline = self._app.amqp.snapshot.policy, self._deadline()
        outcomes = await publishing.apublish(broker.publisher(), [message], policy, deadline, url=broker.url)
        return _heard(outcomes, broker.url)

    async def asend(self, command: Command, *, mandatory: bool = False) -> bool:
        """`send`, awaited."""
        return await self._apublish(self._broker(), self.message(command, mandatory=mandatory))

    # -- with replies -----------------------------------------------------------------------------
    async def ask(
        self, command: Command, patience: Patience, callback: Callable[[Reply], Any] | None = None
    ) -> list[Reply]:
        """Tell the workers, and wait for what they say.

        Args:
            callback: called with each reply.

        Raises:
            OperationalError: the broker cannot be reached, or has no fanout.
        """
        broker, ticket, namespace = self._broker(), uuid(), self.namespace
        name = f"{ticket}.reply.{namespace}.pidbox"
        conf = self._app.conf
        try:
            async with asyncio.timeout(self._deadline() - time.monotonic()):
                mailbox = await broker.mailbox(
                    name, reply_exchange(namespace), ticket, expires=conf.control_queue_expires
                )
        except (BrokerError, TimeoutError) as error:
            raise publishing.publish_error(broker.url, error) from error
        try:
            until = None if patience.timeout is None else time.time() + patience.timeout
            message = self.message(command, expires=until or 0, ticket=ticket)
            if not await self._apublish(broker, message):
                return []
            return await self._collect(mailbox.receive, ticket, patience, callback)
        finally:
            await mailbox.aclose()

    async def _collect(
        self,
        receive: Callable[[], Awaitable[list[Delivery]]],
        ticket: str,
        patience: Patience,
        callback: Callable[[Reply], Any] | None,
    ) -> list[Reply]:
        replies: list[Reply] = []
        accept = prepare_accept_content([*self._app.conf.accept_content, "json"])
        until = None if patience.timeout is None else time.monotonic() + patience.timeout
        while patience.limit is None or len(replies) < patience.limit:
            wait = None if until is None else until - time.monotonic()
            if replies and patience.quiet is not None:
                wait = patience.quiet if wait is None else min(wait, patience.quiet)
            if wait is not None and wait <= 0:
                break
            try:
                async with asyncio.timeout(wait):
                    batch = await receive()
            except TimeoutError:
                break
            for reply in self._read(batch, ticket, accept):
                replies.append(reply)
                if callback is not None:
                    callback(reply)
        return replies

    def _read(self, batch: Sequence[Delivery], ticket: str, accept: frozenset[str] | None) -> Iterator[Reply]:
        for delivery in batch:
            headers = delivery.headers.value
            if headers.get("ticket", ticket) != ticket:
                continue
            self._app.clock.adjust(headers.get("clock") or 0)
            reply = unpacked(delivery, accept)
            if isinstance(reply, dict):
                yield reply


def _heard(outcomes: Sequence[BrokerError | None], url: str) -> bool:
    """Whether there may be workers: where nobody listens, there may be no exchange either."""
    for outcome in outcomes:
        if isinstance(outcome, Unroutable):
            return False
        if outcome is not None:
            raise publishing.publish_error(url, outcome) from outcome
    return True


def check_duplicates(replies: Sequence[Reply]) -> None:
    """Warn if two nodes of one name have answered."""
    names = [name for reply in replies for name in reply]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        warnings.warn(DUPLICATE.format(", ".join(twice), len(names)), DuplicateNodenameWarning, stacklevel=4)
