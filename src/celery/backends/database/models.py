"""Celery's tables: one row for each task, one for each group.

`result`, `args`, `kwargs`, `children` and `stamps` are what the result serializer makes; `date_done` is UTC without
saying so. The columns from `name` on are filled with `result_extended` only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.mysql import LONGBLOB, LONGTEXT, VARCHAR

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Columns of `result_extended`.
EXTENDED = ("name", "args", "kwargs", "worker", "retries", "queue", "stamps")

# MySQL's own BLOB and TEXT end at 64 KB.
_BYTES = sa.LargeBinary().with_variant(LONGBLOB(), "mysql", "mariadb")
_TEXT = sa.Text().with_variant(LONGTEXT(), "mysql", "mariadb")


class Tables(NamedTuple):
    """The tables of one backend."""

    metadata: sa.MetaData
    task: sa.Table
    group: sa.Table
    book: sa.Table | None


def tables(
    names: Mapping[str, str] | None = None,
    schemas: Mapping[str, str] | None = None,
    *,
    books: bool = False,
) -> Tables:
    """The tables.

    Args:
        books: with one for the books of chords, which Celery does not have.
        names: the tables' names, under `task` and `group` (`database_table_names`).
        schemas: the schemas they are in, likewise (`database_table_schemas`).
    """
    names, schemas = names or {}, schemas or {}
    metadata = sa.MetaData()
    task = sa.Table(
        names.get("task", "celery_taskmeta"),
        metadata,
        _key("task_id_sequence", schemas.get("task")),
        sa.Column("task_id", sa.String(155), unique=True),
        sa.Column("status", sa.String(50)),
        sa.Column("result", _BYTES),
        sa.Column("date_done", sa.DateTime, index=True),
        sa.Column("traceback", _TEXT),
        sa.Column("children", _BYTES),
        sa.Column("name", sa.String(155)),
        sa.Column("args", _BYTES),
        sa.Column("kwargs", _BYTES),
        sa.Column("worker", sa.String(155)),
        sa.Column("retries", sa.Integer),
        sa.Column("queue", sa.String(155)),
        sa.Column("stamps", _BYTES),
        schema=schemas.get("task"),
        sqlite_autoincrement=True,
    )
    group = sa.Table(
        names.get("group", "celery_tasksetmeta"),
        metadata,
        _key("taskset_id_sequence", schemas.get("group")),
        sa.Column("taskset_id", sa.String(155), unique=True),
        sa.Column("result", _BYTES),
        sa.Column("date_done", sa.DateTime, index=True),
        schema=schemas.get("group"),
        sqlite_autoincrement=True,
    )
    return Tables(metadata, task, group, _book(metadata, schemas.get("group")) if books else None)


def _book(metadata: sa.MetaData, schema: str | None) -> sa.Table:
    return sa.Table(
        "celeriac_chord",
        metadata,
        sa.Column(
            "key",
            sa.String(255).with_variant(VARCHAR(255, collation="utf8mb4_bin"), "mysql", "mariadb"),
            primary_key=True,
        ),
        sa.Column("value", _BYTES),
        sa.Column("number", sa.BigInteger),
        sa.Column("expires", sa.Double, index=True),
        schema=schema,
    )


def _key(sequence: str, schema: str | None) -> sa.Column[int]:
    return sa.Column("id", sa.Integer, sa.Sequence(sequence, schema=schema), primary_key=True)
