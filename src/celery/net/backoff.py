"""Pauses between attempts to reconnect: doubling, bounded, with jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Counts attempts and says how long to wait before the next one.

    Attributes:
        first, longest: seconds.
        jitter: a pause is shortened by up to this part of it, so that a fleet does not come back in one instant.
    """

    first: float = 0.2
    longest: float = 5.0
    jitter: float = 0.25
    attempts: int = 0

    def next(self) -> float:
        """Seconds to wait before the next attempt."""
        pause = min(self.first * 2.0 ** min(self.attempts, 30), self.longest)
        self.attempts += 1
        return pause * (1.0 - random.random() * self.jitter)

    def reset(self) -> None:
        """It worked."""
        self.attempts = 0
