"""Due times: parked messages wait in the server; each consumer of a queue makes ready what is due."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from celery.wire.resp import ErrorReply

from . import messages, scripts

if TYPE_CHECKING:
    import asyncio

    from .core import Core

#: Parked messages made ready in one script at most.
_PROMOTE = 500


class Dues:
    """When the next parked message of each queue is due, as far as is known.

    Attributes:
        at: times of the loop's clock, by queue.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self.at: dict[str, float] = {}
        self.timer: asyncio.TimerHandle | None = None

    def promote(self) -> None:
        """Make ready what is due; remember when the next is."""
        core = self._core
        now = core.loop.time()
        keys = core.keys
        for queue in [name for name, due in self.at.items() if due <= now]:
            del self.at[queue]
            if queue not in core.queues.by_name:
                continue
            call = scripts.PROMOTE.call(
                [keys.unacked, keys.index, keys.due(queue), *keys.lists(queue)],
                [_PROMOTE, len(messages.suffix(queue))],
            )
            core.say(call, done=partial(self._promoted, queue))
        self.set_timer()

    def _promoted(self, queue: str, replies: list[Any]) -> None:
        if type(replies[0]) is ErrorReply:
            return
        count, left = replies[0]
        if count:
            self._core.more()
        if count == _PROMOTE:
            left = b"0"
        self.next_due(queue, left)

    def next_due(self, queue: str, left: bytes) -> None:
        if left:
            self.at[queue] = self._core.loop.time() + float(left)
        else:
            self.at.pop(queue, None)
        self.set_timer()

    def set_timer(self) -> None:
        core = self._core
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.at and core.window - core.out > 0:
            # A little late is better than a little early, and than asking twice.
            at = max(min(self.at.values()) + 0.001, core.loop.time())
            self.timer = core.loop.call_at(at, core.flush_soon)
