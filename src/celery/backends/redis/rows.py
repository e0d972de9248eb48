"""Results that are ready to be stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from celery.brokers.redis import claims

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from celery.backends.chords import Part

#: Results stored by one call of the script, and about how many bytes.
ROWS_AT_ONCE = 200
BYTES_AT_ONCE = 4 * 1024 * 1024


class Row(NamedTuple):
    """What is to be stored: `value` is encoded (None: nothing, a chord is to be told), `seconds` of life or None,
    `claim` without its prefix, `part` for a member of a chord."""

    key: str
    value: bytes | None
    seconds: int | None
    state: str
    task_id: str
    claim: str
    part: Part | None = None


def arguments_of(row: Row, known: Mapping[str, bytes]) -> list[Any]:
    """What the script needs to know to store a row."""
    seconds = int(row.seconds) if row.seconds else ""
    return [row.value or b"", seconds, known.get(row.key, b""), *claims.parse(row.claim)]


def member_arguments(row: Row) -> list[Any]:
    """What it needs to know, behind that, to count a member of a chord."""
    part = row.part
    assert part is not None
    return ["" if row.value is None else "1", f"{part.task_id}:{part.place}", part.place, part.value]


def chunks_of(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Rows in portions that one call of a script takes."""
    start = size = 0
    for at, row in enumerate(rows):
        length = len(row.value or b"")
        if at > start and (at - start >= ROWS_AT_ONCE or size + length > BYTES_AT_ONCE):
            yield rows[start:at]
            start, size = at, 0
        size += length
    if start < len(rows):
        yield rows[start:]
