"""The result backend on Redis: one server, Sentinel, Cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from celery import states
from celery.backends import resume_notes
from celery.backends.base import KeyValueStoreBackend
from celery.backends.claims import claim_lost, claim_on
from celery.backends.retrying import insist
from celery.backends.rows import Rows
from celery.backends.waiting import Hub, hub_of
from celery.brokers.base import BrokerUnavailable
from celery.brokers.redis import claims
from celery.brokers.redis.client import Client
from celery.brokers.redis.errors import translate
from celery.brokers.redis.locate import locator_of
from celery.exceptions import BackendStoreError
from celery.net.address import mask
from celery.utils.imports import symbol_by_name
from celery.wire.resp import ErrorReply

from . import foreign, options
from .chords import RedisChords, due_of
from .rows import Row, arguments_of, chunks_of, member_arguments
from .scripts import MEMBERS, STORE, Answer
from .source import Source
from .subscription import QUIET, Subscription

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from celery.backends.chords import Part
    from celery.brokers.redis.locate import Locator
    from celery.brokers.redis.script import Script
    from celery.wire.resp import Argument, Command

    Meta = dict[str, Any]

T = TypeVar("T")

logger = logging.getLogger(__name__)

#: Redis takes no longer ones.
LONGEST = 512 * 1024 * 1024
#: Keys read by one command.
KEYS_AT_ONCE = 500

_clients: dict[Hashable, Client] = {}


_Run = Callable[[Sequence[Row], Mapping[str, bytes]], list[Any]]


class RedisBackend(KeyValueStoreBackend):
    """Results in Redis.

    Args:
        host, port, db, password: where it is, unless the URL says so.
        url: `redis://[user[:password]@]host[:port][/db]`, `rediss://` (TLS), `socket:///path?virtual_host=db`,
            `redis+cluster://host` or `?cluster=1`; several separated by `;` are tried one after the other.
        max_connections, connection_pool: of the redis-py client that `client` gives.

    Raises:
        ImproperlyConfigured: the `redis` extra is not installed.
        ValueError: the URL or the TLS options make no sense.
    """

    supports_autoexpire = True
    supports_native_join = True
    supports_result_compression = True
    supports_failure_expires = True
    implements_incr = True
    shared_by_threads = True

    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        db: int | None = None,
        password: str | None = None,
        max_connections: int | None = None,
        url: str | None = None,
        connection_pool: Any = None,
        *,
        app: Any,
        **kwargs: Any,
    ) -> None:
        conf = app.conf
        given: dict[str, Any] = {"host": host, "port": port, "db": db, "password": password}
        if not url or "://" not in url:
            url = options.url_of(conf, **given)
        self._settings = options.read(conf, url, {k: v for k, v in given.items() if v is not None})
        super().__init__(app=app, url=url, expires_type=int, **kwargs)
        failures = conf.result_failure_expires
        self._failure_expires = self.expires if failures is None else self.prepare_expires(failures, int)
        transport = conf.result_backend_transport_options or {}
        self._retries = options.Retries.of({**self.retry_policy, **(transport.get("retry_policy") or {})})
        self._safe = tuple(_classes(transport.get("additional_connection_errors") or ()))
        self.max_connections = max_connections or conf.redis_max_connections
        self.claims = claims.prefix(self._settings)
        self._provider = conf.get("redis_backend_credential_provider")
        self._quiet = float(conf.get("redis_backend_health_check_interval") or QUIET)
        self._rows: Rows[Row] = Rows(self._write, self._insist_on_storing, Row._make)
        self._pool = connection_pool
        self._redis_py: Any = None
        self._identity = options.identity_of(conf, url, self._settings)

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> tuple[Any, ...]:
        return super().__reduce__(args, {"expires": self.expires, **(kwargs or {})})

    def as_uri(self, include_password: bool = False) -> str:
        """The URL, passwords masked."""
        url = self.url or ""
        return url if include_password else mask(url)

    # -- connections

    @property
    def _client(self) -> Client:
        client = _clients.get(self._identity)
        if client is None:
            client = _clients.setdefault(self._identity, Client(self._settings, self._locator()))
        return client

    def _locator(self) -> Locator:
        locator = locator_of(self._settings)
        return locator if self._provider is None else options.Credentials(locator, self._provider)

    @property
    def client(self) -> Any:
        """A `redis.Redis` (redis-py) of the same server, for code that wants one."""
        if self._redis_py is None:
            self._redis_py = foreign.client_of(self._settings, self.connparams, self._pool)
        return self._redis_py

    @property
    def connparams(self) -> dict[str, Any]:
        """How `client` connects, under redis-py's names."""
        return foreign.parameters(self.app.conf, self._settings, self.max_connections, self._provider)

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether Redis may do it later: it does not answer now, is loading, full, or somebody else's replica."""
        return isinstance(exc, (BrokerUnavailable, *self._safe))

    def _patiently(self, call: Callable[[], T]) -> T:
        """Return what `call` returns, tried as `retry_policy` says."""
        return insist(
            call,
            lambda: self._retries,
            may_retry=self.exception_safe_to_retry,
            on_error=self._tell_retry,
            give_up=self.give_up,
        )

    # -- keys and values

    @staticmethod
    def key_t(s: Any) -> str:
        """Keys are text."""
        return s.decode() if isinstance(s, bytes) else str(s)

    def _global_keyprefix(self) -> str:
        return options.prefix_of(self._settings, super()._global_keyprefix())

    def get_key_for_task(self, task_id: str, key: Any = "") -> str:
        """See the base class."""
        if not task_id:
            raise ValueError(f"task_id must not be empty. Got {task_id} instead.")
        return f"{self.task_keyprefix}{task_id}{self.key_t(key)}"

    def get(self, key: Any) -> Any:
        """See the base class."""
        return self._patiently(lambda: self._client.call("GET", key))

    def mget(self, keys: Sequence[Any]) -> Any:
        """See the base class."""
        return self._patiently(lambda: self.look_up(keys))

    def look_up(self, keys: Sequence[Any]) -> list[Any]:
        """Values in the order of the keys, None where there is none; tried once."""
        commands = [("MGET", *keys[at : at + KEYS_AT_ONCE]) for at in range(0, len(keys), KEYS_AT_ONCE)]
        replies = self._client.pipeline(commands) if commands else ()
        return [value for reply in replies for value in self._checked(reply)]

    def set(self, key: Any, value: Any) -> Any:
        """See the base class. Whoever subscribes to the key hears of it."""
        self._check_length(value)
        life = ("EX", int(self.expires)) if self.expires else ()
        self.carry_out(("SET", key, value, *life), ("PUBLISH", key, value))

    def delete(self, key: Any) -> Any:
        """See the base class."""
        self._patiently(lambda: self._client.call("DEL", key))

    def incr(self, key: Any) -> int:
        """See the base class."""
        return int(self._client.call("INCR", key))

    def expire(self, key: Any, value: Any) -> Any:
        """See the base class."""
        return self._patiently(lambda: self._client.call("EXPIRE", key, int(value)))

    def carry_out(self, *commands: Command) -> list[Any]:
        """Carry out commands in one write, tried as `retry_policy` says; their replies.

        Raises:
            BrokerError: one failed.
        """
        return self._patiently(lambda: [self._checked(reply) for reply in self._client.pipeline(commands)])

    def run_script(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run a script, tried as `retry_policy` says."""
        return self._patiently(lambda: self._client.run(script, keys, arguments))

    def _checked(self, reply: Any) -> Any:
        if isinstance(reply, ErrorReply):
            raise translate(reply, self._settings.url) from reply
        return reply

    @staticmethod
    def _check_length(value: Any, **details: Any) -> None:
        if len(value) > LONGEST:
            raise BackendStoreError(
                f"The result is {len(value)} bytes long, and Redis takes {LONGEST} at most", **details
            )

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
        if isinstance(value, str):
            value = value.encode()
        self._check_length(value, state=state, task_id=task_id)
        seconds = self._failure_expires if state in (states.FAILURE, resume_notes.NOTE) else self.expires
        claim = claim_on(task_id, request, self.claims)
        row = Row(self.get_key_for_task(task_id), value, seconds, state, task_id, claim, kwargs.get("part"))
        self._rows.keep(row, state, request)
        return result

    def count_end(self, task_id: str, state: str, request: Any, part: Part) -> None:
        """Count a member of a chord whose end is not stored."""
        claim = claim_on(task_id, request, self.claims)
        self._rows.keep(
            Row(self.get_key_for_task(task_id), None, None, state, task_id, claim, part), state, request
        )

    def _write(self, rows: Sequence[Row]) -> list[Row]:
        """Store rows; return those that were refused because their message is another worker's."""
        refused: list[Row] = []
        for chunk in chunks_of(rows):
            plain = [row for row in chunk if row.part is None]
            members = [row for row in chunk if row.part is not None]
            refused += self._store(plain, self._run_store) + self._store(members, self._run_members)
        for row in refused:
            logger.warning("%s", claim_lost(row.task_id, row.state))
        return refused

    def _store(self, rows: Sequence[Row], run: _Run) -> list[Row]:
        """Store rows, also over what the script cannot read; return those that were refused."""
        refused: list[Row] = []
        known: dict[str, bytes] = {}
        while rows:
            again: list[Row] = []
            for row, answer in zip(rows, run(rows, known), strict=True):
                if answer == Answer.FENCED:
                    refused.append(row)
                elif isinstance(answer, bytes):
                    known[row.key] = answer
                    if self.is_success(answer):
                        row = row._replace(value=None)
                    if row.value is not None or row.part is not None:
                        again.append(row)
                elif answer != Answer.STORED and row.value is not None:
                    logger.debug("Result of %s is stored already, %s is not taken", row.task_id, row.state)
            rows = again
        return refused

    def _run_store(self, rows: Sequence[Row], known: Mapping[str, bytes]) -> list[Any]:
        arguments: list[Any] = []
        for row in rows:
            arguments += arguments_of(row, known)
        answers: list[Any] = self._client.run(STORE, [row.key for row in rows], arguments)
        return answers

    def _run_members(self, rows: Sequence[Row], known: Mapping[str, bytes]) -> list[Any]:
        """Those of one chord by one call."""
        lots: dict[str, list[Row]] = {}
        for row in rows:
            if row.part is not None:
                lots.setdefault(row.part.group_id, []).append(row)
        replies = self._client.pipeline([self._counting(lot, known) for lot in lots.values()])
        answers: dict[int, Any] = {}
        for lot, reply in zip(lots.values(), replies, strict=True):
            found, *values = self._checked(reply)
            answers.update(zip(map(id, lot), found, strict=True))
            part = lot[-1].part
            if values and part is not None:
                self.chords.relay(due_of(part), values[0])
        return [answers[id(row)] for row in rows]

    def _counting(self, lot: Sequence[Row], known: Mapping[str, bytes]) -> Command:
        part = lot[-1].part
        assert part is not None
        chords = self.chords
        arguments = chords.arguments_of(part)
        for row in lot:
            arguments += arguments_of(row, known)
            arguments += member_arguments(row)
        return MEMBERS.call([*chords.keys_of(part), *(row.key for row in lot)], arguments)

    # -- chords

    def make_chords(self) -> RedisChords:
        """In one step with the result."""
        transport = self.app.conf.result_backend_transport_options or {}
        return RedisChords(self, ordered=bool(transport.get("result_chord_ordered", True)))

    if TYPE_CHECKING:

        @property
        def chords(self) -> RedisChords: ...

    # -- telling those that wait

    def hub(self) -> Hub:
        """One for all backends of this process that read the same results in the same way."""
        key = ("redis", self._identity, self.serializer, self.accept, self.task_keyprefix)
        return hub_of(key, Source(self))

    def subscription(self, read: Callable[[str, bytes], Meta]) -> Subscription:
        """A connection of its own on which results arrive."""
        return Subscription(self._settings, self._locator(), read, self._quiet)

    @property
    def patience(self) -> float:
        """Seconds for which those who wait bear with a Redis that does not answer."""
        return self._retries.patience


class SentinelBackend(RedisBackend):
    """Results in the Redis that is the master now, as Sentinel says.

    Args:
        url: `sentinel://host:port/db;sentinel://host2:port2/db`. `result_backend_transport_options` has the
            `master_name`, and perhaps `sentinel_kwargs` (password and TLS of the sentinels) and
            `min_other_sentinels`.
    """


def _classes(given: Any) -> Iterator[type[Exception]]:
    for item in given if isinstance(given, (list, tuple, set, frozenset)) else (given,):
        yield symbol_by_name(item) if isinstance(item, str) else item
