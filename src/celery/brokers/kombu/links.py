"""kombu connections: one is used by one thread at a time, and never after a fork."""

# kombu is typed in parts only.
# mypy: disable-error-code="no-untyped-call,attr-defined,assignment,union-attr,misc,arg-type,no-any-return"

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from kombu import Connection
from kombu.transport import virtual

from celery.brokers.base import BrokerError, BrokerRefused, BrokerUnavailable
from celery.brokers.failover import Failover
from celery.brokers.publishing import mask

from .entities import kombu_queue
from .forks import gate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from celery.brokers.base import BrokerOptions
    from celery.brokers.topology import Queue

#: Transports of ours in the place of kombu's.
BETTER = {} if os.name == "nt" else {"filesystem": "celery.brokers.kombu.filesystem:Transport"}
#: What a broker that knows us and says no looks like; kombu's transports raise what their libraries do.
_DENIED = re.compile(
    r"access.?(denied|refused)|auth\w*(error|failed|failure|exception)|unauthori[sz]ed|forbidden|"
    r"invalidclienttokenid|signaturedoesnotmatch|unrecognizedclient|invalidaccesskey|not ?a ?directory",
    re.IGNORECASE,
)
#: What wrong settings and wrong installations look like: trying again does not help.
#: Seconds that one poll may wait at the server, if `wait_time_seconds` does not say otherwise.
LONGEST_POLL = 1
_HOPELESS = (
    ImportError,
    NameError,
    TypeError,
    ValueError,
    KeyError,
    AttributeError,
    NotImplementedError,
    FileNotFoundError,
    PermissionError,
    NotADirectoryError,
)


def connection(url: str, options: BrokerOptions) -> Connection:
    """A kombu connection to one URL; nothing is connected yet.

    Raises:
        ImportError: a package that its transport needs is missing.
    """
    given: dict[str, Any] = {
        "transport_options": dict(options.transport_options),
        "connect_timeout": options.connect_timeout,
        "heartbeat": options.heartbeat,
        "ssl": options.ssl or False,
        "login_method": options.login_method,
    }
    given["transport"] = _transport(url, options)
    given = {key: value for key, value in given.items() if value is not None}
    if hasattr(transport_class(url, options).Channel, "wait_time_seconds"):
        # Acknowledgements wait as long as a poll does.
        given["transport_options"].setdefault("wait_time_seconds", LONGEST_POLL)
    return Connection(_with_timeout(url, options), **given)


def _with_timeout(url: str, options: BrokerOptions) -> str:
    """MongoDB's client looks for a server for half a minute at each call, unless its URL says how long."""
    seconds, name = options.connect_timeout, "serverSelectionTimeoutMS"
    if not url.startswith("mongodb") or not seconds or name.lower() in url.lower():
        return url
    address, mark, query = url.partition("?")
    if "/" not in address.partition("://")[2]:
        address += "/"
    return f"{address}?{query}{'&' if mark else ''}{name}={int(seconds * 1000)}"


def transport_class(url: str, options: BrokerOptions) -> Any:
    """kombu's transport for a URL.

    Raises:
        ImportError: a package that it needs is missing.
    """
    try:
        return Connection(url, transport=_transport(url, options)).get_transport_cls()
    except NameError as error:  # a transport that uses what it could not import
        raise ImportError(
            f"a package that {url.partition('://')[0]}:// needs is missing ({error})"
        ) from error


def denied(error: BaseException) -> bool:
    """Whether the broker knows us and says no."""
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else ""
    return any(_DENIED.search(text) for text in (type(error).__name__, str(code)))


def _transport(url: str, options: BrokerOptions) -> Any:
    """The class to use instead of kombu's choice; None: there is nothing better."""
    return options.transport or BETTER.get(url.partition("://")[0])


def busy(error: BaseException) -> bool:
    """Whether the broker lives, and others were faster: a locked database, a deadlock, a file half written."""
    text = str(error).lower()
    return "is locked" in text or "deadlock" in text or isinstance(error, json.JSONDecodeError)


def explained(url: str, error: BaseException, *, connecting: bool = False) -> BrokerError:
    """The port's error for one of a transport's.

    Args:
        connecting: nothing has ever worked: what looks like a mistake of the settings is one.
    """
    if isinstance(error, BrokerError):
        return error
    text = f"{mask(url)}: {type(error).__name__}: {error}"
    if denied(error):
        return BrokerRefused(f"{text}. Check user, password and permissions in broker_url.")
    if connecting and isinstance(error, _HOPELESS):
        return BrokerRefused(f"{text}. Check broker_url and broker_transport_options.")
    return BrokerUnavailable(text)


def keeps_bindings(transport: Any) -> bool:
    """Whether a kombu transport shares its bindings with other connections, at least those of this process."""
    channel = transport.Channel
    if not issubclass(channel, virtual.Channel):
        return True
    return channel.get_table is not virtual.Channel.get_table or hasattr(transport, "global_state")


def shed_after_fork(transport: Any) -> None:
    """Let go of what a transport shares by class, and a fork has copied: connections that are the parent's."""
    for engine, *_ in getattr(transport.Channel, "_engines", {}).values():
        engine.dispose(close=False)


class Link:
    """One connection and one channel of it, connected when made.

    Raises:
        BrokerUnavailable, BrokerRefused: as they say.
    """

    def __init__(self, url: str, options: BrokerOptions) -> None:
        self.url = url
        self._declared: set[Queue] = set()
        try:
            self.connection = connection(url, options)
            self.channel: Any = self.connection.channel()
        except Exception as error:
            raise explained(url, error, connecting=True) from error
        # What is not settled is put back by us, in order; kombu must not send it a second time.
        self.channel.do_restore = False
        self.producer = self.connection.Producer(self.channel, auto_declare=False)

    @property
    def transport(self) -> Any:
        """kombu's transport."""
        return self.connection.transport

    @property
    def broken_by(self) -> tuple[type[BaseException], ...]:
        """Errors after which this link is of no use."""
        transport = self.transport
        return (OSError, *transport.connection_errors, *self.connection.recoverable_connection_errors)

    def declare(self, queues: Iterable[Queue], *, anew: bool = False) -> None:
        """Make queues and their bindings; once each, unless `anew`."""
        for queue in queues:
            if anew or queue not in self._declared:
                kombu_queue(queue)(self.channel).declare()
                self._declared.add(queue)

    @property
    def keeps_bindings(self) -> bool:
        """Whether bindings are in the broker. Otherwise each connection knows only what it declared."""
        return keeps_bindings(type(self.transport))

    def forget(self, queue: str) -> None:
        """It was deleted: declare it when it is needed again."""
        self._declared = {known for known in self._declared if known.name != queue}

    def size(self, queue: str) -> int:
        """How many messages wait in a queue; 0 if there is none, or if the transport does not tell."""
        try:
            return int(self.channel.queue_declare(queue, passive=True).message_count or 0)
        except self.transport.channel_errors as error:
            if isinstance(error, self.broken_by):
                raise
            return 0

    def close(self) -> None:
        """Close both; errors do not matter."""
        # Cut short in the middle of a call, `sqla+` leaves a transaction open: others would find the tables locked.
        session = getattr(self.channel, "_session", None)
        with contextlib.suppress(Exception):
            if session is not None:
                session.close()
        with contextlib.suppress(Exception):
            self.connection.close()


class LinkPool:
    """Links of one process, at most `broker_pool_limit` at a time. Thread-safe; empty after a fork."""

    def __init__(self, options: BrokerOptions) -> None:
        self._options = options
        self._failover = Failover(options.urls, options.failover_strategy)
        #: Queues that this process has declared, for links that do not see what others bind.
        self.known: dict[str, Queue] = {}
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._idle: list[Link] = []
        limit = self._options.pool_limit
        self._places: SimpleQueue[int] | None = SimpleQueue() if limit else None
        for place in range(limit or 0):
            assert self._places is not None
            self._places.put(place)

    @property
    def url(self) -> str:
        """The one that is connected to, or tried, now."""
        return self._failover.current

    def open(self) -> Link:
        """A link of the caller's own, to the URL whose turn it is.

        Raises:
            BrokerUnavailable, BrokerRefused: as they say; the next attempt goes to the next URL.
        """
        url = self._failover.current
        try:
            return Link(url, self._options)
        except BrokerError:
            self._failover.failed(url)
            raise

    @contextlib.contextmanager
    def borrow(self, deadline: float) -> Iterator[Link]:
        """Use a link until the block ends; an error in it closes the link.

        Args:
            deadline: `time.monotonic()` value.

        Raises:
            BrokerUnavailable, BrokerRefused: as they say; also if none is free before the deadline.
        """
        if self._pid != os.getpid():
            shed_after_fork(transport_class(self.url, self._options))
            self._reset()
        places = self._places
        mine: list[int] = []
        try:
            if places is not None:
                self._take_place(places, mine, deadline)
            with self._lock:
                link = self._idle.pop() if self._idle else None
            with gate.inside():
                link = link or self.open()
                try:
                    yield link
                except BaseException:
                    link.close()
                    raise
            self._keep(link)
        finally:
            if places is not None and mine:
                places.put(mine[0])

    def _take_place(self, places: SimpleQueue[int], mine: list[int], deadline: float) -> None:
        try:
            # By `map`, so that it is one step to have a place and to know it: see `celery.utils.locks`.
            mine.extend(map(places.get, (True,), (max(deadline - time.monotonic(), 0.0),)))
        except Empty:
            raise BrokerUnavailable(
                f"{mask(self.url)}: no connection became free in time (broker_pool_limit={self._options.pool_limit})"
            ) from None

    def call(self, work: Callable[[Link], Any], deadline: float) -> Any:
        """The result of `work` on a link.

        Raises:
            BrokerUnavailable, BrokerRefused: as they say.
        """
        try:
            with self.borrow(deadline) as link:
                return work(link)
        except Exception as error:
            raise explained(self.url, error) from error

    def _keep(self, link: Link) -> None:
        if self._options.pool_limit:
            with self._lock:
                self._idle.append(link)
        else:
            link.close()

    def close(self) -> None:
        """Close those that nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, []
        if self._pid == os.getpid():
            for link in idle:
                link.close()
