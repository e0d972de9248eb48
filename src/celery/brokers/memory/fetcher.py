"""Taking messages one by one from a broker in this process."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery.brokers.base import Delivery

    from .hall import Hall, Item


class MemoryFetcher:
    """See `Fetcher`."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._held: dict[int, Item] = {}
        self._receipts = itertools.count(1)

    def get(self, queues: Sequence[str]) -> Delivery | None:
        """See `Fetcher.get`."""
        items, _ = self._hall.take(queues, 1)
        if not items:
            return None
        receipt = next(self._receipts)
        self._held[receipt] = items[0]
        return items[0].delivery(receipt)

    def ack(self, delivery: Delivery) -> None:
        """See `Fetcher.ack`."""
        self._held.pop(delivery.receipt, None)

    def requeue(self, delivery: Delivery) -> None:
        """See `Fetcher.requeue`."""
        item = self._held.pop(delivery.receipt, None)
        if item is not None:
            self._hall.put_back([item])

    def close(self) -> None:
        """See `Fetcher.close`."""
        held, self._held = self._held, {}
        self._hall.put_back(held.values())
