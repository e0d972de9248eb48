"""The Redis driver's `Consumer`: batches in by one script, settlements out with the next write.

Everything happens on the worker's loop, over two connections. The first carries all commands; what is said in one round of the
loop goes out in one write, and acknowledgements wait for the reservation that is on its way, so that they ride with
the next one. The second only waits (`waiter`): `BLMOVE` on the list that had something last. Changes of all other lists are
announced on the first one (`CLIENT TRACKING`), and every lease renewal looks at them too.

What is said stays in the outbox until the server has answered, and is said again after a lost connection: every
command in it does the same when it is carried out twice. A reservation is never repeated: what it may have reserved
is looked up by the numbers it was given.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

from celery.brokers.base import LEASE, BrokerError, BrokerRefused
from celery.net.backoff import Backoff
from celery.utils.uuids import uuid
from celery.wire.resp import ErrorReply, pack, pack_all

from . import claims, messages, scripts
from .aio import Link
from .desk import Entry, Held, Place, Queues, Turn
from .errors import ELSEWHERE, translate
from .exchanges import lifetime
from .locate import locator_of
from .reaper import Reaper
from .waiter import Waiter

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from celery.brokers.base import Delivery, Intake
    from celery.brokers.topology import Queue

    from .broker import RedisBroker
    from .keeper import Keeper
    from .settings import Target

logger = logging.getLogger("celery.brokers.redis")

#: With larger windows a reservation waits until so much of the window is free (or nothing else is left to do).
_WORTH_IT = 0.25
_SMALL_WINDOW = 32
#: Parked messages made ready in one script at most.
_PROMOTE = 500
#: Parts of a lease after which it is renewed.
_RENEW = 0.3
#: Seconds between looks for what is left over: bindings, messages of stock workers that have disappeared.
_SWEEP = 10.0
#: Seconds before a reservation is tried again that the server refused.
_AFTER_REFUSAL = 1.0


class RedisConsumer:
    """See `Consumer`.

    Args:
        guarded: tasks run in this process: a keeper renews the lease while one of them keeps all threads from running.
    """

    def __init__(self, broker: RedisBroker, worker_id: str, *, guarded: bool) -> None:
        options = broker.settings.options
        self.broker = broker
        self.keys = broker.keys
        self.worker_id = worker_id
        self.incarnation = ""
        self.lease = float(options.get("lease") or LEASE)
        self.queues = Queues(broker.keys, str(options.get("queue_order_strategy") or "round_robin"))
        self.held: dict[int, Held] = {}
        self.next = 1
        self.link: Link | None = None
        self._locator = locator_of(broker.settings)
        self._waiter = Waiter(broker.settings, self._locator, self._woken, self._waiter_lost)
        self.server_run = b""  # names this run of the server: ids of clients begin anew with each
        self._waiters: set[tuple[bytes, int]] = set()
        self._reaper = Reaper(self)
        self._keeper: Keeper | None = None
        self._guarded = guarded
        self._era = b""
        self._claim = ""
        self._window = 0
        self._out = 0
        self._outbox: list[Entry] = []
        self._acks: list[Held] = []
        self._turns: list[Turn] = []  # sent, not answered
        self._astray: list[Turn] = []  # sent on a connection that was lost
        self._drained = False
        self._watched: str | None = None
        self._tracked: set[str] = set()
        self._adopting = 0
        self._dues: dict[str, float] = {}
        self._due_timer: asyncio.TimerHandle | None = None
        self._tick_timer: asyncio.TimerHandle | None = None
        self._ticked_at = 0.0
        self._seen_at = 0.0
        self._ticking = False
        self._sweep_at = 0.0
        self._quiet_until = 0.0
        self._flushing = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._rested = asyncio.Event()
        self._stopping = False
        self._stopped = False
        self.trusting_from = 0.0

    # -- life -------------------------------------------------------------------------------------
    async def start(self, queues: Sequence[Queue], intake: Intake) -> None:
        """See `Consumer.start`."""
        self.loop = asyncio.get_running_loop()
        self.intake = intake
        self.queues.set(queues)
        try:
            await self._connect()
        except BaseException:
            self._close_links()
            raise
        self.trusting_from = self.loop.time() + self.lease
        self._sweep_at = self._seen_at = self.loop.time()
        self._tick()

    async def _connect(self) -> None:
        """Open both connections and be known to the server.

        Raises:
            BrokerError: it did not work; nothing is open then.
        """
        broker = self.broker
        link = await Link.open(
            broker.settings, self._locator, on_push=self._pushed, scripts=scripts.OF_WORKERS
        )
        try:
            await self._waiter.connect()
            await self._resume(link)
        except BaseException:
            link.close()
            self._waiter.close()
            raise
        if not link.is_open:
            raise translate(ConnectionResetError("Connection closed by server"), broker.settings.url)
        link._on_lost = self._lost
        self.link = link
        self._flush_soon()

    async def ask(self, *commands: Any, link: Link | None = None) -> list[Any]:
        """Carry out commands now, not by the outbox.

        Raises:
            BrokerError: the connection is lost, or a command failed.
        """
        used = link or self.link
        if used is None:
            raise translate(ConnectionResetError("not connected"), self.broker.settings.url)
        patience = (
            max(self.broker.options.heartbeat, self.lease / 2) if self.broker.options.heartbeat else 30.0
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

    async def _resume(self, link: Link) -> None:
        """Go on where the last connection ended, or begin."""
        keys = self.keys
        declaring = [command for queue in self.queues.by_name.values() for command in self._declaring(queue)]
        channels = [keys.nudges]
        *_, info = await self.ask(
            *declaring, ("CLIENT", "TRACKING", "ON", "OPTIN"), ("INFO", "server"), link=link
        )
        self.server_run = run_of(info)
        link.write(pack("SUBSCRIBE", *channels) + self._broadcasts() + pack("PING"), 1, _ignore)
        fresh = not self.incarnation
        if not fresh:
            (known, era) = await self.ask(
                ("EXISTS", keys.worker(self.incarnation)), ("GET", keys.era), link=link
            )
            if not known and era == self._era:
                self._fence("the connection was lost for longer than the lease")
                fresh = True
        if fresh:
            self.incarnation = uuid()
        await self._announce(link)
        await self._recover(link)
        self._drained = False
        self._tracked.clear()

    @property
    def _waiting_as(self) -> tuple[bytes, int]:
        return self.server_run, self._waiter.client_id

    def _declaring(self, queue: Queue) -> list[Any]:
        return list(self.broker.exchanges.declaring(queue))

    def _broadcasts(self) -> bytes:
        """Subscriptions of queues that are bound to fanout exchanges; what comes is put into the queue."""
        patterns = [pattern for queue in self.queues.by_name.values() for pattern in self._patterns(queue)]
        return pack("PSUBSCRIBE", *patterns) if patterns else b""

    def _patterns(self, queue: Queue) -> list[str]:
        pairs = [(queue.exchange, queue.routing_key)]
        pairs += [(binding.exchange, binding.routing_key) for binding in queue.bindings]
        return [
            self.keys.channel_pattern(exchange.name, key)
            for exchange, key in pairs
            if exchange.name and exchange.type == "fanout"
        ]

    async def _announce(self, link: Link | None = None) -> None:
        """Write down who we are and what we may hold; begins the lease."""
        keys = self.keys
        record: dict[str, Any] = {
            "name": self.worker_id,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "run": self.server_run,
            "waiter": self._waiter.client_id,
            "lists": messages.text({place.ready: place.queue for place in self.queues.all()}),
            "held": ",".join(map(str, self.held)),
            "since": self._since(),
            "next": self.next,
        }
        fields = [part for pair in record.items() for part in pair]
        call = scripts.ANNOUNCE.call(
            [keys.leases, keys.worker(self.incarnation), keys.era],
            [self.incarnation, self._lease_ms, uuid(), *fields],
        )
        (self._era,) = await self.ask(call, link=link)
        place = claims.prefix(self.broker.settings)
        self._claim = claims.beginning(place, keys.unacked, keys.era, self._era.decode())
        self._guard(link or self.link)

    def _guard(self, link: Link | None) -> None:
        """Tell the keeper that the lease was renewed, and how to go on with that."""
        if not self._guarded or link is None or link.target is None:
            return
        if self._keeper is None:
            from .keeper import Keeper  # noqa: PLC0415 - few workers need one

            self._keeper = Keeper(self.lease)
        keys = self.keys
        renew = (
            "EVAL",
            scripts.KEEP.text,
            3,
            keys.leases,
            keys.worker(self.incarnation),
            keys.index,
            self.incarnation,
            self._lease_ms,
        )
        try:
            self._keeper.keep(entry_of(link.target) | {"renew": renew})
        except OSError as error:  # the next renewal tries again
            logger.warning("Could not start the process that guards this worker's lease: %s", error)

    @property
    def _lease_ms(self) -> int:
        return int(self.lease * 1000)

    def _since(self) -> int:
        """The first number that may be held without our knowing."""
        return min((turn.first for turn in (*self._turns, *self._astray) if turn.room), default=self.next)

    async def _recover(self, link: Link) -> None:
        """Find what was reserved or moved for us and never arrived; say again what may not have been heard."""
        unsaid = [entry for turn in (*self._astray, *self._turns) for entry in turn.entries]
        lost = [turn for turn in (*self._astray, *self._turns) if turn.room]
        self._outbox[:0] = unsaid
        for turn in lost:
            turn.entries = []
        self._turns, self._astray = [], lost
        for run, old in self._waiters - {self._waiting_as}:
            # It may still wait on the server, and take messages that nobody would see.
            if run == self.server_run:
                link.tell("CLIENT", "KILL", "ID", old)
        self._waiters = {self._waiting_as}
        for turn in list(self._astray):
            tags = [self.tag(number) for number in range(turn.first, turn.first + turn.room)]
            (values,) = await self.ask(("HMGET", self.keys.unacked, *tags), link=link)
            found: list[Delivery] = []
            for number, value in zip(range(turn.first, turn.first + turn.room), values, strict=True):
                if value is not None and number not in self.held:
                    raw, _, queue = messages.split(value)
                    ready = next((p.ready for p in turn.order if p.queue == queue), self.keys.ready(queue, 0))
                    found.append(self._hold(number, raw, queue, self._ready_of(raw, queue) or ready))
            self._astray.remove(turn)
            self._deliver(found)
        if any(entry.done == self._adopted for entry in self._outbox):
            return  # what is pending is ours already
        for place in self.queues.all():
            await self._adopt_pending(link, place)

    async def _adopt_pending(self, link: Link, place: Place) -> None:
        pending = self.keys.pending(self.incarnation, place.ready)
        (raws,) = await self.ask(("LRANGE", pending, 0, -1), link=link)
        for raw in reversed(raws):
            self._adopt(place, raw)

    def _ready_of(self, raw: bytes, queue: str) -> str:
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
                self._broke(error)

        task = self.loop.create_task(quietly())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _broke(self, error: BaseException) -> None:
        if not self._stopped:
            self.intake.broken(error)

    # -- the connection ---------------------------------------------------------------------------
    def _lost(self, error: BrokerError) -> None:
        """The connection has ended: make another one."""
        self.link = None
        self._waiter.close()
        self._ticking = False
        if self._stopped:
            return
        self.intake.disconnected(error)
        self.spawn(self._reconnect)

    def _waiter_lost(self, error: BrokerError) -> None:
        """Only the second connection has ended: begin anew with both, that is the simplest."""
        if self.link is not None:
            self.link.abort(str(error))

    async def _reconnect(self) -> None:
        backoff = Backoff()
        while not self._stopped:
            await asyncio.sleep(backoff.next())
            try:
                await self._connect()
            except BrokerError as error:
                logger.debug("Still no connection: %s", error)
                continue
            self._seen_at = self.loop.time()
            self.trusting_from = self._seen_at + self.lease
            self.intake.connected()
            self._tick()
            return

    def _fence(self, reason: str) -> None:
        """The lease was lost: everything held is somebody else's."""
        self.held.clear()
        self._out = 0
        entries = [entry for turn in (*self._astray, *self._turns) for entry in turn.entries] + self._outbox
        self._astray, self._turns, self._outbox, self._acks = [], [], [], []
        self._adopting = 0
        for entry in entries:
            if entry.answer is not None and not entry.answer.done():
                entry.answer.set_result(entry.void)
        self._dues.clear()
        self.incarnation = ""
        self.intake.fenced(reason)

    def _fenced_now(self) -> None:
        """The server says that we are not known any more."""
        if not self.incarnation or self.link is None or self._stopped:
            return
        self.link.abort("this worker's lease is over")  # the next connection finds out the rest

    # -- words ------------------------------------------------------------------------------------
    def tag(self, number: int) -> str:
        """The tag of what this worker holds."""
        return f"{self.incarnation}:{number}"

    def say(self, *commands: Any, done: Callable[[list[Any]], None] | None = None) -> None:
        """Have commands carried out with the next write."""
        self._outbox.append(Entry(pack_all(commands), len(commands), done))
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        link = self.link
        if link is None:
            return
        try:
            self._write(link)
            self._wait_for_more()
        except Exception as error:  # noqa: BLE001 - see `broken`
            self._broke(error)

    def _write(self, link: Link) -> None:
        """Everything that was said, and a reservation if there is room for one."""
        reserving = any(turn.room for turn in self._turns)
        room = self._window - self._out
        wanted = not reserving and not self._drained and self._is_worth_it(room)
        if room > 0 and not self._stopping:
            self._promote_due()
        if not (self._outbox or wanted) and reserving:
            return  # acknowledgements ride with the next reservation
        if self._acks:
            self._outbox.append(self._acknowledgement())
        if not (self._outbox or wanted):
            return
        entries, self._outbox = self._outbox, []
        turn = Turn(entries)
        parts = [entry.data for entry in entries]
        count = sum(entry.count for entry in entries)
        if wanted:
            turn.order = self.queues.in_turn()
            turn.first, turn.room = self.next, room
            self.next += room
            record = self.keys.worker(self.incarnation)
            parts.append(self.queues.reserve(record, f"{self.incarnation}:", turn.first, room, turn.order))
            count += 1
        self._turns.append(turn)
        link.write(b"".join(parts) if len(parts) > 1 else parts[0], count, self._answered)

    def _is_worth_it(self, room: int) -> bool:
        if room <= 0 or self._stopping or not self.queues or self.loop.time() < self._quiet_until:
            return False
        return room >= self._window * _WORTH_IT or self._window <= _SMALL_WINDOW

    def _acknowledgement(self) -> Entry:
        acks, self._acks = self._acks, []
        keys = self.keys
        data = pack("HDEL", keys.unacked, *[held.tag for held in acks])
        late = [held.tag for held in acks if not held.begun]
        if not late:
            return Entry(data)
        return Entry(data + pack("ZREM", keys.index, *late), 2)

    # -- answers ----------------------------------------------------------------------------------
    def _answered(self, replies: list[Any]) -> None:
        """The replies to the oldest write."""
        turn = self._turns.pop(0)
        try:
            start = 0
            for entry in turn.entries:
                own = replies[start : start + entry.count]
                start += entry.count
                self._check(own)
                if entry.done is not None:
                    entry.done(own)
            if turn.room:
                self._reserved(turn, replies[-1])
        except Exception as error:  # noqa: BLE001 - see `broken`
            self._broke(error)
            return
        self._flush_soon()
        self._rested.set()

    def _check(self, replies: list[Any]) -> None:
        for reply in replies:
            if type(reply) is ErrorReply:
                self._trouble(reply)

    def _trouble(self, error: ErrorReply) -> None:
        """A command failed."""
        if error.code in ELSEWHERE or error.code == "NOSCRIPT":
            if self.link is not None:
                self.link.abort(str(error))
            return
        logger.error("%s", translate(error, self.broker.settings.url))

    def _reserved(self, turn: Turn, reply: Any) -> None:
        if type(reply) is ErrorReply:
            self._trouble(reply)
            self._quiet_until = self.loop.time() + _AFTER_REFUSAL
            self.loop.call_later(_AFTER_REFUSAL, self._flush_soon)
            return
        if not reply and reply != []:
            self._fenced_now()
            return
        batch: list[Delivery] = []
        number = turn.first
        for index in range(0, len(reply), 2):
            place = turn.order[reply[index]]
            for raw in reply[index + 1]:
                batch.append(self._hold(number, raw, place.queue, place.ready))
                number += 1
        if len(batch) < turn.room:
            self._drained = True
        if batch:
            self._watched = turn.order[reply[-2]].ready
            self._deliver(batch)

    def _hold(self, number: int, raw: bytes, queue: str, ready: str) -> Delivery:
        held = self.held[number] = Held(number, f"{self.incarnation}:{number}", raw, queue, ready)
        self._out += 1
        delivery = messages.read(raw, queue, held)
        delivery.claim = self._claim and self._claim + held.tag
        return delivery

    def _deliver(self, batch: list[Delivery]) -> None:
        if batch:
            self.intake.delivered(batch)

    # -- waiting ----------------------------------------------------------------------------------
    def _wait_for_more(self) -> None:
        """Wait for a message if there is room and nothing is ready; stop waiting if there is no room."""
        waiter, link = self._waiter, self.link
        if link is None:
            return
        room = self._window - self._out
        armed = waiter.place
        if armed is not None:
            gone = not any(place.ready == armed.ready for place in self.queues.all())
            if (room <= 0 or self._stopping or gone) and not waiter.unblocking:
                waiter.unblocking = True
                self._unblock()
            return
        if room <= 0 or self._stopping or not self._drained or self._adopting or not waiter.is_open:
            return
        if any(turn.room for turn in self._turns):
            return
        places = self.queues.all()
        if not places:
            return
        place = next((one for one in places if one.ready == self._watched), places[0])
        self._track(link, [one.ready for one in places if one is not place])
        patience = self.broker.options.heartbeat or 30.0
        waiter.arm(place, self.keys.pending(self.incarnation, place.ready), patience)

    def _unblock(self) -> None:
        """End the waiting; again, if the server had not yet read that we wait."""

        def answered(replies: list[Any]) -> None:
            if replies[0] == 0 and self._waiter.unblocking and self._waiter.place is not None:
                self.loop.call_later(0.005, self._unblock)

        if self.link is not None:
            self.link.write(pack("CLIENT", "UNBLOCK", self._waiter.client_id), 1, answered)

    def _track(self, link: Link, others: list[str]) -> None:
        """Be told when one of these lists changes."""
        new = [ready for ready in others if ready not in self._tracked]
        if not new:
            return
        self._tracked.update(new)
        link.write(pack("CLIENT", "CACHING", "YES") + pack("EXISTS", *new), 2, self._looked)

    def _looked(self, replies: list[Any]) -> None:
        if replies[1] != 0:
            self._more()

    def _more(self, ready: str | None = None) -> None:
        """There may be something."""
        self._drained = False
        if ready is not None:
            self._watched = ready
        self._flush_soon()

    def _woken(self, place: Place, raw: bytes | None) -> None:
        """The waiter has a message, or has waited long enough."""
        try:
            if raw is not None:
                consumed = place.queue in self.queues.by_name
                if self._window - self._out > 0 and consumed and not self._stopping:
                    self._watched = place.ready
                    self._adopt(place, raw)
                    self._drained = False
                else:
                    pending = self.keys.pending(self.incarnation, place.ready)
                    self.say(scripts.UNPEND.call([pending, place.ready], [raw, raw]))
        except Exception as error:  # noqa: BLE001 - see `broken`
            self._broke(error)
        self._rested.set()
        self._flush_soon()

    def _adopt(self, place: Place, raw: bytes) -> None:
        """Make ours what stands in a pending list, and deliver it at once."""
        number, self.next = self.next, self.next + 1
        keys = self.keys
        pending = keys.pending(self.incarnation, place.ready)
        call = scripts.ADOPT.call(
            [keys.worker(self.incarnation), keys.unacked, keys.index, pending],
            [f"{self.incarnation}:", number, place.suffix],
        )
        self._adopting += 1
        self.say(call, done=self._adopted)
        self._deliver([self._hold(number, raw, place.queue, place.ready)])

    def _adopted(self, replies: list[Any]) -> None:
        self._adopting = max(self._adopting - 1, 0)
        if replies[0] is None:
            self._fenced_now()

    def _pushed(self, push: list[Any]) -> None:
        """What the server says unasked."""
        try:
            kind = push[0]
            if kind == b"invalidate":
                self._changed(push[1])
            elif kind == b"message":
                self._dues[push[2].decode()] = 0.0
                self._flush_soon()
            elif kind == b"pmessage":
                self._broadcast(push[1].decode(), push[3])
        except Exception as error:  # noqa: BLE001 - see `broken`
            self._broke(error)

    def _changed(self, names: list[bytes] | None) -> None:
        armed = self._waiter.place
        for name in names or [ready.encode() for ready in self._tracked]:
            ready = name.decode()
            self._tracked.discard(ready)
            if armed is None or ready != armed.ready:
                self._more(ready)

    def _broadcast(self, pattern: str, raw: bytes) -> None:
        for queue in self.queues.by_name.values():
            if pattern in self._patterns(queue):
                self.say(("LPUSH", self._ready_of(raw, queue.name), raw), done=lambda _: self._more())

    # -- due times --------------------------------------------------------------------------------
    def _promote_due(self) -> None:
        """Make ready what is due; remember when the next is."""
        now = self.loop.time()
        keys = self.keys
        for queue in [name for name, due in self._dues.items() if due <= now]:
            del self._dues[queue]
            if queue not in self.queues.by_name:
                continue
            call = scripts.PROMOTE.call(
                [keys.unacked, keys.index, keys.due(queue), *keys.lists(queue)],
                [_PROMOTE, len(messages.suffix(queue))],
            )
            self.say(call, done=partial(self._promoted, queue))
        self._set_due_timer()

    def _promoted(self, queue: str, replies: list[Any]) -> None:
        if type(replies[0]) is ErrorReply:
            return
        count, left = replies[0]
        if count:
            self._more()
        if count == _PROMOTE:
            left = b"0"
        self._next_due(queue, left)

    def _next_due(self, queue: str, left: bytes) -> None:
        if left:
            self._dues[queue] = self.loop.time() + float(left)
        else:
            self._dues.pop(queue, None)
        self._set_due_timer()

    def _set_due_timer(self) -> None:
        if self._due_timer is not None:
            self._due_timer.cancel()
            self._due_timer = None
        if self._dues and self._window - self._out > 0:
            # A little late is better than a little early, and than asking twice.
            at = max(min(self._dues.values()) + 0.001, self.loop.time())
            self._due_timer = self.loop.call_at(at, self._flush_soon)

    # -- the lease --------------------------------------------------------------------------------
    def _tick(self) -> None:
        """Renew the lease and look around; again and again."""
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        link = self.link
        if link is None or self._stopped:
            return
        now = self.loop.time()
        self._tick_timer = self.loop.call_at(now + self.lease * _RENEW, self._tick)
        if self._ticking:
            if now - max(link.heard_at, self._ticked_at) > (self.broker.options.heartbeat or 30.0):
                link.abort("it does not answer any more")
            return
        self._ticking = True
        self._ticked_at = now
        keys = self.keys
        names = list(self.queues.by_name)
        call = scripts.TICK.call(
            [
                keys.leases,
                keys.worker(self.incarnation),
                keys.index,
                *(key for name in names for key in (keys.due(name), keys.orphans(name))),
            ],
            [self.incarnation, self._lease_ms, ",".join(map(str, self.held)), self._since()],
        )
        lists = [place.ready for place in self.queues.all()]
        data = pack(*call) + (pack("EXISTS", *lists) if lists else pack("PING"))
        link.write(data, 2, lambda replies: self._looked_around(names, now, replies))

    def _looked_around(self, names: list[str], asked_at: float, replies: list[Any]) -> None:
        try:
            self._ticking = False
            self._read_tick(names, asked_at, replies)
        except Exception as error:  # noqa: BLE001 - see `broken`
            self._broke(error)

    def _read_tick(self, names: list[str], asked_at: float, replies: list[Any]) -> None:
        reply, ready = replies
        if isinstance(reply, ErrorReply):
            self._trouble(reply)
            return
        if reply is None:
            self._fenced_now()
            return
        self._guard(self.link)
        now = self.loop.time()
        if now - asked_at > self.lease * _RENEW or asked_at - self._seen_at > self.lease * 0.8:
            # The server or this worker stood still: the others may not yet have had their turn to renew.
            self.trusting_from = now + self.lease
        self._seen_at = now
        dead, next_end, queues = reply
        if ready and isinstance(ready, int) and self._drained:
            self._more()
        for name, left, orphans in zip(names, queues[::2], queues[1::2], strict=True):
            self._next_due(name, left)
            if orphans:
                self._reaper.take_orphans(name)
        if dead and now >= self.trusting_from:
            self._reaper.reap([one.decode() for one in dead if one.decode() != self.incarnation])
        if next_end and self._tick_timer is not None:
            # When the lease of another one is about to end, look again just then.
            at = now + float(next_end) + 0.02
            if at < self._tick_timer.when():
                self._tick_timer.cancel()
                self._tick_timer = self.loop.call_at(at, self._tick)
        if now >= self._sweep_at:
            self._sweep_at = now + _SWEEP
            self._sweep()

    def _sweep(self) -> None:
        """Mend what may have been evicted, keep what expires, and restore what others have left."""
        for queue in self.queues.by_name.values():
            commands = self._declaring(queue)
            if (ms := lifetime(queue)) is not None:
                commands += [("PEXPIRE", ready, ms) for ready in self.keys.lists(queue.name)]
            if commands:
                self.say(*commands)
        self._reaper.restore_overdue()

    # -- Consumer ---------------------------------------------------------------------------------
    def allow(self, window: int) -> None:
        """See `Consumer.allow`."""
        if window != self._window:
            grew = window > self._window
            self._window = window
            if grew and self._dues:
                self._set_due_timer()
            self._flush_soon()

    async def subscribe(self, queue: Queue) -> None:
        """See `Consumer.subscribe`."""
        self.queues.set([*self.queues.by_name.values(), queue])
        await self._requeued()

    async def unsubscribe(self, queue: str) -> None:
        """See `Consumer.unsubscribe`."""
        gone = self.queues.by_name.get(queue)
        if gone is None:
            return
        self.queues.set([one for one in self.queues.by_name.values() if one.name != queue])
        self._dues.pop(queue, None)
        if patterns := self._patterns(gone):
            self._subscriptions("PUNSUBSCRIBE", patterns)
        await self._requeued()
        await self.flush()

    def _subscriptions(self, word: str, patterns: list[str]) -> None:
        if self.link is not None:
            # What it says comes as pushes: the ping is for the count.
            self.link.write(pack(word, *patterns) + pack("PING"), 1, _ignore)

    async def _requeued(self) -> None:
        """The queues have changed: say so to reapers, then take what there is."""
        for queue in self.queues.by_name.values():
            commands = self._declaring(queue)
            if commands:
                self.say(*commands)
            if patterns := self._patterns(queue):
                self._subscriptions("PSUBSCRIBE", patterns)
        if self.link is not None:
            with contextlib.suppress(BrokerError):  # the next connection announces it
                await self._announce()
        self._more()
        self._tick()

    async def begin(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """See `Consumer.begin`."""
        mine = {
            delivery.receipt.number: delivery
            for delivery in batch
            if delivery.receipt is not None and self._holds(delivery.receipt)
        }
        if not mine:
            return []
        answer: asyncio.Future[set[int]] = self.loop.create_future()
        helds = [delivery.receipt for delivery in mine.values()]
        tags = [held.tag for held in helds]
        data = pack("ZREM", self.keys.index, *tags)

        def done(replies: list[Any]) -> None:
            if replies[0] == len(helds):
                self._begun(helds, answer)
            else:  # some were begun before, or are gone
                self.say(
                    ("HMGET", self.keys.unacked, *tags),
                    done=lambda found: self._begun(
                        [held for held, value in zip(helds, found[0], strict=True) if value is not None],
                        answer,
                    ),
                )

        self._outbox.append(Entry(data, 1, done, answer, set()))
        self._flush_soon()
        begun = await answer
        return [delivery for number, delivery in mine.items() if number in begun]

    def _begun(self, helds: list[Held], answer: asyncio.Future[set[int]]) -> None:
        for held in helds:
            if not held.begun and self.held.get(held.number) is held:
                held.begun = True
                self._out -= 1
        if not answer.done():
            answer.set_result({held.number for held in helds})

    def _holds(self, held: Held) -> bool:
        return self.held.get(held.number) is held

    def _settled(self, delivery: Delivery) -> Held | None:
        """Let go of a delivery; what is said a second time, or after a fence, is void."""
        held: Held | None = delivery.receipt
        if held is None:
            return None
        delivery.receipt = None
        if self.held.get(held.number) is not held:
            return None
        del self.held[held.number]
        if not held.begun:
            self._out -= 1
        return held

    def ack(self, delivery: Delivery) -> None:
        """See `Consumer.ack`."""
        held = self._settled(delivery)
        if held is not None:
            self._acks.append(held)
            if not self._flushing:
                self._flushing = True
                self.loop.call_soon(self._flush)

    def requeue(
        self, delivery: Delivery, *, front: bool = True, count: bool = True, ran: bool = True
    ) -> None:
        """See `Consumer.requeue`."""
        deliveries = delivery.deliveries - (0 if count else 1)
        held = self._settled(delivery)
        if held is None:
            return
        raw = held.raw if not (count or ran) else messages.again(held.raw, deliveries, redelivered=ran)
        self.say(self._giving_back(held, raw, front=front), done=lambda _: self._more())

    def _giving_back(self, held: Held, raw: bytes, *, front: bool) -> Any:
        keys = self.keys
        return scripts.GIVE_BACK.call([keys.unacked, keys.index], [held.tag, held.ready, raw, int(front)])

    def park(self, delivery: Delivery, due: float) -> None:
        """See `Consumer.park`."""
        held = self._settled(delivery)
        if held is None:
            return
        keys = self.keys
        step = self.keys.lists(held.queue).index(held.ready) if held.ready in keys.lists(held.queue) else 0
        number, self.next = self.next, self.next + 1
        new = f"{self.incarnation}:p{number}:{step}"
        call = scripts.PARK.call(
            [keys.unacked, keys.index, keys.due(held.queue), keys.nudges],
            [self.broker.visibility_timeout, held.queue, held.tag, new, repr(due), ""],
        )
        self.say(call)

    def bury(self, delivery: Delivery, reason: str) -> None:
        """See `Consumer.bury`."""
        held = self._settled(delivery)
        if held is None:
            return
        keys, options = self.keys, self.broker.options
        call = scripts.BURY.call(
            [keys.unacked, keys.index, keys.dead(held.queue), keys.dead_queues, keys.dead_counter],
            [options.dead_letter_limit, options.dead_letter_ttl, held.queue, held.tag, reason, held.raw],
        )
        self.say(call)

    async def flush(self) -> None:
        """See `Consumer.flush`."""
        answer: asyncio.Future[None] = self.loop.create_future()

        def done(replies: list[Any]) -> None:
            if not answer.done():
                answer.set_result(None)

        if self._acks:
            self._outbox.append(self._acknowledgement())
        self._outbox.append(Entry(pack("PING"), 1, done, answer))
        self._flush_soon()
        await answer
        while self.link is not None and (self._waiter.unblocking or any(turn.room for turn in self._turns)):
            if self._waiter.place is None and not any(turn.room for turn in self._turns):
                break
            self._rested.clear()
            await self._rested.wait()

    async def stop(self) -> None:
        """See `Consumer.stop`."""
        if self._stopped or self._stopping:
            return
        self._stopping = True
        try:
            if self.link is not None:
                await self.flush()
                await self._take_leave()
        except BrokerError as error:
            if isinstance(error, BrokerRefused):
                logger.warning("%s", error)
        finally:
            self._stopped = True
            for timer in (self._tick_timer, self._due_timer):
                if timer is not None:
                    timer.cancel()
            for task in list(self._tasks):
                task.cancel()
            self._close_links()
            if self._keeper is not None:
                self._keeper.close()
            for entry in self._outbox:
                if entry.answer is not None and not entry.answer.done():
                    entry.answer.set_result(entry.void)

    async def _take_leave(self) -> None:
        """Give everything back, then end the lease."""
        keys = self.keys
        commands: list[Any] = []
        for held in sorted(self.held.values(), key=lambda held: -held.number):
            if held.begun:
                commands.append(
                    scripts.INHERIT.call(
                        [keys.worker(self.incarnation), keys.unacked, keys.index, keys.orphans(held.queue)],
                        [held.tag, "", messages.value(held.raw, held.queue), 0],
                    )
                )
            else:
                commands.append(self._giving_back(held, messages.again(held.raw), front=True))
        self.held.clear()
        commands.append(("ZREM", keys.leases, self.incarnation))
        commands.append(("DEL", keys.worker(self.incarnation)))
        await self.ask(*commands)

    def _close_links(self) -> None:
        self._waiter.close()
        link, self.link = self.link, None
        if link is not None:
            link.close()


def run_of(info: Any) -> bytes:
    """Which run of the server `INFO` is of."""
    text = info if isinstance(info, bytes) else str(info).encode()
    return text.partition(b"run_id:")[2].split(b"\r\n")[0]


def entry_of(target: Target) -> dict[str, Any]:
    """How another process connects to the same server, in plain values."""
    place, tls = target.place, None
    if place.tls is not None:
        context, options = place.tls.context, place.tls.options
        tls = {
            "name": place.tls.server_hostname,
            "check_hostname": context.check_hostname,
            "verify_mode": int(context.verify_mode),
            "ca_certs": options.get("ca_certs"),
            "certfile": options.get("certfile"),
            "keyfile": options.get("keyfile"),
            "password": options.get("password") or options.get("keyfile_password"),
        }
    enter: list[list[Any]] = []
    if target.password is not None:
        enter.append(["AUTH", *([target.username] if target.username else []), target.password])
    if target.database:
        enter.append(["SELECT", target.database])
    where = {"host": place.host, "port": place.port, "path": place.path, "tls": tls}
    return {"where": where, "enter": enter}


def _ignore(replies: list[Any]) -> None:
    """For replies that nobody wants."""
