"""What the core and a child say to each other: length-prefixed frames on a stream socket.

A frame is a lot: of jobs to the child, their headers and bodies untouched, or of records back. A lot is encoded and
decoded in one go, which is what makes it cheap (`make bench`, "worker path"). The layouts are private to one version:
both ends are always the same code.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import msgspec

from celery.app.jobs import Job, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LENGTH = struct.Struct("<I")
#: A frame ends after so many bytes of bodies: the child begins with them while the rest is on its way.
_LOT = 256 * 1024
#: Bytes read at once. Twice as many, and the C library maps memory for every read: that costs five times as much as the read.
PIECE = 64 * 1024

#: A kind, the job's tag, and a number or (of `DONE`) how the job ended.
Record = tuple[int, int, float | Outcome]

_pack_into = msgspec.msgpack.Encoder().encode_into
_unpack_jobs = msgspec.msgpack.Decoder(list[Job]).decode
_unpack_records = msgspec.msgpack.Decoder(list[Record]).decode


class Note(IntEnum):
    """The kinds of record that a child sends."""

    READY = 1  # number: resident KiB before the first task
    STARTED = 2  # number: unix time
    DONE = 3
    RETURNED = 4  # handed back, not begun
    SOFT = 5  # the soft limit's exception was raised
    GROWN = 6  # memory is near the limit: start a replacement
    RETIRE = 7  # will take no more jobs: memory over the limit, or asked by SIGTERM


def _frame(lot: Any) -> bytearray:
    frame = bytearray(_LENGTH.size)
    _pack_into(lot, frame, _LENGTH.size)
    _LENGTH.pack_into(frame, 0, len(frame) - _LENGTH.size)
    return frame


def encode_jobs(jobs: Sequence[Job]) -> Iterator[bytearray]:
    """The frames of some jobs."""
    lot: list[Job] = []
    size = 0
    for job in jobs:
        lot.append(job)
        size += len(job.body)
        if size > _LOT:
            yield _frame(lot)
            lot, size = [], 0
    if lot:
        yield _frame(lot)


def encode_records(records: Sequence[Record]) -> bytearray:
    """The frame of some records; what is no proper text in them is replaced."""
    try:
        return _frame(records)
    except UnicodeEncodeError:
        return _frame([(note, tag, _proper(what)) for note, tag, what in records])


def _proper(what: float | Outcome) -> float | Outcome:
    if not isinstance(what, Outcome):
        return what
    try:
        _frame(what.row)
    except UnicodeEncodeError as exc:
        return Outcome(Verdict.UNSTORED, what.runtime, _text(repr(exc)[:1000]))
    detail, traceback, error = map(_text, (what.detail, what.traceback, what.error))
    return Outcome(what.verdict, what.runtime, detail, traceback, error, what.row)


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


class Splitter:
    """Cuts a byte stream into frames; keeps an incomplete one for the next piece."""

    __slots__ = ("_need", "_rest")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._need = 0

    def split(self, piece: bytes) -> Iterator[memoryview]:
        """Add a piece of the stream; yields what is in each frame that is complete now."""
        if self._rest:
            self._rest += piece
            if len(self._rest) < self._need:
                return
            piece, self._rest = bytes(self._rest), bytearray()
        view, at, end = memoryview(piece), 0, len(piece)
        need = _LENGTH.size
        while end - at >= _LENGTH.size:
            need = _LENGTH.size + _LENGTH.unpack_from(piece, at)[0]
            if end - at < need:
                break
            yield view[at + _LENGTH.size : at + need]
            at += need
            need = _LENGTH.size
        if at < end:
            self._rest = bytearray(view[at:])
            self._need = need


class JobReader:
    """The child's end: bytes in, jobs out."""

    __slots__ = ("_splitter",)

    def __init__(self) -> None:
        self._splitter = Splitter()

    def feed(self, piece: bytes) -> list[Job]:
        """The jobs that are complete now."""
        return [job for frame in self._splitter.split(piece) for job in _unpack_jobs(frame)]


class RecordReader:
    """The core's end: bytes in, records out."""

    __slots__ = ("_splitter",)

    def __init__(self) -> None:
        self._splitter = Splitter()

    def feed(self, piece: bytes) -> list[Record]:
        """The records that are complete now."""
        return [record for frame in self._splitter.split(piece) for record in _unpack_records(frame)]
