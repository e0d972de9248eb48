"""Publishing on a consumer's own connection: confirmed, on the channel on which it acknowledges.

The broker takes what is said on one channel in order, so a message published here and an acknowledgement after
it are carried out in this order or not at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from celery.wire.amqp.confirms import Confirms
from celery.wire.amqp.frames import Command, Message, content, method

from .link import SENDING

if TYPE_CHECKING:
    from collections.abc import Callable


class Fate(NamedTuple):
    """What became of a message: at most one of these is true."""

    returned: bool = False
    refused: bool = False

    @property
    def good(self) -> bool:
        return not (self.returned or self.refused)


class _Sent:
    __slots__ = ("body", "exchange", "key", "on_fate", "returned")

    def __init__(self, exchange: str, key: str, body: bytes, on_fate: Callable[[Fate], None] | None) -> None:
        self.exchange = exchange
        self.key = key
        self.body = body
        self.on_fate = on_fate
        self.returned = False


class Sender:
    """Numbers messages and knows what became of them. One per connection."""

    def __init__(self, frame_max: int) -> None:
        self._frame_max = frame_max
        self._confirms: Confirms[_Sent] = Confirms()

    def __len__(self) -> int:
        return len(self._confirms)

    def publish(
        self,
        exchange: str,
        key: str,
        properties: bytes,
        body: bytes,
        on_fate: Callable[[Fate], None] | None = None,
    ) -> bytes:
        """The frames of a mandatory message; `on_fate` is called when the broker has confirmed it."""
        self._confirms.sent(_Sent(exchange, key, body, on_fate))
        return method(SENDING, "basic.publish", exchange=exchange, routing_key=key, mandatory=True) + content(
            SENDING, properties, body, self._frame_max
        )

    def on_confirm(self, event: Command) -> None:
        """A `basic.ack` or `basic.nack` of the broker's."""
        refused = event.name == "basic.nack"
        for sent in self._confirms.settle(event.values["delivery_tag"], event.values["multiple"]):
            if sent.on_fate is not None:
                sent.on_fate(Fate(sent.returned, refused and not sent.returned))

    def on_return(self, message: Message) -> None:
        """A message for which there is no queue came back."""
        where = (message.exchange.decode(), message.routing_key.decode())
        for sent in self._confirms.waiting():
            if not sent.returned and (sent.exchange, sent.key) == where and sent.body == message.body:
                sent.returned = True
                return
