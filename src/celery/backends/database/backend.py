"""The result backend on a relational database."""

from __future__ import annotations

import contextlib
import logging
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import sqlalchemy as sa
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from celery import states
from celery.backends.base import BaseBackend
from celery.backends.chords import TransactionalChords
from celery.backends.encoding import PENDING_META
from celery.backends.rows import Rows
from celery.backends.sanitize import without_password
from celery.exceptions import ImproperlyConfigured
from celery.utils.imports import symbol_by_name

from . import legacy
from .books import Book, ChordKeys
from .models import EXTENDED, tables
from .session import SessionManager

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy.orm import Session

    from celery.backends.chords import Chords, Ledger, Part
    from celery.backends.dues import Due

    Meta = dict[str, Any]

logger = logging.getLogger(__name__)

#: Rows asked for, or written, by one statement.
ROWS_AT_ONCE = 500
#: How often a write is tried again that met another one.
COLLISIONS = 5


class _Row(NamedTuple):
    """What is to be stored of a task.

    Attributes:
        columns: with their values; None if the result is not wanted, but the member of a chord is to be counted.
        part: the member of a chord that this is the end of.
    """

    task_id: str
    columns: dict[str, Any] | None
    part: Part | None = None


def _read_row(values: Sequence[Any]) -> _Row:
    """A row as another process has sent it, where a time is text."""
    row = _Row(*values)
    if row.columns is not None and isinstance(row.columns["date_done"], str):
        row.columns["date_done"] = datetime.fromisoformat(row.columns["date_done"])
    return row


class DatabaseBackend(ChordKeys, BaseBackend):
    """Results in a database, in Celery's tables.

    Args:
        dburi: SQLAlchemy's URL; default: the setting `database_url`.
        engine_options: for `sqlalchemy.create_engine`, over `database_engine_options`.
        url: as `dburi`.

    Raises:
        ImproperlyConfigured: no URL, or the database's driver is not installed.
    """

    subpolling_interval = 0.5
    supports_native_join = True
    read_retries = 3

    def __init__(
        self,
        dburi: str | None = None,
        engine_options: Mapping[str, Any] | None = None,
        url: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(url=url, **kwargs)
        conf = self.app.conf
        self.url = url or dburi or conf.database_url
        if not self.url:
            raise ImproperlyConfigured(
                "Missing connection string! Do you have the database_url setting set to a real value?"
            )
        self.engine_options = {**(conf.database_engine_options or {}), **(engine_options or {})}
        self.short_lived_sessions = bool(conf.database_short_lived_sessions)
        callback = conf.database_engine_callback
        self.session_manager = SessionManager(symbol_by_name(callback) if callback else None)
        # In a mixed fleet chords are done as Celery does them on databases.
        self._keeps_books = conf.fleet == "celeriac"
        self._tables = tables(conf.database_table_names, conf.database_table_schemas, books=self._keeps_books)
        self._ready: sa.Engine | None = None
        self._rows: Rows[_Row] = Rows(self._write, self._insist_on_storing, _read_row)
        if conf.database_create_tables_at_setup:
            self._create_tables()

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> tuple[Any, ...]:
        given = {"dburi": self.url, "expires": self.expires, "engine_options": self.engine_options}
        return super().__reduce__(args, {**given, **(kwargs or {})})

    # -- connections

    @property
    def engine(self) -> sa.Engine:
        """The engine of this process, tables made."""
        try:
            engine = self.session_manager.get_engine(
                self.url or "", short_lived=self.short_lived_sessions, **self.engine_options
            )
        except (ImportError, NoSuchModuleError) as exc:
            raise ImproperlyConfigured(
                f"The driver for {without_password(self.url or '')} is not installed: {exc}"
            ) from exc
        if self._ready is not engine:
            self.session_manager.prepare_models(engine, self._tables.metadata)
            self._ready = engine
        return engine

    def _create_tables(self) -> None:
        """Make the tables now, if the database answers; else when they are needed."""
        try:
            _ = self.engine
        except SQLAlchemyError as exc:
            if not self.exception_safe_to_retry(exc):
                raise
            logger.warning("The tables for results will be made later: %s", without_password(str(exc)))

    def ResultSession(self) -> Session:
        """A SQLAlchemy session on the results' database."""
        _ = self.engine
        return self.session_manager.session_factory(
            self.url or "", short_lived=self.short_lived_sessions, **self.engine_options
        )

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether the database may do it later: it does not answer, is locked, or two writers met."""
        if isinstance(exc, DBAPIError):
            return exc.connection_invalidated or isinstance(exc, (OperationalError, InterfaceError))
        return isinstance(exc, PoolTimeout)

    # -- storing

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        meta = self._get_result_meta(result, state, traceback, request, format_date=False, encode=True)
        self._rows.keep(_Row(str(task_id), self._columns(meta), kwargs.get("part")), state, request)
        return result

    def _columns(self, meta: Meta) -> dict[str, Any]:
        done = meta["date_done"]
        children = meta["children"]
        columns = {
            "status": meta["status"],
            "result": self._blob(meta["result"]),
            "traceback": None if meta["traceback"] is None else str(meta["traceback"]),
            "date_done": done and done.astimezone(UTC).replace(tzinfo=None),
            "children": None if children is None else self._blob(children),
        }
        if self._extended:
            columns.update({name: meta.get(name) for name in EXTENDED})
            headers = meta.get("stamped_headers")
            if headers:
                stamps = {name: meta[name] for name in headers if name in meta}
                columns["stamps"] = self._blob({"stamped_headers": headers, "stamps": stamps})
        return columns

    def _blob(self, value: Any) -> bytes:
        encoded = self.encode(value)
        return encoded.encode() if isinstance(encoded, str) else bytes(encoded)

    def _write(self, rows: Sequence[_Row]) -> None:
        """Store rows, all in one transaction, each unless a success is there: what somebody taken for dead says
        later does not count."""
        latest = _latest(rows)
        due: list[Due] = []
        for left in reversed(range(COLLISIONS)):
            try:
                with self._transaction() as connection:
                    for chunk in _chunks(list(latest)):
                        self._write_chunk(connection, self._tables.task, {i: latest[i] for i in chunk})
                    due = self._count_members(connection, rows)
                break
            except IntegrityError:  # somebody else made one of the rows between our look and our insert
                if not left:
                    raise
        for one in due:
            cast("TransactionalChords", self.chords).relay(one)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        """One in which every statement sees what others have committed by then (MySQL's own would not)."""
        engine = self.engine
        if engine.dialect.name in ("mysql", "mariadb"):
            engine = engine.execution_options(isolation_level="READ COMMITTED")
        with engine.begin() as connection:
            yield connection

    def _count_members(self, connection: sa.Connection, rows: Sequence[_Row]) -> list[Due]:
        parts = [row.part for row in rows if row.part is not None]
        if not parts or self._tables.book is None:
            return []
        book, chords = Book(connection, self._tables.book), cast("TransactionalChords", self.chords)
        return [due for due in (chords.count(book, part) for part in parts) if due is not None]

    # -- chords

    def make_chords(self) -> Chords:
        """In one transaction with the result, if all workers are ours; else by looking at the members."""
        return TransactionalChords(self, self._books) if self._keeps_books else super().make_chords()

    @contextlib.contextmanager
    def _books(self) -> Iterator[Ledger]:
        assert self._tables.book is not None
        with self._transaction() as connection:
            yield Book(connection, self._tables.book)

    def count_end(self, task_id: str, state: str, request: Any, part: Part) -> None:
        """Count a member of a chord whose end is not stored."""
        self._rows.keep(_Row(task_id, None, part), state, request)

    # -- storing, by the row

    @staticmethod
    def _write_chunk(
        connection: sa.Connection, task: sa.Table, rows: Mapping[str, Mapping[str, Any]]
    ) -> None:
        look = sa.select(task.c.task_id).where(task.c.task_id.in_(rows))
        there = set(connection.scalars(look))
        fresh = [{"task_id": task_id, **columns} for task_id, columns in rows.items() if task_id not in there]
        if fresh:
            connection.execute(sa.insert(task), fresh)
        if there:
            change = sa.update(task).where(
                task.c.task_id == sa.bindparam("this_task"),
                sa.or_(task.c.status.is_(None), task.c.status != states.SUCCESS),
            )
            connection.execute(change, [{"this_task": task_id, **rows[task_id]} for task_id in sorted(there)])

    # -- reading

    def _get_task_meta_for(self, task_id: str) -> Meta:
        return self._get_task_metas_for([task_id])[task_id]

    def _get_task_metas_for(self, task_ids: Sequence[str]) -> dict[str, Meta]:
        task = self._tables.task
        wanted = [task.c[name] for name in self._names]
        metas: dict[str, Meta] = {task_id: dict(PENDING_META) for task_id in task_ids}
        with self.engine.connect() as connection:
            for chunk in _chunks(list(metas)):
                for row in connection.execute(sa.select(*wanted).where(task.c.task_id.in_(chunk))):
                    metas[row.task_id] = self._meta(dict(row._mapping))
        return metas

    @property
    def _names(self) -> tuple[str, ...]:
        base = ("task_id", "status", "result", "traceback", "date_done", "children")
        return (*base, *EXTENDED) if self._extended else base

    def _meta(self, row: dict[str, Any]) -> Meta:
        row["result"] = self._value(row["result"])
        row["children"] = self._value(row["children"])
        if self._extended:
            row["args"], row["kwargs"] = self._value(row["args"]), self._value(row["kwargs"])
            stamps = self._value(row.pop("stamps"))
            if stamps:
                row.update(stamped_headers=stamps.get("stamped_headers"), **(stamps.get("stamps") or {}))
        return self.meta_from_decoded(row)

    def _value(self, blob: Any) -> Any:
        if blob is None:
            return None
        blob = bytes(blob)
        if blob.startswith(legacy.MAGIC) and self.content_encoding == "utf-8":
            return legacy.load(blob, trusted="application/x-python-serialize" in (self.accept or ()))
        return self.decode(blob)

    def _forget(self, task_id: str) -> None:
        task = self._tables.task
        with self.engine.begin() as connection:
            connection.execute(sa.delete(task).where(task.c.task_id == task_id))

    # -- groups

    def _save_group(self, group_id: str, result: Any) -> Any:
        group = self._tables.group
        columns = {
            "result": self._blob(result.as_tuple()),
            "date_done": datetime.now(UTC).replace(tzinfo=None),
        }
        with self.engine.begin() as connection:
            change = sa.update(group).where(group.c.taskset_id == group_id).values(**columns)
            if not connection.execute(change).rowcount:
                connection.execute(sa.insert(group).values(taskset_id=group_id, **columns))
        return result

    def _restore_group(self, group_id: str) -> Meta | None:
        group = self._tables.group
        wanted = sa.select(group.c.taskset_id, group.c.result, group.c.date_done)
        with self.engine.connect() as connection:
            row = connection.execute(wanted.where(group.c.taskset_id == group_id)).first()
        if row is None:
            return None
        return {**row._mapping, "result": self._group_from_tuple(self._value(row.result))}

    def _delete_group(self, group_id: str) -> None:
        group = self._tables.group
        with self.engine.begin() as connection:
            connection.execute(sa.delete(group).where(group.c.taskset_id == group_id))

    def cleanup(self) -> None:
        """Remove what has expired."""
        if not self.expires:
            return
        until = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=float(self.expires))
        with self.engine.begin() as connection:
            for table in (self._tables.task, self._tables.group):
                connection.execute(sa.delete(table).where(table.c.date_done < until))
            book = self._tables.book
            if book is not None:
                connection.execute(sa.delete(book).where(book.c.expires < time.time()))


def _latest(rows: Sequence[_Row]) -> dict[str, dict[str, Any]]:
    """What is to be stored of each task, the last word counting, except after a success."""
    latest: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row.columns is not None and latest.get(row.task_id, {}).get("status") != states.SUCCESS:
            latest[row.task_id] = row.columns
    return latest


def _chunks(items: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), ROWS_AT_ONCE):
        yield items[start : start + ROWS_AT_ONCE]
