"""Results in the embedded store: `sqlite:///path`, the same file as the embedded broker's.

A result is one row: its key, the encoded meta, and when it expires. Whoever waits for a result has a row in
`result_waiter` with the address of its listener; the transaction that stores the result takes those rows out, and
nudges the addresses once it is committed. Writing and asking both happen under the store's write lock,
so no result falls between the look and the asking.

Expired rows are not read, and every now and then whoever stores removes some.
"""

from __future__ import annotations

import contextlib
import logging
import select
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from celery import states
from celery.brokers.base import BrokerError, BrokerUnavailable
from celery.brokers.sqlite import claims
from celery.brokers.sqlite.database import Database
from celery.brokers.sqlite.location import path_from_url, synchronous_from_url
from celery.brokers.sqlite.wakeup import Listener, nudge

from . import resume_notes
from .base import KeyValueStoreBackend
from .chords import Ledger, TransactionalChords
from .claims import claim_lost, claim_on
from .encoding import PENDING_META, unreadable
from .rows import Rows
from .waiting import Hub, hub_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping, Sequence

    from .chords import Part
    from .dues import Due

    Meta = dict[str, Any]

logger = logging.getLogger(__name__)

#: Seconds between two removals of expired rows by one process, and how many rows one removal takes.
CLEAN_EVERY = 60.0
CLEAN_AT_ONCE = 1000
#: Seconds after which the store forgets that somebody wanted to be told of a result.
INTEREST_LASTS = 86400.0

_keys_as_json = msgspec.json.Encoder().encode


class _Row(NamedTuple):
    """What is to be stored: `value` is encoded, `expires` unix time or None, `claim` without its prefix.

    Attributes:
        value: None if the result is not wanted, but the member of a chord is to be counted.
        part: the member of a chord that this is the end of.
    """

    key: str
    value: bytes | None
    expires: float | None
    state: str
    task_id: str
    claim: str
    part: Part | None = None


class _Listening(Listener):
    """A listener as the hub wants it: it can wake itself, and hears only that there is something to read."""

    def wait(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def collect(self) -> None:
        self.drain()

    def wake(self) -> None:
        nudge((self.address,))


def _text(key: Any) -> str:
    return key.decode() if isinstance(key, bytes) else str(key)


class SqliteBackend(KeyValueStoreBackend):
    """Results in a SQLite file that all processes of this machine share.

    Args:
        url: `sqlite:////absolute/path`, `sqlite:///relative/path`, or `sqlite://` for the project's own store.
            `?synchronous=FULL` makes every result survive the loss of power too.

    Raises:
        BrokerRefused: the URL names no file.
    """

    supports_autoexpire = True
    supports_native_join = True
    supports_result_compression = True
    supports_failure_expires = True
    implements_incr = True

    def __init__(self, app: Any, url: str | None = None, **kwargs: Any) -> None:
        super().__init__(app, url=url or "sqlite://", **kwargs)
        conf = app.conf
        synchronous = synchronous_from_url(self.url or "") or conf.embedded_store_synchronous
        self._database = Database(path_from_url(self.url or "sqlite://"), synchronous)
        failures = conf.result_failure_expires
        self._failure_expires = self.expires if failures is None else self.prepare_expires(failures)
        self.claims = claims.prefix(self._database.path)
        self._rows: Rows[_Row] = Rows(self._write, self._insist_on_storing, _Row._make)
        self._next_clean = time.monotonic() + CLEAN_EVERY

    @staticmethod
    def key_t(s: Any) -> str:
        """Keys are text."""
        return _text(s)

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """A locked or full store may come back; a damaged or read-only one will not."""
        return isinstance(exc, BrokerUnavailable)

    # -- keys and values

    def get_key_for_task(self, task_id: str, key: Any = "") -> str:
        """See the base class."""
        if not task_id:
            raise ValueError(f"task_id must not be empty. Got {task_id} instead.")
        return f"{self.task_keyprefix}{task_id}{_text(key)}"

    def get(self, key: Any) -> Any:
        """See the base class."""
        row = self._one("SELECT value FROM result WHERE key = ? AND (expires IS NULL OR expires > ?)", key)
        return None if row is None else row[0]

    def _one(self, query: str, key: Any) -> Any:
        with self._database.errors():
            return self._database.connection().execute(query, (_text(key), time.time())).fetchone()

    def mget(self, keys: Sequence[Any]) -> dict[str, Any]:
        """See the base class."""
        with self._database.errors():
            return dict(
                self._database.connection().execute(
                    "SELECT key, value FROM result WHERE key IN (SELECT value FROM json_each(?))"
                    " AND (expires IS NULL OR expires > ?)",
                    (_keys_as_json([_text(key) for key in keys]).decode(), time.time()),
                )
            )

    def set(self, key: Any, value: Any) -> Any:
        """See the base class."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO result (key, value, expires) VALUES (?, ?, ?)",
                (_text(key), value, self._expiry(self.expires)),
            )

    def delete(self, key: Any) -> Any:
        """See the base class."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM result WHERE key = ?", (_text(key),))

    def incr(self, key: Any) -> int:
        """See the base class."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "INSERT INTO result (key, value, expires) VALUES (?, 1, ?)"
                " ON CONFLICT (key) DO UPDATE SET value = value + 1 RETURNING value",
                (_text(key), self._expiry(self.expires)),
            ).fetchone()
            return int(row[0])

    def expire(self, key: Any, value: float) -> Any:
        """See the base class."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE result SET expires = ? WHERE key = ?", (self._expiry(value), _text(key))
            )

    @staticmethod
    def _expiry(seconds: float | None) -> float | None:
        return time.time() + seconds if seconds else None

    # -- storing results

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        task_id = str(task_id)
        value = self._encoded_meta(task_id, result, state, traceback, request)
        seconds = self._failure_expires if state in (states.FAILURE, resume_notes.NOTE) else self.expires
        row = _Row(
            self.get_key_for_task(task_id),
            value,
            self._expiry(seconds),
            state,
            task_id,
            claim_on(task_id, request, self.claims),
            kwargs.get("part"),
        )
        self._rows.keep(row, state, request)
        return result

    def count_end(self, task_id: str, state: str, request: Any, part: Part) -> None:
        """Count a member of a chord whose end is not stored."""
        claim = claim_on(task_id, request, self.claims)
        self._rows.keep(
            _Row(self.get_key_for_task(task_id), None, None, state, task_id, claim, part), state, request
        )

    def _write(self, rows: Sequence[_Row]) -> list[_Row]:
        """Store rows in one transaction; return those that were refused because their message is another worker's."""
        with self._database.transaction() as connection:
            refused = [row for row in rows if row.claim and not claims.holds(connection, row.claim)]
            if refused:
                rows = [row for row in rows if row not in refused]
            awaited = connection.execute("SELECT 1 FROM result_waiter LIMIT 1").fetchone() is not None
            stored = [row for row in rows if self._write_one(connection, row)]
            addresses = {a for row in stored for a in _who_waits(connection, row)} if awaited else set()
            if time.monotonic() >= self._next_clean:
                self._next_clean = time.monotonic() + CLEAN_EVERY
                _remove_expired(connection, CLEAN_AT_ONCE)
            due = self._count_members(_Book(connection), rows)
        if addresses:
            nudge(addresses)
        for row in refused:
            logger.warning("%s", claim_lost(row.task_id, row.state))
        for one in due:
            self.chords.relay(one)
        return refused

    def _count_members(self, book: Ledger, rows: Sequence[_Row]) -> list[Due]:
        found = (self.chords.count(book, row.part) for row in rows if row.part is not None)
        return [due for due in found if due is not None]

    def _write_one(self, connection: sqlite3.Connection, row: _Row) -> bool:
        """Store one row; False if it was not taken."""
        if row.value is None:
            return False
        fresh = connection.execute(
            "INSERT INTO result (key, value, expires) VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING",
            (row.key, row.value, row.expires),
        )
        return bool(fresh.rowcount) or self._replace(connection, row)

    def _replace(self, connection: sqlite3.Connection, row: _Row) -> bool:
        """Store over what was there, unless that is a success: what somebody taken for dead says later does not
        count."""
        (value,) = connection.execute("SELECT value FROM result WHERE key = ?", (row.key,)).fetchone()
        if self.is_success(value):
            logger.debug("Result of %s is stored already, %s is not taken", row.task_id, row.state)
            return False
        connection.execute(
            "UPDATE result SET value = ?, expires = ? WHERE key = ?", (row.value, row.expires, row.key)
        )
        return True

    # -- chords

    def make_chords(self) -> TransactionalChords:
        """In one transaction with the result."""
        return TransactionalChords(self, self._books)

    if TYPE_CHECKING:

        @property
        def chords(self) -> TransactionalChords: ...

    @contextlib.contextmanager
    def _books(self) -> Iterator[Ledger]:
        with self._database.transaction() as connection:
            yield _Book(connection)

    # -- reading

    def _get_task_meta_for(self, task_id: str) -> Meta:
        value = self.get(self.get_key_for_task(task_id))
        return dict(PENDING_META) if value is None else self.decode_result(value)

    def cleanup(self) -> None:
        """Remove all that has expired."""
        removed = CLEAN_AT_ONCE
        while removed == CLEAN_AT_ONCE:
            with self._database.transaction() as connection:
                removed = _remove_expired(connection, CLEAN_AT_ONCE)

    # -- telling those that wait

    def hub(self) -> Hub:
        """One for all backends of this process that read this file in the same way."""
        key = ("sqlite", self._database.path, self.serializer, self.accept, self.task_keyprefix)
        return hub_of(key, _Source(self))

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> tuple[Any, ...]:
        return super().__reduce__(args, {"expires": self.expires, **(kwargs or {})})


class _Book:
    """The table of results within a transaction, for the books of chords."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, key: str) -> Any:
        row = self._connection.execute("SELECT value FROM result WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def put(self, key: str, value: Any, seconds: float | None) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO result (key, value, expires) VALUES (?, ?, ?)",
            (key, value, SqliteBackend._expiry(seconds)),
        )

    def insert(self, key: str, value: Any, seconds: float | None) -> bool:
        done = self._connection.execute(
            "INSERT INTO result (key, value, expires) VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING",
            (key, value, SqliteBackend._expiry(seconds)),
        )
        return bool(done.rowcount)

    def add(self, key: str, amount: int, seconds: float | None) -> int:
        row = self._connection.execute(
            "INSERT INTO result (key, value, expires) VALUES (?, ?, ?)"
            " ON CONFLICT (key) DO UPDATE SET value = value + excluded.value RETURNING value",
            (key, amount, SqliteBackend._expiry(seconds)),
        ).fetchone()
        return int(row[0])

    def scan(self, prefix: str) -> list[tuple[str, Any]]:
        return self._connection.execute(
            "SELECT key, value FROM result WHERE key >= ? AND key < ? ORDER BY key", _range(prefix)
        ).fetchall()

    def delete(self, prefix: str) -> None:
        self._connection.execute("DELETE FROM result WHERE key >= ? AND key < ?", _range(prefix))


def _range(prefix: str) -> tuple[str, str]:
    """The keys that begin with `prefix` are from the first of these up to the second."""
    return prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)


def _who_waits(connection: sqlite3.Connection, row: _Row) -> list[str]:
    """The addresses of those who want to know of a row; nobody waits for what is final."""
    if row.state in states.READY_STATES:
        found = connection.execute("DELETE FROM result_waiter WHERE key = ? RETURNING address", (row.key,))
    else:
        found = connection.execute("SELECT address FROM result_waiter WHERE key = ?", (row.key,))
    return [address for (address,) in found.fetchall()]


def _remove_expired(connection: sqlite3.Connection, limit: int) -> int:
    now = time.time()
    connection.execute("DELETE FROM result_waiter WHERE expires <= ?", (now,))
    return connection.execute(
        "DELETE FROM result WHERE key IN (SELECT key FROM result WHERE expires <= ? LIMIT ?)", (now, limit)
    ).rowcount


class _Source:
    """The store as one backend reads it."""

    arm_blocks, peek_blocks = True, False

    def __init__(self, backend: SqliteBackend) -> None:
        self._backend = backend
        self._database = backend._database

    def listen(self) -> _Listening:
        return _Listening()

    def peek(self, task_ids: Sequence[str]) -> Mapping[str, Meta]:
        keys = {self._backend.get_key_for_task(task_id): task_id for task_id in task_ids}
        found = self._backend.mget(list(keys))
        return {keys[key]: self._read(keys[key], value) for key, value in found.items()}

    def _read(self, task_id: str, value: Any) -> Meta:
        try:
            return self._backend.decode_result(value)
        except Exception as exc:  # noqa: BLE001 - one bad row must not stop those who wait for others
            return unreadable(task_id, exc)

    def arm(self, task_ids: Sequence[str], listener: Any) -> Mapping[str, Meta]:
        """Look, ask, look again, the latter two under the write lock; a result that is there costs one look."""
        found = dict(self.peek(task_ids))
        out = [i for i in task_ids if i not in found or found[i]["status"] not in states.READY_STATES]
        if out:
            until = time.time() + INTEREST_LASTS
            with self._database.transaction() as connection:
                connection.executemany(
                    "INSERT OR REPLACE INTO result_waiter (key, address, expires) VALUES (?, ?, ?)",
                    [(self._backend.get_key_for_task(i), listener.address, until) for i in out],
                )
                found.update(self.peek(out))
        return found

    def disarm(self, task_ids: Sequence[str], listener: Any) -> None:
        """Nothing depends on it: what is not taken back expires."""
        with contextlib.suppress(BrokerError), self._database.transaction() as connection:
            connection.executemany(
                "DELETE FROM result_waiter WHERE key = ? AND address = ?",
                [(self._backend.get_key_for_task(i), listener.address) for i in task_ids],
            )
