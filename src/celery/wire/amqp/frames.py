"""Frames: written whole, and read in bulk.

`Reader.feed` takes whatever came from the wire and gives what is complete: commands, and messages with their
content put together. A delivery's three frames nearly always come in one read; then they are taken in
one pass, and neither properties nor headers are looked into.
"""

from __future__ import annotations

import struct
from typing import Any

from . import spec
from .errors import ProtocolError
from .spec import BASIC, DELIVER, FRAME_BODY, FRAME_END, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD

#: The largest frame taken before, and unless, a size has been agreed upon.
FRAME_MAX = 131_072
#: The largest message taken (RabbitMQ's own limit is 512 MiB).
MESSAGE_MAX = 1 << 30

HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"

_head = struct.Struct(">BHI")
_deliver = struct.Struct(">QB")
_u32 = struct.Struct(">I")
_content = struct.Struct(">HHQ")
_end = b"\xce"


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """One frame."""
    return b"".join((_head.pack(kind, channel, len(payload)), payload, _end))


def method(channel: int, name: str, **values: Any) -> bytes:
    """The frame of a method; see `spec.pack`."""
    return frame(FRAME_METHOD, channel, spec.pack(name, **values))


def acknowledgement(channel: int, delivery_tag: int, multiple: bool = False) -> bytes:
    """The frame of `basic.ack`, quickly."""
    return _ack.pack(1, channel, 13, spec.ACK, delivery_tag, multiple, FRAME_END)


_ack = struct.Struct(">BHIIQBB")


def content(channel: int, properties: bytes, body: bytes, frame_max: int) -> bytes:
    """The header and body frames of a message.

    Args:
        properties: flags and list, as `values.properties` makes them.
    """
    size = len(body)
    head = b"".join(
        (
            _head.pack(FRAME_HEADER, channel, 12 + len(properties)),
            _content.pack(BASIC, 0, size),
            properties,
            _end,
        )
    )
    room = frame_max - 8
    if size <= room:
        return b"".join((head, _head.pack(FRAME_BODY, channel, size), body, _end)) if size else head
    bodies = (frame(FRAME_BODY, channel, body[start : start + room]) for start in range(0, size, room))
    return b"".join((head, *bodies))


class Command:
    """A method without content.

    Attributes:
        name: as in `spec`.
        values: its fields.
    """

    __slots__ = ("channel", "name", "values")

    def __init__(self, channel: int, name: str, values: dict[str, Any]) -> None:
        self.channel = channel
        self.name = name
        self.values = values

    def __repr__(self) -> str:
        return f"<{self.name} {self.values} on {self.channel}>"


class Message:
    """A method with content: a delivery, the answer to a get, or a returned message.

    Attributes:
        kind: id of the method (`spec.DELIVER`, ...).
        consumer_tag, delivery_tag, redelivered: of a delivery; bytes, number, truth.
        exchange, routing_key: bytes.
        values: further fields, of methods that are not deliveries.
        properties: flags, list and all, undecoded.
    """

    __slots__ = (
        "body",
        "channel",
        "consumer_tag",
        "delivery_tag",
        "exchange",
        "kind",
        "properties",
        "redelivered",
        "routing_key",
        "values",
    )

    def __init__(
        self, kind: int, channel: int, consumer_tag: bytes, delivery_tag: int, redelivered: int
    ) -> None:
        self.kind = kind
        self.channel = channel
        self.consumer_tag = consumer_tag
        self.delivery_tag = delivery_tag
        self.redelivered = redelivered
        self.exchange = b""
        self.routing_key = b""
        self.values: dict[str, Any] | None = None
        self.properties = b""
        self.body = b""


class _Partial:
    """A message whose content is still coming in."""

    __slots__ = ("left", "message", "parts")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.left = -1  # the header is missing
        self.parts: list[bytes] = []


class Reader:
    """Puts frames together.

    Attributes:
        frame_max: set it when a size has been agreed upon.
    """

    def __init__(self) -> None:
        self.frame_max = FRAME_MAX
        self._rest = b""
        self._partial: dict[int, _Partial] = {}

    def feed(self, data: bytes) -> list[Command | Message]:
        """Take bytes from the wire; return what is complete, in order. Heartbeats vanish.

        Raises:
            ProtocolError: it is no AMQP.
        """
        rest = self._rest
        if rest:
            data = rest + data
        found: list[Command | Message] = []
        at, size = 0, len(data)
        limit = self.frame_max
        while size - at >= 8:
            kind, channel, length = _head.unpack_from(data, at)
            if length > limit:
                raise ProtocolError(f"a frame of {length} bytes, where {limit} are the most")
            start = at + 7
            stop = start + length
            if stop >= size:
                break
            if data[stop] != FRAME_END:
                raise ProtocolError("a frame does not end where it should")
            at = stop + 1
            if kind == FRAME_METHOD:
                if length > 12 and data[start : start + 4] == _DELIVER and channel not in self._partial:
                    whole = _whole_delivery(channel, data, start + 4, stop, size)
                    if whole is not None:
                        at, message = whole
                        found.append(message)
                        continue
                self._on_method(channel, data, start, stop, found)
            elif kind == FRAME_HEADER:
                self._on_header(channel, data, start, stop, found)
            elif kind == FRAME_BODY:
                self._on_body(channel, data, start, stop, found)
            elif kind != FRAME_HEARTBEAT or length:
                raise ProtocolError(f"a frame of unknown kind {kind}")
        self._rest = data[at:] if at < size else b""
        return found

    @property
    def midway(self) -> bool:
        """The beginning of a frame is here, and not its end."""
        return bool(self._rest)

    def forget(self, channel: int) -> None:
        """A channel was closed: what was half received on it will not be completed."""
        self._partial.pop(channel, None)

    def _on_method(
        self, channel: int, data: bytes, start: int, stop: int, found: list[Command | Message]
    ) -> None:
        if channel in self._partial:
            raise ProtocolError("a method in the middle of a message")
        if stop - start >= 4 and _u32.unpack_from(data, start)[0] == DELIVER:
            self._partial[channel] = _Partial(_delivery(channel, data, start + 4, stop))
            return
        called, values = spec.unpack(data[start:stop])
        if called.content:
            message = Message(
                called.id, channel, b"", values.get("delivery_tag", 0), values.get("redelivered", 0)
            )
            message.exchange = values["exchange"].encode("utf-8", "surrogateescape")
            message.routing_key = values["routing_key"].encode("utf-8", "surrogateescape")
            message.values = values
            self._partial[channel] = _Partial(message)
        else:
            found.append(Command(channel, called.name, values))

    def _on_header(
        self, channel: int, data: bytes, start: int, stop: int, found: list[Command | Message]
    ) -> None:
        partial = self._partial.get(channel)
        if partial is None or partial.left >= 0 or stop - start < 14:
            raise ProtocolError("a message header out of place")
        left = _content.unpack_from(data, start)[2]
        if left > MESSAGE_MAX:
            raise ProtocolError(f"a message of {left} bytes, where {MESSAGE_MAX} are the most")
        partial.left = left
        partial.message.properties = data[start + 12 : stop]
        if not left:
            del self._partial[channel]
            found.append(partial.message)

    def _on_body(
        self, channel: int, data: bytes, start: int, stop: int, found: list[Command | Message]
    ) -> None:
        partial = self._partial.get(channel)
        if partial is None or partial.left < 0:
            raise ProtocolError("a message body out of place")
        partial.left -= stop - start
        if partial.left > 0:
            partial.parts.append(data[start:stop])
            return
        if partial.left < 0:
            raise ProtocolError("a message is longer than its header says")
        del self._partial[channel]
        message = partial.message
        if partial.parts:
            partial.parts.append(data[start:stop])
            message.body = b"".join(partial.parts)
        else:
            message.body = data[start:stop]
        found.append(message)


_DELIVER = _u32.pack(DELIVER)


def _whole_delivery(
    channel: int, data: bytes, start: int, stop: int, size: int
) -> tuple[int, Message] | None:
    """A delivery whose header, and one body frame, follow at once: the message, and where it ends."""
    at = stop + 1
    if size - at < 22:
        return None
    kind, same, length = _head.unpack_from(data, at)
    end = at + 7 + length
    if kind != FRAME_HEADER or same != channel or length < 14 or end + 8 > size or data[end] != FRAME_END:
        return None
    left = _content.unpack_from(data, at + 7)[2]
    body = end + 8
    after = body + left
    if (
        after >= size
        or data[after] != FRAME_END
        or data[end + 1 : body] != _head.pack(FRAME_BODY, channel, left)
    ):
        return None
    message = _delivery(channel, data, start, stop)
    message.properties = data[at + 19 : end]
    message.body = data[body:after]
    return after + 1, message


def _delivery(channel: int, data: bytes, at: int, stop: int) -> Message:
    """The method of a delivery."""
    try:
        end = at + 1 + data[at]
        consumer_tag = data[at + 1 : end]
        delivery_tag, redelivered = _deliver.unpack_from(data, end)
        message = Message(DELIVER, channel, consumer_tag, delivery_tag, redelivered & 1)
        at = end + 9
        end = at + 1 + data[at]
        message.exchange = data[at + 1 : end]
        at = end + 1 + data[end]
        message.routing_key = data[end + 1 : at]
    except (IndexError, struct.error) as exc:
        raise ProtocolError("a delivery is cut off") from exc
    if at != stop:
        raise ProtocolError("a delivery does not end where it should")
    return message
