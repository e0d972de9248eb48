"""Task states: their names, the sets they form, and which of two is further along."""

from __future__ import annotations

__all__ = (
    "EXCEPTION_STATES",
    "FAILURE",
    "IGNORED",
    "PENDING",
    "PROPAGATE_STATES",
    "READY_STATES",
    "RECEIVED",
    "RETRY",
    "REVOKED",
    "STARTED",
    "SUCCESS",
    "UNREADY_STATES",
    "precedence",
    "state",
)

#: Not known (yet): also the state of an id that never existed.
PENDING = "PENDING"
#: A worker has it (seen in events only).
RECEIVED = "RECEIVED"
#: The body is running (stored if `task_track_started`).
STARTED = "STARTED"
SUCCESS = "SUCCESS"
FAILURE = "FAILURE"
REVOKED = "REVOKED"
#: Rejected by a worker (seen in events only).
REJECTED = "REJECTED"
#: Waiting to be run again.
RETRY = "RETRY"
#: The task raised `Ignore`: nothing is stored (internal).
IGNORED = "IGNORED"

#: States from furthest along to least; None stands for every custom state.
PRECEDENCE: list[str | None] = [
    SUCCESS,
    FAILURE,
    None,
    REVOKED,
    STARTED,
    RECEIVED,
    REJECTED,
    RETRY,
    PENDING,
]
PRECEDENCE_LOOKUP: dict[str | None, int] = {name: rank for rank, name in enumerate(PRECEDENCE)}
NONE_PRECEDENCE: int = PRECEDENCE_LOOKUP[None]

#: The task is over.
READY_STATES = frozenset({SUCCESS, FAILURE, REVOKED})
#: The task is not over.
UNREADY_STATES = frozenset({PENDING, RECEIVED, STARTED, REJECTED, RETRY})
#: The result is an exception.
EXCEPTION_STATES = frozenset({RETRY, FAILURE, REVOKED})
#: `AsyncResult.get()` raises the result.
PROPAGATE_STATES = frozenset({FAILURE, REVOKED})

ALL_STATES = frozenset({PENDING, RECEIVED, STARTED, SUCCESS, FAILURE, RETRY, REVOKED})


def precedence(state: str | None) -> int:
    """Rank of a state: the lower the number, the further along. Custom states share one rank."""
    return PRECEDENCE_LOOKUP.get(state, NONE_PRECEDENCE)


class state(str):  # noqa: N801, RUF100 - the public name
    """A state name that compares by precedence.

    >>> state('PROGRESS') > state('STARTED')
    True
    >>> state('PROGRESS') > state('SUCCESS')
    False
    """

    __slots__ = ()

    def __gt__(self, other: str) -> bool:
        return precedence(self) < precedence(other)

    def __ge__(self, other: str) -> bool:
        return precedence(self) <= precedence(other)

    def __lt__(self, other: str) -> bool:
        return precedence(self) > precedence(other)

    def __le__(self, other: str) -> bool:
        return precedence(self) >= precedence(other)
