"""What this worker has received and parked in the broker because it is not due, for those who ask.

The messages are the broker's; this is a bounded memory of them. What has fallen due since may be anywhere.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .runs import Run

#: So many are remembered; larger bodies are not.
MOST = 1000
LARGEST = 16_384


class Parked:
    """Parked messages by task id."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, bool, Run]] = {}

    def add(self, run: Run, due: float, *, limited: bool = False) -> None:
        """Remember one.

        Args:
            due: unix time.
            limited: it waits for its turn by a rate limit.
        """
        if len(run.body) > LARGEST:
            return
        self._known.pop(run.id, None)
        self._known[run.id] = due, limited, run
        if len(self._known) > MOST:
            now = time.time()
            self._known = {key: entry for key, entry in self._known.items() if entry[0] > now}
            while len(self._known) > MOST:
                del self._known[next(iter(self._known))]

    def scheduled(self) -> list[tuple[float, Run]]:
        """What waits for its time, with that."""
        now = time.time()
        return [(due, run) for due, limited, run in list(self._known.values()) if due > now and not limited]

    def limited(self) -> list[Run]:
        """What waits for its turn."""
        now = time.time()
        return [run for due, limited, run in list(self._known.values()) if due > now and limited]

    def forget(self, task_id: str) -> bool:
        """It was revoked. False if it is not known to be parked."""
        known = self._known.pop(task_id, None)
        return known is not None and known[0] > time.time()
