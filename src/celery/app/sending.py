"""The publish pipeline, as plain functions in a row: options, message, signals, broker.

`send_options` (in `options`) settles where and how; `compose` (in `messages`) makes the message; `publish` hands it
over and returns when the broker has it. Each has one meaning whether the caller blocks or awaits: only the last step
comes twice. Many at once: `bulk`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from celery.brokers import patience, publishing
from celery.brokers.kombu import wrapped
from celery.brokers.kombu.entities import kombu_queue
from celery.exceptions import OperationalError
from celery.message.writing import TaskMessage
from celery.signals import after_task_publish, task_sent

from .messages import compose, outgoing, policy_mapping, prepare
from .options import SendOptions, send_options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from celery.app.base import Celery
    from celery.brokers.base import Broker, BrokerError, Outgoing

    from .snapshot import Snapshot

__all__ = (
    "Call",
    "SendOptions",
    "announce",
    "apublish",
    "asend_task_message",
    "compose",
    "message_sender",
    "publish",
    "send_options",
    "send_task_message",
)

#: Seconds; stands for "no deadline".
FOREVER = 10.0 * 365 * 86400


class Call(NamedTuple):
    """One call of a bulk send: what `apply_async` takes.

    Attributes:
        options: those of this call alone, over those given for all.
    """

    args: Sequence[Any] | None = None
    kwargs: Mapping[str, Any] | None = None
    options: Mapping[str, Any] | None = None


# -- one message


def send_task_message(app: Celery, name: str, args: Any, kwargs: Any, *, options: SendOptions) -> None:
    """Make the message of one call and publish it; returns when the broker has it.

    Raises:
        TypeError: `args` is no list or tuple, or `kwargs` no mapping.
        EncodeError: an argument cannot be serialized.
        OperationalError: the broker did not take it before the deadline, or refused it.
    """
    message, ready = prepare(app, name, args, kwargs, options)
    if options.producer is not None or options.connection is not None:
        assert message is not None
        _publish_through_kombu(app, message, options, policy_mapping(app.amqp.snapshot, options))
    else:
        publish(app, [outgoing(app, message, options) if ready is None else ready], options)
    if message is not None:
        announce(name, message, options)


async def asend_task_message(app: Celery, name: str, args: Any, kwargs: Any, *, options: SendOptions) -> None:
    """`send_task_message` that awaits the broker instead of blocking the event loop."""
    if options.producer is not None or options.connection is not None:
        raise TypeError("producer= and connection= block: they cannot be used with the awaitable calls")
    message, ready = prepare(app, name, args, kwargs, options)
    await apublish(app, [outgoing(app, message, options) if ready is None else ready], options)
    if message is not None:
        announce(name, message, options)


def announce(name: str, message: TaskMessage, options: SendOptions) -> None:
    where = options.destination
    if after_task_publish.receivers:
        after_task_publish.send(
            sender=name,
            body=message.body,
            headers=message.headers,
            exchange=where.exchange,
            routing_key=where.routing_key,
        )
    if task_sent.receivers:
        args, kwargs = (
            message.body[:2]
            if isinstance(message.body, tuple)
            else (
                message.body["args"],
                message.body["kwargs"],
            )
        )
        task_sent.send(
            sender=name,
            task_id=options.task_id,
            task=name,
            args=args,
            kwargs=kwargs,
            eta=options.eta,
            taskset=options.group_id,
        )


# -- to the broker


def _policy(snapshot: Snapshot, options: SendOptions) -> publishing.RetryPolicy:
    if not options.retry:
        return publishing.NEVER
    if not options.retry_policy:
        return snapshot.policy
    return publishing.RetryPolicy.read(policy_mapping(snapshot, options))


def _deadline(options: SendOptions) -> float:
    return time.monotonic() + (FOREVER if options.timeout is None else options.timeout)


def publish(app: Celery, batch: list[Outgoing], options: SendOptions) -> None:
    if not wrapped.is_wrapped():
        _publish(app, batch, options)
    elif len(batch) == 1:
        wrapped.publish(
            batch[0], app.connection_for_write(), lambda message: _publish(app, [message], options)
        )
    else:
        _publish(app, _seen(app, batch), options)


def _seen(app: Celery, batch: list[Outgoing]) -> list[Outgoing]:
    connection = app.connection_for_write()
    return [wrapped.seen(message, connection) for message in batch]


def _publish(app: Celery, batch: list[Outgoing], options: SendOptions) -> None:
    broker = app.broker_for_write()
    if not broker.capabilities.due:
        _without_due(app, broker, batch)
    policy, publisher = _policy(app.amqp.snapshot, options), broker.publisher()
    rounds: patience.Rounds | None = None
    while True:
        left = batch if rounds is None else rounds.left
        try:
            outcomes = publishing.publish(publisher, left, policy, _deadline(options), url=broker.url)
        except OperationalError as exc:
            rounds = rounds or patience.Rounds(batch)
            rounds.failed(exc, policy, app.backend.give_up)
            time.sleep(patience.PAUSE)
        else:
            _check(outcomes if rounds is None else rounds.outcomes(outcomes), broker.url)
            break
    if app.amqp.snapshot.sent_events:
        _sent_events().tell(app, batch)


async def apublish(app: Celery, batch: list[Outgoing], options: SendOptions) -> None:
    if wrapped.is_wrapped():
        batch = _seen(app, batch)
    broker = app.broker_for_write()
    if not broker.capabilities.due:
        _without_due(app, broker, batch)
    policy, publisher = _policy(app.amqp.snapshot, options), broker.publisher()
    rounds: patience.Rounds | None = None
    while True:
        left = batch if rounds is None else rounds.left
        try:
            outcomes = await publishing.apublish(publisher, left, policy, _deadline(options), url=broker.url)
        except OperationalError as exc:
            rounds = rounds or patience.Rounds(batch)
            rounds.failed(exc, policy, app.backend.give_up)
            await _pause(patience.PAUSE)
        else:
            _check(outcomes if rounds is None else rounds.outcomes(outcomes), broker.url)
            break
    if app.amqp.snapshot.sent_events:
        await _sent_events().atell(app, batch)


def _sent_events() -> Any:
    from . import sent_events  # noqa: PLC0415 - most programs send none

    return sent_events


async def _pause(seconds: float) -> None:
    import asyncio  # noqa: PLC0415 - a program that only calls `delay` need not load it

    await asyncio.sleep(seconds)


def _check(outcomes: Sequence[BrokerError | None], url: str) -> None:
    """Raise for the first message that was refused or had nowhere to go."""
    for refusal in outcomes:
        if refusal is not None:
            error = publishing.publish_error(url, refusal)
            error.outcomes = outcomes  # type: ignore[attr-defined]  # see _partly_sent
            raise error from refusal


def _without_due(app: Celery, broker: Broker, batch: list[Outgoing]) -> None:
    """The worker that gets them parks them, by their `eta` header; but for what the broker delays natively."""
    native = broker.capabilities.delays_natively
    for one in batch:
        if one.due is not None and not (native and app.amqp.delays_natively(one.exchange, one.routing_key)):
            one.due = None


def _publish_through_kombu(
    app: Celery, message: TaskMessage, options: SendOptions, policy: dict[str, Any]
) -> None:
    """Publish with the caller's own kombu producer or connection; kombu serializes."""
    producer = options.producer
    if producer is None:
        producer = options.connection.Producer(auto_declare=False)
    where = options.destination
    properties = dict(message.properties)
    properties.setdefault("delivery_mode", where.delivery_mode)
    producer.publish(
        message.body,
        exchange=where.exchange,
        routing_key=where.routing_key,
        serializer=options.serializer,
        compression=options.compression,
        retry=options.retry,
        retry_policy=policy,
        declare=[kombu_queue(queue) for queue in where.queues],
        headers=message.headers,
        **properties,
    )
    if app.amqp.snapshot.sent_events:
        _sent_events().tell(app, [outgoing(app, message, options)])


def message_sender(app: Celery) -> Callable[..., None]:
    """What `app.amqp.send_task_message` gives: publishes a message that the caller made.

    The function's arguments are a kombu producer or None, the task's name, a `TaskMessage`, and options of
    `apply_async` about routing and publishing.
    """

    def send(producer: Any, name: str, message: TaskMessage, **given: Any) -> None:
        headers, properties = dict(message.headers), dict(message.properties)
        headers.update(given.pop("headers", None) or {})
        args, kwargs = message.body[:2] if isinstance(message.body, (tuple, list)) else ((), {})
        given.setdefault("task_id", properties.get("correlation_id"))
        options = send_options(app, name, args, kwargs, task_type=False, producer=producer, **given)
        own = TaskMessage(headers, properties | (options.extra or {}), message.body, message.sent_event)
        for key in ("priority", "expires_in"):
            value = getattr(options, key)
            if value is not None:
                own.properties["expiration" if key == "expires_in" else key] = value
        if options.producer is not None or options.connection is not None:
            _publish_through_kombu(app, own, options, policy_mapping(app.amqp.snapshot, options))
        else:
            publish(app, [outgoing(app, own, options)], options)
        announce(name, own, options)

    return send
