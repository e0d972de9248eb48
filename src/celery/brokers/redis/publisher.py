"""Sending: one write for a batch, and one for all threads that send at the same time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from celery.brokers.base import BrokerError, Unroutable
from celery.utils.uuids import uuid
from celery.wire.resp import ErrorReply, pack_command

from . import messages
from .errors import translate
from .exchanges import lifetime
from .scripts import POSTPONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from celery.brokers.base import Outgoing
    from celery.brokers.topology import Queue
    from celery.wire.resp import Command

    from .aio import AsyncClient
    from .client import Client
    from .exchanges import Exchanges
    from .keys import Keys
    from .settings import Settings

#: A queue that this process has declared is declared again after so many seconds: bindings may have been evicted.
_DECLARE_AGAIN = 60.0
_MOST_DECLARED = 10_000
#: At most so many messages, or bytes of them, in one `LPUSH`.
_MOST_IN_ONE = 1000
_MOST_BYTES = 4 << 20

_Outcomes = list[BrokerError | None]


class _Plan:
    """The commands of one batch, and which messages each of them carries."""

    __slots__ = ("carried", "commands", "outcomes")

    def __init__(self, count: int) -> None:
        self.commands: list[Command] = []
        #: One entry a command: the indices of its messages.
        self.carried: list[Sequence[int]] = []
        self.outcomes: _Outcomes = [None] * count

    def add(self, command: Command, indices: Sequence[int] = ()) -> None:
        self.commands.append(command)
        self.carried.append(indices)

    def read(self, replies: Sequence[Any], where: str) -> _Outcomes:
        for reply, indices in zip(replies, self.carried, strict=True):
            if type(reply) is ErrorReply:
                error = translate(reply, where)
                for index in indices:
                    self.outcomes[index] = error
        return self.outcomes


class RedisPublisher:
    """The `Publisher` of a Redis.

    A message to the default exchange goes straight to its queue, whether or not anybody has declared that: it
    waits there. Bindings of other exchanges are looked up for each batch, in one more round trip.

    Args:
        visibility_timeout: seconds, as stock workers count them.
    """

    def __init__(
        self, settings: Settings, client: Client, keys: Keys, exchanges: Exchanges, visibility_timeout: float
    ) -> None:
        self._settings = settings
        self._client = client
        self._keys = keys
        self._exchanges = exchanges
        self._visibility_timeout = visibility_timeout
        self._declared: dict[str, tuple[Queue, float]] = {}
        self._lists: dict[tuple[str, int], str] = {}

    def publish(self, batch: Sequence[Outgoing], *, deadline: float) -> list[BrokerError | None]:
        """See `Publisher.publish`."""
        deadline = self._until(deadline)
        if len(batch) == 1 and (simple := self._one(batch[0])) is not None:
            (reply,) = self._client.send(simple, 1, deadline)
            return [translate(reply, self._settings.url) if type(reply) is ErrorReply else None]
        names = self._named(batch)
        members: list[Any] = []
        if names:
            members = self._client.pipeline(self._lookups(names), deadline=deadline)
        plan = self._plan(batch, self._bindings(names, members))
        if not plan.commands:
            return plan.outcomes
        return plan.read(self._client.pipeline(plan.commands, deadline=deadline), self._settings.url)

    async def apublish(self, batch: Sequence[Outgoing], *, deadline: float) -> list[BrokerError | None]:
        """See `Publisher.apublish`."""
        deadline = self._until(deadline)
        client = self._loops_client()
        if len(batch) == 1 and (simple := self._one(batch[0])) is not None:
            (reply,) = await client.send(simple, 1, deadline)
            return [translate(reply, self._settings.url) if type(reply) is ErrorReply else None]
        names = self._named(batch)
        members: list[Any] = []
        if names:
            members = await client.pipeline(self._lookups(names), deadline=deadline)
        plan = self._plan(batch, self._bindings(names, members))
        if not plan.commands:
            return plan.outcomes
        return plan.read(await client.pipeline(plan.commands, deadline=deadline), self._settings.url)

    def _until(self, deadline: float) -> float:
        """When a server that says nothing is given up: half-way, if there is another one to send to."""
        if self._settings.failover is None:
            return deadline
        now = time.monotonic()
        return now + (deadline - now) / 2

    def _loops_client(self) -> AsyncClient:
        from .aio import AsyncClient  # noqa: PLC0415 - a program that only calls `delay` need not load asyncio

        return AsyncClient.of(self._settings)

    def _one(self, outgoing: Outgoing) -> bytes | None:
        """The command for one message that needs nothing else; None if it does."""
        if outgoing.exchange or outgoing.due is not None:
            return None
        for queue in outgoing.declare:
            if not self._is_declared(queue) or lifetime(queue) is not None:
                return None
        ready = self._list_of(outgoing.routing_key, outgoing.priority)
        return pack_command(("LPUSH", ready, messages.pack(outgoing)))  # type: ignore[no-any-return]

    def _list_of(self, queue: str, priority: int) -> str:
        """Where the messages of this priority wait."""
        known = self._lists.get((queue, priority))
        if known is None:
            if len(self._lists) > _MOST_DECLARED:  # names made up by calls
                self._lists.clear()
            keys = self._keys
            step = keys.steps[keys.step_of(priority)]
            known = self._lists[queue, priority] = keys.ready(queue, step)
        return known

    # -- bindings ---------------------------------------------------------------------------------
    def _named(self, batch: Sequence[Outgoing]) -> list[str]:
        """The exchanges whose bindings must be looked up."""
        return list(
            dict.fromkeys(
                one.exchange for one in batch if one.exchange and not self._exchanges.is_fanout(one.exchange)
            )
        )

    def _lookups(self, names: Iterable[str]) -> list[Command]:
        keys = self._keys
        return [
            command
            for name in names
            for command in (("SMEMBERS", keys.binding(name)), ("SMEMBERS", keys.permanent(name)))
        ]

    def _bindings(self, names: Sequence[str], replies: Sequence[Any]) -> dict[str, list[bytes | str]]:
        found: dict[str, list[bytes | str]] = {}
        for index, name in enumerate(names):
            members: list[bytes | str] = []
            for reply in replies[2 * index : 2 * index + 2]:
                if isinstance(reply, ErrorReply):
                    raise translate(reply, self._settings.url)
                members += reply
            found[name] = members
        return found

    def _is_declared(self, queue: Queue) -> bool:
        known = self._declared.get(queue.name)
        return (
            known is not None
            and (known[0] is queue or known[0] == queue)
            and time.monotonic() - known[1] < _DECLARE_AGAIN
        )

    def _declare(self, plan: _Plan, queue: Queue) -> None:
        for command in self._exchanges.declaring(queue):
            plan.add(command)
        if len(self._declared) > _MOST_DECLARED:  # names made up by calls
            self._declared.clear()
        self._declared[queue.name] = (queue, time.monotonic())

    # -- plans ------------------------------------------------------------------------------------
    def _plan(self, batch: Sequence[Outgoing], bindings: dict[str, list[bytes | str]]) -> _Plan:
        plan = _Plan(len(batch))
        lots: dict[str, tuple[list[int], list[bytes]]] = {}
        later: dict[str, tuple[list[int], list[Any]]] = {}
        expiring: dict[str, int] = {}
        for index, outgoing in enumerate(batch):
            try:
                for queue in outgoing.declare:
                    if not self._is_declared(queue):
                        self._declare(plan, queue)
                    if (ms := lifetime(queue)) is not None:
                        expiring[queue.name] = ms
                targets = self._targets(plan, index, outgoing, bindings)
            except BrokerError as error:
                plan.outcomes[index] = error
                continue
            due = outgoing.due
            for target in targets:
                raw = messages.pack(outgoing, due)
                if due is not None and due > time.time():
                    step = self._keys.step_of(outgoing.priority)
                    indices, items = later.setdefault(target, ([], []))
                    items += (f"{uuid()}:p0:{step}", repr(due), messages.value(raw, target))
                    indices.append(index)
                else:
                    ready = self._list_of(target, outgoing.priority)
                    indices, raws = lots.setdefault(ready, ([], []))
                    raws.append(raw)
                    indices.append(index)
        for ready, (indices, raws) in lots.items():
            _push(plan, ready, indices, raws)
        for target, (indices, items) in later.items():
            self._postpone(plan, target, indices, items)
        for name, ms in expiring.items():
            for ready in self._keys.lists(name):
                plan.add(("PEXPIRE", ready, ms))
        return plan

    def _targets(
        self, plan: _Plan, index: int, outgoing: Outgoing, bindings: dict[str, list[bytes | str]]
    ) -> list[str]:
        """The queues that get a message; none if it goes out on a channel, or has nowhere to go."""
        exchange, key = outgoing.exchange, outgoing.routing_key
        if not exchange:
            return [key]
        if self._exchanges.is_fanout(exchange):
            plan.add(("PUBLISH", self._keys.channel(exchange, key), messages.pack(outgoing)), [index])
            return []
        made = self._exchanges.made.get(exchange, set())
        members = bindings.get(exchange) or []
        if outgoing.declare and made:
            mine = tuple(self._keys.separator + queue.name for queue in outgoing.declare)
            members = [*members, *(member for member in made if member.endswith(mine))]
        found = self._exchanges.route(members, key)
        if not found and made:
            # Evicted or deleted: what this process knows is made again.
            found = self._exchanges.route(made, key)
            if found:
                plan.add(("SADD", self._keys.binding(exchange), *made))
        if not found and outgoing.mandatory:
            plan.outcomes[index] = Unroutable(
                f"The message was refused: no queue is bound to exchange {exchange!r} for routing key {key!r}."
                " Declare the queue, or start a worker that consumes it."
            )
        return found

    def _postpone(self, plan: _Plan, queue: str, indices: list[int], items: list[Any]) -> None:
        keys = self._keys
        for start in range(0, len(indices), _MOST_IN_ONE):
            end = start + _MOST_IN_ONE
            call = POSTPONE.call(
                [keys.unacked, keys.index, keys.due(queue), keys.nudges],
                [self._visibility_timeout, queue, *items[3 * start : 3 * end]],
            )
            plan.add(call, indices[start:end])

    def forget(self, queue: str) -> None:
        """A queue was deleted: the next message that names it declares it anew."""
        self._declared.pop(queue, None)

    def close(self) -> None:
        """See `Publisher.close`."""
        self._client.close()


def _push(plan: _Plan, ready: str, indices: list[int], raws: list[bytes]) -> None:
    """`LPUSH` messages, in as few commands as is wise."""
    start = size = 0
    for at, raw in enumerate(raws):
        size += len(raw)
        if at + 1 == len(raws) or at + 1 - start >= _MOST_IN_ONE or size >= _MOST_BYTES:
            plan.add(("LPUSH", ready, *raws[start : at + 1]), indices[start : at + 1])
            start, size = at + 1, 0
