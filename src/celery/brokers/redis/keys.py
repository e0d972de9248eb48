"""Names of keys and channels: those shared with kombu, and our own beside them (`celeriac.*`).

| key | type | holds |
|---|---|---|
| `<queue>`, `<queue><sep><step>` | list | what is ready, one list for each priority step; kombu's |
| `unacked` | hash | tag -> `[message, exchange, routing key]` of all that workers hold or have parked; kombu's |
| `unacked_index` | sorted set | tag -> unix time from which stock workers count `visibility_timeout`; kombu's |
| `_kombu.binding.<exchange>` | set | `routing key<sep>pattern<sep>queue`; kombu's |
| `celeriac.leases` | sorted set | incarnation of a worker -> when its lease ends, in ms of the broker's clock; -1: being reaped |
| `celeriac.worker.<incarnation>` | hash | what it may hold, for whoever reaps it; gone when it is fenced |
| `celeriac.reaped.<incarnation>` | hash | the same, from when it is fenced until all of it is taken over |
| `celeriac.pending.<incarnation>.<list>` | list | what `BLMOVE` has given to a worker and it has not yet adopted |
| `celeriac.due.<queue>` | sorted set | tag -> due time of what is parked (its message is in `unacked`) |
| `celeriac.orphans.<queue>` | list | begun messages of dead workers, until a worker of that queue takes them |
| `<queue>.dead` | stream | dead letters; `celeriac.dead` is the set of queues that have any |
| `celeriac.exchanges.<queue>` | set | the exchanges that a queue is bound to |
| `celeriac.era` | string | made anew when the server has lost everything |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.brokers.base import BrokerRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

SEPARATOR = "\x06\x16"
STEPS = (0, 3, 6, 9)


class Keys:
    """All names, by the transport options.

    Args:
        options: reads `global_keyprefix`, `sep`, `priority_steps`, `unacked_key`, `unacked_index_key`,
            `fanout_prefix`, `fanout_patterns`.
        database: is part of the names of channels.
        cluster: all keys are in one slot, by the hash tag in their prefix.
    """

    def __init__(self, options: Mapping[str, Any], database: int = 0, *, cluster: bool = False) -> None:
        prefix = str(options.get("global_keyprefix") or "")
        if cluster and not ("{" in prefix and "}" in prefix.partition("{")[2]):
            prefix = f"{{{prefix or 'celery'}}}"
        self.prefix = prefix
        self.separator = str(options.get("sep") or SEPARATOR)
        self.steps = _steps(options.get("priority_steps"))
        self.unacked = prefix + str(options.get("unacked_key") or "unacked")
        self.index = prefix + str(options.get("unacked_index_key") or "unacked_index")
        self.leases = f"{prefix}celeriac.leases"
        self.dead_queues = f"{prefix}celeriac.dead"
        self.dead_counter = f"{prefix}celeriac.dead.count"
        self.era = f"{prefix}celeriac.era"
        self.nudges = f"{prefix}celeriac.nudges"
        self.deadlines = f"{prefix}_kombu.binding_deadlines"
        fanout = options.get("fanout_prefix", True)
        if isinstance(fanout, str) and fanout not in ("True", "False", "1", "0"):
            self._channel = fanout.replace("{db}", str(database))
        else:
            self._channel = f"/{database}." if fanout and fanout not in ("False", "0") else ""
        self._patterns = options.get("fanout_patterns", True) not in (False, "False", "0", 0, None)

    # -- queues -----------------------------------------------------------------------------------
    def ready(self, queue: str, step: int) -> str:
        """The list of one priority step."""
        return f"{self.prefix}{queue}{self.separator}{step}" if step else self.prefix + queue

    def lists(self, queue: str) -> list[str]:
        """All lists of a queue, the most urgent first."""
        return [self.ready(queue, step) for step in self.steps]

    def step_of(self, priority: int) -> int:
        """The index in `steps` of the highest step that is not above a priority."""
        found = 0
        for index, step in enumerate(self.steps):
            if step <= priority:
                found = index
        return found

    def due(self, queue: str) -> str:
        """What is parked."""
        return f"{self.prefix}celeriac.due.{queue}"

    def orphans(self, queue: str) -> str:
        """What dead workers had begun."""
        return f"{self.prefix}celeriac.orphans.{queue}"

    def dead(self, queue: str) -> str:
        """Dead letters."""
        return f"{self.prefix}{queue}.dead"

    # -- exchanges --------------------------------------------------------------------------------
    def binding(self, exchange: str) -> str:
        """Bindings of all queues."""
        return f"{self.prefix}_kombu.binding.{exchange}"

    def permanent(self, exchange: str) -> str:
        """Bindings of the queues that do not expire."""
        return f"{self.prefix}_kombu.binding_permanent.{exchange}"

    def exchanges(self, queue: str) -> str:
        """The exchanges that a queue is bound to."""
        return f"{self.prefix}celeriac.exchanges.{queue}"

    def member(self, routing_key: str, pattern: str, queue: str) -> str:
        """One binding, as it is written."""
        return self.separator.join((routing_key, pattern, queue))

    def channel(self, exchange: str, routing_key: str) -> str:
        """The channel that a message to a fanout exchange is published on."""
        tail = f"/{routing_key}" if routing_key and self._patterns else ""
        return f"{self.prefix}{self._channel}{exchange}{tail}"

    def channel_pattern(self, exchange: str, routing_key: str) -> str:
        """The pattern that gets what is bound by a routing key (`#` and `*` are wildcards)."""
        return self.channel(exchange, routing_key.replace("#", "*"))

    # -- workers ----------------------------------------------------------------------------------
    def worker(self, incarnation: str) -> str:
        """The record of a worker."""
        return f"{self.prefix}celeriac.worker.{incarnation}"

    def reaped(self, incarnation: str) -> str:
        """The record of a fenced worker."""
        return f"{self.prefix}celeriac.reaped.{incarnation}"

    def pending(self, incarnation: str, ready: str) -> str:
        """What `BLMOVE` has moved from one list."""
        return f"{self.prefix}celeriac.pending.{incarnation}.{ready.removeprefix(self.prefix)}"


def _steps(value: Any) -> tuple[int, ...]:
    if not value:
        return STEPS
    try:
        steps = tuple(sorted({int(step) for step in value}))
    except (TypeError, ValueError):
        raise BrokerRefused(f"priority_steps must be numbers, as [0, 3, 6, 9], not {value!r}") from None
    return steps
