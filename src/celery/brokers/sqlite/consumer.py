"""The loop's side of a consumer: it only passes words to the clerk's thread, and reports to the worker."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from .clerk import Clerk
from .desk import Receipt, Report, Word

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery.brokers.base import BrokerOptions, Delivery, Intake
    from celery.brokers.topology import Queue

    from .database import Database


class SqliteConsumer:
    """The `Consumer` of a store: see `clerk` for what happens with what is said here.

    Args:
        guarded: tasks run in this process, so that a keeper must renew the lease while one of them
            keeps all threads from running.
    """

    def __init__(self, database: Database, worker_id: str, options: BrokerOptions, *, guarded: bool) -> None:
        self._database = database
        self._worker_id = worker_id
        self._options = options
        self._guarded = guarded
        self._words: deque[Word] = deque()
        self._clerk: Clerk | None = None
        self._thread: threading.Thread | None = None
        self._intake: Intake | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._poking = False
        self._window = 0

    async def start(self, queues: Sequence[Queue], intake: Intake) -> None:
        """See `Consumer.start`."""
        loop = self._loop = asyncio.get_running_loop()
        self._intake = intake
        clerk = Clerk(
            self._database,
            self._worker_id,
            queues,
            self._words,
            self._tell,
            self._options,
            guarded=self._guarded,
        )
        opened: asyncio.Future[None] = loop.create_future()

        def work() -> None:
            try:
                report = clerk.open()
            except Exception as error:  # noqa: BLE001 - whatever it is, `start` raises it
                self._later(_fail, opened, error)
                return
            self._later(_answer, opened, None)
            self._tell(report)
            try:
                clerk.run()
            except Exception as error:  # noqa: BLE001 - a thread that dies silently would leave a deaf worker
                self._later(self._died, clerk, error)

        self._thread = threading.Thread(target=work, name=f"celery-store-{self._worker_id}", daemon=True)
        self._thread.start()
        try:
            await opened
        except asyncio.CancelledError:
            self._words.append(Word("stop"))  # or it would hold a lease for ever
            clerk.poke()
            raise
        self._clerk = clerk

    def _died(self, clerk: Clerk, error: Exception) -> None:
        """The thread has ended by itself: nobody is to wait for its answers."""
        self._clerk = None
        for word in (*clerk.unsaid, *self._words):
            if word.answer is not None:
                _answer(word.answer, None)
        assert self._intake is not None
        self._intake.broken(error)

    def _later(self, callback: Any, *args: Any) -> None:
        """Call something on the loop, from the clerk's thread; nothing if the loop is closed."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            return

    def _tell(self, report: Report) -> None:
        self._later(self._receive, report)

    def _receive(self, report: Report) -> None:
        """Pass a report on; runs on the loop."""
        intake = self._intake
        assert intake is not None
        try:
            self._pass_on(report, intake)
        except Exception as error:  # noqa: BLE001 - what it was told is lost: better a dead worker than a deaf one
            self._say(Word("stop"))
            intake.broken(error)

    @staticmethod
    def _pass_on(report: Report, intake: Intake) -> None:
        if report.error is not None:
            intake.disconnected(report.error)
        if report.connected:
            intake.connected()
        if report.fenced:
            intake.fenced(report.fenced)
        for future, answer in report.answers:
            _answer(future, answer)
        if report.orphaned:
            intake.orphaned(report.orphaned)
        if report.delivered:
            intake.delivered(report.delivered)

    def _say(self, word: Word) -> None:
        self._words.append(word)
        if not self._poking and self._clerk is not None:
            # Once per round of the loop: what is said together is carried out together.
            self._poking = True
            assert self._loop is not None
            self._loop.call_soon(self._poke)

    def _poke(self) -> None:
        self._poking = False
        if self._clerk is not None:
            self._clerk.poke()

    async def _ask(self, kind: str, receipts: Sequence[Receipt] = (), value: Any = None) -> Any:
        if self._clerk is None:
            return None
        assert self._loop is not None
        future: asyncio.Future[Any] = self._loop.create_future()
        self._say(Word(kind, receipts, value, future))
        return await future

    def allow(self, window: int) -> None:
        """See `Consumer.allow`."""
        if window != self._window:
            self._window = window
            self._say(Word("allow", value=window))

    async def subscribe(self, queue: Queue) -> None:
        """See `Consumer.subscribe`."""
        await self._ask("subscribe", value=queue)

    async def unsubscribe(self, queue: str) -> None:
        """See `Consumer.unsubscribe`."""
        await self._ask("unsubscribe", value=queue)

    async def begin(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """See `Consumer.begin`."""
        receipts = [delivery.receipt for delivery in batch if delivery.receipt is not None]
        begun = set(await self._ask("begin", receipts) or ())
        return [delivery for delivery in batch if delivery.receipt in begun]

    def _settle(self, kind: str, delivery: Delivery, value: Any = None) -> None:
        """Say how a delivery ended; what is said a second time is void."""
        receipt, delivery.receipt = delivery.receipt, None
        if receipt is not None:
            self._say(Word(kind, (receipt,), value))

    def ack(self, delivery: Delivery) -> None:
        """See `Consumer.ack`."""
        self._settle("ack", delivery)

    def requeue(
        self, delivery: Delivery, *, front: bool = True, count: bool = True, ran: bool = True
    ) -> None:
        """See `Consumer.requeue`."""
        self._settle("requeue", delivery, (front, count, ran))

    def park(self, delivery: Delivery, due: float) -> None:
        """See `Consumer.park`."""
        self._settle("park", delivery, due)

    def bury(self, delivery: Delivery, reason: str) -> None:
        """See `Consumer.bury`."""
        self._settle("bury", delivery, reason)

    async def flush(self) -> None:
        """See `Consumer.flush`."""
        await self._ask("flush")

    def quiet_for(self) -> float:
        """See `Consumer.quiet_for`: nothing is far away."""
        return 0.0

    def reconnect(self, why: str) -> None:
        """See `Consumer.reconnect`: there is no connection."""

    async def stop(self) -> None:
        """See `Consumer.stop`."""
        if self._clerk is None:
            return
        await self._ask("stop")
        self._clerk = None
        self._window = 0
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)


def _answer(future: asyncio.Future[Any], answer: Any) -> None:
    if not future.done():
        future.set_result(answer)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
