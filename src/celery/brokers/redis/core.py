"""The heart of a consumer: what it holds, what it has to say, and the writes by which both are carried out.

What is said stays in the outbox until the server has answered, and is said again after a lost connection: every
command in it does the same when it is carried out twice. A reservation is never repeated: what it may have reserved
is looked up by the numbers it was given.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from celery.brokers.base import LEASE, BrokerError
from celery.wire.resp import ErrorReply, pack, pack_all

from . import messages, scripts
from .desk import Entry, Held, Queues, Turn
from .dues import Dues
from .errors import BUSY, ELSEWHERE, translate
from .lease import Lease
from .reaper import Reaper
from .session import Session
from .waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from celery.brokers.base import Delivery, Intake
    from celery.brokers.topology import Queue

    from .aio import Link
    from .broker import RedisBroker
    from .desk import Place

logger = logging.getLogger("celery.brokers.redis")

#: With larger windows a reservation waits until so much of the window is free, but no longer than this (seconds): what
#: fills the rest may be tasks that run for hours.
_WORTH_IT = 0.25
_SMALL_WINDOW = 32
_PATIENCE = 0.01
#: Seconds for which the record of a begun task that has ended may stay for want of another write.
_TIDY = 0.004
#: Seconds before something is tried again that the server refused.
_AFTER_REFUSAL = 1.0


class Core:
    """All of it runs on the worker's loop. The parts (`session`, `waiting`, `dues`, `lease`, `reaper`) know it and
    through it one another.

    Attributes:
        incarnation: names one life of this worker's lease; empty before it has one.
        held: what is delivered and not settled, by number.
        next: the next number to give.
        window, out: how many may be delivered and neither settled nor begun, and how many are.
        turns: writes that are not answered; `astray`: those that reserved on a connection that was lost.
        refused: what the server could not carry out then: it is said again a little later.
        acks: what has ended, and must be said; `ended`: of what was begun, which is said with the next write.
        short: late acknowledgements that the server has answered, but found less than they name.
        drained: the last reservation found less than it wanted: wait to be told of more.
    """

    def __init__(self, broker: RedisBroker, worker_id: str, *, guarded: bool) -> None:
        options = broker.settings.options
        self.broker = broker
        self.keys = broker.keys
        self.worker_id = worker_id
        self.incarnation = ""
        self.lease_seconds = float(options.get("lease") or LEASE)
        self.queues = Queues(broker.keys, str(options.get("queue_order_strategy") or "round_robin"))
        self.held: dict[int, Held] = {}
        self.next = 1
        self.window = 0
        self.out = 0
        self.outbox: list[Entry] = []
        self.acks: list[Held] = []
        self.ended: list[Held] = []
        self.short: list[Held] = []
        self.parks: dict[str, list[Any]] = {}  # by queue: for each its tag, the new one, due time, nothing
        self.turns: list[Turn] = []
        self.astray: list[Turn] = []
        self.refused: list[Entry] = []
        self.drained = False
        self.link: Link | None = None
        self.flushing = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self.rested = asyncio.Event()
        self.stopping = False
        self.stopped = False
        self._quiet_until = 0.0
        self._waited = False  # long enough for more to become free
        self._impatience: asyncio.TimerHandle | None = None
        self._tidying: asyncio.TimerHandle | None = None
        self.loop: asyncio.AbstractEventLoop
        self.intake: Intake
        self.session = Session(self)
        self.waiting = Waiting(self)
        self.dues = Dues(self)
        self.lease = Lease(self, guarded=guarded)
        self.reaper = Reaper(self)

    async def ask(self, *commands: Any, link: Link | None = None) -> list[Any]:
        """Carry out commands now, not by the outbox.

        Raises:
            BrokerError: the connection is lost, or a command failed.
        """
        used = link or self.link
        if used is None:
            raise translate(ConnectionResetError("not connected"), self.broker.settings.url)
        patience = (
            max(self.broker.options.heartbeat, self.lease_seconds / 2)
            if self.broker.options.heartbeat
            else 30.0
        )
        try:
            async with asyncio.timeout(patience):
                replies = await used.send(pack_all(commands), len(commands))
        except TimeoutError:
            used.abort("no answer in time")
            raise translate(TimeoutError(), self.broker.settings.url) from None
        for reply in replies:
            if isinstance(reply, ErrorReply):
                raise translate(reply, self.broker.settings.url)
        return replies

    def declaring(self, queue: Queue) -> list[Any]:
        return list(self.broker.exchanges.declaring(queue))

    def since(self) -> int:
        """The first number that may be held without our knowing."""
        return min((turn.first for turn in (*self.turns, *self.astray) if turn.room), default=self.next)

    def numbers(self) -> str:
        """What the server has under our name, as far as is known: also what has ended, until that is said."""
        unsaid = (held.number for held in (*self.acks, *self.ended))
        return ",".join(map(str, (*self.held, *unsaid)))

    def ready_of(self, raw: bytes, queue: str) -> str:
        keys = self.keys
        return keys.ready(queue, keys.steps[keys.step_of(messages.priority_of(raw))])

    def spawn(self, work: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any) -> None:
        """Run something beside; what it raises of the broker's errors is no more than a lost connection."""

        async def quietly() -> None:
            try:
                await work(*arguments)
            except BrokerError as error:
                logger.debug("%s", error)
            except Exception as error:  # noqa: BLE001 - a consumer that goes on half dead would be deaf
                self.broke(error)

        task = self.loop.create_task(quietly())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def broke(self, error: BaseException) -> None:
        if not self.stopped:
            self.intake.broken(error)

    def fence(self, reason: str) -> None:
        """The lease was lost: everything held is somebody else's."""
        self.held.clear()
        self.out = 0
        self.say_again()
        entries = [entry for turn in (*self.astray, *self.turns) for entry in turn.entries] + self.outbox
        unsaid = [held for held in self.acks if not held.begun]
        ended = {held.tag: held for held in (*self.short, *unsaid, *(h for e in entries for h in e.late))}
        self.short.clear()
        self.astray, self.turns, self.outbox, self.acks, self.ended = [], [], [], [], []
        self.parks.clear()
        self.waiting.adopting = 0
        for entry in entries:
            if entry.answer is not None and not entry.answer.done():
                entry.answer.set_result(entry.void)
        self.dues.at.clear()
        self.incarnation = ""
        self.intake.fenced(reason, ended=[messages.id_of(held.raw) for held in ended.values()])

    def fenced_now(self) -> None:
        """The server says that we are not known any more."""
        if not self.incarnation or self.link is None or self.stopped:
            return
        self.link.abort("this worker's lease is over")  # the next connection finds out the rest

    def tag(self, number: int) -> str:
        """The tag of what this worker holds."""
        return f"{self.incarnation}:{number}"

    def say(self, *commands: Any, done: Callable[[list[Any]], None] | None = None) -> None:
        """Have commands carried out with the next write."""
        self.outbox.append(Entry(pack_all(commands), len(commands), done))
        self.flush_soon()

    def flush_soon(self) -> None:
        if not self.flushing:
            self.flushing = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self.flushing = False
        link = self.link
        if link is None:
            return
        try:
            self._write(link)
            self.waiting.wait_for_more()
        except Exception as error:  # noqa: BLE001 - see `broken`
            self.broke(error)

    def _write(self, link: Link) -> None:
        """Everything that was said, and a reservation if there is room for one."""
        reserving = any(turn.room for turn in self.turns)
        room = self.window - self.out
        wanted = not reserving and not self.drained and self._is_worth_it(room)
        if room > 0 and not self.stopping:
            self.dues.promote()
        if not (self.outbox or wanted) and (reserving or not (self.acks or self.parks)):
            return  # acknowledgements ride with the next reservation
        self.gather()
        entries, self.outbox = self.outbox, []
        turn = Turn(entries)
        parts = [entry.data for entry in entries]
        count = sum(entry.count for entry in entries)
        if wanted:
            self._waited = False
            turn.order = self.queues.in_turn()
            turn.first, turn.room = self.next, room
            self.next += room
            record = self.keys.worker(self.incarnation)
            prefix, connection = f"{self.incarnation}:", self.session.connection
            parts.append(self.queues.reserve(record, prefix, turn.first, room, turn.order, connection))
            count += 1
        self.turns.append(turn)
        link.write(b"".join(parts) if len(parts) > 1 else parts[0], count, self._answered)

    def tidy_soon(self) -> None:
        """Have the records removed of what has ended, with the next write: soon there is one."""
        if self._tidying is None:
            self._tidying = self.loop.call_later(_TIDY, self._tidy)

    def _tidy(self) -> None:
        self._tidying = None
        if self.ended:
            self.acks += self.ended
            self.ended = []
            self.flush_soon()

    def _is_worth_it(self, room: int) -> bool:
        if room <= 0 or self.stopping or not self.queues or self.loop.time() < self._quiet_until:
            return False
        if self._waited or room >= self.window * _WORTH_IT or self.window <= _SMALL_WINDOW:
            return True
        if self._impatience is None:
            self._impatience = self.loop.call_later(_PATIENCE, self._has_waited)
        return False

    def _has_waited(self) -> None:
        self._impatience = None
        self._waited = True
        self.flush_soon()

    def gather(self) -> None:
        """Put what comes by the hundred into the outbox, in as few commands as can be."""
        if self.acks or self.ended:
            self.outbox.append(self._acknowledgement())
        if not self.parks:
            return
        parks, self.parks = self.parks, {}
        keys, timeout = self.keys, self.broker.visibility_timeout
        for queue, items in parks.items():
            names = [keys.unacked, keys.index, keys.due(queue), keys.nudges]
            self.outbox.append(Entry(pack(*scripts.PARK.call(names, [timeout, queue, *items]))))

    def _acknowledgement(self) -> Entry:
        acks = self.acks + self.ended
        self.acks, self.ended = [], []
        keys = self.keys
        data = pack("HDEL", keys.unacked, *[held.tag for held in acks])
        late = [held for held in acks if not held.begun]
        if not late:
            return Entry(data)

        def done(replies: list[Any]) -> None:
            if replies[1] != len(late):
                self.short += late

        entry = Entry(data + pack("ZREM", keys.index, *[held.tag for held in late]), 2, done)
        entry.late = late
        return entry

    def _answered(self, replies: list[Any]) -> None:
        """The replies to the oldest write."""
        turn = self.turns.pop(0)
        news = bool(turn.room or self.outbox or self.acks or self.parks)
        try:
            start = 0
            for entry in turn.entries:
                own = replies[start : start + entry.count]
                start += entry.count
                if self._is_refused(own):
                    self._refuse(entry)
                elif entry.done is not None:
                    entry.done(own)
                    news = True
            if turn.room:
                self._reserved(turn, replies[-1])
        except Exception as error:  # noqa: BLE001 - see `broken`
            self.broke(error)
            return
        if news:  # what was only to be carried out changes nothing here
            self.flush_soon()
        self.rested.set()

    def _is_refused(self, replies: list[Any]) -> bool:
        """Tell of what failed; whether it may work later, or elsewhere."""
        errors = [reply for reply in replies if type(reply) is ErrorReply]
        for error in errors:
            self.trouble(error)
        return any(error.code in BUSY or _is_wrong_place(error) for error in errors)

    def _refuse(self, entry: Entry) -> None:
        if not self.refused:
            self.loop.call_later(_AFTER_REFUSAL, self.say_again)
        self.refused.append(entry)

    def say_again(self) -> None:
        """Put what the server refused back into the outbox."""
        if self.refused:
            refused, self.refused = self.refused, []
            self.outbox[:0] = refused
            self.flush_soon()

    def trouble(self, error: ErrorReply) -> None:
        """A command failed."""
        if _is_wrong_place(error):
            if self.link is not None:
                self.link.abort(str(error))
            return
        logger.error("%s", translate(error, self.broker.settings.url))

    def _reserved(self, turn: Turn, reply: Any) -> None:
        if type(reply) is ErrorReply:
            self.trouble(reply)
            self._quiet_until = self.loop.time() + _AFTER_REFUSAL
            self.loop.call_later(_AFTER_REFUSAL, self.flush_soon)
            return
        if not reply and reply != []:
            self.fenced_now()
            return
        batch: list[Delivery] = []
        number = turn.first
        for index in range(0, len(reply), 2):
            place = turn.order[reply[index]]
            for raw in reply[index + 1]:
                batch.append(self.hold(number, raw, place.queue, place.ready))
                number += 1
        if len(batch) < turn.room:
            self.drained = True
        if batch:
            self.waiting.watched = turn.order[reply[-2]].ready
            self.deliver(batch)

    def hold(self, number: int, raw: bytes, queue: str, ready: str) -> Delivery:
        held = self.held[number] = Held(number, f"{self.incarnation}:{number}", raw, queue, ready)
        self.out += 1
        delivery = messages.read(raw, queue, held)
        delivery.claim = self.session.claim and self.session.claim + held.tag
        return delivery

    def let_go(self, number: int) -> None:
        """Forget what turned out not to be ours."""
        held = self.held.pop(number, None)
        if held is not None and not held.begun:
            self.out -= 1

    def give_back(self, number: int, place: Place, raw: bytes) -> None:
        """Put back what is ours on the server and is not held here; nothing happens if it is not."""
        keys = [self.keys.unacked, self.keys.index]
        self.say(scripts.GIVE_BACK.call(keys, [self.tag(number), place.ready, raw, 1]))

    def deliver(self, batch: list[Delivery]) -> None:
        if batch:
            self.intake.delivered(batch)

    def more(self, ready: str | None = None) -> None:
        """There may be something."""
        self.drained = False
        if ready is not None:
            self.waiting.watched = ready
        self.flush_soon()


def _is_wrong_place(error: ErrorReply) -> bool:
    """Whether it has to be said on a new connection, perhaps to another server."""
    return error.code in ELSEWHERE or error.code == "NOSCRIPT"
