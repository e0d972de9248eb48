"""The thread of a consumer that talks to the store.

Everything the worker said since the last turn, and everything it may have now, go out in one transaction; with
nothing to do the thread sleeps on its wake-up socket until the next due time, renewal or (for nudges
that went astray) look-out.
"""

from __future__ import annotations

import logging
import random
import sqlite3
import time
from typing import TYPE_CHECKING

from celery.brokers.base import LEASE, LEASE_RENEW_EVERY, BrokerError, BrokerUnavailable
from celery.net.readable import readable

from . import clock, leases, store, strokes
from .books import Books
from .checkpoints import Checkpointer
from .desk import Errand, Report, State, Word
from .forks import ForkLock
from .keeper import Keeper
from .wakeup import Listener, nudge

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence

    from celery.brokers.base import BrokerOptions
    from celery.brokers.topology import Queue

    from .database import Database

logger = logging.getLogger(__name__)

#: Seconds between two looks at the store without having been nudged.
LOOK_OUT = 1.0
#: Seconds between two sweeps of temporary queues.
SWEEP = 3.0

#: So many rounds that fail in a way nobody foresaw, within so many seconds, end the thread, and with it the worker.
_STRIKES, _STRIKES_WITHIN = 4, 60.0
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0


class Clerk:
    """See the module. `run` is the thread's target.

    Args:
        words: what the worker's loop says, in order; it calls `poke` after adding to it.
        tell: called in the clerk's thread with each report.
        guarded: a keeper renews the lease while this process cannot.

    Attributes:
        unsaid: words that the store has not heard yet.
    """

    def __init__(
        self,
        database: Database,
        worker: str,
        queues: Sequence[Queue],
        words: deque[Word],
        tell: Callable[[Report], None],
        options: BrokerOptions,
        *,
        guarded: bool,
    ) -> None:
        self._database = database
        self._words = words
        self._tell = tell
        self._lease = float(options.transport_options.get("lease", LEASE))
        self._renew_every = self._lease * LEASE_RENEW_EVERY / LEASE
        self._tick = min(LOOK_OUT, self._renew_every / 3)
        self._keeper = Keeper(database.path, self._lease) if guarded else None
        self.listener = Listener()
        self._checkpoints = Checkpointer(database)
        self._lock = ForkLock()
        patience = max(self._renew_every, 0.5)
        self._books = Books(database, worker, options, self.listener.address, self._lease, patience)
        self._connection: sqlite3.Connection | None = None
        self._inode = (0, 0)
        self._state = State(queues={queue.name: queue for queue in queues})
        self.unsaid: list[Word] = []
        self._asleep = False
        self._errand = Errand()
        self._renew_at = 0.0
        self._look_out_at = 0.0
        self._sweep_at = 0.0
        # Stalls of our own:
        self._last_round = clock.now()
        self._trusting_from = clock.now() + self._lease
        self._down: BrokerError | None = None
        self._pause = _FIRST_PAUSE
        self._strikes: list[float] = []

    def poke(self) -> None:
        """Wake the thread if it sleeps; called by the worker's loop after adding words."""
        if self._asleep:
            nudge([self.listener.address])

    def open(self) -> Report:
        """Declare the queues and announce the worker, in the calling thread.

        Returns:
            What there is to tell already: orphans, perhaps.

        Raises:
            BrokerUnavailable, BrokerRefused: as they say; then everything is closed again.
        """
        report = Report()
        try:
            with self._lock.lock:
                self._round(report)
        except BaseException:
            self._close()
            raise
        return report

    def run(self) -> None:
        """Work until told to stop."""
        try:
            while not self._state.ended:
                report = Report()
                try:
                    with self._lock.lock:
                        self._round(report)
                except BrokerError as error:
                    self._trouble(error, report)
                except Exception as error:
                    # Too many open files, perhaps, and gone the next time; or ours to repair, and then the end.
                    logger.exception("Unexpected error in the store's thread")
                    now = clock.now()
                    self._strikes = [strike for strike in self._strikes if now - strike < _STRIKES_WITHIN]
                    self._strikes.append(now)
                    if len(self._strikes) >= _STRIKES:
                        raise
                    self._trouble(BrokerUnavailable(f"{self._database.path}: {error!r}"), report)
                if self._state.ended:
                    self._close()
                if report:
                    self._tell(report)
                if self._down is not None:
                    self._wait_out()
                elif not self._state.ended:
                    self._sleep()
        finally:
            self._close()

    def _round(self, report: Report) -> None:
        """Look around if it is time to, and make a turn if there is anything to do."""
        self._hear()
        now = clock.now()
        if now - self._last_round > self._renew_every:
            # We stood still for so long that others may only seem dead because everything did.
            self._trusting_from = now + self._lease
        self._last_round = now
        state = self._state
        try:
            connection = self._connected()
            if now >= self._look_out_at:
                self._look_out_at = now + self._tick
                self._look_out(connection, state, trusting=now >= self._trusting_from)
            errand = self._errand
            errand.due = state.room > 0 and state.next_due is not None and state.next_due <= time.time()
            errand.renew, errand.sweep = now >= self._renew_at, now >= self._sweep_at
            if self.unsaid or errand:
                self._turn(connection, errand, report, now)
        except sqlite3.Error as error:
            raise self._database.translate(error) from error
        if self._down is not None:
            self._down, self._pause, report.connected = None, _FIRST_PAUSE, True

    def _hear(self) -> None:
        while True:
            try:
                self.unsaid.append(self._words.popleft())
            except IndexError:
                return

    def _look_out(self, connection: sqlite3.Connection, state: State, *, trusting: bool) -> None:
        """Look for the dead, and for messages that nobody nudged us for. Reads only."""
        found = leases.others(connection, state.generation)
        errand = self._errand
        errand.dead = [
            other
            for other in found
            if other.lease != leases.TAKEN
            and leases.is_dead(other, trusting=trusting, doubtful_after=self._lease - 1.2 * self._renew_every)
        ]
        errand.orphans = any(other.lease == leases.TAKEN for other in found) and leases.has_orphans(
            connection, state.names
        )
        errand.relearn = bool(state.generation) and store.generation(connection) != state.topology
        if state.room > 0 and not errand.look and store.has_ready(connection, state.names):
            errand.look, state.idle = True, False

    def _turn(self, connection: sqlite3.Connection, errand: Errand, report: Report, now: float) -> None:
        """Make a turn; what it changes in memory counts only once the store has it."""
        before, words = self._state.generation, self.unsaid
        self._state, addresses = self._books.make(connection, self._state, words, errand, report)
        self.unsaid, self._errand = [], Errand(look=False)
        renewed = errand.renew or self._state.generation != before
        if renewed:
            self._renew_at = now + self._renew_every
        if errand.sweep:
            self._sweep_at = now + SWEEP
        if addresses:
            nudge(addresses)
        self._checkpoints.wrote(len(report.delivered) + len(words))
        if renewed and self._keeper is not None and not self._state.ended:
            try:
                self._keeper.keep(self._state.generation)
            except OSError as error:  # the next renewal tries again
                logger.warning("Could not start the process that guards this worker's lease: %s", error)

    def _sleep(self) -> None:
        """Until a nudge, a word, the next due time, renewal or look-out."""
        self._asleep = True
        try:
            if self._words:
                return
            now = clock.now()
            wait = min(self._renew_at, self._look_out_at) - now
            if self._state.room > 0 and self._state.next_due is not None:
                wait = min(wait, self._state.next_due - time.time())
            if readable(self.listener, wait):
                self.listener.drain()
                self._errand.look, self._state.idle = True, False
        finally:
            self._asleep = False

    def _trouble(self, error: BrokerError, report: Report) -> None:
        """The store cannot be used now: say so once, keep what was not said, try again later."""
        self._hear()
        if self._down is None:
            report.error = error
        self._down = error
        self._trusting_from = clock.now() + self._lease
        self._disconnect()
        if any(word.kind == "stop" for word in self.unsaid):
            # Nothing can be given back now; the lease will end by itself.
            report.answers += [(word.answer, None) for word in self.unsaid if word.answer is not None]
            self._state.ended = True
            self._down = None

    def _wait_out(self) -> None:
        until = clock.now() + self._pause * (0.5 + random.random())
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        while (left := until - clock.now()) > 0:
            self._asleep = True
            # A copy, made in one go: the loop's thread adds to it.
            if any(word.kind == "stop" for word in tuple(self._words)):
                break
            if readable(self.listener, left):
                self.listener.drain()
        self._asleep = False

    def _connected(self) -> sqlite3.Connection:
        """The connection; a new one if the file was removed or replaced."""
        if self._connection is not None:
            if self._database.inode() == self._inode:
                return self._connection
            self._disconnect()
        self._connection = self._database.connect()
        strokes.install(self._connection)
        self._inode = self._database.inode()
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _close(self) -> None:
        self._disconnect()
        self._checkpoints.close()
        self.listener.close()
        if self._keeper is not None:
            self._keeper.close()
