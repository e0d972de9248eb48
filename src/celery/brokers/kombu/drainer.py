"""The thread that owns a consumer's connection: it drains it, and carries out what the worker's loop orders.

kombu's connections belong to one thread. The loop only writes orders into a deque and rings a bell; the thread
calls back through the loop's own queue. Between polls it sleeps on the bell, so an order is obeyed at once, and
longer each time nothing came, up to the transport's polling interval.
"""

# kombu is typed in parts only.
# mypy: disable-error-code="no-untyped-call,attr-defined,assignment,union-attr,misc,arg-type,no-any-return"

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from kombu import Consumer

from celery.brokers.base import BrokerError, BrokerUnavailable, Delivery
from celery.message.headers import LazyObject
from celery.net.backoff import Backoff

from . import conversion
from .dead import bury
from .entities import kombu_queue
from .forks import gate
from .links import busy, explained
from .visibility import Visibility

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from celery.brokers.base import BrokerOptions
    from celery.brokers.topology import Queue

    from .links import Link, LinkPool

logger = logging.getLogger("celery.brokers.kombu")

#: Seconds between polls of an idle queue: doubling between these; a transport's polling interval is the most.
FIRST_PAUSE = 0.01
#: Messages handed over at a time.
BATCH = 100
#: How often an order is tried that fails for other reasons than a lost connection.
TRIES = 5
#: Not-due messages kept here; more go back into the queue.
MOST_PARKED = 10_000
#: Seconds to leave the queues alone after one of those went back.
FULL_PAUSE = 1.0


@dataclass(slots=True, eq=False)
class Held:
    """One message that was taken and is not settled: the receipt of its delivery.

    Attributes:
        due: its due time while it is parked.
    """

    number: int
    message: Any
    delivery: Delivery = field(init=False)
    due: float | None = None

    def __lt__(self, other: Held) -> bool:
        return (self.due or 0.0, self.number) < (other.due or 0.0, other.number)


class Said(Protocol):
    """What the thread tells the loop; each call is made on the loop."""

    def delivered(self, batch: list[Delivery]) -> None: ...

    def disconnected(self, error: BrokerError) -> None: ...

    def connected(self) -> None: ...

    def broken(self, error: BaseException) -> None: ...


@dataclass(slots=True)
class _Order:
    work: Callable[[Link], Any]
    answer: asyncio.Future[Any] | None = None
    tries: int = 0


class Drainer:
    """See the module.

    Attributes:
        window: deliveries that may be out; written by the loop.
        seen: `time.monotonic()` of the last answer from the broker.
    """

    def __init__(
        self, pool: LinkPool, options: BrokerOptions, loop: asyncio.AbstractEventLoop, said: Said, name: str
    ) -> None:
        self._thread = threading.Thread(target=self._run, name=f"celery-kombu-{name}", daemon=True)
        self.window = 0
        self.seen = time.monotonic()
        self._pool = pool
        self._options = options
        self._loop = loop
        self._said = said
        self._orders: deque[_Order] = deque()
        self._bell = threading.Event()
        self._quit = False
        self._ended = False
        self._started = False
        self._resting = False
        # Owned by the thread.
        self._link: Link | None = None
        self._visibility: Visibility | None = None
        self._relic: Any = None
        self._consumers: dict[str, tuple[Queue, Any]] = {}
        self._held: dict[int, Held] = {}
        self._parked: list[Held] = []
        self._fresh: list[Held] = []
        self._numbers = itertools.count(1)
        self._pause = FIRST_PAUSE
        self._full_until = 0.0
        self._prefetch = -1

    # -- from the loop ----------------------------------------------------------------------------
    def start(self) -> None:
        """Begin; whatever was ordered first decides whether there is anything to go on with."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether orders are still obeyed."""
        return self._thread.is_alive()

    def join(self, seconds: float) -> None:
        """Wait for the end."""
        self._thread.join(seconds)

    def order(self, work: Callable[[Link], Any], answer: asyncio.Future[Any] | None = None) -> None:
        """Have `work` done in its turn; what it returns becomes the answer."""
        self._orders.append(_Order(work, answer))
        self._bell.set()

    def allow(self, window: int) -> None:
        """See `Consumer.allow`."""
        self.window = window
        self._bell.set()

    def quiet_for(self) -> float:
        """Seconds for which the thread has been inside the transport."""
        return 0.0 if self._link is None or self._resting else time.monotonic() - self.seen

    def reconnect(self, why: str) -> None:
        """Close the connection under the thread, which cannot be woken otherwise."""
        link = self._link
        if link is not None:
            logger.warning("Closing a connection on which nothing moves: %s", why)
            threading.Thread(target=link.close, name="celery-kombu-closer", daemon=True).start()

    def quit(self) -> None:
        """End as soon as possible, whatever is still ordered."""
        self._quit = True
        self._bell.set()

    # -- the thread's life ------------------------------------------------------------------------
    def _run(self) -> None:
        """Serve until told to end; a broken link is made again."""
        backoff, lost = Backoff(), False
        while not self._finished:
            try:
                link = self._connected_link()
                if lost:
                    lost = False
                    self._tell(self._said.connected)
                self._serve(link, backoff)
            except Exception as error:  # noqa: BLE001 - whatever a transport raises, this thread goes on
                failure = self._failed(error)
                if self._started:
                    if not (lost or busy(error)):
                        lost = True
                        self._tell(self._said.disconnected, failure)
                    self._bell.clear()
                    self._bell.wait(backoff.next())
                else:
                    self._refuse(self._orders.popleft(), failure)
                    self._quit = True
        self._leave()

    @property
    def _finished(self) -> bool:
        return self._ended or self._quit

    def _failed(self, error: Exception) -> BrokerError:
        expected = (BrokerError, *(self._link.broken_by if self._link is not None else (OSError,)))
        if self._started and not isinstance(error, expected):
            logger.error("Draining the broker failed: %r; connecting again", error, exc_info=error)
        self._drop_link()
        return explained(self._pool.url, error, connecting=not self._started)

    def _connected_link(self) -> Link:
        if self._link is None:
            link = self._pool.open()
            link.channel.Message = conversion.tolerant(link.channel.Message)
            self._prefetch = -1
            try:
                for queue, _ in list(self._consumers.values()):
                    self._consume(link, queue)
                self._readopt(link)
            except BaseException:
                link.close()
                raise
            self._link = link
            self._visibility = Visibility.of(link.channel)
        return self._link

    def _readopt(self, link: Link) -> None:
        """What was taken by an earlier link is acknowledged by this one."""
        if self._relic is not None:
            link.channel.attach(self._relic)
            self._relic = None
        for held in (*self._held.values(), *self._parked):
            held.message.channel = link.channel
            qos = getattr(link.channel, "qos", None)
            if hasattr(qos, "append"):
                qos.append(held.message, held.message.delivery_tag)

    def _drop_link(self) -> None:
        link, self._link = self._link, None
        if link is None:
            return
        if hasattr(link.channel, "detach") and not self._finished:
            self._relic = link.channel.detach()
        link.close()

    def _leave(self) -> None:
        held = len(self._held) + len(self._parked)
        if self._quit and held:
            logger.warning("%d messages could not be given back to the broker", held)
        self._drop_link()
        while self._orders:
            self._refuse(self._orders.popleft(), BrokerUnavailable("the consumer has ended"))

    def _serve(self, link: Link, backoff: Backoff) -> None:
        while True:
            with gate.inside():
                self._obey(link)
                if self._finished:
                    return
                self._renew()
                room = self.window - len(self._held)
                took = self._drain(link, room) if room > 0 and self._consumers else 0
            backoff.reset()
            self._promote()
            self._hand_over()
            if took:
                self._pause = FIRST_PAUSE
            elif not self._orders:
                self._rest(link, room)

    def _renew(self) -> None:
        if self._visibility is not None and not self._visibility.left():
            self._visibility.renew((*self._held.values(), *self._parked))

    def _rest(self, link: Link, room: int) -> None:
        """Sleep until something is ordered or due, or it is time to look again."""
        most = link.transport.polling_interval
        seconds: float | None = None
        if room > 0 and self._consumers:
            seconds = min(self._pause, FIRST_PAUSE if most is None else most)
            self._pause *= 2
        if self._parked and room > 0:
            left = max((self._parked[0].due or 0.0) - time.time(), 0.0)
            seconds = left if seconds is None else min(seconds, left)
        if self._visibility is not None and (self._held or self._parked):
            left = self._visibility.left()
            seconds = left if seconds is None else min(seconds, left)
        self._resting = True
        self._bell.wait(seconds)
        self._bell.clear()
        self.seen = time.monotonic()
        self._resting = False

    # -- orders -----------------------------------------------------------------------------------
    def _obey(self, link: Link) -> None:
        """Carry out all orders.

        Raises:
            Exception: the link broke, or has to be tried anew; the order is still the first.
        """
        while self._orders and not self._finished:
            order = self._orders[0]
            try:
                answer = order.work(link)
            except Exception as error:
                order.tries += 1
                again = isinstance(error, link.broken_by) or (order.answer is None and order.tries < TRIES)
                if not self._started or again:
                    raise
                self._refuse(self._orders.popleft(), explained(link.url, error))
            else:
                self._orders.popleft()
                if order.answer is not None:
                    self._tell(_settle, order.answer, answer, None)
            self.seen = time.monotonic()

    def _refuse(self, order: _Order, error: BrokerError) -> None:
        if order.answer is None:
            logger.critical("Could not be done at the broker, and is given up: %s", error)
        else:
            self._tell(_settle, order.answer, None, error)

    def _tell(self, fun: Callable[..., Any], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(fun, *args)
        except RuntimeError:  # the loop has ended: whoever ran it did not stop the consumer
            self._quit = True

    # -- what may be ordered ----------------------------------------------------------------------
    def begin_work(self, queues: Sequence[Queue], link: Link) -> None:
        """The first order: consume these queues."""
        for queue in queues:
            self.subscribe(queue, link)
        self._started = True

    def subscribe(self, queue: Queue, link: Link) -> None:
        """Consume a queue."""
        if queue.name not in self._consumers:
            self._consume(link, queue)
            link.size(queue.name)  # a folder or table that is not there is told now

    def _consume(self, link: Link, queue: Queue) -> None:
        link.declare([queue], anew=True)
        took = partial(self._took, queue.name)
        consumer = Consumer(link.channel, [kombu_queue(queue)], auto_declare=False, on_message=took)
        consumer.consume()
        self._consumers[queue.name] = (queue, consumer)
        self._pause = FIRST_PAUSE

    def unsubscribe(self, name: str, link: Link) -> None:
        """Consume a queue no more."""
        del link
        _, consumer = self._consumers.pop(name, (None, None))
        if consumer is not None:
            consumer.cancel()

    def acknowledge(self, held: Held, link: Link) -> None:
        """Forget it for good."""
        del link
        if held.number in self._held:
            held.message.ack()
            del self._held[held.number]

    def give_back(self, held: Held, link: Link, *, count: bool, ran: bool) -> None:
        """Offer it again."""
        if held.number not in self._held:
            return
        delivery = held.delivery
        times, redelivered = delivery.deliveries - (not count), ran or delivery.redelivered
        conversion.put(link, delivery.queue, delivery, deliveries=times, redelivered=redelivered)
        self.acknowledge(held, link)

    def park(self, held: Held, due: float, link: Link) -> None:
        """Keep it here until it is due, or let the queue keep it if there are too many here."""
        if held.number not in self._held:
            return
        if len(self._parked) >= (self._options.eta_limit or MOST_PARKED):
            self.give_back(held, link, count=False, ran=False)
            self._full_until = time.monotonic() + FULL_PAUSE
            return
        del self._held[held.number]
        held.due = due
        heapq.heappush(self._parked, held)

    def set_aside(self, held: Held, reason: str, link: Link) -> None:
        """Make it a dead letter."""
        if held.number in self._held:
            bury(link, held.delivery, reason, self._options)
            self.acknowledge(held, link)

    def begin(self, batch: Sequence[Held], link: Link) -> set[int]:
        """Acknowledge early; the numbers of those that were still held."""
        valid = {held.number for held in batch if held.number in self._held}
        for held in batch:
            self.acknowledge(held, link)
        return valid

    def finish(self, link: Link) -> None:
        """Give back all that is held, and end."""
        for name in list(self._consumers):
            self.unsubscribe(name, link)
        self._held |= {held.number: held for held in self._parked}
        self._parked.clear()
        for held in sorted(self._held.values(), key=lambda held: held.number):
            waited = held.due is not None
            self.give_back(held, link, count=not waited, ran=not waited)
        self._ended = True

    # -- messages ---------------------------------------------------------------------------------
    def _drain(self, link: Link, room: int) -> int:
        """Take what may be had, without waiting longer than the transport itself does; return how many."""
        if time.monotonic() < self._full_until:
            return 0
        self._limit(link, room)
        before, most = len(self._fresh), min(room, BATCH)
        # What waits by itself may not keep those that came already.
        once = hasattr(link.channel, "wait_time_seconds")
        wait = FIRST_PAUSE if link.transport.polling_interval is None else 0
        while len(self._fresh) - before < most and not self._orders:
            try:
                link.connection.drain_events(timeout=wait)
            except TimeoutError:
                break
            except ValueError as error:
                self._unreadable(link, error)
                break
            if once:
                break
        self.seen = time.monotonic()
        return len(self._fresh) - before

    def _unreadable(self, link: Link, error: ValueError) -> None:
        """A transport took something that is no message at all: keep what it can tell of it."""
        text = str(getattr(error, "doc", ""))
        logger.critical("The broker gave something that is no message (%s): set aside: %.200r", error, text)
        names = list(self._consumers)
        queue = names[0] if len(names) == 1 else ""
        empty = LazyObject(value={})
        bury(link, Delivery(text.encode(), empty, empty, queue, None), f"no message: {error}", self._options)

    def _limit(self, link: Link, room: int) -> None:
        """Tell kombu how many it may take: it counts parked ones, too."""
        prefetch = len(self._held) + len(self._parked) + room
        if prefetch != self._prefetch:
            link.channel.basic_qos(0, prefetch, False)
            self._prefetch = prefetch

    def _took(self, queue: str, message: Any) -> None:
        held = Held(next(self._numbers), message)
        held.delivery = conversion.delivery_of(message, queue, held)
        self._held[held.number] = held
        self._fresh.append(held)

    def _promote(self) -> None:
        """Offer those whose time has come, as far as the window allows."""
        now = time.time()
        while self._parked and (self._parked[0].due or 0.0) <= now and len(self._held) < self.window:
            held = heapq.heappop(self._parked)
            self._held[held.number] = held
            held.delivery.due, held.due = held.due, None
            self._fresh.append(held)

    def _hand_over(self) -> None:
        if self._fresh:
            self._tell(self._said.delivered, [held.delivery for held in self._fresh])
            self._fresh = []


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
