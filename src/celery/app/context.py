"""What a running task knows about its own call: `task.request`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery._public import publish

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Headers that RabbitMQ adds to a dead-lettered message; they must not follow a task into its retry.
X_DEATH_HEADERS = frozenset(
    {
        "x-death",
        "x-first-death-exchange",
        "x-first-death-queue",
        "x-first-death-reason",
        "x-last-death-exchange",
        "x-last-death-queue",
        "x-last-death-reason",
    }
)


class Context:
    """The request: everything about the call that a task is running for.

    Any key given becomes an attribute; the documented ones that are not given have the defaults below.
    Custom headers of the message are attributes too, and are collected in `headers`.
    """

    _children: list[Any] | None = None

    args: Any = None
    callbacks: list[Any] | None = None
    called_directly = True
    chain: list[Any] | None = None
    chord: Any = None
    correlation_id: str | None = None
    delivery_info: dict[str, Any] | None = None
    errbacks: list[Any] | None = None
    eta: str | None = None
    expires: str | None = None
    group: str | None = None
    group_index: int | None = None
    headers: dict[str, Any] | None = None
    hostname: str | None = None
    id: str | None = None
    ignore_result: bool | None = False
    is_eager = False
    kwargs: Any = None
    logfile: str | None = None
    loglevel: int | None = None
    origin: str | None = None
    override_max_retries: int | None = None
    parent_id: str | None = None
    properties: dict[str, Any] | None = None
    replaced_task_nesting = 0
    reply_to: str | None = None
    retries = 0
    root_id: str | None = None
    shadow: str | None = None
    soft_time_limit: float | None = None
    stamped_headers: list[str] | None = None
    stamps: dict[str, Any] | None = None
    task: str | None = None
    taskset: str | None = None
    time_limit: float | None = None
    timelimit: Any = None
    #: The hold on the message by which this worker may store what becomes of the task (`celery.backends.claims`).
    _claim = ""
    #: The mark of one sending of a chord's body; see `celery.backends.chords`.
    celeriac_mark: str | None = None
    #: Another task has the place of this one in its workflow.
    replaced = False
    #: Set by the tracer: the task's own `__call__` is about to be called, and will call that of its base.
    entering = False
    #: Set by the tracer: a verdict other than that of the outcome itself, and the exception behind it.
    trouble: tuple[Any, BaseException] | None = None
    utc: bool | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.update(*args, **kwargs)

    @classmethod
    def adopt(cls, headers: dict[str, Any], attrs: dict[str, Any]) -> Context:
        """Make a context that takes a message's headers as its own dict: the quick way.

        Args:
            attrs: attributes that are no headers of the message.
        """
        context = cls.__new__(cls)
        if "headers" not in headers and not headers.keys() <= _OWN:
            headers["headers"] = _custom_headers(headers)
        limits = headers.get("timelimit")
        if limits:
            headers["time_limit"], headers["soft_time_limit"] = limits
        headers.update(attrs)
        context.__dict__ = headers
        return context

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set attributes from a mapping and keywords, as `dict.update`."""
        attrs = self.__dict__
        attrs.update(*args, **kwargs)
        limits = attrs.get("timelimit")
        if limits and "time_limit" not in attrs:
            attrs["time_limit"], attrs["soft_time_limit"] = limits
        if attrs.get("headers") is None:
            attrs["headers"] = _custom_headers(attrs)

    def clear(self) -> None:
        """Forget everything that was set."""
        self.__dict__.clear()

    def get(self, key: str, default: Any = None) -> Any:
        """Return the attribute `key`, or `default` if there is none."""
        return getattr(self, key, default)

    def as_execution_options(self) -> dict[str, Any]:
        """Return the options of `apply_async` that call the same task again in the same place."""
        limits = self.timelimit or (None, None)
        headers = {key: value for key, value in (self.headers or {}).items() if key not in X_DEATH_HEADERS}
        if self.celeriac_mark is not None:
            headers["celeriac_mark"] = self.celeriac_mark
        return {
            "task_id": self.id,
            "root_id": self.root_id,
            "parent_id": self.parent_id,
            "group_id": self.group,
            "group_index": self.group_index,
            "shadow": self.shadow,
            "chord": self.chord,
            "chain": self.chain,
            "link": self.callbacks,
            "link_error": self.errbacks,
            "expires": self.expires,
            "soft_time_limit": limits[1],
            "time_limit": limits[0],
            "headers": headers,
            "retries": self.retries,
            "reply_to": self.reply_to,
            "replaced_task_nesting": self.replaced_task_nesting,
            "origin": self.origin,
        }

    @property
    def children(self) -> list[Any]:
        """Results of the tasks that this one has called."""
        if self._children is None:
            self._children = []
        return self._children

    @children.setter
    def children(self, value: list[Any]) -> None:
        self._children = value

    def __repr__(self) -> str:
        return f"<Context: {vars(self)!r}>"


#: Attributes that are the context's own; every other key is a custom header.
_OWN = frozenset(
    {name for name in vars(Context) if not name.startswith("__")}
    | {"lang", "argsrepr", "kwargsrepr", "compression", "content_type", "content_encoding", "redelivered"}
)


def _custom_headers(attrs: Mapping[str, Any]) -> dict[str, Any] | None:
    return {key: value for key, value in attrs.items() if key not in _OWN} or None


def publish_at(namespace: dict[str, Any]) -> None:
    """Let the class say that it lives in the module whose `globals()` these are."""
    publish(namespace, "Context")
