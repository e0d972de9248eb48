"""The public view of one delivery: what receivers of `task_received` and custom classes work with.

`Task.Request` may name a subclass of `Request`. Its methods listed in `HOOKS` are called on the
worker's extension thread, in the order in which things happen. The worker has by then done what is
to be done (log, store, acknowledge): a hook observes. Two of them also decide: `revoked` is asked
before a task runs, and an overridden `execute_using_pool` must call `super()` for it to run at all.
Where no hook is overridden and nobody listens, no `Request` is ever made.
"""

from __future__ import annotations

import time
from datetime import UTC
from typing import TYPE_CHECKING, Any

from celery.message.body import decode_body
from celery.message.serializers import prepare_accept_content
from celery.utils.iso8601 import parse_iso8601

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from celery.brokers.base import Delivery
    from celery.message.headers import LazyObject

#: Methods of `Request` that a subclass may override and the worker calls.
HOOKS = (
    "execute_using_pool",
    "on_accepted",
    "on_failure",
    "on_retry",
    "on_success",
    "on_timeout",
    "revoked",
)


def noop(*_args: Any, **_kwargs: Any) -> None:
    """Do nothing."""


class Message:
    """A received message as extensions know it: `headers`, `properties`, `body`, `delivery_info`, `payload`."""

    def __init__(self, delivery: Delivery, headers: LazyObject, properties: LazyObject, body: bytes) -> None:
        self._delivery = delivery
        self._headers = headers
        self._properties = properties
        self.body = body
        self.acknowledged = False

    @property
    def headers(self) -> dict[str, Any]:
        return self._headers.value

    @property
    def properties(self) -> dict[str, Any]:
        return self._properties.value

    @property
    def content_type(self) -> str | None:
        return self.properties.get("content_type")

    @property
    def content_encoding(self) -> str | None:
        return self.properties.get("content_encoding")

    @property
    def delivery_info(self) -> dict[str, Any]:
        delivery = self._delivery
        return {
            "exchange": delivery.exchange,
            "routing_key": delivery.routing_key,
            "priority": delivery.priority,
            "redelivered": delivery.redelivered,
        }

    @property
    def delivery_tag(self) -> Any:
        return self._delivery.receipt

    @property
    def payload(self) -> Any:
        """The decoded body: `[args, kwargs, embed]`."""
        return self.decode()

    def decode(self, accept: Any = None) -> Any:
        """Decode the body. Raises `ContentDisallowed`, `DecodeError` as its content type demands."""
        compression = self.headers.get("compression")
        return decode_body(self.body, self.content_type, self.content_encoding, compression, accept)

    def __repr__(self) -> str:
        return f"<Message {self.delivery_info!r} of {len(self.body)} bytes>"


class Controls:
    """What a `Request` may ask of the worker, from any thread. The base class is a worker that is gone.

    Attributes:
        acknowledged: True once the broker was told that the message is done with.
    """

    acknowledged = False

    def submit(self) -> None:
        """Hand the job to the pool."""

    def terminate(self, signum: int) -> None:
        """Kill the process that runs it, if the pool can."""


class BaseRequest:
    """The hooks, each doing nothing: what `super(Request, self).on_failure(...)` finds."""

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """Called when the body is about to run."""

    def on_timeout(self, soft: bool, timeout: float | None) -> None:
        """Called when a time limit passed; after a hard one the failure is stored already."""

    def on_success(self, failed__retval__runtime: tuple[bool, Any, float], **kwargs: Any) -> None:
        """Called with `(failed, repr of the result, seconds)` when the body returned."""

    def on_retry(self, exc_info: Any) -> None:
        """Called when the task asked to be run again."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        """Called when the body raised, its process died, or its hard limit passed."""

    def revoked(self) -> bool:
        """Say whether it must not run. Asked once, before it is given to the pool."""
        return False

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's name
        """Send a task event through the worker's dispatcher, if it has one and task events are on."""


class Request(BaseRequest):
    """One task to run, as received.

    Args:
        message: what was received (`headers`, `properties`, `body`, `delivery_info`).
        on_ack, on_reject: called by `acknowledge` and `reject`.
        task: the registered task.
        body, headers: in protocol 2 form, if they differ from the message's own.
        utc: dates without a zone are UTC.
    """

    time_start: float | None = None
    worker_pid: int | None = None
    time_limits: tuple[float | None, float | None] = (None, None)

    def __init__(
        self,
        message: Any,
        on_ack: Callable[..., Any] = noop,
        hostname: str | None = None,
        eventer: Any = None,
        app: Any = None,
        connection_errors: Any = None,
        request_dict: Mapping[str, Any] | None = None,
        task: Any = None,
        on_reject: Callable[..., Any] = noop,
        body: Any = None,
        headers: Mapping[str, Any] | None = None,
        decoded: bool = False,
        utc: bool = True,
        maybe_make_aware: Any = None,
        maybe_iso8601: Any = None,
        **opts: Any,
    ) -> None:
        self._message = message
        self._headers: Mapping[str, Any] = message.headers if headers is None else headers
        self._body = message.body if body is None else body
        self._decoded = decoded and not isinstance(self._body, bytes | str)
        self._payload: Any = self._body if self._decoded else None
        self._on_ack = on_ack
        self._on_reject = on_reject
        self._hostname = hostname
        self._eventer = eventer
        self._task = task
        self._app = app or getattr(task, "app", None)
        self._connection_errors = connection_errors or ()
        self._given_request = request_dict
        self._utc = utc
        self.controls: Controls = opts.pop("controls", None) or Controls()
        self._options = opts
        self.id: str = self._headers["id"]
        self.name: str = self._headers.get("shadow") or self._headers["task"]
        self.type: str = self._headers["task"]
        limits = self._headers.get("timelimit")
        if limits:
            self.time_limits = tuple(limits)
        self._acknowledged = False

    # -- what it is -------------------------------------------------------------------------------
    app = property(lambda self: self._app, doc="The application.")
    task = property(lambda self: self._task, doc="The registered task.")
    message = property(lambda self: self._message, doc="What was received.")
    hostname = property(lambda self: self._hostname, doc="Node name of this worker.")
    eventer = property(lambda self: self._eventer, doc="The worker's event dispatcher, or None.")
    connection_errors = property(lambda self: self._connection_errors)
    on_ack = property(lambda self: self._on_ack)
    on_reject = property(lambda self: self._on_reject)
    utc = property(lambda self: self._utc)
    body = property(lambda self: self._body, doc="The serialized `[args, kwargs, embed]`.")
    task_id = property(lambda self: self.id)
    task_name = property(lambda self: self.name)
    tzlocal = property(lambda self: getattr(self._app, "timezone", None))

    root_id = property(lambda self: self._headers.get("root_id"))
    parent_id = property(lambda self: self._headers.get("parent_id"))
    group = property(lambda self: self._headers.get("group"))
    group_index = property(lambda self: self._headers.get("group_index"))
    groups = property(lambda self: self._headers.get("groups"))
    eta = property(lambda self: self._headers.get("eta"))
    expires = property(lambda self: self._headers.get("expires"))
    stamps = property(lambda self: self._headers.get("stamps") or {})
    stamped_headers = property(lambda self: self._headers.get("stamped_headers") or [])
    replaced_task_nesting = property(lambda self: self._headers.get("replaced_task_nesting") or 0)
    argsrepr = property(lambda self: self._headers.get("argsrepr", ""))
    kwargsrepr = property(lambda self: self._headers.get("kwargsrepr", ""))
    delivery_info = property(lambda self: self._message.delivery_info)
    content_type = property(lambda self: self._message.content_type)
    content_encoding = property(lambda self: self._message.content_encoding)
    reply_to = property(lambda self: self._message.properties.get("reply_to"))
    correlation_id = property(lambda self: self._message.properties.get("correlation_id"))
    args = property(lambda self: self.payload[0], doc="Positional arguments, decoded on first use.")
    kwargs = property(lambda self: self.payload[1], doc="Keyword arguments, decoded on first use.")
    errbacks = property(lambda self: self.payload[2].get("errbacks"))
    chord = property(lambda self: self.payload[2].get("chord"))
    callbacks = property(lambda self: self.payload[2].get("callbacks"))

    @property
    def ignore_result(self) -> bool:
        """Whether the result is thrown away: the message says, else the task."""
        said = self._headers.get("ignore_result")
        return bool(getattr(self._task, "ignore_result", False) if said is None else said)

    @property
    def store_errors(self) -> bool:
        """Whether a failure is stored."""
        return not self.ignore_result or bool(getattr(self._task, "store_errors_even_if_ignored", False))

    @property
    def acknowledged(self) -> bool:
        return self._acknowledged or self.controls.acknowledged

    @acknowledged.setter
    def acknowledged(self, value: bool) -> None:
        self._acknowledged = value

    @property
    def payload(self) -> Any:
        """The decoded body. Raises what decoding raises."""
        if self._payload is None:
            accept = None if self._app is None else prepare_accept_content(self._app.conf.accept_content)
            properties = self._message.properties
            self._payload = decode_body(
                self._body,
                properties.get("content_type"),
                properties.get("content_encoding"),
                self._headers.get("compression"),
                accept,
            )
        return self._payload

    @property
    def request_dict(self) -> dict[str, Any]:
        """Everything a task's `request` is made of."""
        if self._given_request is not None:
            return dict(self._given_request)
        return {
            **self._headers,
            "properties": self._message.properties,
            "reply_to": self.reply_to,
            "correlation_id": self.correlation_id,
            "hostname": self._hostname,
            "delivery_info": self.delivery_info,
            "is_eager": False,
            "args": self.payload[0],
            "kwargs": self.payload[1],
            **{key: self.payload[2].get(key) for key in ("callbacks", "errbacks", "chord", "chain")},
        }

    # -- what can be done with it -----------------------------------------------------------------
    def acknowledge(self) -> None:
        """Tell the broker that the message is done with, unless that is settled already."""
        if not self.acknowledged:
            self._acknowledged = True
            self._on_ack(None, self._connection_errors)

    def reject(self, requeue: bool = False) -> None:
        """Refuse the message, unless it is settled already."""
        if not self.acknowledged:
            self._acknowledged = True
            self._on_reject(None, self._connection_errors, requeue)

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's name
        """Send a task event with this task's id, if task events are on and the task wants any."""
        eventer = self._eventer
        if eventer is not None and eventer.enabled and getattr(self._task, "send_events", True):
            eventer.send(type, uuid=self.id, **fields)

    def execute_using_pool(self, pool: Any, **kwargs: Any) -> None:
        """Hand the task to the pool."""
        self.controls.submit()

    def execute(self, loglevel: Any = None, logfile: str | None = None) -> Any:
        """Run the task here and now, without a pool; return its result or the exception."""
        return self._task.apply(
            self.args, self.kwargs, task_id=self.id, loglevel=loglevel, logfile=logfile
        ).get(propagate=False)

    def maybe_expire(self) -> bool:
        """Say whether its `expires` time has passed."""
        if self.expires is None:
            return False
        when = parse_iso8601(self.expires)
        return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp() <= time.time()

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Kill the process that runs it; a no-op if it does not run or the pool cannot."""
        from celery.platforms import signals  # noqa: PLC0415 - rarely used

        self.controls.terminate(int(signals.signum(signal or "TERM")))

    cancel = terminate

    def info(self, safe: bool = False) -> dict[str, Any]:
        """The row that `inspect active` shows. `safe`: the text of the arguments, never the arguments."""
        return {
            "id": self.id,
            "name": self.name,
            "args": self.argsrepr if safe else list(self.args),
            "kwargs": self.kwargsrepr if safe else dict(self.kwargs),
            "type": self.type,
            "hostname": self._hostname,
            "time_start": self.time_start,
            "acknowledged": self.acknowledged,
            "delivery_info": self.delivery_info,
            "worker_pid": self.worker_pid,
        }

    def humaninfo(self) -> str:
        """`name[id]`."""
        return f"{self.name}[{self.id}]"

    def __str__(self) -> str:
        return " ".join(
            part
            for part in (
                self.humaninfo(),
                f" ETA:[{self.eta}]" if self.eta else "",
                f" expires:[{self.expires}]" if self.expires else "",
            )
            if part
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.humaninfo()} {self.argsrepr} {self.kwargsrepr}>"


def create_request_cls(
    base: type[Request], task: Any, pool: Any, hostname: str, eventer: Any, **_options: Any
) -> type[Request]:
    """Make a subclass of `base` whose instances know their task, node name and event dispatcher."""

    class BoundRequest(base):  # type: ignore[valid-type, misc]
        def __init__(self, message: Any, *args: Any, **kwargs: Any) -> None:
            kwargs.setdefault("task", task)
            kwargs.setdefault("hostname", hostname)
            kwargs.setdefault("eventer", eventer)
            super().__init__(message, *args, **kwargs)

    BoundRequest.__name__ = base.__name__
    BoundRequest.__qualname__ = base.__qualname__
    return BoundRequest
