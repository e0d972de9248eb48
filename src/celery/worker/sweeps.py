"""When a worker looks for chord bodies that nobody sent.

A body is left behind if the process dies, or the broker is away, between counting the last member and sending the body. Then
the member has not ended for the broker: its message comes again, as one redelivered or as an orphan, to a worker that
lives; or the worker that ran it loses a child. So a worker looks often while it takes part in chords, and after anything of
that kind; a worker that has long had nothing to do with them looks only now and then, in case all this was missed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: Seconds between looks while a body may be left behind, and after the last sign of that for so long.
OFTEN = 3.0
WATCHFUL = 30.0
#: Whoever was here before may have left something: seconds for which a worker that has just begun looks often.
BEGINNING = 7.0
#: Seconds between looks otherwise.
SELDOM = 30.0


class Sweeps:
    """Decides when to look, and looks.

    Args:
        look: sends what was left behind; gives how many bodies that were.
        clock: seconds, monotonic.
    """

    def __init__(
        self, look: Callable[[], Awaitable[int]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look = look
        self._clock = clock
        self._looked = -SELDOM
        self._signs_at = clock() - WATCHFUL + BEGINNING
        self._looking = False

    def expect(self) -> None:
        """There is a sign that a body may be, or come to be, left behind."""
        self._signs_at = self._clock()

    def is_due(self) -> bool:
        """Whether it is time to look."""
        now = self._clock()
        pause = OFTEN if now - self._signs_at < WATCHFUL else SELDOM
        return not self._looking and now - self._looked >= pause

    async def sweep(self) -> None:
        """Look."""
        self._looking = True
        self._looked = self._clock()
        try:
            if await self._look():
                self.expect()
        finally:
            self._looking = False
