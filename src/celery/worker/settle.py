"""Telling the broker how deliveries ended, and forgetting them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from celery.brokers.base import Settlement

from .acks import GIVEN_BACK

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.brokers.base import Consumer, Delivery

    from .acks import Ending
    from .runs import Run
    from .state import WorkerState

logger = logging.getLogger("celery.worker.settle")

#: Runs that ended without their message, which may yet come back: this many are remembered.
REMEMBERED = 10_000


class Settler:
    """Carries out endings. The driver coalesces them: one write a loop tick.

    Args:
        uncount: called with each run that ends, before it is settled (`Dispatcher.uncount`).
        rested: called when nothing is in flight any more.
    """

    def __init__(self, state: WorkerState, rested: Callable[[], None]) -> None:
        self.consumer: Consumer | None = None
        self.uncount: Callable[[Run], None] = lambda run: None
        self._state = state
        self._rested = rested
        self._adrift: dict[tuple[str, int], Ending] = {}

    def settle(self, run: Run, ending: Ending) -> None:
        """End a run, and the redeliveries of the same message that waited for it.

        What a fenced run did may have been refused, so they do not end with it: they are offered again. What a run did
        that is only adrift counts: redeliveries end with it, also one that comes when it has ended.
        """
        self._state.remove(run)
        if run.counted:
            self.uncount(run)
        if not run.fenced:
            self.settle_delivery(run.delivery, ending)
        elif run.adrift and run.duplicates:
            logger.info("Task %s[%s] ended after its message had come back", run.name, run.id)
        else:
            logger.warning(
                "Task %s[%s] ended after this worker's lease: another worker has its message, "
                "so what it did may be done twice",
                run.name,
                run.id,
            )
            if run.adrift and ending.settlement is not Settlement.REQUEUE:
                self._remember(run, ending)
        if run.duplicates:
            for duplicate in run.duplicates:
                self.settle(duplicate, GIVEN_BACK if run.fenced and not run.adrift else ending)
        if not self._state.runs:
            self._rested()

    def _remember(self, run: Run, ending: Ending) -> None:
        if len(self._adrift) >= REMEMBERED:
            del self._adrift[next(iter(self._adrift))]
        self._adrift[run.id, run.headers.retries] = ending

    def ended_before(self, run: Run) -> Ending | None:
        """How a run of the same message ended here, whose redelivery this is; None if there was none."""
        if not self._adrift or not run.delivery.redelivered:
            return None
        return self._adrift.pop((run.id, run.headers.retries), None)

    def leave(self, run: Run) -> None:
        """Forget a begun run without a word to the broker: it becomes an orphan when this worker ends, and
        another one records its loss."""
        logger.critical(
            "What became of task %s[%s] could not be stored; it is left to the next worker", run.name, run.id
        )
        self._state.remove(run)
        self.uncount(run)
        if not self._state.runs:
            self._rested()

    def settle_delivery(self, delivery: Delivery, ending: Ending) -> None:
        """End a delivery that never became a run."""
        consumer = self.consumer
        if consumer is None:
            return
        how = ending.settlement
        if how is Settlement.ACK:
            consumer.ack(delivery)
        elif how is Settlement.REQUEUE:
            consumer.requeue(delivery, front=True, count=ending.counted, ran=ending.ran)
        else:
            consumer.bury(delivery, ending.reason)
