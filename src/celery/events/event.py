"""One event, and the exchange that events go by."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from celery.brokers.kombu.entities import kombu_exchange
from celery.brokers.topology import Exchange
from celery.message.events import group_from

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ("EVENT_EXCHANGE_NAME", "Event", "get_exchange", "group_from")

EVENT_EXCHANGE_NAME = "celeryev"
#: Kinds of kombu's transports on which whoever listens to the exchange hears all of it.
_FANOUT_DRIVERS = ("redis", "gcpubsub")


def Event(  # noqa: N802, RUF100 - Celery's name
    type: str,  # noqa: A002 - as above
    _fields: Mapping[str, Any] | None = None,
    __dict__: Any = dict,
    __now__: Callable[[], float] = time.time,
    **fields: Any,
) -> dict[str, Any]:
    """Make an event: a dict with `type`, `timestamp` (unix time, unless given) and the fields.

    >>> Event("task-sent", uuid="1", timestamp=2.5)
    {'uuid': '1', 'timestamp': 2.5, 'type': 'task-sent'}
    """
    event: dict[str, Any] = __dict__(_fields or {}, **fields)
    if "timestamp" not in event:
        event["timestamp"] = __now__()
    event["type"] = type
    return event


def get_exchange(conn: Any, name: str = EVENT_EXCHANGE_NAME) -> Any:
    """The kombu exchange of events, as it is on a connection's broker."""
    fanout = conn.transport.driver_type in _FANOUT_DRIVERS
    return kombu_exchange(Exchange(name, "fanout" if fanout else "topic"))


def __getattr__(name: str) -> Any:
    if name == "event_exchange":
        return kombu_exchange(Exchange(EVENT_EXCHANGE_NAME, "topic"))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
