"""The one table of upward references: what the application object offers although it lives in a layer above.

Nothing else in this layer imports upwards. A unit test resolves every entry.
"""

from __future__ import annotations

import importlib
from typing import Any

#: What the app calls it -> `module:attribute`.
TABLE: dict[str, str] = {
    "WorkController": "celery.worker:WorkController",
    "Worker": "celery.apps.worker:Worker",
    "EventReceiver": "celery.events.receiver:EventReceiver",
    "EventDispatcher": "celery.events.dispatcher:EventDispatcher",
    "EventState": "celery.events.state:State",
    "Beat": "celery.apps.beat:Beat",
    "main": "celery.bin.celery:main",
    "kombu_objects": "celery.brokers.kombu:objects",
}


def resolve(name: str) -> Any:
    """Import and return what `name` stands for.

    Raises:
        KeyError: there is no such entry.
    """
    module, _, attribute = TABLE[name].partition(":")
    imported = importlib.import_module(module)
    if not hasattr(imported, attribute):
        return importlib.import_module(f"{module}.{attribute}")
    return getattr(imported, attribute)
