"""Sending to a broker in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery.brokers.base import BrokerError, Outgoing

    from .hall import Hall


class MemoryPublisher:
    """The `Publisher` of a `memory://` URL; it never waits, so deadlines do not matter."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall

    def publish(self, batch: Sequence[Outgoing], *, deadline: float) -> list[BrokerError | None]:
        """See `Publisher.publish`."""
        del deadline
        return self._hall.publish(batch)

    async def apublish(self, batch: Sequence[Outgoing], *, deadline: float) -> list[BrokerError | None]:
        """See `Publisher.apublish`."""
        return self.publish(batch, deadline=deadline)

    def close(self) -> None:
        """See `Publisher.close`."""
