"""`app.control`: telling workers what to do, and asking what they do.

    >>> app.control.revoke("d9078da5-9915-40a0-bfa1-392c7bde42ed", terminate=True)
    >>> app.control.inspect(timeout=0.5).active()
    {'celery@host': [...]}

What begins with `a` (`abroadcast`, `aping`, `Inspect.acall`) is awaited, and blocks no event loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery._state import _app_or_default
from celery.utils import cached_property

from .broadcasts import (
    WAIT,
    Broadcaster,
    Command,
    Patience,
    addressed,
    check_duplicates,
    count,
    matches,
    run_aside,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from celery.canvas import Signature

    from .broadcasts import Reply

__all__ = ("Control", "Inspect", "flatten_reply")

TERM_SIGNAME = "SIGTERM"

#: One node's name, or several. One without `@` also stands for `celery@NAME`.
Destination = str | list[str] | tuple[str, ...]


def flatten_reply(reply: Sequence[Reply]) -> dict[str, Any]:
    """Put the replies of several nodes into one mapping of node name to reply.

    Two nodes of one name give a `DuplicateNodenameWarning`.
    """
    check_duplicates(reply)
    return {name: value for one in reply for name, value in one.items()}


class Inspect:
    """Questions to workers.

    Every question returns `{node name: answer}`, or None if no worker has answered in time. With a `destination` that is
    one name, and no list, it returns that node's answer itself.

    Args:
        destination: ask these only.
        timeout: seconds to wait.
        callback: called with each `{node name: answer}` as it comes.
        connection: a kombu connection whose broker is used.
        limit: answers after which nobody waits for more.
        pattern, matcher: ask nodes whose names match; `glob` (the default) or `pcre`.
    """

    app: Any = None

    def __init__(
        self,
        destination: Destination | None = None,
        timeout: float = 1.0,
        callback: Callable[[Reply], Any] | None = None,
        connection: Any = None,
        app: Any = None,
        limit: int | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> None:
        self.app = app or self.app or _app_or_default()
        self.destination = destination
        self.timeout = timeout
        self.callback = callback
        self.connection = connection
        self.limit = limit
        self.pattern = pattern
        self.matcher = matcher

    def _options(self) -> dict[str, Any]:
        return {
            "destination": self.destination,
            "callback": self.callback,
            "connection": self.connection,
            "limit": self.limit,
            "timeout": self.timeout,
            "reply": True,
            "pattern": self.pattern,
            "matcher": self.matcher,
        }

    def _prepare(self, reply: Sequence[Reply] | None) -> Any:
        if not reply:
            return None
        by_node = flatten_reply(reply)
        if isinstance(self.destination, str):
            return next(
                (by_node[name] for name in addressed(self.destination) or () if name in by_node), None
            )
        if self.pattern:
            return {
                name: value for name, value in by_node.items() if matches(self.pattern, self.matcher, name)
            }
        return by_node

    def call(self, command: str, **arguments: Any) -> Any:
        """Ask a question by its name; also one that the workers' own code has added."""
        return self._prepare(self.app.control.broadcast(command, arguments=arguments, **self._options()))

    async def acall(self, command: str, **arguments: Any) -> Any:
        """`call`, awaited."""
        return self._prepare(
            await self.app.control.abroadcast(command, arguments=arguments, **self._options())
        )

    # Celery's extensions call it.
    def _request(self, command: str, **kwargs: Any) -> Any:
        return self.call(command, **kwargs)

    def report(self) -> dict[str, dict[str, str]] | None:
        """What `celery report` says there: `{"ok": text}`."""
        return self.call("report")  # type: ignore[no-any-return]

    def clock(self) -> dict[str, dict[str, int]] | None:
        """The logical clock: `{"clock": N}`."""
        return self.call("clock")  # type: ignore[no-any-return]

    def active(self, safe: bool | None = None) -> dict[str, list[dict[str, Any]]] | None:
        """Tasks that run now. `safe`: their arguments as text, undecoded."""
        return self.call("active", safe=safe)  # type: ignore[no-any-return]

    def scheduled(self, safe: bool | None = None) -> dict[str, list[dict[str, Any]]] | None:
        """Tasks that the worker has received, and that are not due yet: `eta`, `priority`, `request`."""
        return self.call("scheduled")  # type: ignore[no-any-return]

    def reserved(self, safe: bool | None = None) -> dict[str, list[dict[str, Any]]] | None:
        """Tasks that wait in the worker for a free slot."""
        return self.call("reserved")  # type: ignore[no-any-return]

    def stats(self) -> dict[str, dict[str, Any]] | None:
        """Figures of the worker: broker, pool, resource usage, tasks run."""
        return self.call("stats")  # type: ignore[no-any-return]

    def revoked(self) -> dict[str, list[str]] | None:
        """Ids of revoked tasks."""
        return self.call("revoked")  # type: ignore[no-any-return]

    def registered(self, *taskinfoitems: str) -> dict[str, list[str]] | None:
        """Names of the tasks that the worker knows, with these attributes (`exchange`, `routing_key`, `rate_limit`)."""
        return self.call("registered", taskinfoitems=taskinfoitems)  # type: ignore[no-any-return]

    registered_tasks = registered

    def ping(self, destination: Destination | None = None) -> dict[str, dict[str, str]] | None:
        """`{"ok": "pong"}` from each."""
        if destination:
            self.destination = destination
        return self.call("ping")  # type: ignore[no-any-return]

    def active_queues(self) -> dict[str, list[dict[str, Any]]] | None:
        """Queues that the worker takes messages from."""
        return self.call("active_queues")  # type: ignore[no-any-return]

    def query_task(self, *ids: str | list[str]) -> dict[str, dict[str, list[Any]]] | None:
        """What the worker knows of these tasks: `{id: [state, info]}`; state is active, reserved, scheduled or ready."""
        wanted = ids[0] if len(ids) == 1 and isinstance(ids[0], (list, tuple)) else ids
        return self.call("query_task", ids=wanted)  # type: ignore[no-any-return]

    def conf(self, with_defaults: bool = False) -> dict[str, dict[str, Any]] | None:
        """The worker's settings, secrets hidden."""
        return self.call("conf", with_defaults=with_defaults)  # type: ignore[no-any-return]

    def hello(self, from_node: str, revoked: Any = None) -> dict[str, Any] | None:
        """What workers ask one another when they start: revoked ids and the clock."""
        return self.call("hello", from_node=from_node, revoked=revoked)  # type: ignore[no-any-return]

    def memsample(self) -> dict[str, str | None] | None:
        """Note how much memory the worker has (with psutil)."""
        return self.call("memsample")  # type: ignore[no-any-return]

    def memdump(self, samples: int = 10) -> dict[str, str] | None:
        """The notes of `memsample`."""
        return self.call("memdump", samples=samples)  # type: ignore[no-any-return]

    def objgraph(self, type: str = "Request", n: int = 200, max_depth: int = 10) -> dict[str, Any] | None:  # noqa: A002
        """Draw what refers to objects of a type into a file there (with objgraph)."""
        return self.call("objgraph", num=n, max_depth=max_depth, type=type)  # type: ignore[no-any-return]


class Control:
    """Commands to workers.

    Commands return None at once; with `reply=True` they wait for what the workers say and return a list of
    `{node name: reply}`. All take the options of `broadcast`.
    """

    def __init__(self, app: Any = None) -> None:
        self.app = app if app is not None else _app_or_default()

    @cached_property
    def inspect(self) -> type[Inspect]:
        """`Inspect`, bound to this app."""
        bound: type[Inspect] = self.app.subclass_with_self(Inspect, reverse="control.inspect")
        return bound

    # -- all commands go this way -----------------------------------------------------------------
    def broadcast(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        destination: Destination | None = None,
        connection: Any = None,
        reply: bool = False,
        timeout: float | None = 1.0,
        limit: int | None = None,
        callback: Callable[[Reply], Any] | None = None,
        channel: Any = None,
        pattern: str | None = None,
        matcher: str | None = None,
        **extra_kwargs: Any,
    ) -> list[Reply] | None:
        """Send a command to workers.

        Args:
            command: its name.
            arguments: of the command; keyword arguments that are none of these are added to them.
            destination: node names; default: all workers.
            connection, channel: of kombu: its broker is used.
            reply: wait for replies.
            timeout: seconds to wait for them; None: 1.
            limit: replies after which nobody waits for more; default: as many as there are in `destination`.
            callback: called with each reply as it comes.
            pattern, matcher: only nodes whose names match; `glob` (the default) or `pcre`.

        Returns:
            None, or the replies.

        Raises:
            OperationalError: the broker cannot be reached, or has no fanout.
        """
        made = _command(command, {**(arguments or {}), **extra_kwargs}, destination, pattern, matcher)
        sender = Broadcaster(self.app, _connection(connection, channel), aside=True)
        if not reply:
            sender.send(made)
            return None
        patience = Patience(
            WAIT if timeout is None else timeout, count(destination) if limit is None else limit
        )
        replies: list[Reply] = run_aside(lambda: sender.ask(made, patience, callback))
        return replies

    async def abroadcast(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        destination: Destination | None = None,
        connection: Any = None,
        reply: bool = False,
        timeout: float | None = 1.0,  # noqa: ASYNC109 - as `broadcast`
        limit: int | None = None,
        callback: Callable[[Reply], Any] | None = None,
        channel: Any = None,
        pattern: str | None = None,
        matcher: str | None = None,
        **extra_kwargs: Any,
    ) -> list[Reply] | None:
        """`broadcast`, awaited."""
        made = _command(command, {**(arguments or {}), **extra_kwargs}, destination, pattern, matcher)
        sender = Broadcaster(self.app, _connection(connection, channel))
        if not reply:
            await sender.asend(made)
            return None
        return await sender.ask(
            made,
            Patience(WAIT if timeout is None else timeout, count(destination) if limit is None else limit),
            callback,
        )

    # -- commands ---------------------------------------------------------------------------------
    def ping(
        self, destination: Destination | None = None, timeout: float = 1.0, **kwargs: Any
    ) -> list[Reply]:
        """Ask who is there: `[{node name: {"ok": "pong"}}, ...]`."""
        return self.broadcast("ping", destination=destination, timeout=timeout, reply=True, **kwargs) or []

    async def aping(
        self,
        destination: Destination | None = None,
        timeout: float = 1.0,  # noqa: ASYNC109 - as `ping`
        **kwargs: Any,
    ) -> list[Reply]:
        """`ping`, awaited."""
        replies = await self.abroadcast("ping", None, destination, timeout=timeout, reply=True, **kwargs)
        return replies or []

    def revoke(
        self,
        task_id: str | Iterable[str],
        destination: Destination | None = None,
        terminate: bool = False,
        signal: str | int | None = TERM_SIGNAME,
        **kwargs: Any,
    ) -> list[Reply] | None:
        """Tell workers not to run a task, or several.

        Args:
            terminate: also stop those that run.
            signal: what the process that runs it gets; `SIGTERM` raises an exception in the task first.
        """
        ids = task_id if isinstance(task_id, str) else list(task_id)
        arguments = {"task_id": ids, "terminate": terminate, "signal": signal or TERM_SIGNAME}
        return self.broadcast("revoke", arguments, destination, **kwargs)

    async def arevoke(
        self,
        task_id: str | Iterable[str],
        destination: Destination | None = None,
        terminate: bool = False,
        signal: str | int | None = TERM_SIGNAME,
        **kwargs: Any,
    ) -> list[Reply] | None:
        """`revoke`, awaited."""
        ids = task_id if isinstance(task_id, str) else list(task_id)
        arguments = {"task_id": ids, "terminate": terminate, "signal": signal or TERM_SIGNAME}
        return await self.abroadcast("revoke", arguments, destination, **kwargs)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any] | Iterable[tuple[str, Any]],
        destination: Destination | None = None,
        terminate: bool = False,
        signal: str | int | None = TERM_SIGNAME,
        **kwargs: Any,
    ) -> list[Reply] | None:
        """Tell workers not to run tasks that carry any of these stamps: `{header: value or list of values}`."""
        arguments = {"headers": dict(headers), "terminate": terminate, "signal": signal or TERM_SIGNAME}
        return self.broadcast("revoke_by_stamped_headers", arguments, destination, **kwargs)

    def terminate(
        self,
        task_id: str | Iterable[str],
        destination: Destination | None = None,
        signal: str | int | None = TERM_SIGNAME,
        **kwargs: Any,
    ) -> list[Reply] | None:
        """`revoke` with `terminate`."""
        return self.revoke(task_id, destination=destination, terminate=True, signal=signal, **kwargs)

    def rate_limit(
        self, task_name: str, rate_limit: str | float, destination: Destination | None = None, **kwargs: Any
    ) -> list[Reply] | None:
        """Give a task type another rate limit: `10/s`, `5/m`, `1/h`, a number a second, 0 for none."""
        arguments = {"task_name": task_name, "rate_limit": rate_limit}
        return self.broadcast("rate_limit", arguments, destination, **kwargs)

    def time_limit(
        self,
        task_name: str,
        soft: float | None = None,
        hard: float | None = None,
        destination: Destination | None = None,
        **kwargs: Any,
    ) -> list[Reply] | None:
        """Give a task type other time limits, in seconds. Those that run keep theirs."""
        arguments = {"task_name": task_name, "hard": hard, "soft": soft}
        return self.broadcast("time_limit", arguments, destination, **kwargs)

    def add_consumer(
        self,
        queue: str,
        exchange: str | None = None,
        exchange_type: str = "direct",
        routing_key: str | None = None,
        options: Mapping[str, Any] | None = None,
        destination: Destination | None = None,
        **kwargs: Any,
    ) -> list[Reply] | None:
        """Have workers take messages of one more queue.

        Args:
            options: `queue_durable`, `exchange_durable`, `queue_arguments`, ...
        """
        arguments = {
            "queue": queue,
            "exchange": exchange,
            "exchange_type": exchange_type,
            "routing_key": routing_key,
            **(options or {}),
        }
        return self.broadcast("add_consumer", arguments, destination, **kwargs)

    def cancel_consumer(
        self, queue: str, destination: Destination | None = None, **kwargs: Any
    ) -> list[Reply] | None:
        """Have workers take messages of a queue no more."""
        return self.broadcast("cancel_consumer", {"queue": queue}, destination, **kwargs)

    def enable_events(self, destination: Destination | None = None, **kwargs: Any) -> list[Reply] | None:
        """Have workers send events of tasks."""
        return self.broadcast("enable_events", {}, destination, **kwargs)

    def disable_events(self, destination: Destination | None = None, **kwargs: Any) -> list[Reply] | None:
        """Have workers send events of tasks no more."""
        return self.broadcast("disable_events", {}, destination, **kwargs)

    def pool_grow(
        self, n: int = 1, destination: Destination | None = None, **kwargs: Any
    ) -> list[Reply] | None:
        """Have workers run `n` more tasks at once."""
        return self.broadcast("pool_grow", {"n": n}, destination, **kwargs)

    def pool_shrink(
        self, n: int = 1, destination: Destination | None = None, **kwargs: Any
    ) -> list[Reply] | None:
        """Have workers run `n` fewer tasks at once."""
        return self.broadcast("pool_shrink", {"n": n}, destination, **kwargs)

    def autoscale(
        self,
        max: int,  # noqa: A002 - Celery's name
        min: int,  # noqa: A002 - Celery's name
        destination: Destination | None = None,
        **kwargs: Any,
    ) -> list[Reply] | None:
        """Change the bounds of workers that scale themselves."""
        return self.broadcast("autoscale", {"max": max, "min": min}, destination, **kwargs)

    def shutdown(self, destination: Destination | None = None, **kwargs: Any) -> list[Reply] | None:
        """Have workers end when what runs has ended."""
        return self.broadcast("shutdown", {}, destination, **kwargs)

    def pool_restart(
        self,
        modules: list[str] | None = None,
        reload: bool = False,
        reloader: Any = None,
        destination: Destination | None = None,
        **kwargs: Any,
    ) -> list[Reply] | None:
        """Have workers replace their pool's processes (setting `worker_pool_restarts`)."""
        arguments = {"modules": modules, "reload": reload, "reloader": reloader}
        return self.broadcast("pool_restart", arguments, destination, **kwargs)

    def heartbeat(self, destination: Destination | None = None, **kwargs: Any) -> list[Reply] | None:
        """Have workers send a heartbeat event."""
        return self.broadcast("heartbeat", {}, destination, **kwargs)

    def election(
        self,
        id: str,  # noqa: A002 - Celery's name
        topic: str,
        action: Signature | Mapping[str, Any] | None = None,
        connection: Any = None,
    ) -> None:
        """Have workers elect one of them that does `action`."""
        arguments = {"id": id, "topic": topic, "action": action}
        self.broadcast("election", arguments, connection=connection)

    # -- queues -----------------------------------------------------------------------------------
    def purge(self, connection: Any = None) -> int:
        """Throw away all messages of the queues that workers of this app consume; return how many that were."""
        connection = _connection(connection, None)
        broker = (
            self.app.broker_for_write()
            if connection is None
            else self.app.broker_at(connection.as_uri(include_password=True))
        )
        return sum(broker.purge(name) for name in self.app.amqp.queues.consume_from)

    discard_all = purge


def _connection(connection: Any, channel: Any) -> Any:
    if connection is None and channel is not None:
        return channel.connection.client
    return connection


def _command(
    name: str,
    arguments: dict[str, Any],
    destination: Destination | None,
    pattern: str | None,
    matcher: str | None,
) -> Command:
    if pattern is not None:
        matches(pattern, matcher, "")  # what is wrong with it is said here, not by workers that do nothing
        matcher = matcher or "glob"
    return Command(name, arguments, addressed(destination), pattern, matcher)
