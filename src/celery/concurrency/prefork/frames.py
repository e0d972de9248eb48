"""What the core and a child say to each other: length-prefixed frames on a stream socket.

To the child go jobs, their headers and body untouched; back come short records. Both directions are batched:
many frames to one `send`. The layouts are private to one version: both ends are always the same code.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from math import isnan, nan

import msgspec

from celery.app.jobs import Job, Outcome, Verdict

_LENGTH = struct.Struct("<I")
# length, tag, announce, brief, soft limit, hard limit, then the sizes of id, name, headers, properties, delivery info, claim
_JOB = struct.Struct("<IQ?dddHHIIIH")
_RECORD = struct.Struct("<IBQ")
_DONE = struct.Struct("<IBQBdII")
_NUMBER = struct.Struct("<d")

#: Bodies above this are written from where they are, not copied together with their neighbours.
_APART = 64 * 1024

_pack_info = msgspec.msgpack.Encoder().encode
_unpack_info = msgspec.msgpack.Decoder().decode
_VERDICTS = tuple(Verdict)


class Note(IntEnum):
    """The kinds of record that a child sends."""

    READY = 1  # number: resident KiB before the first task
    STARTED = 2  # number: unix time
    DONE = 3
    RETURNED = 4  # handed back, not begun
    SOFT = 5  # the soft limit's exception was raised
    GROWN = 6  # memory is near the limit: start a replacement
    RETIRE = 7  # will take no more jobs: memory over the limit, or asked by SIGTERM


def _or_nan(value: float | None) -> float:
    return nan if value is None else value


def _or_none(value: float) -> float | None:
    return None if isnan(value) else value


def encode_job(job: Job) -> list[bytes]:
    """The job's frame, in one or two pieces."""
    ident, name = job.id.encode(), job.name.encode()
    info, claim = _pack_info(job.delivery_info), job.claim.encode()
    sizes = len(ident), len(name), len(job.headers), len(job.properties), len(info), len(claim)
    total = _JOB.size - 4 + sum(sizes) + len(job.body)
    limits = _or_nan(job.brief), _or_nan(job.soft_time_limit), _or_nan(job.time_limit)
    head = _JOB.pack(total, job.tag, job.announce, *limits, *sizes)
    parts = [head, ident, name, job.headers, job.properties, info, claim]
    if len(job.body) > _APART:
        return [b"".join(parts), job.body]
    parts.append(job.body)
    return [b"".join(parts)]


def _decode_job(data: bytes, start: int, end: int) -> Job:
    _, tag, announce, brief, soft, hard, *sizes = _JOB.unpack_from(data, start)
    n_id, n_name, n_head, n_prop, n_info, n_claim = sizes
    at_id = start + _JOB.size
    at_name = at_id + n_id
    at_head = at_name + n_name
    at_prop = at_head + n_head
    at_info = at_prop + n_prop
    at_claim = at_info + n_info
    at_body = at_claim + n_claim
    return Job(
        tag=tag,
        id=data[at_id:at_name].decode(),
        name=data[at_name:at_head].decode(),
        headers=data[at_head:at_prop],
        properties=data[at_prop:at_info],
        body=data[at_body:end],
        delivery_info=_unpack_info(data[at_info:at_claim]),
        claim=data[at_claim:at_body].decode(),
        time_limit=_or_none(hard),
        soft_time_limit=_or_none(soft),
        announce=announce,
        brief=_or_none(brief),
    )


class Splitter:
    """Cuts a byte stream into frames; keeps an incomplete one for the next piece."""

    __slots__ = ("_need", "_rest")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._need = 0

    def split(self, piece: bytes) -> tuple[bytes, list[tuple[int, int]]]:
        """Add a piece of the stream.

        Returns:
            bytes, and where in them each complete frame starts (at its length) and ends.
        """
        if self._rest:
            self._rest += piece
            if len(self._rest) < self._need:
                return b"", []
            piece, self._rest = bytes(self._rest), bytearray()
        spans, at, end = [], 0, len(piece)
        need = 4
        while end - at >= 4:
            need = 4 + _LENGTH.unpack_from(piece, at)[0]
            if end - at < need:
                break
            spans.append((at, at + need))
            at += need
            need = 4
        if at < end:
            self._rest = bytearray(memoryview(piece)[at:])
            self._need = need
        return piece, spans


class JobReader:
    """The child's end: bytes in, jobs out."""

    __slots__ = ("_splitter",)

    def __init__(self) -> None:
        self._splitter = Splitter()

    def feed(self, piece: bytes) -> list[Job]:
        """The jobs that are complete now."""
        data, spans = self._splitter.split(piece)
        return [_decode_job(data, start, end) for start, end in spans]


def encode_note(note: Note, tag: int, number: float = 0.0) -> bytes:
    """A record other than `DONE`."""
    return _RECORD.pack(_RECORD.size - 4 + 8, note, tag) + _NUMBER.pack(number)


def encode_done(tag: int, outcome: Outcome) -> bytes:
    """The record of a job's end."""
    if not outcome.detail and not outcome.traceback and not outcome.error:
        return _DONE.pack(_DONE.size - 4, Note.DONE, tag, outcome.verdict, outcome.runtime, 0, 0)
    detail = outcome.detail.encode("utf-8", "replace")
    trace = outcome.traceback.encode("utf-8", "replace")
    error = outcome.error.encode("utf-8", "replace")
    sizes = len(detail), len(trace)
    size = _DONE.size - 4 + sum(sizes) + len(error)
    head = _DONE.pack(size, Note.DONE, tag, outcome.verdict, outcome.runtime, *sizes)
    return head + detail + trace + error


class NoteReader:
    """The core's end: bytes in; out come `(note, tag, number or Outcome)`."""

    __slots__ = ("_splitter",)

    def __init__(self) -> None:
        self._splitter = Splitter()

    def feed(self, piece: bytes) -> list[tuple[int, int, float | Outcome]]:
        """The records that are complete now."""
        data, spans = self._splitter.split(piece)
        found: list[tuple[int, int, float | Outcome]] = []
        for start, end in spans:
            note, tag = data[start + 4], _RECORD.unpack_from(data, start)[2]
            if note == Note.DONE:
                found.append((note, tag, _decode_done(data, start, end)))
            else:
                found.append((note, tag, _NUMBER.unpack_from(data, start + _RECORD.size)[0]))
        return found


def _decode_done(data: bytes, start: int, end: int) -> Outcome:
    _, _, _, verdict, runtime, n_detail, n_trace = _DONE.unpack_from(data, start)
    at = start + _DONE.size
    if at == end:
        return Outcome(_VERDICTS[verdict], runtime)
    cut = at + n_detail
    last = cut + n_trace
    texts = data[at:cut], data[cut:last], data[last:end]
    return Outcome(_VERDICTS[verdict], runtime, *(text.decode() for text in texts))
