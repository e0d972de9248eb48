"""How much may flow: values and arithmetic, no I/O.

A broker counts for each of its consumers how many messages it has out, and its limit holds from the moment it is made. To follow
a window that changes we keep several consumers on a queue, here called *grants*: a wider window adds one
with what is missing, a narrower one cancels the newest. What a cancelled one has out stays out until it is settled.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

#: Live grants of one queue; when there would be more, one takes the place of all.
MOST_GRANTS = 6
#: The largest limit that AMQP can say.
LARGEST = 65_535


@dataclass(slots=True, eq=False)
class Grant:
    """One consumer of the broker's.

    Attributes:
        limit: how many messages it may have out.
        out: how many it has.
    """

    tag: str
    limit: int
    out: int = 0
    live: bool = True


@dataclass(slots=True, eq=False)
class Tap:
    """All grants of one queue.

    Attributes:
        out: messages that came through any of them and are not settled.
        ready: the queue can be consumed now.
    """

    name: str
    live: list[Grant] = field(default_factory=list)
    out: int = 0
    ready: bool = True
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def potential(self) -> int:
        """How many may come to be out without another word from us."""
        return self.out + sum(max(grant.limit - grant.out, 0) for grant in self.live)

    @property
    def hungry(self) -> bool:
        """Whether it has used up what it was granted: there may be more in the queue."""
        return self.out > 0 and self.potential == self.out

    def grant(self, limit: int) -> Grant:
        """Add a consumer."""
        made = Grant(f"{self.name}#{next(self._numbers)}", limit)
        self.live.append(made)
        return made

    def cancel(self, grant: Grant) -> Grant:
        """Take a consumer away."""
        grant.live = False
        self.live.remove(grant)
        return grant

    def drop(self) -> None:
        """All consumers are gone."""
        for grant in self.live:
            grant.live = False
        self.live.clear()


@dataclass(slots=True)
class Plan:
    """What to tell the broker, in this order."""

    cancel: list[Grant] = field(default_factory=list)
    grant: list[tuple[Tap, Grant]] = field(default_factory=list)


def targets(taps: list[Tap], window: int) -> list[int]:
    """How many messages each queue may have out, so that all of them together have `window`.

    A queue that uses up what it has gets what is left; each of the others keeps room for one, so that it is
    noticed when something comes in (so the sum may exceed the window by one for each of those).
    """
    if len(taps) == 1:
        return [window]
    free = window - sum(tap.out for tap in taps)
    if free <= 0:
        return [tap.out for tap in taps]
    hungry = sum(tap.hungry for tap in taps)
    if not hungry:
        return [tap.out + max(1, free // len(taps)) for tap in taps]
    share = max(1, (free - (len(taps) - hungry)) // hungry)
    return [tap.out + (share if tap.hungry else 1) for tap in taps]


def plan(taps: list[Tap], window: int) -> Plan:
    """Bring the grants in line with the window; changes the taps, and says what to tell the broker.

    Small windows are followed exactly, large ones roughly: it pays to be exact only where a message could wait
    for long.
    """
    made = Plan()
    taps = [tap for tap in taps if tap.ready]
    if not taps:
        return made
    for tap, target in zip(taps, targets(taps, max(window, 0)), strict=True):
        potential = tap.potential
        if potential < target:
            if target - potential > target // 4 or potential == tap.out:
                _raise(tap, target, made)
        elif potential - target > target // 2:
            _lower(tap, target, made)
    return made


def _raise(tap: Tap, target: int, made: Plan) -> None:
    if len(tap.live) >= MOST_GRANTS:
        made.cancel += [tap.cancel(grant) for grant in list(tap.live)]
    missing = min(target - tap.potential, LARGEST)
    if missing > 0:
        made.grant.append((tap, tap.grant(missing)))


def _lower(tap: Tap, target: int, made: Plan) -> None:
    for grant in reversed(list(tap.live)):
        if tap.potential <= target:
            break
        made.cancel.append(tap.cancel(grant))
    if tap.potential < target:
        made.grant.append((tap, tap.grant(target - tap.potential)))
