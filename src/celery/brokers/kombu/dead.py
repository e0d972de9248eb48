"""Dead letters: one more queue of the same transport, which nobody consumes.

Each is a JSON text that holds the original message in its envelope. No transport lets one look into a queue: to list
or revive, all letters are taken out, and those that stay are put back behind.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery.brokers.base import DeadLetter, Delivery, Outgoing
from celery.brokers.topology import Queue
from celery.message import envelope
from celery.message.errors import MalformedMessage
from celery.message.headers import LazyObject

from . import conversion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from celery.brokers.base import BrokerOptions

    from .links import Link

#: Where the dead letters of all queues of a broker are.
DEAD = Queue("celery.dead")
#: How many of the oldest are dropped at a time when there are too many.
_DROPPED_AT_ONCE = 10


@dataclass(frozen=True, slots=True)
class _Letter:
    """One of them, as it is kept."""

    number: int
    queue: str
    reason: str
    died_at: float
    message: str

    def read(self) -> Delivery:
        """The original message.

        Raises:
            MalformedMessage: somebody else wrote into this queue.
        """
        found = envelope.decode(self.message.encode())
        where = (found.exchange, found.routing_key, found.priority)
        return Delivery(found.body, found.headers, found.properties, self.queue, None, *where)


def bury(link: Link, delivery: Delivery, reason: str, options: BrokerOptions) -> None:
    """Write a message down as a dead letter; the oldest go when there are more than `dead_letter_limit`."""
    link.declare([DEAD])
    number = int(uuid.uuid4().hex[:12], 16)
    text = envelope.encode(
        delivery.body,
        delivery.headers,
        delivery.properties,
        exchange=delivery.exchange,
        routing_key=delivery.routing_key,
        delivery_tag=str(number),
        priority=delivery.priority or 0,
    ).decode(errors="replace")
    _send(link, _Letter(number, delivery.queue, reason, time.time(), text))
    surplus = link.size(DEAD.name) - options.dead_letter_limit
    for _ in range(min(max(surplus, 0), _DROPPED_AT_ONCE)):
        message = link.channel.basic_get(DEAD.name)
        if message is None:
            break
        message.ack()


def dead(link: Link, queue: str | None, limit: int, options: BrokerOptions) -> list[DeadLetter]:
    """Dead letters, the oldest first; of one queue or of all."""
    found: list[DeadLetter] = []

    def keep(letter: _Letter) -> bool:
        if (queue is None or letter.queue == queue) and len(found) < limit:
            try:
                original = letter.read()
            except MalformedMessage:
                return False
            known: tuple[Any, Any] = (_readable(original.headers), _readable(original.properties))
            found.append(
                DeadLetter(letter.number, letter.queue, letter.reason, letter.died_at, *known, original.body)
            )
        return True

    _sift(link, keep, options)
    return sorted(found, key=lambda letter: letter.died_at)


def revive(link: Link, ids: Sequence[int], options: BrokerOptions) -> int:
    """Send dead letters back to their queues; how many that were."""
    wanted, count = set(ids), 0

    def keep(letter: _Letter) -> bool:
        nonlocal count
        if letter.number not in wanted:
            return True
        original = letter.read()
        conversion.put(link, letter.queue, original)
        count += 1
        return False

    if wanted:
        _sift(link, keep, options)
    return count


def purge(link: Link, queue: str | None, options: BrokerOptions) -> int:
    """Throw dead letters away, of one queue or of all; how many that were."""
    count = 0

    def keep(letter: _Letter) -> bool:
        nonlocal count
        mine = queue is None or letter.queue == queue
        count += mine
        return not mine

    _sift(link, keep, options)
    return count


def _sift(link: Link, keep: Callable[[_Letter], bool], options: BrokerOptions) -> None:
    """Take all letters out, and put those back that `keep` says; those that are too old go."""
    link.declare([DEAD])
    oldest = time.time() - options.dead_letter_ttl
    for message, letter in list(_all(link, options.dead_letter_limit)):
        if letter is not None and letter.died_at >= oldest and keep(letter):
            _send(link, letter)
        message.ack()


def _all(link: Link, limit: int) -> Iterator[tuple[Any, _Letter | None]]:
    for _ in range(limit + _DROPPED_AT_ONCE):
        message = link.channel.basic_get(DEAD.name)
        if message is None:
            return
        yield message, _read(message)


def _read(message: Any) -> _Letter | None:
    try:
        return _Letter(**json.loads(conversion.body_of(message)))
    except (ValueError, TypeError):
        return None


def _send(link: Link, letter: _Letter) -> None:
    text = json.dumps({name: getattr(letter, name) for name in _Letter.__slots__})
    properties = {"content_type": "application/json", "content_encoding": "utf-8", "delivery_mode": 2}
    empty, said = LazyObject(value={}), LazyObject(value=properties)
    link.producer.publish(**conversion.publish_arguments(Outgoing(text.encode(), empty, said, "", DEAD.name)))


def _readable(lazy: LazyObject) -> dict[str, Any]:
    try:
        return dict(lazy.value)
    except ValueError:
        return {}
