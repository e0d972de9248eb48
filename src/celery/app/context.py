"""What a running task knows about its own call: `task.request`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from celery._public import publish
from celery.message.steps import Steps

if TYPE_CHECKING:
    from collections.abc import Mapping

_decode = msgspec.json.Decoder(dict[str, Any]).decode

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

_MARK = b'"celeriac_mark"'


class Context:
    """The request: everything about the call that a task is running for.

    Any key given becomes an attribute; the documented ones that are not given have the defaults below.
    Custom headers of the message are attributes too, and are collected in `headers`.

    Most tasks never look at most of it, so a worker makes it of what it knows already, and the message's headers are
    decoded when somebody asks for anything else.
    """

    args: Any
    callbacks: list[Any] | None
    chord: Any
    correlation_id: str | None
    delivery_info: dict[str, Any] | None
    errbacks: list[Any] | None
    eta: str | None
    expires: str | None
    group: str | None
    group_index: int | None
    headers: dict[str, Any] | None
    hostname: str | None
    id: str | None
    ignore_result: bool | None
    kwargs: Any
    logfile: str | None
    loglevel: int | None
    origin: str | None
    override_max_retries: int | None
    parent_id: str | None
    properties: dict[str, Any] | None
    replaced_task_nesting: int
    reply_to: str | None
    retries: int
    root_id: str | None
    shadow: str | None
    soft_time_limit: float | None
    stamped_headers: list[str] | None
    stamps: dict[str, Any] | None
    task: str | None
    taskset: str | None
    time_limit: float | None
    timelimit: Any
    utc: bool | None

    called_directly = True
    is_eager = False
    _children: list[Any] | None = None
    #: Headers and properties of the message, as JSON, if nobody has looked at them yet.
    _unread: tuple[bytes, bytes] | None = None
    #: The hold on the message by which this worker may store what becomes of the task (`celery.backends.claims`).
    _claim = ""
    #: Whoever runs the task has its result stored, if it succeeds and the store leaves that to him: of so many bytes at most.
    _may_leave = 0
    #: Where a store leaves the row of a success for whoever runs the task (`celery.backends.rows`); None: it stores it.
    _left: list[Any] | None = None
    #: Its result was stored at once, and is small: it might as well have been held back.
    _is_light = False
    #: Seconds that storing it took.
    _stored_in = 0.0
    #: The mark of one sending of a part of a chord; see `celery.backends.relaying`.
    celeriac_mark: str | None = None
    #: Another task has the place of this one in its workflow.
    replaced = False
    #: Set by the tracer: the task's own `__call__` is about to be called, and will call that of its base.
    entering = False
    #: Set by the tracer: a verdict other than that of the outcome itself, and the exception behind it.
    trouble: tuple[Any, BaseException] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.update(*args, **kwargs)

    @classmethod
    def of_message(
        cls, known: dict[str, Any], headers: bytes, properties: bytes, *, at_once: bool = False
    ) -> Context:
        """Make the request of a message.

        Args:
            known: attributes, which take precedence over the headers; it becomes the context's own.
            headers, properties: JSON objects, of which the rest is read when somebody looks.
            at_once: read them now.

        Raises:
            msgspec.DecodeError: one of them is no JSON object; without `at_once` that is raised to who looks.
        """
        context = cls.__new__(cls)
        known["_unread"] = headers, properties
        context.__dict__ = known
        if at_once or _MARK in headers:  # whether the body of a chord may run is asked first of all
            context._read()
        return context

    def _read(self) -> bool:
        """Take in the message's headers; False if there are none to take in."""
        attrs = self.__dict__
        unread = attrs.pop("_unread", None)
        if unread is None:
            return False
        headers, properties = map(_decode, unread)
        if "headers" not in headers:
            headers["headers"] = _custom_headers(headers)
        _split_limits(headers)
        headers["properties"] = properties
        headers["reply_to"], headers["correlation_id"] = map(properties.get, ("reply_to", "correlation_id"))
        for key, value in headers.items():
            attrs.setdefault(key, value)
        return True

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if self._read():
                return getattr(self, name)
            try:
                return _DEFAULTS[name]
            except KeyError:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set attributes from a mapping and keywords, as `dict.update`."""
        self._read()
        attrs = self.__dict__
        attrs.update(*args, **kwargs)
        if "time_limit" not in attrs:
            _split_limits(attrs)
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
    def chain(self) -> list[Any] | None:
        """What follows in the chain, the last first."""
        attrs = self.__dict__
        if "chain" not in attrs:
            self._read()
        held = attrs.get("chain")
        if type(held) is Steps:
            held = attrs["chain"] = held.value()  # a list, which may be changed
        return held

    @chain.setter
    def chain(self, value: list[Any] | None) -> None:
        self.__dict__["chain"] = value

    def _following(self) -> list[Any] | Steps | None:
        """`chain`, as `Steps` if it came like that and nobody has looked at it."""
        held = self.__dict__.get("chain")
        return held if type(held) is Steps else self.chain

    @property
    def children(self) -> list[Any]:
        """Results of the tasks that this one has called."""
        if self._children is None:
            self._children = []
        return self._children

    @children.setter
    def children(self, value: list[Any]) -> None:
        self._children = value

    def __getstate__(self) -> dict[str, Any]:
        """What pickles and copies hold: everything."""
        self._read()
        self.chain  # noqa: B018 - from here on it is a list
        return self.__dict__

    def __repr__(self) -> str:
        return f"<Context: {self.__getstate__()!r}>"


_DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(Context.__annotations__),
    "chain": None,
    "ignore_result": False,
    "replaced_task_nesting": 0,
    "retries": 0,
}
#: Attributes that are the context's own; every other key is a custom header.
_OWN = frozenset(
    {*_DEFAULTS, *(name for name in vars(Context) if not name.startswith("__"))}
    | {"lang", "argsrepr", "kwargsrepr", "compression", "content_type", "content_encoding", "redelivered"}
)


def _custom_headers(attrs: Mapping[str, Any]) -> dict[str, Any] | None:
    if attrs.keys() <= _OWN:
        return None
    return {key: value for key, value in attrs.items() if key not in _OWN}


def _split_limits(attrs: dict[str, Any]) -> None:
    limits = attrs.get("timelimit")
    if limits:
        attrs["time_limit"], attrs["soft_time_limit"] = limits


def publish_at(namespace: dict[str, Any]) -> None:
    """Let the class say that it lives in the module whose `globals()` these are."""
    publish(namespace, "Context")
