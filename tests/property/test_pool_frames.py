"""Frames between core and children survive any cutting of the stream."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from celery.app.jobs import Job, Outcome, Verdict
from celery.concurrency.prefork.frames import JobReader, Note, RecordReader, encode_jobs, encode_records

_tags = st.integers(1, 2**64 - 1)
_seconds = st.none() | st.floats(0, 1e6)
_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_bytes = st.binary(max_size=200) | st.integers(60_000, 70_000).map(bytes)
_jobs = st.builds(
    Job,
    tag=_tags,
    id=_text,
    name=_text,
    headers=_bytes,
    properties=st.binary(max_size=50),
    body=_bytes,
    delivery_info=st.dictionaries(_text, _text | st.none() | st.integers(0, 255) | st.booleans()),
    time_limit=_seconds,
    soft_time_limit=_seconds,
    announce=st.booleans(),
    claim=_text,
    share=st.integers(1, 64),
)
_outcomes = st.builds(
    Outcome,
    verdict=st.sampled_from(Verdict),
    runtime=st.floats(0, 1e6),
    detail=_text,
    traceback=_text,
    error=_text,
)


def _cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    return [*pieces, data[at:]]


_sizes = st.lists(st.integers(0, 100_000), max_size=20)


def _fields(value: object) -> list[object]:
    return [getattr(value, field.name) for field in msgspec.structs.fields(type(value))]


@given(st.lists(_jobs, max_size=5), _sizes)
def test_jobs(jobs: list[Job], sizes: list[int]) -> None:
    data = b"".join(encode_jobs(jobs))
    reader = JobReader()
    found = [job for piece in _cut(data, sizes) for job in reader.feed(piece)]
    assert list(map(_fields, found)) == list(map(_fields, jobs))


@given(st.lists(st.tuples(_tags, _outcomes | st.floats(0, 1e12)), max_size=20), st.lists(st.integers(0, 40)))
def test_notes(notes: list[tuple[int, Outcome | float]], sizes: list[int]) -> None:
    records = [(Note.DONE if isinstance(what, Outcome) else Note.STARTED, tag, what) for tag, what in notes]
    half = len(records) // 2
    data = bytes(encode_records(records[:half]) + encode_records(records[half:]))
    reader = RecordReader()
    found = [note for piece in _cut(data, sizes) for note in reader.feed(piece)]
    assert [(tag, _plain(what)) for _, tag, what in found] == [(tag, _plain(what)) for tag, what in notes]
    assert all((note == Note.DONE) == isinstance(what, Outcome) for note, _, what in found)


def _plain(what: Outcome | float) -> object:
    return _fields(what) if isinstance(what, Outcome) else what


def test_what_is_no_proper_text_is_replaced() -> None:
    outcome = Outcome(Verdict.FAILURE, 0.5, "lone \ud800", "trace \udfff", "")
    ((_, tag, found),) = RecordReader().feed(bytes(encode_records([(Note.DONE, 7, outcome)])))
    assert isinstance(found, Outcome)
    assert (tag, found.detail, found.traceback) == (7, "lone ?", "trace ?")
