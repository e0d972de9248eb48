"""Exchanges, queues and bindings as plain values.

Existing projects write `task_queues` with kombu's objects; `queue_from_any` reads those by
their attributes, so kombu need not be imported.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: Attributes of kombu's queues that are broker arguments, as `message_ttl`. `expires` is one of ours, too.
_ATTRIBUTES = {
    "max_length": "x-max-length",
    "max_length_bytes": "x-max-length-bytes",
    "max_priority": "x-max-priority",
}


@dataclass(frozen=True, slots=True)
class Exchange:
    """Where messages are published. `type` is direct, topic, fanout or headers."""

    name: str = ""
    type: str = "direct"
    durable: bool = True
    auto_delete: bool = False
    delivery_mode: int | str | None = None
    arguments: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Binding:
    """One more way from an exchange to a queue."""

    exchange: Exchange
    routing_key: str = ""
    arguments: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Queue:
    """A named place where messages wait.

    Attributes:
        arguments: broker arguments (`x-max-priority`, `x-queue-type`, ...).
        expires: seconds of disuse after which the broker may drop it; None: never.
    """

    name: str
    exchange: Exchange = field(default_factory=Exchange)
    routing_key: str = ""
    durable: bool = True
    exclusive: bool = False
    auto_delete: bool = False
    no_ack: bool = False
    expires: float | None = None
    bindings: tuple[Binding, ...] = ()
    arguments: dict[str, Any] = field(default_factory=dict, hash=False)
    binding_arguments: dict[str, Any] = field(default_factory=dict, hash=False)
    consumer_arguments: dict[str, Any] = field(default_factory=dict, hash=False)
    alias: str | None = None

    @property
    def queue_arguments(self) -> dict[str, Any]:
        """`arguments`, by the name that kombu's queues have for them."""
        return self.arguments


def exchange_from_any(source: Any) -> Exchange:
    """Read an exchange from a name, one of ours, or kombu's by shape."""
    if isinstance(source, Exchange):
        return source
    if source is None or isinstance(source, str):
        return Exchange(source or "")
    return Exchange(
        name=source.name or "",
        type=source.type or "direct",
        durable=source.durable,
        auto_delete=source.auto_delete,
        delivery_mode=source.delivery_mode,
        arguments=dict(source.arguments or {}),
    )


def queue_from_any(source: Any) -> Queue:
    """Read a queue from a name, one of ours, or kombu's by shape."""
    if isinstance(source, Queue):
        return source
    if isinstance(source, str):
        return Queue(source, Exchange(source), source)
    exchange = exchange_from_any(source.exchange)
    return Queue(
        name=source.name,
        exchange=exchange,
        routing_key=source.routing_key or "",
        durable=source.durable,
        exclusive=source.exclusive,
        auto_delete=source.auto_delete,
        no_ack=bool(source.no_ack),
        expires=source.expires,
        bindings=tuple(
            Binding(exchange_from_any(b.exchange), b.routing_key or "", dict(b.arguments or {}))
            for b in source.bindings or ()
        ),
        arguments={**(source.queue_arguments or {}), **_said_apart(source)},
        binding_arguments=dict(source.binding_arguments or {}),
        consumer_arguments=dict(source.consumer_arguments or {}),
        alias=source.alias,
    )


def _said_apart(queue: Any) -> dict[str, Any]:
    """The broker arguments that kombu's queues have as attributes; as there, these win. Times are milliseconds."""
    ttl = getattr(queue, "message_ttl", None)
    said = {"x-message-ttl": None if ttl is None else int(ttl * 1000)}
    said |= {argument: getattr(queue, name, None) for name, argument in _ATTRIBUTES.items()}
    return {argument: value for argument, value in said.items() if value is not None}


def delivery_mode_number(mode: int | str | None) -> int:
    """`"transient"` and 1 as 1, `"persistent"`, 2 and None as 2.

    Raises:
        ValueError: anything else.
    """
    known = {"transient": 1, "persistent": 2, "1": 1, "2": 2, 1: 1, 2: 2, None: 2}
    if mode not in known:
        raise ValueError(f"delivery_mode must be 1 ('transient') or 2 ('persistent'), got {mode!r}")
    return known[mode]
