"""What became of published messages: pure bookkeeping for one channel.

A broker confirms by number, counted from 1 since `confirm.select`, one by one or all up to one. A mandatory message
for which there is no queue comes back before it is confirmed. It comes back without its number, so it is
known again by where it went and what it says.
"""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")


class Confirms(Generic[K]):
    """Numbers the messages of a channel. `K` is whatever the caller knows a message by."""

    def __init__(self) -> None:
        self._last = 0
        self._open: dict[int, K] = {}

    def sent(self, key: K) -> int:
        """Note that a message leaves; return its number."""
        self._last += 1
        self._open[self._last] = key
        return self._last

    def __len__(self) -> int:
        return len(self._open)

    def settle(self, number: int, multiple: bool) -> list[K]:
        """Those that a confirmation (or a refusal) with this number is about."""
        if not multiple:
            key = self._open.pop(number, None)
            return [] if key is None else [key]
        settled = []
        # Numbers grow, and dicts keep their order: the oldest come first.
        for known in list(self._open):
            if number and known > number:
                break
            settled.append(self._open.pop(known))
        return settled

    def waiting(self) -> list[K]:
        """Those about which nothing is known."""
        return list(self._open.values())
