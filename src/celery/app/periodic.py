"""Entries of `beat_schedule` that an app's code adds, perhaps before the configuration is read."""

from __future__ import annotations

from collections import deque
from typing import Any


class PeriodicTasks:
    """The entries of one app that wait for its configuration.

    Args:
        app: whose.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._waiting: deque[tuple[str, dict[str, Any]]] = deque()

    def add(self, schedule: Any, sig: Any, args: Any, kwargs: Any, name: str | None, options: Any) -> str:
        """Add an entry, now if the configuration is read, else then; return its key. See `add_periodic_task`."""
        sig = sig.clone(args, dict(kwargs)) if hasattr(sig, "clone") else sig.signature(args, dict(kwargs))
        key = name or repr(sig)
        self._waiting.append(
            (
                key,
                {
                    "schedule": schedule,
                    "task": sig.name,
                    "args": sig.args,
                    "kwargs": sig.kwargs,
                    "options": {**sig.options, **options},
                },
            )
        )
        if self._app.conf.loaded:
            self.settle()
        return key

    def settle(self) -> None:
        """Put what waits into the configuration, which has just been read."""
        conf = self._app.conf
        while self._waiting:
            key, entry = self._waiting.popleft()
            conf["beat_schedule"] = {**(conf["beat_schedule"] or {}), key: entry}
