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

    def settle(self, run: Run, ending: Ending) -> None:
        """End a run, and the redeliveries of the same message that waited for it.

        What a fenced run did may have been refused, so they do not end with it: they are offered again.
        """
        self._state.remove(run)
        if run.counted:
            self.uncount(run)
        if run.fenced:
            logger.warning(
                "Task %s[%s] ended after this worker's lease: another worker has its message, "
                "so what it did may be done twice",
                run.name,
                run.id,
            )
        else:
            self.settle_delivery(run.delivery, ending)
        if run.duplicates:
            for duplicate in run.duplicates:
                self.settle(duplicate, GIVEN_BACK if run.fenced else ending)
        if not self._state.runs:
            self._rested()

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
