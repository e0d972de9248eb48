"""Tools that have wrapped kombu's `Producer.publish`, as tracers do, see what the drivers publish without kombu, too.

Nothing of kombu is imported: who has not wrapped it pays for a look into `sys.modules`.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec

from celery import _foreign
from celery.message.headers import LazyObject

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.brokers.base import Outgoing

_modules = sys.modules


def is_wrapped() -> bool:
    """Whether somebody has put a function of theirs in the place of kombu's."""
    module = _modules.get("kombu.messaging")
    if module is None:
        return False
    producer = getattr(module, "Producer", None)  # None: it is just being imported
    return producer is not None and (
        _foreign.is_wrapped(producer.__dict__["publish"], module)
        or _foreign.is_wrapped(producer.__dict__["_publish"], module)
    )


def publish(message: Outgoing, connection: Any, deliver: Callable[[Outgoing], None]) -> None:
    """Call the wrappers around the sending of one message; they may change its headers.

    Args:
        connection: of kombu's, not connected: what wrappers learn the broker from.
        deliver: sends it; called where kombu would hand it to its transport.

    Raises:
        What `deliver` and the wrappers raise.
    """
    properties = dict(message.properties.value)
    expiration = properties.pop("expiration", None)  # AMQP: text, milliseconds; kombu: seconds
    producer = _modules["kombu.messaging"].Producer(
        _Channel(message, connection, deliver), auto_declare=False
    )
    producer.publish(
        message.body,
        exchange=message.exchange,
        routing_key=message.routing_key,
        headers=message.headers.value,
        mandatory=message.mandatory,
        content_type=properties.pop("content_type", None),
        content_encoding=properties.pop("content_encoding", None),
        priority=properties.pop("priority", 0),
        expiration=None if expiration is None else float(expiration) / 1000,
        retry=False,
        **properties,
    )


def seen(message: Outgoing, connection: Any) -> Outgoing:
    """The message as the wrappers have left it; they are called before it is sent, and not around that."""
    left = [message]
    publish(message, connection, left.append)
    return left[-1]


class _Channel:
    """As much of a channel as a producer of kombu's needs for one message."""

    def __init__(self, message: Outgoing, connection: Any, deliver: Callable[[Outgoing], None]) -> None:
        self.connection = connection.transport
        self._message = message
        self._deliver = deliver

    def prepare_message(
        self,
        body: bytes,
        priority: Any = None,
        content_type: Any = None,
        content_encoding: Any = None,
        headers: Any = None,
        properties: Any = None,
    ) -> SimpleNamespace:
        return SimpleNamespace(body=body, headers=headers, properties=properties)

    def basic_publish(self, message: SimpleNamespace, **_: Any) -> None:
        self._deliver(msgspec.structs.replace(self._message, headers=LazyObject(value=message.headers)))
