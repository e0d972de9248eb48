"""Where a call goes: the routes complete its options, and they and the queues make a `Destination` of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from celery.brokers.topology import Queue, delivery_mode_number, queue_from_any

from .routes import merge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery.app.base import Celery

    from .queues import Queues
    from .snapshot import Snapshot


class Destination(NamedTuple):
    """Where to publish.

    Attributes:
        queues: to declare first, as they were given (perhaps kombu's objects).
        declare: the same as values for drivers.
        mandatory: False for a fanout exchange: that nobody listens is no error there.
    """

    exchange: str
    routing_key: str
    delivery_mode: int
    queues: tuple[Any, ...]
    declare: tuple[Queue, ...]
    mandatory: bool = True


def route(
    app: Celery,
    snapshot: Snapshot,
    router: Any,
    name: str,
    args: Any,
    kwargs: Any,
    task_type: Any,
    given: Mapping[str, Any],
) -> Mapping[str, Any]:
    """`given`, completed by the routes."""
    if router is None and snapshot.static_routes:
        queue = given.get("queue")
        if isinstance(queue, str):
            given = app.amqp.router.expand_destination(given)
        known = snapshot.routes.get(name)
        if known is None:
            known = snapshot.routes[name] = app.amqp.router.route({}, name, (), {}, None)
        return merge(dict(known), given)
    # As in Celery, routers see the arguments as they will be sent.
    return dict((router or app.amqp.router).route(given, name, args or (), kwargs or {}, task_type))


def destination(app: Celery, snapshot: Snapshot, routed: Mapping[str, Any]) -> Destination:
    queue = routed.get("queue")
    exchange, routing_key = routed.get("exchange"), routed.get("routing_key")
    kind, mode = routed.get("exchange_type"), routed.get("delivery_mode")
    if routed.get("declare") is not None or not (exchange is None or isinstance(exchange, str)):
        return _new_destination(app, snapshot, routed)
    key = (id(queue), exchange, routing_key, kind, mode)
    known = snapshot.destinations.get(key)
    if known is None or (known.queues and known.queues[0] is not queue):
        known = _new_destination(app, snapshot, routed)
        if known.queues:
            if len(snapshot.destinations) > 1000:  # keys made up by the call
                snapshot.destinations.clear()
            snapshot.destinations[key] = known
    return known


def _new_destination(app: Celery, snapshot: Snapshot, routed: Mapping[str, Any]) -> Destination:
    queues = app.amqp.queues
    queue, exchange = routed.get("queue"), routed.get("exchange")
    routing_key = routed.get("routing_key")
    exchange = getattr(exchange, "name", exchange)
    mode = routed.get("delivery_mode")
    given = routed.get("declare")
    declare: list[Any] = []
    fanout = False
    if queue is None and not exchange:
        queue = app.amqp.default_queue
    if queue is not None:
        known = queues.topology(queue)
        kind = routed.get("exchange_type") or known.exchange.type or "direct"
        mode = mode or known.exchange.delivery_mode
        if not _is_broadcast(queue):
            declare.append(queue)
        if kind == "direct" and (not exchange or not routing_key):
            exchange, routing_key = "", known.name
        elif not exchange:
            exchange, routing_key = known.exchange.name, routing_key or known.routing_key
            fanout = kind == "fanout"
    if exchange and given is None:
        declare += [other for other in _bound_to(queues, exchange) if other is not queue]
    if given is not None:
        declare = list(given)
    return Destination(
        exchange or "",
        routing_key or "",
        snapshot.delivery_mode if mode is None else delivery_mode_number(mode),
        tuple(declare),
        tuple(queue_from_any(one) for one in declare),
        mandatory=not fanout,
    )


def _bound_to(queues: Queues, exchange: str) -> tuple[Any, ...]:
    """The configured queues that an exchange can reach: it may be the first to hear of them."""
    known = ((queue, queues.topology(queue)) for queue in queues.values())
    return tuple(
        queue
        for queue, value in known
        if exchange in (value.exchange.name, *(binding.exchange.name for binding in value.bindings))
        and not _is_broadcast(queue)
    )


def _is_broadcast(queue: Any) -> bool:
    """`kombu.common.Broadcast`: each worker has its own queue, which is not for senders to declare."""
    return any(cls.__name__ == "Broadcast" for cls in type(queue).__mro__)
