"""Shelves: where what comes later in a workflow is kept once, beside the books of chords, so that messages need not carry it.

What is on a shelf has a name and consists of items. It is put there before the first message that refers to it is sent, and
renewed when it is read, so that it lives as long as the workflow goes on within the life of results. Whoever
has sent the last of it drops it; that it was there is remembered for an hour, so that a task that runs again
does not take it for lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from celery.exceptions import OperationalError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from .chords import Ledger

#: Seconds for which it is remembered that something was dropped.
REMEMBERED = 3600
OVER = "over"


class GraphLost(OperationalError):
    """What comes later in a workflow is not where it was put."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"What comes later in this workflow ({name}) is gone from the result store: it was kept longer than "
            "result_expires (result_chord_expires), or the store has lost its data"
        )


class Shelf(Protocol):
    """Keeps parts of workflows."""

    def keep(self, name: str, items: Sequence[bytes]) -> None:
        """Put them there, all or none."""

    def fetch(self, name: str, index: int) -> bytes | None:
        """One item; None if all of it was dropped, as it had been sent.

        Raises:
            GraphLost: there is nothing of that name.
        """

    def drop(self, name: str) -> None:
        """All of it was sent."""


class LedgerShelf:
    """A shelf in a store with transactions.

    Args:
        key: makes a key of a name and a suffix.
        seconds: of life; None: for ever.
    """

    def __init__(
        self,
        transaction: Callable[[], AbstractContextManager[Ledger]],
        key: Callable[[str, str], Any],
        seconds: Callable[[], float | None],
    ) -> None:
        self._transaction = transaction
        self._key = key
        self._seconds = seconds

    def keep(self, name: str, items: Sequence[bytes]) -> None:
        """See `Shelf`."""
        with self._transaction() as ledger:
            for index, item in enumerate(items):
                ledger.put(self._item(name, index), item, self._seconds())

    def fetch(self, name: str, index: int) -> bytes | None:
        """See `Shelf`. Only the item that is read now, and the next, are renewed: those before it are needed no more."""
        with self._transaction() as ledger:
            found = ledger.get(self._item(name, index))
            if found is None:
                if ledger.get(self._key(name, f".g-{OVER}")) is None:
                    raise GraphLost(name)
                return None
            if self._seconds():
                for at in (index, index - 1):
                    item = found if at == index else ledger.get(self._item(name, at))
                    if item is not None:
                        ledger.put(self._item(name, at), item, self._seconds())
        return found.encode() if isinstance(found, str) else bytes(found)

    def drop(self, name: str) -> None:
        """See `Shelf`."""
        with self._transaction() as ledger:
            ledger.delete(self._key(name, ".g"))
            ledger.put(self._key(name, f".g-{OVER}"), OVER, REMEMBERED)

    def _item(self, name: str, index: int) -> Any:
        return self._key(name, f".g{index:06}")
