"""Queues and exchanges as requests to the broker: what to ask for so that they exist as declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery.brokers.topology import Exchange, Queue


class Request(NamedTuple):
    """One method to call.

    Attributes:
        what: in words, for errors.
        tolerant: that it exists with other properties is no error.
    """

    method: str
    values: dict[str, Any]
    what: str
    tolerant: bool = False


def declare_queue(queue: Queue) -> Iterator[Request]:
    """Declare a queue with its exchanges, and bind it, as kombu does."""
    for exchange in _exchanges(queue):
        if _is_made(exchange.name):
            yield declare_exchange(exchange)
    yield queue_itself(queue)
    if queue.exchange.name:
        yield bind(queue.name, queue.exchange.name, queue.routing_key, queue.binding_arguments)
    for binding in queue.bindings:
        if binding.exchange.name:
            yield bind(queue.name, binding.exchange.name, binding.routing_key, binding.arguments)


def _exchanges(queue: Queue) -> Iterator[Exchange]:
    yield queue.exchange
    for binding in queue.bindings:
        yield binding.exchange


def _is_made(exchange: str) -> bool:
    """Whether it must be declared: the default one and those named `amq.*` are there."""
    return bool(exchange) and not exchange.startswith("amq.")


def declare_exchange(exchange: Exchange) -> Request:
    """Declare an exchange."""
    return Request(
        "exchange.declare",
        {
            "exchange": exchange.name,
            "type": exchange.type,
            "durable": exchange.durable,
            "auto_delete": exchange.auto_delete,
            "arguments": dict(exchange.arguments),
        },
        f"cannot declare exchange {exchange.name!r}",
    )


def queue_itself(queue: Queue) -> Request:
    """Declare a queue, and no more."""
    lifetime = {} if queue.expires is None else {"x-expires": int(queue.expires * 1000)}
    arguments = lifetime | queue.arguments | lifetime  # said apart, it wins
    return Request(
        "queue.declare",
        {
            "queue": queue.name,
            "durable": queue.durable,
            "exclusive": queue.exclusive,
            "auto_delete": queue.auto_delete,
            "arguments": arguments,
        },
        f"cannot declare queue {queue.name!r}",
    )


def bind(queue: str, exchange: str, routing_key: str, arguments: dict[str, Any] | None = None) -> Request:
    """Bind a queue to an exchange."""
    return Request(
        "queue.bind",
        {
            "queue": queue,
            "exchange": exchange,
            "routing_key": routing_key,
            "arguments": dict(arguments or {}),
        },
        f"cannot bind queue {queue!r} to exchange {exchange!r}",
    )


def bind_exchange(destination: str, source: str, routing_key: str) -> Request:
    """Let what one exchange gets under a key go to another one too."""
    return Request(
        "exchange.bind",
        {"destination": destination, "source": source, "routing_key": routing_key},
        f"cannot bind exchange {destination!r} to {source!r}",
    )


def fitting(name: str, most: int = 255) -> str:
    """A name that AMQP can say: the end of one that is longer than `most` bytes becomes a hash."""
    raw = name.encode()
    if len(raw) <= most:
        return name
    import hashlib  # noqa: PLC0415 - OpenSSL's digests, for names that hardly anybody has

    return raw[: most - 33].decode("utf-8", "ignore") + "~" + hashlib.sha256(raw).hexdigest()[:32]


def replies_to(method: str) -> tuple[str, ...]:
    """Names of the answers to a method."""
    if method == "basic.get":
        return ("basic.get-ok", "basic.get-empty")
    if method == "exchange.unbind":
        return ("exchange.unbind-ok",)
    return (f"{method}-ok",)
