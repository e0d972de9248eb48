"""Exchange routing for brokers that know only queues: which of the bound queues get a message."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from .base import BrokerRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .topology import Exchange, Queue

T = TypeVar("T")

#: The exchange types that are matched here. `headers` needs a broker that does it.
TYPES = frozenset({"direct", "topic", "fanout"})


@lru_cache(maxsize=1024)
def topic_pattern(key: str) -> re.Pattern[str]:
    """A topic binding key as a regular expression: `*` is one word, `#` any number of words, none included.

    >>> bool(topic_pattern('task.#').fullmatch('task'))
    True
    >>> bool(topic_pattern('*.eu').fullmatch('order.eu'))
    True
    """
    text = ""
    words = key.split(".")
    for index, word in enumerate(words):
        last = index == len(words) - 1
        if word == "#":
            if last and index:
                # The dot before belongs to the words that may be missing.
                text = (
                    text.removesuffix(r"\.") + r"(?:\.[^.]+)*" if text.endswith(r"\.") else text + r"(?:.*)"
                )
            elif last:
                text += r".*"
            else:
                text += r"(?:[^.]+\.)*"
        else:
            text += r"[^.]+" if word == "*" else re.escape(word)
            if not last:
                text += r"\."
    return re.compile(text, re.DOTALL)


def matches(exchange_type: str, binding_key: str, routing_key: str) -> bool:
    """Whether a binding takes a message with this routing key."""
    if exchange_type == "fanout":
        return True
    if exchange_type == "topic":
        return topic_pattern(binding_key).fullmatch(routing_key) is not None
    return binding_key == routing_key


def route(exchange_type: str, bindings: Iterable[tuple[str, T]], routing_key: str) -> list[T]:
    """The targets of all bindings that match, each once, in order."""
    found = [target for key, target in bindings if matches(exchange_type, key, routing_key)]
    return list(dict.fromkeys(found)) if len(found) > 1 else found


def bindings_of(queue: Queue) -> Iterator[tuple[Exchange, str]]:
    """Every exchange and key under which a queue is bound; not the default exchange, which binds by name.

    Raises:
        BrokerRefused: an exchange type that is not matched here.
    """
    for exchange, key in (
        (queue.exchange, queue.routing_key),
        *((binding.exchange, binding.routing_key) for binding in queue.bindings),
    ):
        if not exchange.name:
            continue
        if exchange.type not in TYPES:
            raise BrokerRefused(
                f"Queue {queue.name!r}: this broker has no exchanges of type {exchange.type!r} "
                f"(exchange {exchange.name!r}); it knows {', '.join(sorted(TYPES))}."
            )
        yield exchange, key
