"""A consumer's turns in the store: what was said is carried out, and what may be had is reserved.

What happens all the time, acknowledging, beginning, reserving and renewing, is done in `strokes`; everything else in one
transaction.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from celery.brokers.base import BrokerError

from . import claims, clock, leases, store, strokes, turn

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from celery.brokers.base import BrokerOptions, Delivery

    from .database import Database
    from .desk import Errand, Report, State, Word

_SETTLING = frozenset({"ack", "begin", "requeue", "park", "bury"})
_PLAIN = frozenset({"ack", "begin", "allow", "flush"})


class Books:
    """Makes the turns of one consumer.

    Args:
        address: of the consumer's listener.
        lease: seconds.
        patience: seconds to wait for the store's lock.
    """

    def __init__(
        self,
        database: Database,
        worker: str,
        options: BrokerOptions,
        address: str,
        lease: float,
        patience: float,
    ) -> None:
        self._database = database
        self._worker = worker
        self._options = options
        self._address = address
        self._lease = lease
        self._patience = patience
        self._place = claims.prefix(database.path)

    def make(
        self,
        connection: sqlite3.Connection,
        state: State,
        words: Sequence[Word],
        errand: Errand,
        report: Report,
    ) -> tuple[State, list[str]]:
        """Make a turn.

        Args:
            state: as of the last turn; it is left as it is, but for `astray`, `carried` and `out` if the turn fails.

        Returns:
            The state after it, and the addresses to nudge.

        Raises:
            sqlite3.Error, BrokerUnavailable: nothing was said to `report`; the same turn can be made again.
        """
        plain = not (
            errand.dead or errand.orphans or errand.due or errand.sweep or errand.relearn or state.astray
        )
        if plain and state.generation and all(word.kind in _PLAIN for word in words):
            draft = state.copy()
            try:
                return self._strokes(connection, draft, words, errand, report)
            except strokes.Fenced:
                report.clear()  # the transaction below finds out what became of us
            except BaseException:
                state.astray = True
                if draft.carried:
                    state.carried, state.out = draft.carried, state.out & draft.out
                report.clear()
                raise
        return self._transaction(connection, state.copy(), words, errand, report)

    # -- by strokes

    def _strokes(
        self,
        connection: sqlite3.Connection,
        state: State,
        words: Sequence[Word],
        errand: Errand,
        report: Report,
    ) -> tuple[State, list[str]]:
        deadline = time.monotonic() + self._patience
        said = self._understand(words, state, report)
        state.out = state.out - said.released()
        first: dict[str, Any] = {"acks": said.acks, "begins": said.begins}
        if errand.renew:
            first["lease"] = clock.now() + self._lease
        fuller: list[int] = []
        if errand.look and state.room <= 0:
            # Perhaps we were nudged when there was room: the next one must not sleep over what is there.
            fuller = [queue for queue in state.names if store.has_ready(connection, [queue])]
        if state.room > 0 and (errand.look or not state.idle):
            fuller = self._reserve_by_strokes(connection, state, report, first, deadline, len(words))
            dues = turn.next_dues(connection, state.names)
            state.next_due = min(dues, default=None)
        elif said.acks or said.begins or errand.renew:
            strokes.take_turn(self._database, connection, state.generation, deadline=deadline, **first)
        if state.idle and state.room <= 0:
            self._database.insist(
                connection, "DELETE FROM idle WHERE consumer = ?", (state.generation,), deadline
            )
            state.idle = False
        addresses = self._call_others(connection, state, fuller, deadline)
        state.carried = 0
        return state, addresses

    def _reserve_by_strokes(
        self,
        connection: sqlite3.Connection,
        state: State,
        report: Report,
        first: dict[str, Any],
        deadline: float,
        words: int,
    ) -> list[int]:
        """Take a fair share of each queue; returns the queues that may have more.

        Args:
            first: what else the first stroke does: it carries out all words.
            words: how many they are.
        """
        fuller = state.in_turn()
        while fuller and state.room > 0:
            share, hungry = -(-state.room // len(fuller)), []
            for queue in fuller:
                wanted = min(share, state.room)
                if wanted <= 0:
                    hungry.append(queue)
                    continue
                state.turn += 1
                rows = strokes.take_turn(
                    self._database,
                    connection,
                    state.generation,
                    deadline=deadline,
                    turn=state.turn,
                    queue=queue,
                    room=wanted,
                    address=self._address,
                    **first,
                )
                first, state.carried = {}, words
                report.delivered += [self._delivery(row, state) for row in rows]
                state.out = state.out.union(row[1] for row in rows)
                if len(rows) < wanted:
                    state.idle = True
                else:
                    hungry.append(queue)
            fuller = hungry
        return fuller

    def _call_others(
        self, connection: sqlite3.Connection, state: State, queues: Sequence[int], deadline: float
    ) -> list[str]:
        """Whom to nudge for what we had no room for. What was reserved stands, whatever happens here."""
        addresses: list[str] = []
        try:
            for queue in queues:
                addresses += strokes.wake(
                    self._database, connection, queue, 1, deadline, but=state.generation
                )
        except BrokerError:
            return addresses  # they look by themselves
        return addresses

    # -- by a transaction

    def _transaction(
        self,
        connection: sqlite3.Connection,
        state: State,
        words: Sequence[Word],
        errand: Errand,
        report: Report,
    ) -> tuple[State, list[str]]:
        database = self._database
        database.begin(connection, time.monotonic() + self._patience)
        try:
            addresses = self._transact(connection, state, words, errand, report)
            database.commit(connection)
        except BaseException:
            database.rollback(connection)
            report.clear()
            raise
        return state, addresses

    def _transact(
        self,
        connection: sqlite3.Connection,
        state: State,
        words: Sequence[Word],
        errand: Errand,
        report: Report,
    ) -> list[str]:
        if state.generation and not leases.is_valid(connection, state.generation):
            report.fenced = (
                f"the lease of {self._worker} had ended ({self._lease:g} s without a renewal), and others have taken "
                "over what it held"
            )
            state.forget()
        if not state.generation:
            self._declare(connection, state)
            state.generation = leases.register(connection, self._worker, self._address, self._lease)
        elif errand.relearn:
            self._declare(connection, state)
        if state.astray:
            self._find_strays(connection, state, report)
        addresses = self._carry_out(connection, state, words, report)
        if state.ended:
            return addresses + leases.leave(connection, state.generation)
        addresses += self._maintain(connection, state, errand, report)
        if state.room > 0 and (errand.look or errand.due or errand.dead or not state.idle):
            addresses += self._reserve(connection, state, report)
        hungry = state.room > 0
        if hungry and not state.idle:
            store.register_idle(connection, state.names, state.generation, self._address)
        elif state.idle and not hungry:
            store.forget_idle(connection, state.generation)
        state.idle = hungry
        return addresses

    def _maintain(
        self, connection: sqlite3.Connection, state: State, errand: Errand, report: Report
    ) -> list[str]:
        """Renew, sweep, and take over from the dead."""
        addresses: list[str] = []
        if errand.renew:
            leases.renew(connection, state.generation, self._lease)
        if errand.sweep:
            store.touch(connection, state.names)
            store.delete_disused(connection)
        for other in errand.dead:
            addresses += leases.take(connection, other.id, other.lease)
        if errand.dead or errand.orphans:
            rows = leases.adopt(connection, state.generation, state.names)
            report.orphaned += [self._delivery(row, state) for row in rows]
        return addresses

    def _find_strays(self, connection: sqlite3.Connection, state: State, report: Report) -> None:
        """Deliver what a stroke reserved before something went wrong."""
        rows, state.turn = turn.strays(connection, state.generation, state.turn)
        report.delivered += [self._delivery(row, state) for row in rows if row[2] in state.names]
        state.out = state.out.union(row[1] for row in rows)
        state.astray, state.idle = False, False

    def _declare(self, connection: sqlite3.Connection, state: State) -> None:
        """Make our queues if they are not there."""
        known = state.names
        store.declare(connection, state.queues.values())
        state.topology = store.generation(connection)
        self._learn(connection, state)
        if state.names != known:
            state.idle = False

    @staticmethod
    def _learn(connection: sqlite3.Connection, state: State) -> None:
        """Read the numbers of our queues."""
        numbers = {name: store.queue_id(connection, name) for name in state.queues}
        state.names = {number: name for name, number in numbers.items() if number is not None}

    def _carry_out(
        self, connection: sqlite3.Connection, state: State, words: Sequence[Word], report: Report
    ) -> list[str]:
        """Do what the worker said."""
        for word in words:
            if word.kind == "subscribe":
                state.queues = {**state.queues, word.value.name: word.value}
                store.declare(connection, [word.value])
            elif word.kind == "unsubscribe":
                state.queues = {name: queue for name, queue in state.queues.items() if name != word.value}
                store.forget_idle(connection, state.generation)
            else:
                continue
            self._learn(connection, state)
            state.idle = False
        said = self._understand(words, state, report)
        state.out = state.out - said.released()
        return turn.settle(
            connection, state.generation, said, self._options.dead_letter_limit, self._options.dead_letter_ttl
        )

    @staticmethod
    def _understand(words: Sequence[Word], state: State, report: Report) -> turn.Said:
        """Sort what was said; what was said of an older generation is void."""
        said = turn.Said()
        for index, word in enumerate(words):
            valid = [receipt for receipt in word.receipts if receipt[0] == state.generation]
            if word.kind in _SETTLING and index >= state.carried:
                said.add(word.kind, [number for _, number in valid], word.value)
            elif word.kind == "allow":
                state.window = word.value
            elif word.kind == "stop":
                state.ended = True
            if word.answer is not None:
                report.answers.append((word.answer, valid if word.kind == "begin" else None))
        state.carried = 0
        return said

    def _delivery(self, row: tuple[Any, ...], state: State) -> Delivery:
        return turn.delivery(row, state.names, state.generation, self._place)

    def _reserve(self, connection: sqlite3.Connection, state: State, report: Report) -> list[str]:
        """Take what may be had; where more is left than we have room for, the next idle one is called."""
        dues = [due for queue in state.names if (due := turn.promote(connection, queue)) is not None]
        state.next_due = min(dues, default=None)
        rows, fuller = turn.reserve(connection, state.generation, state.in_turn(), state.room)
        report.delivered += [self._delivery(row, state) for row in rows]
        state.out = state.out.union(row[1] for row in rows)
        return [
            address for queue in fuller for address in store.wake(connection, queue, 1, but=state.generation)
        ]
