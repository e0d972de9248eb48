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
        **options: Any,
    ) -> None:
        """Consume from one more queue, declaring it if it is not there.

        Args:
            queue: its name, or a queue object.
            exchange, exchange_type, routing_key: for a name; its own name and `direct` unless given.
        """
        if isinstance(queue, str) and queue in self.app.amqp.queues:
            queue = self.app.amqp.queues[queue]
        elif isinstance(queue, str):
            queue = Queue(
                queue, Exchange(exchange or queue, exchange_type or "direct"), routing_key or queue, **options
            )
        core = self.controller.core
        if core is not None:
            core.call_soon(core.subscribe, queue_from_any(queue))

    def cancel_task_queue(self, queue: Any) -> None:
        """Consume from a queue no more."""
        core = self.controller.core
        if core is not None:
            core.call_soon(core.unsubscribe, queue if isinstance(queue, str) else queue.name)

    def __repr__(self) -> str:
        return f"<Consumer: {self.hostname}>"


publish({**globals(), "__name__": "celery.worker.consumer"}, "Consumer")
