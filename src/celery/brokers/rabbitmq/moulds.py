"""Task messages that are alike, between JSON and table by putting in what differs.

The messages of one task from one producer differ in their id, and in what `argsrepr` and `kwargsrepr` say. So their
headers are a few constants (`shapes` makes each of them, once) with these three put in. What is not alike goes the way of
`shapes`; property tests hold the two together.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple, TypeVar

from celery.message import json

from .shapes import json_of_table, properties_of_json, reprs_of_json, table_of_json

_quote = json.quote
_u32 = struct.Struct(">I")
_ID = b"\x02idS\x00\x00\x00\x24"
_ARGS = b"\x08argsreprS"
_KWARGS = b"\x0akwargsreprS"
_ID_TEXT = b',"id":"'
_ARGS_TEXT = b',"argsrepr":'
_ORIGIN_TEXT = b',"origin":'
#: Stands where the id stands; nobody can have it in a message.
_GAP = os.urandom(16).hex().encode()
#: More kinds of messages than this are not alike.
_MOST = 500

T = TypeVar("T")


class Moulds:
    """What was learnt of messages that came more than once: makes text of tables."""

    __slots__ = ("_heads", "_seen", "_tails")

    def __init__(self) -> None:
        self._heads: dict[bytes, bytes] = {}  # from the first header to `parent_id`; the id is a gap
        self._tails: dict[bytes, bytes] = {}  # from `origin` to the last
        self._seen: set[bytes] = set()

    def json(self, table: bytes) -> bytes | None:
        """The headers of a task as JSON text; None if they have not the usual shape (see `shapes.json_of_table`)."""
        at = table.find(_ID) + 8
        stop = table.find(_ARGS, at)
        if at < 8 or stop < 0:
            return json_of_table(table)
        own = table[at : at + 36]
        head = table[4:stop].replace(own, _GAP)
        start = self._heads.get(head)
        try:
            after = stop + 14 + _u32.unpack_from(table, stop + 10)[0]
            end = after + 16 + _u32.unpack_from(table, after + 12)[0]
            last = self._tails.get(table[end:])
            if (
                start is None
                or last is None
                or not own.replace(b"-", b"").isalnum()
                or table[after : after + 12] != _KWARGS
                or _u32.unpack_from(table)[0] != len(table) - 4
            ):
                return self._learnt(table, head, stop, end)
            args, kwargs = table[stop + 14 : after].decode(), table[after + 16 : end].decode()
        except (struct.error, UnicodeDecodeError):
            return json_of_table(table)
        middle = f',"argsrepr":{_quote(args)},"kwargsrepr":{_quote(kwargs)}'.encode("ascii")
        return b"".join((start.replace(_GAP, own), middle, last))

    def _learnt(self, table: bytes, head: bytes, stop: int, end: int) -> bytes | None:
        """The long way; if one like this came before, the next takes the short one."""
        text = json_of_table(table)
        tail = table[end:]
        if text is None or table.count(_ARGS) != 1 or (head in self._heads and tail in self._tails):
            return text
        if head not in self._seen:
            _add(self._seen, head)
            return text
        # With an id that nobody can know: so its places are found again in the text, and no others.
        other = os.urandom(18).hex().encode()
        like = json_of_table(table[:4] + head.replace(_GAP, other) + table[stop:])
        if like is not None:
            for known in (self._heads, self._tails):
                if len(known) >= _MOST:
                    known.clear()
            self._heads[head] = like[: like.index(_ARGS_TEXT)].replace(other, _GAP)
            self._tails[tail] = like[like.index(_ORIGIN_TEXT) :]
        return text


class _Casting(NamedTuple):
    """A message's properties: the headers between `start` and `end`, the id is a gap."""

    start: bytes
    size: int  # of the headers without the texts of arguments
    head: bytes
    end: bytes

    def filled(self, own: bytes, reprs: bytes) -> bytes:
        return b"".join(
            (
                *(self.start, _u32.pack(self.size + len(reprs)), self.head.replace(_GAP, own), reprs),
                self.end.replace(_GAP, own),
            )
        )


class Castings:
    """What was learnt of messages that were sent more than once: makes properties and headers of their texts."""

    __slots__ = ("_known", "_reprs", "_seen")

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, bytes, bytes, int], _Casting] = {}
        self._reprs: dict[bytes, bytes] = {}
        self._seen: set[tuple[bytes, bytes, bytes, int]] = set()

    def properties(self, headers: bytes, properties: bytes, priority: int) -> bytes | None:
        """Properties and headers of a task message as they are sent; None if it is not one of those known.

        Args:
            headers, properties: JSON.
            priority: of the message, if its properties name none.
        """
        at = headers.find(_ID_TEXT) + 7
        stop = headers.find(_ARGS_TEXT, at)
        end = headers.find(_ORIGIN_TEXT, stop)
        own = headers[at : at + 36]
        if at < 7 or stop < 0 or end < 0 or not own.replace(b"-", b"").isalnum():
            return None
        kind = headers[:stop].replace(own, _GAP), headers[end:], properties.replace(own, _GAP), priority
        known = self._known.get(kind)
        if known is None:
            return self._learnt(kind, headers[stop:end], own)
        middle = headers[stop:end]
        reprs = self._reprs.get(middle)
        if reprs is None:
            reprs = reprs_of_json(middle)
            if reprs is None:
                return None
            if len(self._reprs) >= _MOST:
                self._reprs.clear()
            if len(middle) < 200:
                self._reprs[middle] = reprs
        return known.filled(own, reprs)

    def _learnt(self, kind: tuple[bytes, bytes, bytes, int], middle: bytes, own: bytes) -> bytes | None:
        """The long way; if one like this was sent before, the next takes the short one."""
        made, _ = _long_way(kind, middle, own)
        if made is None:
            return None
        if kind not in self._seen:
            _add(self._seen, kind)
            return made
        # With an id that nobody can know: so its places are found again, and no others.
        other = os.urandom(18).hex().encode()
        like, table = _long_way(kind, middle, other)
        reprs = reprs_of_json(middle)
        if like is not None and reprs is not None:
            start = like.index(table)
            head = table[4 : table.index(reprs)]
            casting = _Casting(
                like[:start],
                len(table) - 4 - len(reprs),
                head.replace(other, _GAP),
                like[start + 4 + len(head) + len(reprs) :].replace(other, _GAP),
            )
            if casting.filled(own, reprs) == made:
                if len(self._known) >= _MOST:
                    self._known.clear()
                self._known[kind] = casting
        return made


def _long_way(kind: tuple[bytes, bytes, bytes, int], middle: bytes, own: bytes) -> tuple[bytes | None, bytes]:
    """What is sent, and the table in it."""
    head, tail, properties, priority = kind
    table = table_of_json(head.replace(_GAP, own) + middle + tail)
    if table is None:
        return None, b""
    return properties_of_json(properties.replace(_GAP, own), table, priority), table


def _add(seen: set[T], one: T) -> None:
    if len(seen) >= _MOST:
        seen.clear()
    seen.add(one)
