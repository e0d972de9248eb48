"""AMQP 0-9-1 as a table: every method that RabbitMQ sends or understands, and its fields.

Fields are `name:kind`, kinds: `o` octet, `B` 16, `l` 32, `L` 64 bits, `b` one bit, `s` short text, `S` long text
(bytes), `F` table. Names that begin with `_` are reserved: written as zero, not read.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import ProtocolError
from .values import longstr, read_longstr, read_shortstr, read_table, shortstr, table

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER = b"AMQP\x00\x00\x09\x01"

FRAME_METHOD = 1
FRAME_HEADER = 2
FRAME_BODY = 3
FRAME_HEARTBEAT = 8
FRAME_END = 0xCE

BASIC = 60


class Method(NamedTuple):
    """One method of the protocol.

    Attributes:
        content: a header and perhaps bodies follow.
    """

    name: str
    id: int
    fields: tuple[tuple[str, str], ...]
    content: bool = False


_SPEC = """
10.10 connection.start major:o minor:o server_properties:F mechanisms:S locales:S
10.11 connection.start-ok client_properties:F mechanism:s response:S locale:s
10.20 connection.secure challenge:S
10.21 connection.secure-ok response:S
10.30 connection.tune channel_max:B frame_max:l heartbeat:B
10.31 connection.tune-ok channel_max:B frame_max:l heartbeat:B
10.40 connection.open virtual_host:s _1:s _2:b
10.41 connection.open-ok _1:s
10.50 connection.close code:B text:s class_id:B method_id:B
10.51 connection.close-ok
10.60 connection.blocked reason:s
10.61 connection.unblocked
10.70 connection.update-secret secret:S reason:s
10.71 connection.update-secret-ok
20.10 channel.open _1:s
20.11 channel.open-ok _1:S
20.20 channel.flow active:b
20.21 channel.flow-ok active:b
20.40 channel.close code:B text:s class_id:B method_id:B
20.41 channel.close-ok
40.10 exchange.declare _1:B exchange:s type:s passive:b durable:b auto_delete:b internal:b nowait:b arguments:F
40.11 exchange.declare-ok
40.20 exchange.delete _1:B exchange:s if_unused:b nowait:b
40.21 exchange.delete-ok
40.30 exchange.bind _1:B destination:s source:s routing_key:s nowait:b arguments:F
40.31 exchange.bind-ok
40.40 exchange.unbind _1:B destination:s source:s routing_key:s nowait:b arguments:F
40.51 exchange.unbind-ok
50.10 queue.declare _1:B queue:s passive:b durable:b exclusive:b auto_delete:b nowait:b arguments:F
50.11 queue.declare-ok queue:s message_count:l consumer_count:l
50.20 queue.bind _1:B queue:s exchange:s routing_key:s nowait:b arguments:F
50.21 queue.bind-ok
50.30 queue.purge _1:B queue:s nowait:b
50.31 queue.purge-ok message_count:l
50.40 queue.delete _1:B queue:s if_unused:b if_empty:b nowait:b
50.41 queue.delete-ok message_count:l
50.50 queue.unbind _1:B queue:s exchange:s routing_key:s arguments:F
50.51 queue.unbind-ok
60.10 basic.qos prefetch_size:l prefetch_count:B global:b
60.11 basic.qos-ok
60.20 basic.consume _1:B queue:s consumer_tag:s no_local:b no_ack:b exclusive:b nowait:b arguments:F
60.21 basic.consume-ok consumer_tag:s
60.30 basic.cancel consumer_tag:s nowait:b
60.31 basic.cancel-ok consumer_tag:s
60.40 basic.publish _1:B exchange:s routing_key:s mandatory:b immediate:b +
60.50 basic.return code:B text:s exchange:s routing_key:s +
60.60 basic.deliver consumer_tag:s delivery_tag:L redelivered:b exchange:s routing_key:s +
60.70 basic.get _1:B queue:s no_ack:b
60.71 basic.get-ok delivery_tag:L redelivered:b exchange:s routing_key:s message_count:l +
60.72 basic.get-empty _1:s
60.80 basic.ack delivery_tag:L multiple:b
60.90 basic.reject delivery_tag:L requeue:b
60.100 basic.recover-async requeue:b
60.110 basic.recover requeue:b
60.111 basic.recover-ok
60.120 basic.nack delivery_tag:L multiple:b requeue:b
85.10 confirm.select nowait:b
85.11 confirm.select-ok
90.10 tx.select
90.11 tx.select-ok
90.20 tx.commit
90.21 tx.commit-ok
90.30 tx.rollback
90.31 tx.rollback-ok
"""


def _method(line: str) -> Method:
    number, name, *fields = line.split()
    class_id, method_id = map(int, number.split("."))
    content = fields[-1:] == ["+"]
    named = tuple((f.partition(":")[0], f.partition(":")[2]) for f in fields if f != "+")
    return Method(name, class_id << 16 | method_id, named, content)


_methods = [_method(line) for line in _SPEC.strip().splitlines()]
BY_NAME = {method.name: method for method in _methods}
BY_ID = {method.id: method for method in _methods}

DELIVER = BY_NAME["basic.deliver"].id
ACK = BY_NAME["basic.ack"].id
PUBLISH = BY_NAME["basic.publish"].id

_NUMBERS = {
    "o": struct.Struct(">B"),
    "B": struct.Struct(">H"),
    "l": struct.Struct(">I"),
    "L": struct.Struct(">Q"),
}
_DEFAULTS: dict[str, Any] = {"o": 0, "B": 0, "l": 0, "L": 0, "b": False, "s": "", "S": b"", "F": {}}
_TEXTS: dict[str, Callable[[Any], bytes]] = {"s": shortstr, "S": longstr, "F": table}


def pack(name: str, **values: Any) -> bytes:
    """The payload of a method frame. Fields that are not named are zero, empty or false.

    Raises:
        ValueError: a value does not fit.
        TypeError: the method has no such field.
    """
    method = BY_NAME[name]
    parts = [struct.pack(">I", method.id)]
    bits = count = 0
    for field, kind in method.fields:
        value = values.pop(field, _DEFAULTS[kind])
        if kind == "b":
            bits |= bool(value) << count
            count += 1
            continue
        if count:
            parts.append(bytes((bits,)))
            bits = count = 0
        try:
            parts.append(_NUMBERS[kind].pack(value) if kind in _NUMBERS else _TEXTS[kind](value))
        except struct.error as exc:
            raise ValueError(f"{name}: {field}={value!r}: {exc}") from exc
    if count:
        parts.append(bytes((bits,)))
    if values:
        raise TypeError(f"{name} has no {', '.join(values)}")
    return b"".join(parts)


def unpack(payload: bytes) -> tuple[Method, dict[str, Any]]:
    """A method and its fields.

    Raises:
        ProtocolError: it is none.
    """
    if len(payload) < 4:
        raise ProtocolError("a method frame is too short")
    number = struct.unpack_from(">I", payload)[0]
    method = BY_ID.get(number)
    if method is None:
        raise ProtocolError(f"unknown method {number >> 16}.{number & 0xFFFF}")
    values: dict[str, Any] = {}
    at, end, bit = 4, len(payload), 0
    for field, kind in method.fields:
        if kind == "b":
            at, bit, value = _read_bit(payload, at, end, bit)
        else:
            bit = 0
            value, at = _read(payload, at, end, kind)
        if field[0] != "_":
            values[field] = value
    return method, values


def _read_bit(payload: bytes, at: int, end: int, bit: int) -> tuple[int, int, bool]:
    if bit in (0, 8):
        if at >= end:
            raise ProtocolError("a method is cut off")
        at, bit = at + 1, 0
    return at, bit + 1, bool(payload[at - 1] >> bit & 1)


def _read(payload: bytes, at: int, end: int, kind: str) -> tuple[Any, int]:
    number = _NUMBERS.get(kind)
    if number is not None:
        if at + number.size > end:
            raise ProtocolError("a method is cut off")
        return number.unpack_from(payload, at)[0], at + number.size
    if kind == "s":
        return read_shortstr(payload, at, end)
    if kind == "S":
        return read_longstr(payload, at, end)
    return read_table(payload, at, end)
