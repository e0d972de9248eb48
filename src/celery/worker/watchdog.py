"""A second pair of eyes on the worker's link: who claims to be connected must hear from his broker.

Drivers notice a dead link by themselves (heartbeats). This is for the day when one does not: a worker never stays
alive without consuming. It makes the consumer connect again, and ends the worker if that does not help, so that
whoever supervises it starts another.
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.brokers.base import Consumer

logger = logging.getLogger("celery.worker.consumer")

#: Heartbeats that may pass in silence, and the seconds that they are at least: drivers give up after two.
BEATS = 3.0
LEAST = 30.0
#: Seconds that a consumer has to connect again, or to read what waited while this process stood still.
GRACE = 10.0
#: How often connecting again may be in vain.
TRIES = 3


class Watchdog:
    """Looks at one consumer.

    Args:
        heartbeat: seconds; 0: nothing is expected of the broker, so nothing is watched.
        give_up: called with the reason when nothing helps.
        clock: seconds, monotonic.
    """

    def __init__(
        self, heartbeat: float, give_up: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit = max(BEATS * heartbeat, LEAST) if heartbeat else 0.0
        self._give_up = give_up
        self._clock = clock
        self._looked = clock()
        self._next = 0.0
        self._tries = 0

    def look(self, consumer: Consumer) -> None:
        """Look now; to be called often."""
        now = self._clock()
        stood_still, self._looked = now - self._looked, now
        if stood_still > GRACE:
            self._next = now + GRACE
        if not self.limit or now < self._next:
            return
        quiet = consumer.quiet_for()
        if quiet <= self.limit:
            self._tries = 0
            return
        self._next = now + GRACE
        self._tries += 1
        why = f"nothing was heard of the broker for {quiet:.0f} seconds"
        if self._tries > TRIES:
            self._next = math.inf
            self._give_up(f"consumer: {why}, and connecting again has not helped. Shutting down...")
            return
        logger.error("consumer: Connection to broker is dead: %s. Connecting again...", why)
        consumer.reconnect(why)
