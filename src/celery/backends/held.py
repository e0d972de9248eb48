"""Results that a thread holds back, to be stored together."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from celery.exceptions import BackendStoreError
from celery.states import READY_STATES

from .claims import claim_lost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

logger = logging.getLogger(__name__)

#: Results that a thread holds for a store that is away; more than that, and the oldest are lost.
HELD_AT_MOST = 10_000


class Row(Protocol):
    """A result that is ready to be stored."""

    @property
    def task_id(self) -> str: ...


R = TypeVar("R", bound=Row)


class Held(threading.local, Generic[R]):
    """What this thread holds back.

    Attributes:
        deferring: the ends of tasks are to be held back until `flush`.
    """

    deferring = False

    def __init__(self) -> None:
        self.rows: list[R] = []

    def keep(self, row: R, state: str, write: Callable[[Sequence[R]], Sequence[R] | None]) -> None:
        """Store a row, with the others later if that will do: who reports progress wants it to be seen.

        Args:
            write: stores rows, all or none; returns those that were refused because their message is another worker's.

        Raises:
            ClaimLost: this one was.
        """
        if self.deferring and state in READY_STATES:
            self.rows.append(row)
            return
        refused = write([*self.rows, row])
        self.rows = []
        if refused and row in refused:
            raise claim_lost(row.task_id, state)

    def flush(
        self,
        write: Callable[[Sequence[R]], object],
        insist: Callable[[Callable[[], object], str], object],
        refusal: type[Exception],
    ) -> None:
        """Store everything, and hold nothing back until `deferring` is set again.

        Args:
            write: stores rows, all or none.
            insist: calls a function until it works, patiently; the text says what that is about.
            refusal: raised by `write` when trying again is no use: then they are stored one by one.

        Raises:
            BackendStoreError: not all were stored; what the store may yet take is still held.
        """
        self.deferring = False
        rows = self.rows
        if not rows:
            return
        try:
            insist(lambda: write(rows), f"{len(rows)} results")
        except refusal:
            self.rows = []
            self._write_each(rows, write, refusal)
        except BackendStoreError:
            self._forget_oldest()
            raise
        self.rows = []

    @staticmethod
    def _write_each(
        rows: Sequence[R], write: Callable[[Sequence[R]], object], refusal: type[Exception]
    ) -> None:
        """The store refused them together: one of them may be the reason, and must not stop the others."""
        last: Exception | None = None
        for row in rows:
            try:
                write([row])
            except refusal as exc:
                logger.error("The result of task %s was not taken: %s", row.task_id, exc)
                last = exc
        if last is not None:
            raise BackendStoreError(f"Not all of {len(rows)} results could be stored: {last}") from last

    def _forget_oldest(self) -> None:
        for row in self.rows[:-HELD_AT_MOST]:
            logger.error("The result of task %s is lost: the store was away for too long", row.task_id)
        del self.rows[:-HELD_AT_MOST]
