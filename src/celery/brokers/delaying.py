"""Whether native delayed delivery, as stock Celery lays it out in RabbitMQ, fits a message.

A delayed message comes out under its own routing key with 28 digits before it, and goes wherever a queue's key follows
anything (`#.<key>`): into every exchange that has such a queue, whichever it was meant for. Keys of which one ends with
another, or that two exchanges share, would bring it to queues that are not meant. So it is asked first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .virtual import matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .topology import Exchange, Queue

#: In bits of seconds: about eight and a half years fit.
LEVELS = 28
_DIGITS = "0." * LEVELS


def is_quorum(queue: Queue) -> bool:
    """Whether it is declared as a quorum queue."""
    return queue.arguments.get("x-queue-type") == "quorum"


def takes_delayed(queue: Queue) -> bool:
    """Whether stock Celery's workers lead delayed messages to it: its exchange has a name and is not direct."""
    return bool(queue.exchange.name) and queue.exchange.type != "direct"


def way_key(queue: Queue) -> str:
    """The key by which it is bound for delayed messages."""
    return f"#.{queue.routing_key}" if queue.routing_key else "#"


def fits(queues: Iterable[Queue], exchange: str, routing_key: str) -> bool:
    """Whether a message reaches the same queues delayed as it would at once.

    Args:
        queues: all that the app knows; none of them being a quorum queue, stock Celery delays nothing.
    """
    known = list(queues)
    if not exchange or not any(map(is_quorum, known)):
        return False
    at_once = {
        queue.name
        for queue in known
        for bound, key in _bindings(queue)
        if bound.name == exchange and matches(bound.type, key, routing_key)
    }
    return bool(at_once) and at_once == set(_later(known, _DIGITS + routing_key))


def _later(queues: list[Queue], key: str) -> Iterator[str]:
    """The queues that a message with this key reaches when it comes out."""
    ways = [queue for queue in queues if takes_delayed(queue) and matches("topic", way_key(queue), key)]
    entered = {queue.exchange.name for queue in ways}
    yield from (queue.name for queue in ways)
    for queue in queues:
        if any(bound.name in entered and matches(bound.type, own, key) for bound, own in _bindings(queue)):
            yield queue.name


def _bindings(queue: Queue) -> Iterator[tuple[Exchange, str]]:
    yield queue.exchange, queue.routing_key
    for binding in queue.bindings:
        yield binding.exchange, binding.routing_key
