"""How a result store in the same file checks that a worker still holds a message (see `Delivery.claim`).

Whoever holds a message may say what became of it. A dead worker's messages are offered again (its row in `held` is
gone) or adopted (the row names another consumer), so its claim on them is void; until then it still counts.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3


def prefix(path: str) -> str:
    """What all claims on messages of this file begin with: always proper text, as it goes to the pool's children."""
    return f"sqlite:{os.fsencode(os.path.realpath(path)).decode('utf-8', 'backslashreplace')}:"


def claim(prefix: str, consumer: int, message: int) -> str:
    """The claim of a consumer on a message."""
    return f"{prefix}{consumer}.{message}"


def holds(connection: sqlite3.Connection, rest: str) -> bool:
    """Whether a claim (without its prefix) is good. Runs inside the transaction that relies on it."""
    consumer, _, message = rest.partition(".")
    row = connection.execute(
        "SELECT 1 FROM held WHERE consumer = ? AND message = ?", (int(consumer), int(message))
    ).fetchone()
    return row is not None
