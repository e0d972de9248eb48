"""How an idle consumer hears that there is something to do.

It waits by `BLMOVE` on the list that had something last, and is told of changes of all others (`CLIENT TRACKING`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.wire.resp import pack

from . import scripts
from .aio import ignore
from .desk import Entry
from .waiter import Waiter

if TYPE_CHECKING:
    from celery.brokers.base import Delivery
    from celery.brokers.topology import Queue

    from .aio import Link
    from .core import Core
    from .desk import Place
    from .ear import Ear


class Waiting:
    """The part of a consumer that waits.

    Attributes:
        watched: the list that had something last.
        tracked: those whose next change the server will announce.
        adopting: how many adoptions are not answered.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self.waiter = Waiter(core.broker.settings, self._woken, core.session.waiter_lost)
        self.watched: str | None = None
        self.tracked: set[str] = set()
        self.adopting = 0
        #: Mailboxes that hear by this connection, by the pattern of their channel.
        self.ears: dict[str, Ear] = {}

    def wait_for_more(self) -> None:
        """Wait for a message if there is room and nothing is ready; stop waiting if there is no room."""
        core = self._core
        waiter, link = self.waiter, core.link
        if link is None:
            return
        room = core.window - core.out
        armed = waiter.place
        if armed is not None:
            gone = not any(place.ready == armed.ready for place in core.queues.all())
            if (room <= 0 or core.stopping or gone) and not waiter.unblocking:
                waiter.unblocking = True
                self._unblock()
            return
        if room <= 0 or core.stopping or not core.drained or self.adopting or not waiter.is_open:
            return
        if any(turn.room for turn in core.turns):
            return
        places = core.queues.all()
        if not places:
            return
        place = next((one for one in places if one.ready == self.watched), places[0])
        self._track(link, [one.ready for one in places if one is not place])
        patience = core.broker.options.heartbeat or 30.0
        waiter.arm(place, core.keys.pending(core.incarnation, place.ready), patience)

    def _unblock(self) -> None:
        """End the waiting; again, if the server had not yet read that we wait."""
        core = self._core

        def answered(replies: list[Any]) -> None:
            if replies[0] == 0 and self.waiter.unblocking and self.waiter.place is not None:
                core.loop.call_later(0.005, self._unblock)

        if core.link is not None:
            core.link.write(pack("CLIENT", "UNBLOCK", self.waiter.client_id), 1, answered)

    def _track(self, link: Link, others: list[str]) -> None:
        """Be told when one of these lists changes."""
        new = [ready for ready in others if ready not in self.tracked]
        if not new:
            return
        self.tracked.update(new)
        link.write(pack("CLIENT", "CACHING", "YES") + pack("EXISTS", *new), 2, self._looked)

    def _looked(self, replies: list[Any]) -> None:
        if replies[1] != 0:
            self._core.more()

    def _woken(self, place: Place, raw: bytes | None) -> None:
        """The waiter has a message, or has waited long enough."""
        core = self._core
        try:
            if raw is not None:
                consumed = place.queue in core.queues.by_name
                if core.window - core.out > 0 and consumed and not core.stopping:
                    self.watched = place.ready
                    self.adopt(place, raw)
                else:
                    self.put_back(place, raw)
        except Exception as error:  # noqa: BLE001 - see `broken`
            core.broke(error)
        core.rested.set()
        core.flush_soon()

    def adopt(self, place: Place, raw: bytes) -> None:
        """Make ours what stands in a pending list. It is delivered at once, so that its early acknowledgement leaves
        with the same write, but not known to be held: a result is only taken for what is."""
        core = self._core
        number, core.next = core.next, core.next + 1
        keys = core.keys
        pending = keys.pending(core.incarnation, place.ready)
        call = scripts.ADOPT.call(
            [keys.worker(core.incarnation), keys.unacked, keys.index, pending, place.ready],
            [f"{core.incarnation}:", number, raw, place.suffix],
        )
        self.adopting += 1
        delivery = core.hold(number, raw, place.queue, place.ready)
        delivery.held = core.loop.create_future()

        def done(replies: list[Any]) -> None:
            self._adopted(delivery, number, place, raw, replies[0])

        core.outbox.append(Entry(pack(*call), 1, done, delivery.held, void=False))
        core.deliver([delivery])
        core.flush_soon()

    def put_back(self, place: Place, raw: bytes) -> None:
        """Return what stands in a pending list to where it came from."""
        core = self._core
        pending = core.keys.pending(core.incarnation, place.ready)
        core.say(scripts.UNPEND.call([pending, place.ready], [raw, raw]))

    def _adopted(self, delivery: Delivery, number: int, place: Place, raw: bytes, reply: Any) -> None:
        core = self._core
        self.adopting = max(self.adopting - 1, 0)
        ours, more = reply if isinstance(reply, list) else (0, 0)
        answer = delivery.held
        if not ours:  # somebody else has it
            core.let_go(number)
        elif number in core.held:
            delivery.held = None
        else:  # it is settled, or what was said of it came before this, which had been refused
            core.give_back(number, place, raw)
        if answer is not None and not answer.done():
            answer.set_result(bool(ours))
        if more:
            core.drained = False
        if reply is None:
            core.fenced_now()

    def pushed(self, push: list[Any]) -> None:
        """What the server says unasked."""
        core = self._core
        try:
            kind = push[0]
            if kind == b"invalidate":
                self._changed(push[1])
            elif kind == b"message":
                core.dues.at[push[2].decode()] = 0.0
                core.flush_soon()
            elif kind == b"pmessage":
                self._broadcast(push[1].decode(), push[3])
        except Exception as error:  # noqa: BLE001 - see `broken`
            core.broke(error)

    def _changed(self, names: list[bytes] | None) -> None:
        armed = self.waiter.place
        for name in names or [ready.encode() for ready in self.tracked]:
            ready = name.decode()
            self.tracked.discard(ready)
            if armed is None or ready != armed.ready:
                self._core.more(ready)

    def _broadcast(self, pattern: str, raw: bytes) -> None:
        core = self._core
        if pattern in self.ears:
            self.ears[pattern].hear(raw)
        for queue in core.queues.by_name.values():
            if pattern in self.patterns(queue):
                core.say(("LPUSH", core.ready_of(raw, queue.name), raw), done=lambda _: core.more())

    def broadcasts(self) -> bytes:
        """Subscriptions: of mailboxes, and of queues that are bound to fanout exchanges, into which what comes is put."""
        patterns = list(self.ears)
        patterns += [
            pattern for queue in self._core.queues.by_name.values() for pattern in self.patterns(queue)
        ]
        return pack("PSUBSCRIBE", *patterns) if patterns else b""

    def patterns(self, queue: Queue) -> list[str]:
        pairs = [(queue.exchange, queue.routing_key)]
        pairs += [(binding.exchange, binding.routing_key) for binding in queue.bindings]
        return [
            self._core.keys.channel_pattern(exchange.name, key)
            for exchange, key in pairs
            if exchange.name and exchange.type == "fanout"
        ]

    def subscriptions(self, word: str, patterns: list[str]) -> None:
        core = self._core
        if core.link is not None:
            # What it says comes as pushes: the ping is for the count.
            core.link.write(pack(word, *patterns) + pack("PING"), 1, ignore)
