"""Shelves: where what comes later in a workflow is kept once, beside the books of chords, so that messages need not carry it.

What is on a shelf has a name and consists of items. It is put there before the first message that refers to it is sent, and
renewed when it is read, so that it lives as long as the workflow goes on within the life of results. Whoever
has sent the last of it drops it; that it was there is remembered for an hour, so that a task that runs again
does not take it for lost.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from celery.exceptions import OperationalError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from .chords import Ledger

#: Seconds for which it is remembered that something was dropped.
REMEMBERED = 3600
OVER = "over"
#: A part of its life after which what is read is renewed.
RENEWED_AFTER = 0.1

_RENEWED = ".g-renewed"


class GraphLost(OperationalError):
    """What comes later in a workflow is not where it was put."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"What comes later in this workflow ({name}) is gone from the result store: it was kept longer than "
            "result_expires (result_chord_expires), or the store has lost its data"
        )


class Shelf(Protocol):
    """Keeps parts of workflows."""

    def keep(self, parts: Mapping[str, Sequence[bytes]]) -> None:
        """Put items there, by their names, in one go."""

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
        clock: tells unix time.
    """

    def __init__(
        self,
        transaction: Callable[[], AbstractContextManager[Ledger]],
        key: Callable[[str, str], Any],
        seconds: Callable[[], float | None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._transaction = transaction
        self._key = key
        self._seconds = seconds
        self._clock = clock

    def keep(self, parts: Mapping[str, Sequence[bytes]]) -> None:
        """See `Shelf`."""
        seconds = self._seconds()
        with self._transaction() as ledger:
            for name, items in parts.items():
                for index, item in enumerate(items):
                    ledger.put(self._item(name, index), item, seconds)
                if seconds and len(items) > 1:
                    self._note_renewal(ledger, name, seconds)

    def fetch(self, name: str, index: int) -> bytes | None:
        """See `Shelf`."""
        with self._transaction() as ledger:
            found = ledger.get(self._item(name, index))
            if found is None:
                if ledger.get(self._key(name, f".g-{OVER}")) is None:
                    raise GraphLost(name)
                return None
            self._renew(ledger, name)
        return found.encode() if isinstance(found, str) else bytes(found)

    def drop(self, name: str) -> None:
        """See `Shelf`."""
        with self._transaction() as ledger:
            ledger.delete(self._key(name, ".g"))
            ledger.put(self._key(name, f".g-{OVER}"), OVER, REMEMBERED)

    def _renew(self, ledger: Ledger, name: str) -> None:
        """Let all items live on: now and then, as each is written again. (A single one is not read again.)"""
        seconds, renewed = self._seconds(), ledger.get(self._key(name, _RENEWED))
        if not seconds or renewed is None or self._clock() - float(renewed) < seconds * RENEWED_AFTER:
            return
        for key, item in ledger.scan(self._key(name, ".g")):
            ledger.put(key, item, seconds)
        self._note_renewal(ledger, name, seconds)

    def _note_renewal(self, ledger: Ledger, name: str, seconds: float) -> None:
        ledger.put(self._key(name, _RENEWED), str(self._clock()), seconds)

    def _item(self, name: str, index: int) -> Any:
        return self._key(name, f".g{index:06}")
