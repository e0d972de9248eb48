"""Between the port's messages and AMQP's: properties, header tables, and the counts that travel in them.

Headers are a table on the wire and JSON inside. A `Table` is the one or the other when somebody asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from celery.message.headers import LazyObject
from celery.wire.amqp import values
from celery.wire.amqp.errors import ProtocolError

from .moulds import Castings, Moulds
from .shapes import json_of_properties, properties_of_json, table_of_json

if TYPE_CHECKING:
    from celery.brokers.base import Outgoing

#: Our own headers: how often a message was handed out before it was published again; where it came from
#: (exchange, routing key); why and when it was set aside, and a number to call it by.
DELIVERIES = "x-celeriac-deliveries"
ORIGIN = "x-celeriac-origin"
ANNOUNCED = "x-celeriac-announced"
REASON = "x-celeriac-reason"
DIED_AT = "x-celeriac-died-at"
DEAD_ID = "x-celeriac-dead-id"
OWN = frozenset({DELIVERIES, ORIGIN, ANNOUNCED, REASON, DIED_AT, DEAD_ID})
#: What the broker writes when it dead-letters.
DEATHS = frozenset(
    {
        "x-death",
        *(f"x-{when}-death-{what}" for when in ("first", "last") for what in ("exchange", "queue", "reason")),
    }
)
#: What the broker counts for quorum queues.
BROKERS_COUNT = "x-delivery-count"
_MARK = b"x-celeriac-"
_json_of_table = Moulds().json
_alike = Castings().properties


class Table(LazyObject):
    """Headers as they came: an encoded table, with its length.

    The text and the dict leave our own headers out. What cannot be read as a table raises
    `msgspec.DecodeError` when it is looked at, as broken JSON does.
    """

    __slots__ = ("table",)

    def __init__(self, table: bytes) -> None:
        super().__init__()
        self.table = table

    @property
    def raw(self) -> bytes:
        raw = self._raw
        if raw is None:
            raw = _json_of_table(self.table)
            if raw is None:
                raw = LazyObject(value=self.value).raw
            self._raw = raw
        return raw

    @property
    def value(self) -> dict[str, Any]:
        found = self._value
        if found is None:
            found = read_headers(self.table)
            if _MARK in self.table:
                found = {key: value for key, value in found.items() if key not in OWN}
            self._value = found
        return found


class PropertyList(LazyObject):
    """Properties as they came, headers left out: flags and list."""

    __slots__ = ("list",)

    def __init__(self, encoded: bytes) -> None:
        super().__init__()
        self.list = encoded

    @property
    def raw(self) -> bytes:
        raw = self._raw
        if raw is None:
            raw = self._raw = json_of_properties(self.list) or LazyObject(value=self.value).raw
        return raw

    @property
    def value(self) -> dict[str, Any]:
        found = self._value
        if found is None:
            try:
                found = values.read_properties(self.list).values
            except ProtocolError as exc:
                raise msgspec.DecodeError(str(exc)) from exc
            self._value = found
        return found


def read_headers(table: bytes) -> dict[str, Any]:
    """All headers of a table; `{}` of none.

    Raises:
        msgspec.DecodeError: it is no table.
    """
    if not table:
        return {}
    try:
        return values.read_table(table, 0, len(table))[0]
    except (ProtocolError, RecursionError) as exc:
        raise msgspec.DecodeError(str(exc)) from exc


def header_table(headers: LazyObject) -> bytes:
    """Headers as a table. Values that have no form in one are written as their `str`.

    Raises:
        ValueError: they are no object, or a name is too long.
    """
    if type(headers) is Table:
        return headers.table or values.table({})
    known = table_of_json(headers.raw) if headers.is_text else None
    if known is not None:
        return known
    found = headers.value
    try:
        return values.table(found)
    except ValueError:
        return values.table({key: _plain(value) for key, value in found.items()})


def _plain(value: Any) -> Any:
    try:
        values.field(value)
    except ValueError:
        if isinstance(value, dict):
            return {str(key): _plain(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [_plain(inner) for inner in value]
        return str(value)
    return value


def encoded(outgoing: Outgoing) -> bytes:
    """The properties of a message to send, headers included.

    Raises:
        ValueError: one of them does not fit.
    """
    headers, properties = outgoing.headers, outgoing.properties
    if type(headers) is LazyObject and headers.is_text and properties.is_text:
        alike = _alike(headers.raw, properties.raw, outgoing.priority)
        if alike is not None:
            return alike
    table = header_table(headers)
    if properties.is_text:
        usual = properties_of_json(properties.raw, table, outgoing.priority)
        if usual is not None:
            return usual
    given = properties.value
    priority = given.get("priority", outgoing.priority or None)
    mode = given.get("delivery_mode")
    own = {**given, "priority": priority, "delivery_mode": 2 if mode is None else mode}
    own.pop("headers", None)
    return values.properties(own, table)


def with_headers(properties: bytes, *, drop: frozenset[str] = frozenset(), **changes: Any) -> bytes:
    """The properties of a received message with other headers.

    Args:
        drop: names to leave out.
        **changes: `headers` (a dict of names and values to set) and properties to set; None removes one.
    """
    known = values.read_properties(properties)
    headers = {key: value for key, value in read_headers(known.headers).items() if key not in drop}
    headers.update(changes.pop("headers", {}))
    return values.properties({**known.values, **changes}, values.table(headers))
