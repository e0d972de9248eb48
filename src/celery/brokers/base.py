"""The Broker port: all that the layers above may know about where messages wait.

Three faces of one URL. A `Publisher` belongs to whoever sends: thread-safe, fork-safe,
blocking or awaited, and it returns when the broker *has* the message. A `Consumer` belongs
to one worker and lives on its event loop: batches in, settlements out, every call returns at
once and what it says is carried out in the driver's next write. A `Mailbox` is fanout:
control commands, replies and events. `Broker` makes them and answers the operator's questions
(how many wait, throw them away).

**Leases.** Every consumer announces itself under a worker id and renews a lease while its process
lives (see `LEASE`). What a dead consumer held is offered again by the survivors, or, if the
task had been *begun* (early acknowledgement), handed to them as an orphan, so that nothing
vanishes. A consumer whose lease ended although it lives is *fenced*: its settlements are refused,
it is told by `Intake.fenced`, and a result store in the same place refuses its results (`Delivery.claim`).

**Due times.** A message with a `due` time waits in the broker, never in a worker. A worker that
receives a not-yet-due message (from a producer that cannot say `due`) parks it.

**Dead letters** keep the original message and the reason; nothing malformed is dropped.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import msgspec

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping, Sequence

    from celery.message.headers import LazyObject

    from .failover import Strategy
    from .topology import Exchange, Queue

#: Seconds a worker's lease lasts, and how often its owner renews it.
LEASE = 10.0
LEASE_RENEW_EVERY = 3.0


class Outgoing(msgspec.Struct, eq=False):
    """One message, encoded and addressed: ready for any wire.

    Attributes:
        body: the serialized (and perhaps compressed) payload.
        headers: application headers; pre-encoded JSON where a template made them.
        properties: AMQP basic properties by their usual names (`correlation_id`, `reply_to`,
            `content_type`, `content_encoding`, `delivery_mode`, `priority`, `expiration` in
            milliseconds as a string).
        exchange: `""` is the default exchange: straight to the queue named by `routing_key`.
        due: unix time before which no consumer may get it; None: at once.
        declare: queues that must exist before this message is sent.
        mandatory: refuse (report `Unroutable`) rather than drop when no queue is bound.
    """

    body: bytes
    headers: LazyObject
    properties: LazyObject
    exchange: str = ""
    routing_key: str = ""
    priority: int = 0
    due: float | None = None
    declare: Sequence[Queue] = ()
    mandatory: bool = True


class Delivery(msgspec.Struct, eq=False):
    """One message received and not yet settled. `body` is still bytes.

    Attributes:
        queue: the queue it was taken from.
        receipt: opaque; only the consumer that made it reads it.
        priority: None if the message says nothing about it, as only AMQP's can.
        deliveries: how often it has been handed to a worker, this time included (1 = first).
        due: its due time if it has one (it may lie ahead: then the worker parks it).
        claim: names this worker's hold on the message so that a result store in the same place can check it
            when a result is stored (`celery.backends.claims`); `""` if the driver cannot lose a hold, or has none.
        announced: a worker has logged that it came in, and then parked it. Drivers whose senders cannot say a due time
            keep this.
        held: set if the broker has yet to confirm that this worker holds it: the task must not run before, and not at
            all if the answer is False. Whoever calls `Consumer.begin` need not wait for it. None again when it is held.
    """

    body: bytes
    headers: LazyObject
    properties: LazyObject
    queue: str
    receipt: Any
    exchange: str = ""
    routing_key: str = ""
    priority: int | None = 0
    redelivered: bool = False
    deliveries: int = 1
    due: float | None = None
    claim: str = ""
    announced: bool = False
    held: asyncio.Future[bool] | None = None


class DeadLetter(NamedTuple):
    """A message that was set aside, as `Broker.dead` lists it.

    Attributes:
        id: the driver's own number for it, for `revive`.
        died_at: unix time.
        headers, properties: as received.
    """

    id: int
    queue: str
    reason: str
    died_at: float
    headers: Mapping[str, Any]
    properties: Mapping[str, Any]
    body: bytes


class Capabilities(msgspec.Struct, frozen=True):
    """What a driver can do; callers ask this, never which driver it is.

    Attributes:
        highest_priority_first: True if 9 is the most urgent (RabbitMQ), False if 0 is (Redis).
        due: messages may carry a due time when published.
        delays_natively: or those that `delaying.fits` may.
        fanout: mailboxes work.
        shared: other processes can reach it (False for `memory://`).
        names_queues: a message to the default exchange for a queue that nobody declared is `Unroutable`; False:
            it waits there for whoever consumes it.
        keeps_fanout: a queue that is bound to a fanout exchange gets messages also while nobody consumes it.
        counts_parked: `size` and `purge` see parked messages too.
        lists_all_dead: `dead(None)` sees those of every queue there is, not only of those named to this broker.
        ordered: messages of one priority come in the order they were sent, and one that is requeued for the first time
            comes first.
        recovers: what a worker that died had not begun is offered again by itself.
        leases: and that within a lease, what it had begun becomes an orphan, and a worker that was cut off for
            longer is fenced.
        topics: topic keys are matched as AMQP says (`a.#` matches `a`).
        bindings: who binds a queue binds it for all; False: for itself, so that a sender has to declare, too.
        held_at_most: seconds that a delivery may be out unless the broker is configured otherwise; None: for ever.
        begins: how many calls of `Consumer.begin` pay at a time: more than one where the broker takes its time to answer.
    """

    priorities: bool = True
    highest_priority_first: bool = True
    due: bool = True
    delays_natively: bool = False
    fanout: bool = True
    shared: bool = True
    names_queues: bool = True
    keeps_fanout: bool = True
    counts_parked: bool = True
    lists_all_dead: bool = True
    ordered: bool = True
    recovers: bool = True
    leases: bool = True
    topics: bool = True
    bindings: bool = True
    held_at_most: float | None = None
    begins: int = 1


class BrokerError(Exception):
    """Anything that goes wrong between a driver and its broker. The message names the URL (password
    masked), what happened and what to do."""


class BrokerUnavailable(BrokerError):
    """The broker cannot be reached now; trying again may help."""


class BrokerRefused(BrokerError):
    """The broker answered and said no (bad password, corrupt or newer file): trying again won't help."""


class Unroutable(BrokerError):
    """No queue is bound for this exchange and routing key."""


class Publisher(Protocol):
    """Sends. One per (process, broker); usable from any thread and after a fork."""

    def publish(self, batch: Sequence[Outgoing], *, deadline: float) -> list[BrokerError | None]:
        """Hand a batch over; return once the broker has it.

        Args:
            deadline: `time.monotonic()` value after which to give up.

        Returns:
            One entry per message: None if accepted, else why this one was not.

        Raises:
            BrokerUnavailable: nothing can be said to have been accepted.
        """

    async def apublish(self, batch: Sequence[Outgoing], *, deadline: float) -> list[BrokerError | None]: ...

    def close(self) -> None: ...


class Intake(Protocol):
    """What a consumer tells its worker: every call happens on the consumer's event loop."""

    def delivered(self, batch: list[Delivery]) -> None: ...

    def orphaned(self, batch: list[Delivery]) -> None:
        """Begun tasks (acknowledged early) of a worker that died; settle each when dealt with."""

    def fenced(self, reason: str, *, begun: bool = True, ended: Sequence[str] = ()) -> None:
        """The lease was lost while this worker still lived: everything it held is somebody else's.

        Args:
            begun: False: what was begun is still this worker's.
            ended: ids of tasks that have ended here, and whose acknowledgement came too late.
        """

    def disconnected(self, error: BrokerError) -> None:
        """The link is down; the consumer is already trying again. May be called again while it does, with what the
        last attempt said."""

    def connected(self) -> None: ...

    def broken(self, error: BaseException) -> None:
        """The consumer cannot go on, and says so instead of falling silent: the worker must end."""


class Consumer(Protocol):
    """Receives and settles, for one worker. All calls on the loop that started it; none blocks."""

    async def start(self, queues: Sequence[Queue], intake: Intake) -> None:
        """Declare `queues`, announce the worker, and be ready; nothing flows before `allow`.

        Raises:
            BrokerUnavailable, BrokerRefused: as they say.
        """

    def allow(self, window: int) -> None:
        """Have at most `window` deliveries out (delivered, not settled, not begun); 0 stops the flow."""

    async def subscribe(self, queue: Queue) -> None: ...

    async def unsubscribe(self, queue: str) -> None: ...

    async def begin(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Acknowledge early: once this returns, the returned ones will not be delivered to anybody
        else even if this worker dies (they become orphans). A begun delivery no longer counts
        in the window and still needs `ack` when its task has ended. Deliveries missing from
        the answer were lost to a fence and must not run."""

    def ack(self, delivery: Delivery) -> None:
        """Done with: forget it."""

    def requeue(
        self, delivery: Delivery, *, front: bool = True, count: bool = True, ran: bool = True
    ) -> None:
        """Offer it again.

        Args:
            front: before the others of its priority.
            count: False takes this delivery off the delivery count.
            ran: False if its task never began: then this delivery does not make it `redelivered`.
        """

    def park(self, delivery: Delivery, due: float) -> None:
        """Offer it again at unix time `due`; does not count as a delivery."""

    def bury(self, delivery: Delivery, reason: str) -> None:
        """Set aside as a dead letter."""

    async def flush(self) -> None:
        """Return when everything said so far has been carried out."""

    def quiet_for(self) -> float:
        """Seconds since the broker was last heard of; 0 while it is known to be away (and tried again), or if
        nothing is to be heard: an embedded broker, heartbeats switched off."""

    def reconnect(self, why: str) -> None:
        """Give the connection up, as if it had been lost, and make another."""

    async def stop(self) -> None:
        """Give back what is not settled and not begun, end the lease, close."""


@runtime_checkable
class Broadcaster(Protocol):
    """A consumer that sends events over the connection it has."""

    async def broadcast(self, batch: Sequence[Outgoing]) -> Sequence[BrokerError | None]:
        """Send messages to an exchange whose receivers get what is sent while they listen, with the next write.

        Returns:
            As `Publisher.publish`; `Unroutable` only for what is mandatory, and only if it is known that nobody listens.
        """


@runtime_checkable
class Listener(Protocol):
    """A consumer that has mailboxes of fanout exchanges on the connection it has."""

    async def listen(self, name: str, exchange: Exchange, *, expires: float) -> Mailbox:
        """Open a mailbox, as `Broker.mailbox`. It comes back with the consumer's connection, also if that is lost now."""


class Mailbox(Protocol):
    """A temporary queue bound to a fanout or topic exchange: control commands, replies, events."""

    async def receive(self) -> list[Delivery]:
        """Wait for messages; they are acknowledged by being returned."""

    async def aclose(self) -> None: ...


class Fetcher(Protocol):
    """Takes messages one by one, blocking, from any thread: for `basic_get` and kombu's consumers. What it
    holds goes back when it is closed or its process ends."""

    def get(self, queues: Sequence[str]) -> Delivery | None:
        """The next message that is ready in any of these queues; None if none is. Does not wait."""

    def ack(self, delivery: Delivery) -> None: ...

    def requeue(self, delivery: Delivery) -> None: ...

    def close(self) -> None: ...


class Broker(Protocol):
    """One URL, opened lazily: making one does no I/O."""

    url: str
    capabilities: Capabilities

    def publisher(self) -> Publisher: ...

    def consumer(self, worker_id: str, *, guarded: bool = False) -> Consumer:
        """A consumer for one worker.

        Args:
            guarded: tasks run in the worker's own process (threads, solo, asyncio) and may keep all of its
                threads from running for a minute: the lease must be renewed from outside.
        """

    async def mailbox(
        self,
        name: str,
        exchange: Exchange,
        routing_key: str,
        *,
        expires: float,
        ttl: float | None = None,
        durable: bool = False,
        exclusive: bool = True,
    ) -> Mailbox:
        """Open a mailbox: from now on messages come in.

        Args:
            expires: seconds after which it goes if nobody receives.
            ttl: seconds that a message may wait in it, where the broker keeps it in a queue.
            durable, exclusive: of that queue, where the broker has such a thing.

        Raises:
            BrokerUnavailable, BrokerRefused: as they say.
        """

    def declare(self, queues: Sequence[Queue]) -> None: ...

    def delete(self, queue: str) -> int:
        """Delete a queue with all it holds; return how many messages that were."""

    def size(self, queue: str) -> int:
        """Messages ready or parked (not those that a worker holds)."""

    def purge(self, queue: str) -> int:
        """Throw away all that is ready or parked; return how many that were."""

    def dead(self, queue: str | None = None, limit: int = 100) -> list[DeadLetter]: ...

    def revive(self, ids: Sequence[int]) -> int:
        """Send dead letters back to their queues; return how many that were."""

    def purge_dead(self, queue: str | None = None) -> int:
        """Throw away the dead letters of one queue, or all that `dead(None)` sees; return how many that were."""

    def close(self) -> None: ...


class DirectBroker(Broker, Protocol):
    """A broker that kombu has no transport for: with this, `brokers/kombu/transport.py` is one."""

    def fetcher(self) -> Fetcher: ...

    def bind(self, queue: str, exchange: Exchange, routing_key: str) -> None:
        """Bind a queue that exists."""

    def unbind(self, queue: str, exchange: str, routing_key: str) -> None: ...

    def bindings(self, exchange: str) -> list[tuple[str, str]]:
        """The (routing key, queue) pairs bound to an exchange."""

    def has_queue(self, queue: str) -> bool: ...


class Replies(Protocol):
    """A queue of this process's own for answers, named by whoever sends something to be answered. From any thread."""

    def prepare(self) -> None:
        """Return when the queue exists: from now on answers are kept.

        Raises:
            BrokerUnavailable, BrokerRefused: as they say.
        """

    def check(self) -> None:
        """Connect again if the connection is lost. May block for a few seconds; what goes wrong is logged."""

    def wait(self, seconds: float) -> bool:
        """Sleep until there is something to collect, at most so long; False if there is nothing."""

    def fileno(self) -> int:
        """A descriptor that is readable while there is something to collect; always the same."""

    def collect(self) -> list[Delivery]:
        """Take what has come; it is acknowledged by being returned."""

    def wake(self) -> None:
        """End the sleep of whoever sleeps."""

    def close(self) -> None: ...


@runtime_checkable
class ReplyingBroker(Protocol):
    """A broker with a fast way for answers."""

    def replies(self, name: str, *, expires: float | None) -> Replies:
        """The queue `name`; nothing happens before it is used.

        Args:
            expires: seconds of disuse after which the broker may drop it; None: never.
        """


class Settlement(Enum):
    """How a delivery can end."""

    ACK = "ack"
    REQUEUE = "requeue"
    PARK = "park"
    BURY = "bury"


class BrokerOptions(msgspec.Struct, frozen=True):
    """What a driver may need from the settings, read once.

    Attributes:
        urls: every URL of a failover list, the preferred one first; `failover.Failover(urls, failover_strategy)`
            says which to try. Never empty in what `open_broker` hands to a driver.
        failover_strategy: a name of `failover.STRATEGIES`, or a callable that makes an iterator over the URLs.
        transport: a kombu transport class, or the path of one, that serves whatever the URL's scheme is.
        connect_timeout: seconds for one attempt to connect.
        heartbeat: seconds between signs of life; the other side is given up after two of them; 0: none.
        heartbeat_rate: how often within one heartbeat a driver looks whether the other side still lives.
        ssl: `broker_use_ssl`: True, or options by their names in Celery (`keyfile`, `ssl_keyfile`, ...).
        login_method: SASL mechanism of AMQP; None: PLAIN.
        pool_limit: connections that one publisher may hold open at a time; 0: none is kept, each publish has
            its own.
        publish_timeout: seconds for one publish, retries included; None: as long as it takes. What operators
            ask (sizes, purging, dead letters) should take no longer either.
        retry_channel_errors: an error that closes only a channel (a queue declared with other arguments) is
            tried again like a lost connection; otherwise it is `BrokerRefused`.
        fleet: `"mixed"`: everything on the wire and in the broker is what stock Celery reads and writes too;
            `"celeriac"`: all producers and workers are ours.
        detect_quorum_queues: no per-channel prefetch if a consumed queue is a quorum queue.
        delayed_queue_type: `"quorum"` or `"classic"` for the queues of native delayed delivery.
        eta_limit: not-due messages that a consumer may hold where the broker cannot; None: 10,000.
        transport_options: `broker_transport_options` as given.
        dead_letter_limit, dead_letter_ttl: how many dead letters a queue keeps, and for how many seconds.
        synchronous: how the embedded store writes: `"NORMAL"` survives any kill, `"FULL"` loss of power too.
    """

    urls: tuple[str, ...] = ()
    failover_strategy: str | Strategy | None = None
    transport: str | type | None = None
    connect_timeout: float = 4.0
    heartbeat: float = 10.0
    heartbeat_rate: float = 3.0
    ssl: bool | Mapping[str, Any] | None = None
    login_method: str | None = None
    pool_limit: int = 10
    publish_timeout: float | None = 10.0
    retry_channel_errors: bool = False
    fleet: str = "mixed"
    detect_quorum_queues: bool = True
    delayed_queue_type: str = "quorum"
    eta_limit: int | None = None
    transport_options: Mapping[str, Any] = msgspec.field(default_factory=dict)
    dead_letter_limit: int = 10_000
    dead_letter_ttl: float = 7 * 86400.0
    synchronous: str = "NORMAL"
