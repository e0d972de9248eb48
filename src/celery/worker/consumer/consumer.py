"""A worker's consuming side as extensions know it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from celery._public import publish
from celery.brokers.topology import Exchange, Queue, queue_from_any

if TYPE_CHECKING:
    from collections.abc import Callable


class Consumer:
    """Facade over a worker's core. Methods may be called from any thread and return at once; the connection is for the
    application's steps alone.

    Args:
        controller: the `WorkController` it belongs to.
    """

    def __init__(self, controller: Any, app: Any = None, hostname: str | None = None) -> None:
        self.controller = controller
        self.app = app or controller.app
        self.hostname = hostname or controller.hostname
        #: Steps of the application's that start and stop with this consumer.
        self.steps: list[Any] = []
        self.blueprint: Any = None
        self._connection: Any = None
        self._gossip: Any = None

    @property
    def timer(self) -> Any:
        """The worker's timer."""
        return self.controller.timer

    @property
    def hub(self) -> None:
        """There is none: steps do without, as with those of Celery's pools and brokers that have no event loop."""
        return

    @property
    def pool(self) -> Any:
        """Where tasks run."""
        return self.controller.pool

    @property
    def restart_count(self) -> int:
        """How often the connection to the broker was re-established."""
        core = self.controller.core
        return 0 if core is None else core.restart_count

    @property
    def max_prefetch_count(self) -> int:
        """How many messages the broker may have out to this worker now."""
        core = self.controller.core
        return 0 if core is None else max(core.crew.dispatcher.window, 0)

    @property
    def gossip(self) -> Any:
        """The neighbours (`celery.worker.gossip.Gossip`), followed as soon as somebody wants to know of them."""
        if self._gossip is None:
            from celery.worker.gossip import Gossip  # noqa: PLC0415 - most workers follow nobody

            self._gossip = Gossip(self)
        return self._gossip

    @property
    def event_dispatcher(self) -> Any:
        """Sends events; None before the worker has started."""
        core = self.controller.core
        return None if core is None else core.crew.requests.eventer

    # -- for the steps of the application, on their thread ----------------------------------------
    @property
    def connection(self) -> Any:
        """A kombu connection of the steps' own, made when first asked for."""
        if self._connection is None:
            self._connection = self.app.connection_for_read(heartbeat=self.app.conf.broker_heartbeat)
        return self._connection

    @property
    def connected(self) -> bool:
        """Whether a step has asked for the connection."""
        return self._connection is not None

    @property
    def connection_errors(self) -> tuple[type[BaseException], ...]:
        """What says that the connection is lost; nothing does if there is none."""
        if self._connection is None:
            return ()
        return (*self._connection.connection_errors, *self._connection.channel_errors)

    def disconnect(self) -> None:
        """Close the steps' connection; the next is made when asked for."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*connection.connection_errors, *connection.channel_errors):
                connection.release()

    def on_ready(self) -> None:
        """Called when tasks are being taken."""
        if self._gossip is not None:
            self._gossip.ready()

    async def on_end(self) -> None:
        """Called on the worker's loop when it ends."""
        if self._gossip is not None:
            await self._gossip.close()

    # -- any thread -------------------------------------------------------------------------------
    def call_soon(self, p: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call `p` on the worker's extension thread."""
        core = self.controller.core
        if core is not None:
            core.crew.extension.call(p, *args, **kwargs)

    def add_task_queue(
        self,
        queue: Any,
        exchange: str | None = None,
        exchange_type: str | None = None,
        routing_key: str | None = None,
        *,
        wait: bool = False,
        **options: Any,
    ) -> None:
        """Consume from one more queue, declaring it if it is not there.

        Args:
            queue: its name, or a queue object.
            exchange, exchange_type, routing_key: for a name; its own name and `direct` unless given.
            wait: return when it is declared. Not for the worker's own loop.
            **options: `queue_durable`, `exchange_durable`, `queue_arguments`, ...; fields of a queue.

        Raises:
            BrokerError: with `wait`: it cannot be declared.
        """
        queues, core = self.app.amqp.queues, self.controller.core
        name = queue if isinstance(queue, str) else queue.name
        if core is None or name in queues.consume_from:
            return
        if isinstance(queue, str) and queue not in queues:
            queue = _new_queue(queue, exchange or queue, exchange_type or "direct", routing_key, options)
        elif isinstance(queue, str):
            queue = queues[queue]
        found = queue_from_any(queue)
        if wait:
            core.wait_for(core.consume(found))
        else:
            core.call_soon(core.subscribe, found)
        queues.select_add(queue)

    def cancel_task_queue(self, queue: Any, *, wait: bool = False) -> None:
        """Consume from a queue no more.

        Args:
            wait: return when no more messages come. Not for the worker's own loop.
        """
        core = self.controller.core
        name = queue if isinstance(queue, str) else queue.name
        if core is None:
            return
        self.app.amqp.queues.deselect(name)
        if wait:
            core.wait_for(core.unconsume(name))
        else:
            core.call_soon(core.unsubscribe, name)

    @property
    def qos(self) -> QoS:
        """How many messages may be out to this worker."""
        return QoS(self.controller)

    def __repr__(self) -> str:
        return f"<Consumer: {self.hostname}>"


class QoS:
    """The window as extensions know it. It adapts to run times by itself; what is added or taken here comes on top.

    Attributes:
        value: messages that the broker may have out to this worker.
        prev: the same: every change is told to the broker at once.
    """

    def __init__(self, controller: Any) -> None:
        self._controller = controller

    @property
    def value(self) -> int:
        return int(self._controller.consumer.max_prefetch_count)

    prev = value

    def _change(self, n: int) -> int:
        core = self._controller.core
        if core is None:
            return 0

        def change() -> int:
            dispatcher = core.crew.dispatcher
            dispatcher.extra += n
            dispatcher.refresh()
            return max(0, int(dispatcher.window))

        return int(core.ask(change))

    def increment_eventually(self, n: int = 1) -> int:
        """Have `n` more out; return how many that makes."""
        return self._change(n)

    def decrement_eventually(self, n: int = 1) -> int:
        """Have `n` fewer out; return how many that makes."""
        return self._change(-n)

    def set(self, pcount: int) -> int:
        """Have so many out."""
        return self._change(pcount - self.value)

    def update(self) -> int:
        """Nothing to do; return how many are out."""
        return self.value


#: What kombu calls options of a queue and its exchange, and what the fields are.
_FIELDS = {"queue_durable": "durable", "queue_auto_delete": "auto_delete", "queue_expires": "expires"}
_EXCHANGE_FIELDS = {
    "exchange_durable": "durable",
    "exchange_auto_delete": "auto_delete",
    "exchange_arguments": "arguments",
}


def _new_queue(name: str, exchange: str, kind: str, key: str | None, options: dict[str, Any]) -> Queue:
    """A queue from options as `add_consumer` has them.

    Raises:
        TypeError: an unknown option.
    """
    options = {option: value for option, value in options.items() if value is not None}
    of_exchange = {
        field: options.pop(option) for option, field in _EXCHANGE_FIELDS.items() if option in options
    }
    fields = {_FIELDS.get(option, option): value for option, value in options.items()}
    fields["arguments"] = fields.pop("queue_arguments", None) or fields.get("arguments") or {}
    return Queue(name, Exchange(exchange, kind, **of_exchange), key or name, **fields)


publish({**globals(), "__name__": "celery.worker.consumer"}, "Consumer")
