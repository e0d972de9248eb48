"""From a delivery of the broker to one of the port."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.brokers.base import Delivery
from celery.brokers.delaying import is_quorum
from celery.wire.amqp.errors import ProtocolError
from celery.wire.amqp.values import find_headers

from .delays import DELIVERY, without_digits
from .flow import Grant, Tap
from .messages import ANNOUNCED, BROKERS_COUNT, DELIVERIES, ORIGIN, PropertyList, Table, read_headers

if TYPE_CHECKING:
    from celery.brokers.topology import Queue
    from celery.wire.amqp.frames import Message

    from .records import Record

_OURS = b"x-celeriac-"
_COUNT = BROKERS_COUNT.encode()


class Receipt:
    """What a consumer must know to settle a delivery.

    Attributes:
        epoch: the connection it came through.
        tag: its number on that connection's channel.
        properties: as received, for publishing the message anew.
        counted: how often it had been handed out when it was last published.
        exhausted: the broker's own mark of a redelivery cannot count it any further.
        held: it comes from a queue of the worker's own: see `holds`.
        record: set once it was begun.
    """

    __slots__ = ("counted", "epoch", "exhausted", "grant", "held", "properties", "record", "tag", "tap")

    def __init__(self, epoch: int, tag: int, properties: bytes, tap: Tap | None, grant: Grant | None) -> None:
        self.epoch = epoch
        self.tag = tag
        self.properties = properties
        self.tap = tap
        self.grant = grant
        self.counted = 0
        self.exhausted = False
        self.held = False
        self.record: Record | None = None


class Incoming:
    """Makes deliveries.

    Attributes:
        grants: by consumer tag: those that are live, and those of which something is out.
    """

    def __init__(self, taps: dict[str, Tap], queues: dict[str, Queue]) -> None:
        self.epoch = 0
        self.grants: dict[bytes, tuple[Tap, Grant]] = {}
        self._taps = taps
        self._queues = queues
        self._words: dict[bytes, str] = {}

    def delivery(self, message: Message) -> Delivery:
        """The port's value for a message of a queue."""
        known = self.grants.get(message.consumer_tag)
        tap, grant = known if known is not None else self._late(message.consumer_tag)
        tap.out += 1
        grant.out += 1
        receipt = Receipt(self.epoch, message.delivery_tag, message.properties, tap, grant)
        return self.made(message, tap.name, receipt)

    def granted(self, tap: Tap, grant: Grant) -> None:
        """A grant is about to be made."""
        self.grants[_tag(grant)] = tap, grant

    def forget(self, grant: Grant) -> None:
        """Nothing of it is out, and nothing more is wanted."""
        self.grants.pop(_tag(grant), None)

    def _late(self, tag: bytes) -> tuple[Tap, Grant]:
        """The grant of what was on its way when that was given up."""
        name = tag.rpartition(b"#")[0].decode("utf-8", "surrogateescape")
        tap, grant = self._taps.get(name) or Tap(name), Grant(self.word(tag), 0, live=False)
        self.grants[tag] = tap, grant
        return tap, grant

    def made(self, message: Message, queue: str, receipt: Receipt) -> Delivery:
        """The port's value, with this receipt."""
        encoded = message.properties
        try:
            table, priority = find_headers(encoded)
        except ProtocolError:
            encoded, table, priority = b"\x00\x00", b"", None
        words = self._words
        made = Delivery(
            message.body,
            Table(table),
            PropertyList(encoded),
            queue,
            receipt,
            words.get(message.exchange) or self.word(message.exchange),
            words.get(message.routing_key) or self.word(message.routing_key),
            priority,
            message.redelivered != 0,
            2 if message.redelivered else 1,
        )
        receipt.exhausted = message.redelivered != 0
        known = self._queues.get(queue)
        if made.exchange == DELIVERY:
            made.exchange = known.exchange.name if known is not None else ""
            made.routing_key = without_digits(made.routing_key)
        if _OURS in table or _COUNT in table:
            _count(made, receipt, known)
        return made

    def word(self, raw: bytes) -> str:
        """Names of exchanges and routing keys: few, and decoded once."""
        word = self._words.get(raw)
        if word is None:
            if len(self._words) > 1000:
                self._words.clear()
            word = self._words[raw] = raw.decode("utf-8", "replace")
        return word


def _tag(grant: Grant) -> bytes:
    return grant.tag.encode("utf-8", "surrogateescape")


def _count(made: Delivery, receipt: Receipt, queue: Queue | None) -> None:
    """Read how often it was handed out, and where it came from before it was published anew."""
    try:
        headers = read_headers(made.headers.table)  # type: ignore[attr-defined]
    except ValueError:
        return
    counted = _number(headers.get(DELIVERIES))
    again = 1 if made.redelivered else 0
    if queue is None or is_quorum(queue) or BROKERS_COUNT in headers:
        again = _number(headers.get(BROKERS_COUNT, again))
        receipt.exhausted = again > 0
    receipt.counted = counted
    made.announced = bool(headers.get(ANNOUNCED))
    made.deliveries = counted + again + 1
    made.redelivered = made.redelivered or counted > 0
    origin = headers.get(ORIGIN)
    if isinstance(origin, list) and len(origin) == 2 and all(isinstance(word, str) for word in origin):
        made.exchange, made.routing_key = origin


def _number(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < 1 << 31 else 0
