"""What a cluster tells about itself: events, those who send and receive them, and a picture made of them.

state = app.events.State()
with app.connection() as connection:
    app.events.Receiver(connection, handlers={"*": state.event}).capture()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .dispatcher import EventDispatcher as EventDispatcher
    from .event import Event as Event
    from .event import event_exchange as event_exchange
    from .event import get_exchange as get_exchange
    from .event import group_from as group_from
    from .receiver import EventReceiver as EventReceiver

__all__ = ("Event", "EventDispatcher", "EventReceiver", "event_exchange", "get_exchange", "group_from")

#: Names by the module that has them: what sends events need not load what receives them.
_HOMES = {
    "Event": "event",
    "EventDispatcher": "dispatcher",
    "EventReceiver": "receiver",
    "event_exchange": "event",
    "get_exchange": "event",
    "group_from": "event",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
