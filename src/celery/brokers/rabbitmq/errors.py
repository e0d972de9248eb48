"""AMQP's errors in the words of the port, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery.brokers.base import BrokerError, BrokerRefused, BrokerUnavailable, Unroutable
from celery.wire.amqp import errors as wire

if TYPE_CHECKING:
    from .endpoint import Endpoint


def unavailable(endpoint: Endpoint, cause: BaseException | str) -> BrokerUnavailable:
    """The connection does not work."""
    if isinstance(cause, TimeoutError):
        cause = "no answer in time"
    elif isinstance(cause, OSError):
        cause = (cause.strerror or str(cause) or type(cause).__name__).rstrip(".")
    return BrokerUnavailable(f"{endpoint.name}: {cause}")


def refused_connection(endpoint: Endpoint, closed: wire.Closed) -> BrokerError:
    """The broker closed the connection while it was being opened, or later."""
    login = endpoint.login
    if closed.code == wire.ACCESS_REFUSED:
        if login.mechanism == "EXTERNAL":
            what = "the certificate does not belong to a user that may log in"
        else:
            what = f"user {login.user!r} with this password may not log in"
        return BrokerRefused(f"{endpoint.name}: {what} (broker_url; {closed})")
    if closed.code == wire.NOT_ALLOWED and "vhost" in closed.text.lower():
        return BrokerRefused(
            f"{endpoint.name}: vhost {login.vhost!r} does not exist, or user {login.user!r} may not use it; create it:"
            f" rabbitmqctl add_vhost {login.vhost}; rabbitmqctl set_permissions -p {login.vhost} {login.user} '.*'"
            " '.*' '.*'"
        )
    if closed.code == wire.NOT_ALLOWED:
        return BrokerRefused(f"{endpoint.name}: {closed}")
    return BrokerUnavailable(f"{endpoint.name}: the broker closed the connection: {closed}")


def refused(endpoint: Endpoint, closed: wire.Closed, what: str) -> BrokerError:
    """The broker refused one request.

    Args:
        what: the request, for people.
    """
    text = f"{endpoint.name}: {what}: {closed}"
    if closed.code == wire.PRECONDITION_FAILED and "inequivalent" in closed.text:
        return BrokerRefused(
            f"{text}. It exists with other properties: declare it as it is (task_queues), or delete it and let it be"
            " made again"
        )
    if closed.code in wire.FINAL:
        return BrokerRefused(text)
    return BrokerUnavailable(text)


def unroutable(exchange: str, routing_key: str) -> Unroutable:
    """No queue took a mandatory message."""
    if exchange:
        what = f"no queue is bound to exchange {exchange!r} for routing key {routing_key!r}"
    else:
        what = f"there is no queue {routing_key!r}"
    return Unroutable(
        f"The message was refused: {what}. Declare the queue, or start a worker that consumes it."
    )
