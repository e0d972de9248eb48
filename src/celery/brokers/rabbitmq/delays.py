"""Native delayed delivery, exactly as Celery declares it: 28 exchanges and queues, one a binary digit of the seconds.

A message enters at `celery_delayed_27` under the key `b27.b26...b0.<key>`. At level n a 1 sends it into the queue
`celery_delayed_n`, where it stays 2^n seconds and dies into the next level's exchange; a 0 sends it on at once.
Below level 0 is `celery_delayed_delivery`, from where it goes by `#.<key>`.

Stock Celery's key is the message's routing key, and what comes out at the end goes to the queue's exchange. That fails for direct
exchanges, and for keys of which one ends with another. A message that a worker of ours parks comes back to its own queue
whatever that is bound to: its key is one word made of the queue's name, bound to `celery_delayed_delivery` directly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery.brokers.delaying import LEVELS, takes_delayed, way_key
from celery.brokers.topology import Exchange, Queue

from .requests import Request, bind, bind_exchange, declare_exchange, fitting, queue_itself

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds that fit.
LONGEST = (1 << LEVELS) - 1
DELIVERY = "celery_delayed_delivery"

_HOME = "celeriac="
#: Bytes that the digits leave of a routing key.
_KEY = 255 - 2 * LEVELS


def level(number: int) -> str:
    """Name of the exchange and the queue of a level."""
    return f"celery_delayed_{number}"


def digits(seconds: int) -> str:
    """The routing key's part that says how long.

    >>> digits(5)[-5:], len(digits(5))
    ('1.0.1', 55)
    """
    return ".".join(format(min(max(seconds, 0), LONGEST), f"0{LEVELS}b"))


def entry(seconds: int, key: str) -> tuple[str, str]:
    """Exchange and routing key for a message that shall come out after so many seconds."""
    return level(LEVELS - 1), f"{digits(seconds)}.{key}"


def without_digits(key: str) -> str:
    """The key with which a message entered."""
    head, tail = key[: 2 * LEVELS], key[2 * LEVELS :]
    return tail if len(head) == 2 * LEVELS and head.endswith(".") and set(head) <= set("01.") else key


def home(queue: str) -> str:
    """The key that leads back to one queue and no other: a single word.

    >>> home('a.b')
    'celeriac=a%2Eb'
    """
    return fitting(_HOME + queue.replace("%", "%25").replace(".", "%2E"), _KEY)


def ladder(queue_type: str) -> Iterator[Request]:
    """What must exist, whatever queues there are.

    Args:
        queue_type: `"quorum"` or `"classic"`.
    """
    names = [level(number) for number in range(LEVELS)]
    for name in (DELIVERY, *names):
        yield declare_exchange(Exchange(name, "topic"))._replace(tolerant=True)
    for number, name in enumerate(names):
        below = names[number - 1] if number else DELIVERY
        arguments = {
            "x-queue-type": queue_type,
            "x-overflow": "reject-publish",
            "x-message-ttl": 2**number * 1000,
            "x-dead-letter-exchange": below,
        }
        if queue_type == "quorum":
            arguments["x-dead-letter-strategy"] = "at-least-once"
        yield queue_itself(Queue(name, arguments=arguments))._replace(tolerant=True)
        skipped = "*." * (LEVELS - 1 - number)
        yield bind(name, name, f"{skipped}1.#")
        yield bind_exchange(below, name, f"{skipped}0.#")


def way_out(queue: Queue) -> Iterator[Request]:
    """What a queue needs so that messages which stock Celery delays arrive in it."""
    if takes_delayed(queue):
        key = way_key(queue)
        yield bind_exchange(queue.exchange.name, DELIVERY, key)
        yield bind(queue.name, queue.exchange.name, key)


def way_home(queue: str) -> Request:
    """What a queue needs so that messages which we park come back to it."""
    return bind(queue, DELIVERY, f"#.{home(queue)}")


class Ladder:
    """What of all this one connection has declared."""

    def __init__(self, queue_type: str) -> None:
        self._queue_type = queue_type
        self._made = False
        self._out: set[str] = set()

    def missing(self, queue: Queue) -> Iterator[Request]:
        """What is to be declared before a message for `queue` is delayed."""
        if not self._made:
            yield from ladder(self._queue_type)
            self._made = True
        if queue.name not in self._out:
            yield from way_out(queue)
            self._out.add(queue.name)

    @staticmethod
    def entry(seconds: int, key: str) -> tuple[str, str]:
        """See `entry`."""
        return entry(seconds, key)
