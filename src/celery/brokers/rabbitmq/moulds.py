"""Headers of task messages that are alike: JSON text by putting in what differs.

The messages of one task from one producer differ in their id, and in what `argsrepr` and `kwargsrepr` say. So their
headers are a few constants (`shapes` makes each of them, once) with these three put in. What is not alike goes the way of
`shapes`; a property test holds the two together.
"""

from __future__ import annotations

import os
import struct

from celery.message import json

from .shapes import json_of_table

_quote = json.quote
_u32 = struct.Struct(">I")
_ID = b"\x02idS\x00\x00\x00\x24"
_ARGS = b"\x08argsreprS"
_KWARGS = b"\x0akwargsreprS"
_ARGS_TEXT = b',"argsrepr":'
_ORIGIN_TEXT = b',"origin":'
#: Stands where the id stands; nobody can have it in a message.
_GAP = os.urandom(16).hex().encode()
#: More kinds of messages than this are not alike.
_MOST = 500


class Moulds:
    """What was learnt of messages that came more than once."""

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


def _add(seen: set[bytes], head: bytes) -> None:
    if len(seen) >= _MOST:
        seen.clear()
    seen.add(head)
