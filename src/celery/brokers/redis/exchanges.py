"""Exchanges and bindings, as kombu keeps them: sets of `_kombu.binding.*`, and channels for fanout.

The type of an exchange is nowhere in Redis. A binding with a pattern belongs to a topic; what is declared as fanout by
whoever declares is fanout, and so are the two exchanges that Celery itself has for control and events.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from celery.brokers.virtual import bindings_of, matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from celery.brokers.topology import Exchange, Queue
    from celery.wire.resp import Command

    from .keys import Keys

#: Milliseconds that the bindings of queues that expire are kept at least.
_LEAST_TTL = 3_600_000


def pattern_of(exchange: Exchange, key: str) -> str:
    """The pattern that kombu writes into a binding of a topic exchange; empty for others."""
    if exchange.type != "topic":
        return ""
    words = [
        ".*?" if word == "#" else "[^\\.]+" if word == "*" else re.escape(word) for word in key.split(".")
    ]
    return "^" + "\\.".join(words) + "$"


class Exchanges:
    """What a process knows of exchanges."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._fanout = {"celeryev"}
        #: Bindings that this process has made, by exchange: they are made again when they have been evicted.
        self.made: dict[str, set[str]] = {}

    def is_fanout(self, exchange: str) -> bool:
        """Whether its messages go out on a channel."""
        return exchange in self._fanout or (
            exchange.endswith(".pidbox") and not exchange.startswith("reply.")
        )

    def learn(self, exchange: Exchange, *, channel: bool = False) -> None:
        """Take note of an exchange's type.

        Args:
            channel: whatever its type, its messages go out on a channel.
        """
        if exchange.type == "fanout" or channel:
            self._fanout.add(exchange.name)

    def declaring(self, queue: Queue) -> Iterator[Command]:
        """The commands that bind a queue.

        Raises:
            BrokerRefused: an exchange type that is not known here.
        """
        keys = self._keys
        names = []
        for exchange, key in bindings_of(queue):
            self.learn(exchange)
            member = keys.member(key, pattern_of(exchange, key), queue.name)
            self.made.setdefault(exchange.name, set()).add(member)
            names.append(exchange.name)
            yield ("SADD", keys.binding(exchange.name), member)
            if lifetime(queue) is None:
                yield ("SADD", keys.permanent(exchange.name), member)
            else:
                until = int(time.time() * 1000) + max(lifetime(queue) or 0, _LEAST_TTL)
                yield ("ZADD", keys.deadlines, "GT", until, exchange.name)
        if names:
            yield ("SADD", keys.exchanges(queue.name), *names)

    def undeclaring(self, queue: Queue) -> Iterator[Command]:
        """The commands that undo what this process has bound of a queue."""
        keys = self._keys
        for exchange, key in bindings_of(queue):
            member = keys.member(key, pattern_of(exchange, key), queue.name)
            self.made.get(exchange.name, set()).discard(member)
            yield ("SREM", keys.binding(exchange.name), member)
        yield ("DEL", keys.exchanges(queue.name))

    def forgetting(
        self, queue: str, exchanges: Iterable[str], members: dict[str, Iterable[bytes]]
    ) -> Iterator[Command]:
        """The commands that undo all bindings of a queue.

        Args:
            members: what is in the binding sets of the exchanges.
        """
        end = (self._keys.separator + queue).encode()
        for exchange in exchanges:
            gone = [member for member in members.get(exchange, ()) if member.endswith(end)]
            made = self.made.get(exchange, set())
            made.difference_update(member.decode() for member in gone)
            if gone:
                yield ("SREM", self._keys.binding(exchange), *gone)
                yield ("SREM", self._keys.permanent(exchange), *gone)
        yield ("DEL", self._keys.exchanges(queue))

    def read(self, members: Iterable[bytes | str]) -> list[tuple[str, bool, str]]:
        """Bindings as (routing key, whether it is a topic's, queue); what cannot be read is left out."""
        found = []
        for member in members:
            text = member if isinstance(member, str) else member.decode(errors="replace")
            parts = text.split(self._keys.separator)
            if len(parts) == 3:
                found.append((parts[0], bool(parts[1]), parts[2]))
        return found

    def route(self, members: Iterable[bytes | str], routing_key: str) -> list[str]:
        """The queues that get a message, each once."""
        return sorted(
            {
                queue
                for key, topic, queue in self.read(members)
                if matches("topic" if topic else "direct", key, routing_key)
            }
        )


def lifetime(queue: Queue) -> int | None:
    """Milliseconds of disuse after which a queue goes; None: never."""
    if queue.expires is not None:
        return int(queue.expires * 1000)
    said = queue.arguments.get("x-expires")
    return None if said is None else int(said)
