"""The threads pool: tasks run in threads of the worker's process.

Soft time limits are raised when the thread next runs Python code; hard limits cannot be kept, as a
thread cannot be killed.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from celery.concurrency.inprocess import InProcessPool

if TYPE_CHECKING:
    from celery.concurrency.base import Reports

__all__ = ("TaskPool",)


class TaskPool(InProcessPool):
    """Runs tasks in `limit` threads."""

    signal_safe = False
    _made = 0

    async def start(self, reports: Reports) -> None:
        """Start the threads."""
        await super().start(reports)
        for _ in range(self.limit):
            self._add_thread()

    def _add_thread(self) -> None:
        self._made += 1
        lane = self._new_lane()
        # Daemons: a cold shutdown must not wait for a task that never ends.
        threading.Thread(target=lane.work, name=f"ThreadPoolWorker-{self._made}", daemon=True).start()

    def resize(self, size: int) -> None:
        """Have so many threads. One that runs a task ends it first."""
        size = max(0, size)
        for _ in range(size - self.limit):
            self._add_thread()
        for _ in range(self.limit - size):
            self._jobs.put(None)
        grew, self.limit = size > self.limit, size
        if grew:
            self._reports.roomy()

    def info(self) -> dict[str, Any]:
        """The `pool` part of `inspect stats`."""
        return {**super().info(), "threads": len(self._lanes)}
