"""The books of chords in a table, kept in the transactions that store their members' results."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping


class ChordKeys:
    """How the books name things; as key-value stores do."""

    group_keyprefix = "celery-taskset-meta-"
    chord_keyprefix = "chord-unlock-"
    app: Any
    expires: Any

    @staticmethod
    def key_t(s: Any) -> str:
        """Keys are text."""
        return s.decode() if isinstance(s, bytes) else str(s)

    def get_key_for_group(self, group_id: str, key: Any = "") -> str:
        """The key of something about a chord."""
        return f"{self.group_keyprefix}{group_id}{self.key_t(key)}"

    def get_key_for_chord(self, group_id: str, key: Any = "") -> str:
        """The key of a note about a chord."""
        return f"{self.chord_keyprefix}{group_id}{self.key_t(key)}"

    @property
    def chord_expires(self) -> Any:
        """Seconds for which the books of a chord are kept; None or 0: for ever."""
        expires = self.app.conf.result_chord_expires
        return self.expires if expires is None else expires


class Book:
    """The table as a `Ledger`, within one transaction. A row holds bytes or a number.

    Args:
        connection: in the transaction.
        table: the table of books.
    """

    def __init__(self, connection: sa.Connection, table: sa.Table) -> None:
        self._connection = connection
        self._table = table

    def get(self, key: str) -> Any:
        row = self._connection.execute(self._select().where(self._table.c.key == key)).first()
        return None if row is None else _content(row)

    def put(self, key: str, value: Any, seconds: float | None) -> None:
        columns = _columns(value, seconds)
        if not self._change(key, columns) and not self._insert(key, columns):
            self._change(key, columns)

    def insert(self, key: str, value: Any, seconds: float | None) -> bool:
        return self._insert(key, _columns(value, seconds))

    def add(self, key: str, amount: int, seconds: float | None) -> int:
        # The first to change the row holds it until its transaction ends: members are counted one after the other.
        table = self._table
        columns = {"number": table.c.number + amount}
        if not self._change(key, columns) and not self._insert(key, _columns(amount, seconds)):
            self._change(key, columns)
        found = self._connection.execute(sa.select(table.c.number).where(table.c.key == key)).scalar_one()
        return int(found)

    def scan(self, prefix: str) -> list[tuple[str, Any]]:
        wanted = self._select().where(self._table.c.key.startswith(prefix, autoescape=True))
        return sorted((row.key, _content(row)) for row in self._connection.execute(wanted))

    def delete(self, prefix: str) -> None:
        self._connection.execute(
            sa.delete(self._table).where(self._table.c.key.startswith(prefix, autoescape=True))
        )

    def _select(self) -> sa.Select[Any]:
        return sa.select(self._table.c.key, self._table.c.value, self._table.c.number)

    def _change(self, key: str, columns: Mapping[str, Any]) -> bool:
        change = sa.update(self._table).where(self._table.c.key == key).values(**columns)
        return bool(self._connection.execute(change).rowcount)

    def _insert(self, key: str, columns: Mapping[str, Any]) -> bool:
        """Insert a row unless it is there; whether it was inserted."""
        values = {"key": key, **columns}
        dialect = self._connection.dialect.name
        if dialect == "sqlite":
            return self._done(sqlite.insert(self._table).values(**values).on_conflict_do_nothing())
        if dialect == "postgresql":
            return self._done(postgresql.insert(self._table).values(**values).on_conflict_do_nothing())
        if dialect in ("mysql", "mariadb"):
            return self._done(sa.insert(self._table).values(**values).prefix_with("IGNORE"))
        try:
            with self._connection.begin_nested():
                return self._done(sa.insert(self._table).values(**values))
        except IntegrityError:
            return False

    def _done(self, statement: Any) -> bool:
        return bool(self._connection.execute(statement).rowcount)


def _columns(value: Any, seconds: float | None) -> dict[str, Any]:
    number = value if isinstance(value, int) else None
    data = None if number is not None else value.encode() if isinstance(value, str) else bytes(value)
    return {"value": data, "number": number, "expires": time.time() + seconds if seconds else None}


def _content(row: Any) -> Any:
    return row.number if row.value is None else bytes(row.value)
