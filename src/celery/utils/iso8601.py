"""Reading ISO 8601 dates and times."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

__all__ = ("parse_iso8601",)

_PATTERN = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d{1,2})-(?P<day>\d{1,2})"
    r"(?:[T ](?P<hour>\d{2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d+))?)?"
    r"\s*(?P<zone>Z|[-+]\d{2}:?(?:\d{2})?)?)?)",
    re.IGNORECASE,
)


def parse_iso8601(datestring: str) -> datetime:
    """Read `2026-01-02`, `2026-01-02T03:04:05.25Z`, `2026-01-02 03:04+02:00` and their like.

    Text after what is understood is ignored, as Celery does.

    Returns:
        Aware if the text names an offset, naive otherwise.

    Raises:
        ValueError: not a date, or one that does not exist.
    """
    try:
        # In C, and right for everything that `isoformat()` writes.
        return datetime.fromisoformat(datestring)
    except ValueError:
        pass
    match = _PATTERN.match(datestring)
    if match is None:
        raise ValueError(f"unable to parse date string {datestring!r}")
    part = match.groupdict()
    return datetime(
        int(part["year"]),
        int(part["month"]),
        int(part["day"]),
        int(part["hour"] or 0),
        int(part["minute"] or 0),
        int(part["second"] or 0),
        int((part["fraction"] or "0")[:6].ljust(6, "0")),
        tzinfo=_zone(part["zone"]),
    )


def _zone(text: str | None) -> timezone | None:
    if not text:
        return None
    if text in "Zz":
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)
