"""A logical clock: orders what happens in a cluster without synchronised wall clocks."""

from __future__ import annotations

import threading


class LamportClock:
    """Counts events; a message carries the count, and its receiver goes on from there.

    Args:
        initial_value: where to start.
    """

    __slots__ = ("mutex", "value")

    def __init__(self, initial_value: int = 0) -> None:
        self.value = initial_value
        self.mutex = threading.Lock()

    def adjust(self, other: int) -> int:
        """Go on from a count that was received; return the new one."""
        with self.mutex:
            self.value = max(self.value, other) + 1
            return self.value

    def forward(self) -> int:
        """Count one event of our own; return the new count."""
        with self.mutex:
            self.value += 1
            return self.value

    def __int__(self) -> int:
        return self.value

    def __str__(self) -> str:
        return str(self.value)

    def __repr__(self) -> str:
        return f"<LamportClock: {self.value}>"
