"""Our exchanges and queues as kombu's objects, for those who publish or consume through kombu itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import _foreign
from celery.brokers.topology import Queue

if TYPE_CHECKING:
    from celery.brokers.topology import Exchange


def kombu_exchange(exchange: Exchange) -> Any:
    """The kombu object that says what `exchange` says."""
    make = _foreign.kombu_object("Exchange")
    return make(
        exchange.name,
        exchange.type,
        durable=exchange.durable,
        auto_delete=exchange.auto_delete,
        delivery_mode=exchange.delivery_mode,
        arguments=exchange.arguments or None,
    )


def kombu_queue(queue: Any) -> Any:
    """The kombu object that says what `queue` says; one of kombu's is returned as it is."""
    if not isinstance(queue, Queue):
        return queue
    make, bind = _foreign.kombu_object("Queue"), _foreign.kombu_object("binding")
    more = [
        bind(kombu_exchange(extra.exchange), extra.routing_key, arguments=extra.arguments or None)
        for extra in queue.bindings
    ]
    return make(
        queue.name,
        kombu_exchange(queue.exchange),
        queue.routing_key,
        durable=queue.durable,
        exclusive=queue.exclusive,
        auto_delete=queue.auto_delete,
        no_ack=queue.no_ack,
        expires=queue.expires,
        bindings=more,
        queue_arguments=queue.arguments or None,
        binding_arguments=queue.binding_arguments or None,
        consumer_arguments=queue.consumer_arguments or None,
        alias=queue.alias,
    )
