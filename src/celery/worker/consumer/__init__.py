"""`Consumer`: what receivers of worker signals get as their sender; and the places that steps of users require."""

from __future__ import annotations

import importlib
from typing import Any

from .consumer import Consumer

__all__ = ["Consumer"]

#: Steps by name, and the module that has them: loaded where a project has steps.
_STEPS = {
    "Agent": "agent",
    "Connection": "connection",
    "Control": "control",
    "DelayedDelivery": "delayed_delivery",
    "Events": "events",
    "Evloop": "blueprint",
    "Gossip": "gossip",
    "Heart": "heart",
    "Mingle": "mingle",
    "Tasks": "tasks",
}


def __getattr__(name: str) -> Any:
    if name in _STEPS:
        return getattr(importlib.import_module(f"{__name__}.{_STEPS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
