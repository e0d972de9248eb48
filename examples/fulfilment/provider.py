"""A payment provider as they are: now and then down, now and then slow, sometimes both charged *and* timed out.

It remembers idempotency keys, as real ones do: charging again under a known key gives the old
answer and takes no money. How it misbehaves follows from the order id, so that every run of the
demo is alike.
"""

from __future__ import annotations

import sqlite3
import time
import zlib
from contextlib import closing

from .ledger import home

SCHEMA = """
CREATE TABLE IF NOT EXISTS charges (key TEXT PRIMARY KEY, order_id TEXT, amount INTEGER, at REAL);
CREATE TABLE IF NOT EXISTS calls (key TEXT, outcome TEXT);
"""


class PaymentUnavailable(Exception):
    """No answer: the money may or may not have been taken. Ask again with the same key."""


class CardDeclined(Exception):
    """A final no."""


def _connect() -> sqlite3.Connection:
    db = sqlite3.connect(home() / "provider.db", timeout=20)
    db.executescript(SCHEMA)
    return db


def charge(key: str, order_id: str, amount: int, card: str) -> str:
    """Take `amount` cents once per `key`; return the receipt number.

    Raises:
        PaymentUnavailable: a timeout or an outage, try again.
        CardDeclined: the card is no good.
    """
    mood = zlib.crc32(order_id.encode()) % 100
    with closing(_connect()) as db, db:
        asked = db.execute("SELECT count(*) FROM calls WHERE key = ?", (key,)).fetchone()[0]
        if card.endswith("0002"):
            outcome = "declined"
        elif mood < 12 and asked < 2:
            outcome = "down"
        elif mood < 20 and asked < 1:
            outcome = "charged, then timed out"
        else:
            outcome = "charged"
        db.execute("INSERT INTO calls VALUES (?, ?)", (key, outcome))
        if outcome.startswith("charged"):
            db.execute(
                "INSERT OR IGNORE INTO charges VALUES (?, ?, ?, ?)", (key, order_id, amount, time.time())
            )
    time.sleep(0.4 if 20 <= mood < 26 else 0.06)
    if outcome == "declined":
        raise CardDeclined(f"card ending in {card[-4:]} was declined")
    if outcome != "charged":
        raise PaymentUnavailable("the payment provider did not answer")
    return f"R-{zlib.crc32(key.encode()):08x}"


def statement() -> dict[str, int]:
    """What the provider's books say: charges, orders charged, calls, calls that failed."""
    with closing(_connect()) as db:
        one = lambda sql: db.execute(sql).fetchone()[0]  # noqa: E731
        return {
            "charges": one("SELECT count(*) FROM charges"),
            "orders": one("SELECT count(DISTINCT order_id) FROM charges"),
            "calls": one("SELECT count(*) FROM calls"),
            "unanswered": one(
                "SELECT count(*) FROM calls WHERE outcome IN ('down', 'charged, then timed out')"
            ),
        }
