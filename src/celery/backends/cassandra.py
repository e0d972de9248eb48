"""Results in Apache Cassandra: `cassandra://` and the settings `cassandra_*`."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from celery import states
from celery.exceptions import ImproperlyConfigured

from .base import BaseBackend
from .encoding import PENDING_META
from .extras import need
from .processes import shared
from .remote import as_bytes

if TYPE_CHECKING:
    from .processes import PerProcess

    Meta = dict[str, Any]

__all__ = ("CassandraBackend",)

_MAKE_TABLE = """\
CREATE TABLE {table} (
    task_id text, status text, result blob, date_done timestamp, traceback blob, children blob,
    PRIMARY KEY ((task_id), date_done)
) WITH CLUSTERING ORDER BY (date_done DESC)"""
_INSERT = """\
INSERT INTO {table} (task_id, status, result, date_done, traceback, children) VALUES (%s, %s, %s, %s, %s, %s){life}"""
_SELECT = "SELECT status, result, date_done, traceback, children FROM {table} WHERE task_id=%s"
_DELETE = "DELETE FROM {table} WHERE task_id=%s"


class CassandraBackend(BaseBackend):
    """Results in one table, a row for each state of a task. It keeps no groups.

    Args:
        servers, port, keyspace, table, entry_ttl, bundle_path: default the settings `cassandra_*`.

    Raises:
        ImproperlyConfigured: cassandra-driver is not installed, or settings are missing or contradict one another.
    """

    supports_autoexpire = True
    supports_result_compression = True

    def __init__(
        self,
        servers: Any = None,
        keyspace: str | None = None,
        table: str | None = None,
        entry_ttl: float | None = None,
        port: int | None = None,
        bundle_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._cluster_of = need("cassandra.cluster", extra="cassandra", store="Cassandra")
        self._cassandra = need("cassandra", extra="cassandra", store="Cassandra")
        self._query = need("cassandra.query", extra="cassandra", store="Cassandra")
        conf = self.app.conf
        self.servers = servers or conf.cassandra_servers
        self.bundle_path = (
            bundle_path or conf.cassandra_bundle_path or conf.get("cassandra_secure_bundle_path")
        )
        self.port = int(port or conf.cassandra_port or 9042)
        self.keyspace = keyspace or conf.cassandra_keyspace
        self.table = table or conf.cassandra_table
        self.cassandra_options = dict(conf.cassandra_options or {})
        ttl = entry_ttl or conf.cassandra_entry_ttl
        self._life = f" USING TTL {int(ttl)}" if ttl else ""
        if not self.servers and not self.bundle_path:
            raise ImproperlyConfigured("Cassandra backend not configured: set cassandra_servers")
        if self.servers and self.bundle_path:
            raise ImproperlyConfigured("Set either cassandra_servers or cassandra_bundle_path, not both")
        if not self.keyspace or not self.table:
            raise ImproperlyConfigured(
                "Cassandra backend not configured: set cassandra_keyspace and cassandra_table"
            )
        level = self._cassandra.ConsistencyLevel
        self.read_consistency = getattr(
            level, conf.cassandra_read_consistency or "LOCAL_QUORUM", level.LOCAL_QUORUM
        )
        self.write_consistency = getattr(
            level, conf.cassandra_write_consistency or "LOCAL_QUORUM", level.LOCAL_QUORUM
        )
        self._auth = self._read_auth()
        self._prepared: Any = None
        self._holder: PerProcess[Any] = shared(
            (
                "cassandra",
                repr(self.servers),
                self.port,
                self.keyspace,
                self.bundle_path,
                repr(self.cassandra_options),
            ),
            self._connect,
        )

    def _read_auth(self) -> Any:
        conf = self.app.conf
        name, arguments = conf.cassandra_auth_provider, conf.cassandra_auth_kwargs
        if not name or not arguments:
            return None
        auth = need("cassandra.auth", extra="cassandra", store="Cassandra")
        provider = getattr(auth, name, None)
        if provider is None:
            raise ImproperlyConfigured(
                f"cassandra_auth_provider is {name!r}: cassandra.auth has no such class"
            )
        return provider(**dict(arguments))

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> tuple[Any, ...]:
        given = {"servers": self.servers, "keyspace": self.keyspace, "table": self.table, "port": self.port}
        return super().__reduce__(args, {**given, **(kwargs or {})})

    def _connect(self) -> Any:
        options = dict(self.cassandra_options)
        if self.bundle_path:
            options["cloud"] = {"secure_connect_bundle": self.bundle_path}
        else:
            options.update(contact_points=self.servers, port=self.port)
        cluster = self._cluster_of.Cluster(auth_provider=self._auth, **options)
        return cluster.connect(self.keyspace)

    @property
    def session(self) -> Any:
        """A session of this process, in which the table is there."""
        session = self._holder.get()
        if self._prepared is not session:
            with contextlib.suppress(self._cassandra.AlreadyExists):
                session.execute(_MAKE_TABLE.format(table=self.table))
            self._prepared = session
        return session

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether Cassandra may do it later: too few nodes answer."""
        library = self._cassandra
        kinds = (
            library.OperationTimedOut,
            library.Unavailable,
            library.Timeout,
            self._cluster_of.NoHostAvailable,
        )
        return isinstance(exc, kinds)

    def _execute(self, query: str, arguments: tuple[Any, ...], consistency: Any) -> Any:
        statement = self._query.SimpleStatement(
            query.format(table=self.table, life=self._life), consistency_level=consistency
        )
        return self.session.execute(statement, arguments)

    # -- results

    def _blob(self, value: Any) -> bytes:
        return as_bytes(self.encode(value))

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        row = (
            str(task_id),
            state,
            self._blob(result),
            datetime.now(UTC),
            self._blob(traceback),
            self._blob(self.current_task_children(request)),
        )
        self._execute(_INSERT, row, self.write_consistency)
        return result

    def _get_task_meta_for(self, task_id: str) -> Meta:
        rows = list(self._execute(_SELECT, (task_id,), self.read_consistency))
        if not rows:
            return dict(PENDING_META)
        # The newest comes first; but a success stays, whatever was said later.
        status, result, done, traceback, children = next(
            (row for row in rows if row[0] == states.SUCCESS), rows[0]
        )
        return self.meta_from_decoded(
            {
                "task_id": task_id,
                "status": status,
                "result": self.decode(result),
                "date_done": done.isoformat() if status in states.READY_STATES else None,
                "traceback": self.decode(traceback),
                "children": self.decode(children),
            }
        )

    def _forget(self, task_id: str) -> None:
        self._execute(_DELETE, (task_id,), self.write_consistency)
