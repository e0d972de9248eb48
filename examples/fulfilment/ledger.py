"""The shop's own database: orders, stock, what was done for each order, and every attempt.

Each step of an order is recorded under a unique key together with its effect, in one
transaction. So a task may run twice (a worker died, a message came again) and its effect
still happens once: that is what makes at-least-once delivery safe.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY, customer TEXT, email TEXT, card TEXT, lines TEXT, amount INTEGER,
    state TEXT NOT NULL DEFAULT 'placed', placed_at REAL, done_at REAL);
CREATE TABLE IF NOT EXISTS stock (sku TEXT PRIMARY KEY, free INTEGER NOT NULL CHECK (free >= 0), reserved INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS steps (order_id TEXT, step TEXT, at REAL, PRIMARY KEY (order_id, step));
CREATE TABLE IF NOT EXISTS attempts (order_id TEXT, step TEXT, pid INTEGER, started REAL, ended REAL);
"""


def home() -> Path:
    """The folder with the shop's files: `SHOP_HOME`, else ./shop-data."""
    path = Path(os.environ.get("SHOP_HOME", "shop-data"))
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def ledger() -> Iterator[sqlite3.Connection]:
    """One transaction on the ledger: committed at the end, rolled back on an exception."""
    with closing(sqlite3.connect(home() / "ledger.db", timeout=20, isolation_level=None)) as db:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")


def create(stock: dict[str, int]) -> None:
    """Make the tables and fill the shelves."""
    with closing(sqlite3.connect(home() / "ledger.db")) as db:
        db.executescript(SCHEMA)
        db.executemany("INSERT OR IGNORE INTO stock (sku, free) VALUES (?, ?)", stock.items())
        db.commit()


def place(order: dict) -> bool:
    """Write a new order down; False if this order id is known already."""
    amount = sum(line["quantity"] * line["price"] for line in order["lines"])
    with ledger() as db:
        row = (
            order["id"],
            order["customer"],
            order["email"],
            order["card"],
            json.dumps(order["lines"]),
            amount,
        )
        new = db.execute(
            "INSERT OR IGNORE INTO orders (id, customer, email, card, lines, amount, placed_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*row, time.time()),
        )
        return new.rowcount == 1


def order(order_id: str) -> sqlite3.Row:
    """One order. Raises LookupError if it was never placed."""
    with ledger() as db:
        row = db.execute("SELECT * FROM orders WHERE id = ?", (order_id,)).fetchone()
    if row is None:
        raise LookupError(f"no order {order_id!r}")
    return row


@contextmanager
def attempt(order_id: str, step: str) -> Iterator[None]:
    """Note that this process works on a step, and when it ended: well or badly, but not if it was killed."""
    with ledger() as db:
        row = db.execute(
            "INSERT INTO attempts (order_id, step, pid, started) VALUES (?, ?, ?, ?)",
            (order_id, step, os.getpid(), time.time()),
        ).lastrowid
    try:
        yield
    finally:
        with ledger() as db:
            db.execute("UPDATE attempts SET ended = ? WHERE rowid = ?", (time.time(), row))


def first_time(db: sqlite3.Connection, order_id: str, step: str) -> bool:
    """Claim a step inside the caller's transaction; False if it has been done before."""
    claim = db.execute("INSERT OR IGNORE INTO steps VALUES (?, ?, ?)", (order_id, step, time.time()))
    return claim.rowcount == 1


def finish(db: sqlite3.Connection, order_id: str, state: str) -> None:
    """Close an order as shipped or cancelled."""
    db.execute("UPDATE orders SET state = ?, done_at = ? WHERE id = ?", (state, time.time(), order_id))
