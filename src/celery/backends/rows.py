"""Ends of tasks in the form in which a store writes them, and who writes them: at once, or many together.

A store that gains by writing many together makes a *row* of each end (a tuple of plain values, encoded as far as user
code has a part in that) and has a `Rows`. Whoever runs a task may then

- have it *left* to him (`request._left`): the row of a success is put there, and nothing is stored. A worker's processes
  and threads hand such rows to the core, which stores them (`celery.worker.storing`) by `Rows.store`. A handler that
  reads results before that has it stored (`Backend.flush`);
- hold back all that this thread stores until `flush`.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from celery.exceptions import BackendStoreError, SoftTimeLimitExceeded
from celery.states import READY_STATES, SUCCESS

from .claims import claim_lost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .retrying import GiveUp

logger = logging.getLogger("celery.backends.base")

#: Results of no more bytes cost a round trip; storing larger ones takes its time, also with others.
LIGHT = 64 * 1024
#: Results that a thread holds for a store that is away; more than that, and the oldest are lost.
HELD_AT_MOST = 10_000


class Row(Protocol):
    """A result that is ready to be stored."""

    @property
    def task_id(self) -> str: ...


class Insist(Protocol):
    """`Backend._insist_on_storing`: calls a function until it works, patiently; the text says what that is about."""

    def __call__(self, call: Callable[[], Any], what: str, *, give_up: GiveUp | None = None) -> Any: ...


R = TypeVar("R", bound=Row)


class Rows(threading.local, Generic[R]):
    """How a backend stores rows, and what this thread holds back of them.

    Args:
        write: stores rows, all or none; returns those that were refused because their message is another worker's.
        insist: as its class says.
        read: makes a row of its values, as another process has sent them.

    Attributes:
        deferring: the ends of tasks are to be held back until `flush`.
    """

    deferring = False

    def __init__(
        self,
        write: Callable[[Sequence[R]], Sequence[R] | None],
        insist: Insist,
        read: Callable[[Sequence[Any]], R],
    ) -> None:
        self.held: list[R] = []
        self._write = write
        self._insist = insist
        self._read = read

    def keep(self, row: R, state: str, request: Any) -> None:
        """Store a row; later, or leave it to whoever runs the task, if that will do. Who reports progress wants it to be
        seen.

        Raises:
            ClaimLost: its message is another worker's.
        """
        left = getattr(request, "_left", None)
        if left is not None and not left and state == SUCCESS and weight(row) <= request._may_leave:
            left.append(row)
            return
        if self.deferring and state in READY_STATES:
            self.held.append(row)
            return
        refused = self._write([*self.held, row])
        self.held = []
        if getattr(request, "_is_light", None) is not None:
            request._is_light = weight(row) <= LIGHT
        if refused and row in refused:
            raise claim_lost(row.task_id, state)

    def flush(self, give_up: GiveUp | None) -> None:
        """Store everything that is held, and hold nothing back until `deferring` is set again.

        Args:
            give_up: once set, the store is not tried any longer; default: the backend's own.

        Raises:
            BackendStoreError: not all were stored; what the store may yet take is still held.
        """
        self.deferring = False
        rows = self.held
        if not rows:
            return
        errors = self._store(rows, give_up)
        away = [row for row, error in zip(rows, errors, strict=True) if isinstance(error, BackendStoreError)]
        for row in away[:-HELD_AT_MOST]:
            logger.error("The result of task %s is lost: the store was away for too long", row.task_id)
        self.held = away[-HELD_AT_MOST:]
        for error in errors:
            if isinstance(error, BackendStoreError):
                raise error
            if error is not None:
                raise BackendStoreError(f"Not all of {len(rows)} results could be stored: {error}") from error

    def store_left(self, left: list[R], give_up: GiveUp | None) -> None:
        """Store what was left to somebody who has not taken it yet. It stays where it is unless the store takes it."""
        refused: list[R] = []
        if self._store(left, give_up, refused) == [None] and not refused:
            left.clear()

    def store(self, rows: Sequence[R | Sequence[Any]]) -> list[Exception | None]:
        """Store rows that were left to somebody, patiently; also such as have come from another process.

        Returns:
            For each None, or why it is not stored: `ClaimLost` if its message is another worker's.
        """
        mine: list[R] = [self._read(row) if type(row) is list else cast("R", row) for row in rows]
        refused: list[R] = []
        errors = self._store(mine, None, refused)
        if refused:
            return [
                claim_lost(row.task_id, SUCCESS) if row in refused else error
                for row, error in zip(mine, errors, strict=True)
            ]
        return errors

    def _store(
        self, rows: Sequence[R], give_up: GiveUp | None, refused: list[R] | None = None
    ) -> list[Exception | None]:
        """Store rows together; what went wrong with each. Those of another worker's messages are added to `refused`."""

        def write() -> None:
            found = self._write(rows)
            if refused is not None and found:
                refused.extend(found)

        try:
            self._insist(write, f"{len(rows)} results", give_up=give_up)
        except BackendStoreError as exc:
            return [exc] * len(rows)
        except SoftTimeLimitExceeded:  # of a task that reads results, and so has them stored first
            raise
        except Exception as exc:  # noqa: BLE001 - whatever a driver makes of a value that it cannot write
            if len(rows) > 1:  # one of them may be the reason, and must not stop the others
                return [error for row in rows for error in self._store([row], give_up, refused)]
            logger.error("The result of task %s was not taken: %s", rows[0].task_id, exc)
            return [exc]
        return [None] * len(rows)


def weight(row: Any) -> int:
    """About how many bytes a row has."""
    values = row.values() if isinstance(row, dict) else row
    return sum(
        len(value) if isinstance(value, (bytes, str)) else weight(value) if isinstance(value, dict) else 8
        for value in values
    )
