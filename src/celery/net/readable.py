"""Waiting for one descriptor, whatever its number: `select` refuses those from 1,024 on, which busy servers have."""

from __future__ import annotations

import select
from typing import Any, Protocol


class HasFileno(Protocol):
    """A socket, a pipe's end, a listener."""

    def fileno(self) -> int:
        """Its descriptor."""


def readable(source: HasFileno, seconds: float) -> bool:
    """Wait until there is something to read; False if nothing came in time."""
    if not hasattr(select, "poll"):  # Windows, where `select` knows no such bound
        ready: Any = select.select([source], [], [], max(0.0, seconds))
        return bool(ready[0])
    poll = select.poll()
    poll.register(source, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))
