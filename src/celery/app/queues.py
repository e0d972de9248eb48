"""`app.amqp.queues`: the queues an app knows by name, those it makes for unknown names, and those a worker consumes.

Queues are handed out as they were given: objects of kombu where a project's `task_queues` holds such, values of
`celery.brokers.topology` otherwise. Both have `name`, `exchange`, `routing_key`, `alias`, `queue_arguments`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celery.brokers.kombu.entities import kombu_exchange
from celery.brokers.topology import Exchange, Queue, exchange_from_any, queue_from_any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ("Queues",)

#: One line of the worker's banner.
QUEUE_FORMAT = ".> {name:<16} exchange={exchange.name}({exchange.type}) key={routing_key}"


class Queues(dict[str, Any]):
    """Queue names to queues.

    Args:
        queues: a mapping of names to options (see `add_compat`) or to queues, or a collection of queues.
        default_exchange: for queues that name none.
        create_missing: an unknown name makes a queue; else it is a KeyError.
        create_missing_queue_type: "quorum" or "classic", of queues so made.
        create_missing_queue_exchange_type: type of the exchange made with them; None: the default exchange's.
        autoexchange: makes the exchange for such a queue out of its name.
        max_priority: `x-max-priority` of queues that say none.
        default_routing_key: for queues that name none.
    """

    def __init__(
        self,
        queues: Mapping[str, Any] | Iterable[Any] | None = None,
        default_exchange: Any = None,
        create_missing: bool = True,
        create_missing_queue_type: str | None = None,
        create_missing_queue_exchange_type: str | None = None,
        autoexchange: Callable[[str], Any] | None = None,
        max_priority: int | None = None,
        default_routing_key: str | None = None,
    ) -> None:
        super().__init__()
        self.aliases: dict[str, Any] = {}
        #: Counts additions: what was decided by the queues is good as long as this stays the same.
        self.version = 0
        self.default_exchange = default_exchange
        self.default_routing_key = default_routing_key
        self.create_missing = create_missing
        self.create_missing_queue_type = create_missing_queue_type
        self.create_missing_queue_exchange_type = create_missing_queue_exchange_type
        self.autoexchange = self._new_exchange if autoexchange is None else autoexchange
        self.max_priority = max_priority
        self._consume_from: dict[str, Any] | None = None
        self._topology: dict[str, tuple[Any, Queue]] = {}
        if isinstance(queues, Mapping):
            for name, given in queues.items():
                self.add(given) if hasattr(given, "exchange") else self.add_compat(name, **(given or {}))
        else:
            for queue in queues or ():
                self.add(queue)

    def _new_exchange(self, name: str) -> Any:
        kind = self.create_missing_queue_exchange_type
        if kind is None:
            kind = exchange_from_any(self.default_exchange).type if self.default_exchange else "direct"
        return Exchange(name, kind)

    # -- looking up

    def __getitem__(self, name: str) -> Any:
        try:
            return self.aliases[name]
        except KeyError:
            return super().__getitem__(name)

    def __missing__(self, name: str) -> Any:
        if self.create_missing:
            return self._add(self.new_missing(name))
        raise KeyError(name)

    def __setitem__(self, name: str, queue: Any) -> None:
        if self.default_exchange and not queue.exchange:
            queue = _with(queue, exchange=self.default_exchange)
        super().__setitem__(name, queue)
        self.version += 1
        if queue.alias:
            self.aliases[queue.alias] = queue

    def topology(self, name_or_queue: Any) -> Queue:
        """A queue as a value of `celery.brokers.topology`, for drivers.

        Raises:
            KeyError: there is none of that name.
            TypeError: it is neither.
        """
        queue = self[name_or_queue] if isinstance(name_or_queue, str) else name_or_queue
        if isinstance(queue, Queue):
            return queue
        if not hasattr(queue, "queue_arguments"):
            raise TypeError(f"queue must be a name or a Queue, got {queue!r}")
        known = self._topology.get(queue.name)
        if known is None or known[0] is not queue:
            known = self._topology[queue.name] = (queue, queue_from_any(queue))
        return known[1]

    # -- adding

    def add(self, queue: Any, **kwargs: Any) -> Any:
        """Add a queue.

        Args:
            queue: a queue, or the name of a new one.
            **kwargs: options of the new one: see `add_compat`.
        """
        if not hasattr(queue, "exchange"):
            return self.add_compat(queue, **kwargs)
        return self._add(queue)

    def add_compat(self, name: str, **options: Any) -> Any:
        """Add a queue by options: `exchange`, `exchange_type`, `routing_key` (or `binding_key`), `queue_arguments`,
        and every field of `celery.brokers.topology.Queue`."""
        options.setdefault("routing_key", options.pop("binding_key", None))
        if options["routing_key"] is None:
            options["routing_key"] = name
        kind = options.pop("exchange_type", None)
        exchange = options.pop("exchange", None)
        if isinstance(exchange, str):
            exchange = Exchange(exchange, kind or "direct")
        arguments = options.pop("queue_arguments", None) or {}
        fields = {field.name for field in dataclasses.fields(Queue)}
        unknown = sorted(set(options) - fields)
        if unknown:
            raise TypeError(f"queue {name!r}: unknown option {', '.join(unknown)}")
        made = Queue(name, exchange_from_any(exchange), arguments=dict(arguments), **options)
        return self._add(made)

    def _add(self, queue: Any) -> Any:
        changes: dict[str, Any] = {}
        if not queue.routing_key and self.default_routing_key:
            changes["routing_key"] = self.default_routing_key
        if self.default_exchange and not (queue.exchange and queue.exchange.name):
            changes["exchange"] = self.default_exchange
        if self.max_priority is not None and "x-max-priority" not in (queue.queue_arguments or {}):
            changes["arguments"] = {**(queue.queue_arguments or {}), "x-max-priority": self.max_priority}
        self[queue.name] = _with(queue, **changes) if changes else queue
        return self[queue.name]

    def new_missing(self, name: str) -> Queue:
        """The queue that stands for an unknown name; not added."""
        arguments = {"x-queue-type": "quorum"} if self.create_missing_queue_type == "quorum" else {}
        return Queue(name, exchange_from_any(self.autoexchange(name)), name, arguments=arguments)

    # -- consuming

    @property
    def consume_from(self) -> dict[str, Any]:
        """The queues that a worker consumes: the selected ones, else all that were configured."""
        if self._consume_from is not None:
            return self._consume_from
        return self

    def select(self, include: str | Iterable[str] | None) -> None:
        """Consume these only (`-Q`). Names that are no queue make one, if `create_missing`.

        Raises:
            KeyError: an unknown name.
        """
        if include:
            self._consume_from = {name: self[name] for name in _names(include)}

    def select_add(self, queue: Any, **kwargs: Any) -> Any:
        """Add a queue, and consume it even though others were selected."""
        added = self.add(queue, **kwargs)
        if self._consume_from is not None:
            self._consume_from[added.name] = added
        return added

    def deselect(self, exclude: str | Iterable[str] | None) -> None:
        """Do not consume these (`-X`)."""
        if not exclude:
            return
        unwanted = {self._plain_name(name) for name in _names(exclude)}
        self._consume_from = {
            n: q for n, q in self.consume_from.items() if self._plain_name(n) not in unwanted
        }

    def _plain_name(self, name: str) -> str:
        queue = self.aliases.get(name)
        return name if queue is None else str(queue.name)

    def format(self, indent: int = 0, indent_first: bool = True) -> str:
        """The consumed queues for the banner, a line each, sorted.

        Args:
            indent: spaces before each line.
            indent_first: before the first one too.
        """
        lines = [
            QUEUE_FORMAT.format(name=name, exchange=queue.exchange, routing_key=queue.routing_key)
            for name, queue in sorted(self.consume_from.items())
        ]
        margin = " " * indent
        text = f"\n{margin}".join(lines)
        return margin + text if indent_first and text else text


def _names(names: str | Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _with(queue: Any, **changes: Any) -> Any:
    """The queue with other fields; one of kombu's is changed in place, as Celery does."""
    if isinstance(queue, Queue):
        if "exchange" in changes:
            changes["exchange"] = exchange_from_any(changes["exchange"])
        return dataclasses.replace(queue, **changes)
    for key, value in changes.items():
        if key == "exchange" and isinstance(value, Exchange):
            value = kombu_exchange(value)
        setattr(queue, "queue_arguments" if key == "arguments" else key, value)
    return queue
