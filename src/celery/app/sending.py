"""The publish pipeline, as plain functions in a row: options, message, signals, broker.

`send_options` (in `options`) settles where and how; `compose` makes the message; `publish` hands it over and
returns when the broker has it. Each has one meaning whether the caller blocks or awaits: only the last step
comes twice.

Messages are made in one of two ways. If nobody listens to the publish signals and the call has no custom
headers, the headers are formatted from a cached `Template`; otherwise they are made as a dict, which
receivers of `before_task_publish` may change. A property test holds the two together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from celery import _foreign
from celery.brokers import patience, publishing
from celery.brokers.base import Outgoing
from celery.brokers.kombu.entities import kombu_queue
from celery.exceptions import OperationalError
from celery.message import compression, serializers
from celery.message.headers import LazyObject
from celery.message.task import TaskMessage, build_v1, build_v2
from celery.message.template import NO_EMBED, Template, json_body
from celery.signals import after_task_publish, before_task_publish, task_sent
from celery.utils import uuid
from celery.utils.saferepr import saferepr

from .options import SendOptions, checked_arguments, send_options

if TYPE_CHECKING:
    from celery.app.base import Celery
    from celery.brokers.base import Broker, BrokerError

    from .snapshot import Snapshot

__all__ = (
    "Call",
    "SendOptions",
    "asend_composed",
    "asend_many",
    "asend_task_message",
    "compose",
    "send_composed",
    "send_many",
    "send_options",
    "send_task_message",
)

#: Messages handed to the broker at once by a bulk send.
BULK = 500
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
    message, ready = _prepare(app, name, args, kwargs, options)
    if options.producer is not None or options.connection is not None:
        assert message is not None
        _publish_through_kombu(message, options, _policy_mapping(app.amqp.snapshot, options))
    else:
        _publish(app, [_outgoing(app, message, options) if ready is None else ready], options)
    if message is not None:
        _announce(name, message, options)


async def asend_task_message(app: Celery, name: str, args: Any, kwargs: Any, *, options: SendOptions) -> None:
    """`send_task_message` that awaits the broker instead of blocking the event loop."""
    if options.producer is not None or options.connection is not None:
        raise TypeError("producer= and connection= block: they cannot be used with the awaitable calls")
    message, ready = _prepare(app, name, args, kwargs, options)
    await _apublish(app, [_outgoing(app, message, options) if ready is None else ready], options)
    if message is not None:
        _announce(name, message, options)


def _prepare(
    app: Celery, name: str, args: Any, kwargs: Any, options: SendOptions
) -> tuple[TaskMessage | None, Outgoing | None]:
    """The message as values, which receivers of the signal have seen, or finished, if nobody wants to see it."""
    args, kwargs = checked_arguments(args, kwargs)
    if _is_ordinary(options) and app.amqp.snapshot.protocol == 2 and not _watched():
        return None, _from_template(app, name, args, kwargs, options)
    message = _values(app, name, args, kwargs, options)
    if before_task_publish.receivers:
        where = options.destination
        before_task_publish.send(
            sender=name,
            body=message.body,
            exchange=where.exchange,
            routing_key=where.routing_key,
            declare=list(where.queues),
            headers=message.headers,
            properties=message.properties,
            retry_policy=_policy_mapping(app.amqp.snapshot, options),
        )
    return message, None


def compose(app: Celery, name: str, args: Any, kwargs: Any, options: SendOptions) -> Outgoing:
    """The finished message of one call, by the template if that can say it; no signal is sent.

    Raises:
        TypeError, EncodeError: see `send_task_message`.
    """
    args, kwargs = checked_arguments(args, kwargs)
    if _is_ordinary(options) and app.amqp.snapshot.protocol == 2:
        return _from_template(app, name, args, kwargs, options)
    return _outgoing(app, _values(app, name, args, kwargs, options), options)


def _watched() -> bool:
    return bool(before_task_publish.receivers or after_task_publish.receivers or task_sent.receivers)


def _announce(name: str, message: TaskMessage, options: SendOptions) -> None:
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


# -- by template


def _is_ordinary(options: SendOptions) -> bool:
    return (
        options.headers is None
        and options.extra is None
        and options.stamps is None
        and options.stamped_headers is None
        and options.producer is None
        and options.connection is None
        and type(options.task_id) is str
        and type(options.retries) is int
        and (options.priority is None or type(options.priority) is int)
        and (options.group_index is None or type(options.group_index) is int)
    )


def _from_template(app: Celery, name: str, args: Any, kwargs: Any, options: SendOptions) -> Outgoing:
    amqp = app.amqp
    snapshot = amqp.snapshot
    embed = None
    if options.callbacks or options.errbacks or options.chain or options.chord:
        embed = _embed(options)
    content_type, content_encoding, body = _encoded_body(options.serializer, args, kwargs, embed)
    packed = None
    if options.compression:
        body, packed = compression.compress(body, options.compression)
    template = _template(snapshot, name, options, content_type, content_encoding, packed)
    argsrepr, kwargsrepr = options.argsrepr, options.kwargsrepr
    if argsrepr is None:
        argsrepr = short_repr(args) or saferepr(args, amqp.argsrepr_maxsize, snapshot.repr_levels)
    if kwargsrepr is None:
        kwargsrepr = "{}" if not kwargs else saferepr(kwargs, amqp.kwargsrepr_maxsize, snapshot.repr_levels)
    where = options.destination
    return Outgoing(
        body,
        template.headers(
            options.task_id,
            argsrepr,
            kwargsrepr,
            eta=options.eta,
            expires=options.expires,
            group_id=options.group_id,
            group_index=options.group_index,
            retries=options.retries,
            root_id=options.root_id,
            parent_id=options.parent_id,
            replaced_task_nesting=options.replaced_task_nesting,
        ),
        template.properties(options.task_id, options.expiration),
        where.exchange,
        where.routing_key,
        options.priority or 0,
        options.due,
        where.declare,
        options.mandatory,
    )


def _encoded_body(serializer: str, args: Any, kwargs: Any, embed: Any) -> tuple[str, str, bytes]:
    if serializer == "json" and serializers.json_is_ours():
        try:
            return "application/json", "utf-8", json_body(args, kwargs, embed)
        except (TypeError, ValueError) as exc:
            raise _foreign.encode_error(str(exc)) from exc
    return serializers.dumps((args, kwargs, NO_EMBED if embed is None else embed), serializer)


def _template(
    snapshot: Snapshot,
    name: str,
    options: SendOptions,
    content_type: str,
    content_encoding: str,
    packed: str | None,
) -> Template:
    key = (
        name,
        options.shadow,
        options.time_limit,
        options.soft_time_limit,
        options.origin,
        options.ignore_result,
        options.reply_to,
        content_type,
        content_encoding,
        options.destination.delivery_mode,
        packed,
        options.priority,
    )
    known = snapshot.templates.get(key)
    if known is None:
        if len(snapshot.templates) > 1000:  # names or reply addresses made up by the call
            snapshot.templates.clear()
        known = snapshot.templates[key] = Template(
            name,
            shadow=options.shadow,
            timelimit=(options.time_limit, options.soft_time_limit),
            origin=options.origin,
            ignore_result=options.ignore_result,
            reply_to=options.reply_to or "",
            content_type=content_type,
            content_encoding=content_encoding,
            delivery_mode=options.destination.delivery_mode,
            compression=packed,
            priority=options.priority,
        )
    return known


#: Values whose `repr` is short and is what `saferepr` writes.
_BRIEF = frozenset({int, bool, type(None), float})


def short_repr(args: Any) -> str | None:
    """What `saferepr` says of a few plain numbers and short words, at once; None if there is more to it."""
    if not args:
        return "()" if type(args) is tuple else "[]"
    if len(args) > 8:
        return None
    for value in args:
        kind = type(value)
        if kind is str:
            if len(value) > 64 or not value.isalnum():
                return None
        elif kind not in _BRIEF or (kind is int and not -_LARGE < value < _LARGE):
            return None
    return repr(args) if type(args) in (tuple, list) else None


_LARGE = 10**30


def _embed(options: SendOptions) -> dict[str, Any]:
    return {
        "callbacks": options.callbacks,
        "errbacks": options.errbacks,
        "chain": options.chain or None,
        "chord": options.chord or None,
    }


# -- by values


def _values(app: Celery, name: str, args: Any, kwargs: Any, options: SendOptions) -> TaskMessage:
    """The message as dicts, custom headers included; compressed and serialized later."""
    amqp = app.amqp
    snapshot = amqp.snapshot
    argsrepr, kwargsrepr = options.argsrepr, options.kwargsrepr
    if argsrepr is None:
        argsrepr = saferepr(args, amqp.argsrepr_maxsize, snapshot.repr_levels)
    if kwargsrepr is None:
        kwargsrepr = saferepr(kwargs, amqp.kwargsrepr_maxsize, snapshot.repr_levels)
    common: dict[str, Any] = {
        "eta": options.eta,
        "expires": options.expires,
        "group_id": options.group_id,
        "group_index": options.group_index,
        "retries": options.retries,
        "chord": options.chord or None,
        "callbacks": options.callbacks,
        "errbacks": options.errbacks,
        "reply_to": options.reply_to,
        "time_limit": options.time_limit,
        "soft_time_limit": options.soft_time_limit,
        "argsrepr": argsrepr,
        "kwargsrepr": kwargsrepr,
    }
    if snapshot.protocol == 1:
        message = build_v1(options.task_id, name, args, kwargs, utc=amqp.utc, **common)
    else:
        message = build_v2(
            options.task_id,
            name,
            args,
            kwargs,
            chain=options.chain or None,
            root_id=options.root_id,
            parent_id=options.parent_id,
            shadow=options.shadow,
            origin=options.origin,
            ignore_result=options.ignore_result,
            stamped_headers=options.stamped_headers,
            stamps=options.stamps,
            replaced_task_nesting=options.replaced_task_nesting,
            **common,
        )
    message.headers.update(options.headers or {})
    message.properties.update(options.extra or {})
    if options.priority is not None:
        message.properties["priority"] = options.priority
    if options.expires_in is not None:
        message.properties["expiration"] = options.expires_in
    return message


def _outgoing(app: Celery, message: TaskMessage | None, options: SendOptions) -> Outgoing:
    """Serialize and compress: what receivers made of the message counts."""
    assert message is not None
    where = options.destination
    content_type, content_encoding, body = serializers.dumps(message.body, options.serializer)
    if options.compression:
        body, message.headers["compression"] = compression.compress(body, options.compression)
    own = dict(message.properties)
    priority, expires_in = own.pop("priority", None), own.pop("expiration", None)
    properties = {"content_type": content_type, "content_encoding": content_encoding, **own}
    properties.setdefault("delivery_mode", where.delivery_mode)
    if priority is not None:
        properties["priority"] = priority = _whole(priority)
    if expires_in is not None:
        properties["expiration"] = str(int(float(expires_in) * 1000))
    return Outgoing(
        body,
        LazyObject(value=message.headers),
        LazyObject(value=properties),
        where.exchange,
        where.routing_key,
        priority or 0,
        options.due,
        where.declare,
        options.mandatory,
    )


# -- to the broker


def _policy_mapping(snapshot: Snapshot, options: SendOptions) -> dict[str, Any]:
    return {**snapshot.retry_policy, **(options.retry_policy or {})}


def _policy(snapshot: Snapshot, options: SendOptions) -> publishing.RetryPolicy:
    if not options.retry:
        return publishing.NEVER
    if not options.retry_policy:
        return snapshot.policy
    return publishing.RetryPolicy.read(_policy_mapping(snapshot, options))


def _deadline(options: SendOptions) -> float:
    return time.monotonic() + (FOREVER if options.timeout is None else options.timeout)


def _publish(app: Celery, batch: list[Outgoing], options: SendOptions) -> None:
    broker = app.broker_for_write()
    if not broker.capabilities.due:
        _without_due(app, broker, batch)
    policy, publisher = _policy(app.amqp.snapshot, options), broker.publisher()
    while True:
        try:
            outcomes = publishing.publish(publisher, batch, policy, _deadline(options), url=broker.url)
        except OperationalError as exc:
            batch = patience.left(exc, policy, app.backend.give_up)
            time.sleep(patience.PAUSE)
        else:
            return _check(outcomes, broker.url)


async def _apublish(app: Celery, batch: list[Outgoing], options: SendOptions) -> None:
    broker = app.broker_for_write()
    if not broker.capabilities.due:
        _without_due(app, broker, batch)
    policy, publisher = _policy(app.amqp.snapshot, options), broker.publisher()
    while True:
        try:
            outcomes = await publishing.apublish(publisher, batch, policy, _deadline(options), url=broker.url)
        except OperationalError as exc:
            batch = patience.left(exc, policy, app.backend.give_up)
            await _pause(patience.PAUSE)
        else:
            return _check(outcomes, broker.url)


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


def _publish_through_kombu(message: TaskMessage, options: SendOptions, policy: dict[str, Any]) -> None:
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
            _publish_through_kombu(own, options, _policy_mapping(app.amqp.snapshot, options))
        else:
            _publish(app, [_outgoing(app, own, options)], options)
        _announce(name, own, options)

    return send


# -- many messages


class _Chunk(NamedTuple):
    ids: list[str]
    batch: list[Outgoing]
    options: SendOptions
    watched: list[tuple[str, TaskMessage, SendOptions]]


def send_many(
    app: Celery, name: str, calls: Iterable[Any], *, task_type: Any = None, **given: Any
) -> list[str]:
    """Send a task many times: one publish for every 500 calls instead of one for each.

    Args:
        calls: for each call its positional arguments as a list or tuple, its keyword arguments as a mapping, or
            a `Call`. Read as it is needed, so a generator of any length will do.
        task_type: see `send_options`.
        **given: options of `apply_async` for all calls; those of a `Call` add to them.

    Returns:
        The task ids, in the order of `calls`.

    Raises:
        TypeError: `task_id`, `producer` or `connection` was given for all.
        EncodeError: an argument cannot be serialized; earlier chunks were sent.
        OperationalError: the broker did not take all of them. Its `accepted` has the ids of those it certainly has,
            earlier chunks included, its `sent` how many that are.

    >>> send_many(app, 'tasks.add', [(1, 1), (2, 2), {'x': 3, 'y': 3}], countdown=10)
    ['8f6d...', '1c02...', '77aa...']
    """
    ids: list[str] = []
    for chunk in _chunks(app, name, calls, task_type, given):
        try:
            _publish(app, chunk.batch, chunk.options)
        except OperationalError as exc:
            raise _partly_sent(exc, ids, chunk) from exc.__cause__
        ids += chunk.ids
        _tell(chunk)
    return ids


async def asend_many(
    app: Celery, name: str, calls: Iterable[Any], *, task_type: Any = None, **given: Any
) -> list[str]:
    """`send_many` that awaits the broker instead of blocking the event loop."""
    ids: list[str] = []
    for chunk in _chunks(app, name, calls, task_type, given):
        try:
            await _apublish(app, chunk.batch, chunk.options)
        except OperationalError as exc:
            raise _partly_sent(exc, ids, chunk) from exc.__cause__
        ids += chunk.ids
        _tell(chunk)
    return ids


def send_composed(app: Celery, calls: Iterable[tuple[str, Any, Any, SendOptions]]) -> None:
    """Publish calls of any tasks, whose options are settled: one publish for every 500.

    Args:
        calls: name, args, kwargs and options of each.

    Raises:
        EncodeError, OperationalError: as `send_many`.
    """
    sent: list[str] = []
    for chunk in _settled_chunks(app, calls):
        try:
            _publish(app, chunk.batch, chunk.options)
        except OperationalError as exc:
            raise _partly_sent(exc, sent, chunk) from exc.__cause__
        _tell(chunk)
        sent += chunk.ids


async def asend_composed(app: Celery, calls: Iterable[tuple[str, Any, Any, SendOptions]]) -> None:
    """`send_composed` that awaits the broker instead of blocking the event loop."""
    sent: list[str] = []
    for chunk in _settled_chunks(app, calls):
        try:
            await _apublish(app, chunk.batch, chunk.options)
        except OperationalError as exc:
            raise _partly_sent(exc, sent, chunk) from exc.__cause__
        _tell(chunk)
        sent += chunk.ids


def _settled_chunks(app: Celery, calls: Iterable[tuple[str, Any, Any, SendOptions]]) -> Iterator[_Chunk]:
    pending = iter(calls)
    while part := list(islice(pending, BULK)):
        ids, batch, watched = [], [], []
        for name, args, kwargs, options in part:
            message, ready = _prepare(app, name, args, kwargs, options)
            batch.append(_outgoing(app, message, options) if ready is None else ready)
            if message is not None:
                watched.append((name, message, options))
            ids.append(options.task_id)
        yield _Chunk(ids, batch, part[0][3], watched)


def _tell(chunk: _Chunk) -> None:
    for name, message, options in chunk.watched:
        _announce(name, message, options)


def _partly_sent(exc: OperationalError, before: list[str], chunk: _Chunk) -> OperationalError:
    outcomes = getattr(exc, "outcomes", None)
    accepted = (
        [] if outcomes is None else [i for i, bad in zip(chunk.ids, outcomes, strict=True) if bad is None]
    )
    exc.accepted = before + accepted  # type: ignore[attr-defined]  # documented in send_many
    exc.sent = len(before) + len(accepted)  # type: ignore[attr-defined]  # documented in send_many
    return exc


def _chunks(
    app: Celery, name: str, calls: Iterable[Any], task_type: Any, given: dict[str, Any]
) -> Iterator[_Chunk]:
    refused = [
        key for key in ("task_id", "producer", "publisher", "connection") if given.get(key) is not None
    ]
    if refused:
        raise TypeError(f"send_many: {refused[0]} cannot be the same for all calls")
    pending = iter(calls)
    while True:
        chunk = list(islice(pending, BULK))
        if not chunk:
            return
        yield _composed(app, name, [_as_call(item) for item in chunk], task_type, given)


def _as_call(item: Any) -> Call:
    if isinstance(item, Call):
        return item
    if isinstance(item, Mapping):
        return Call(None, item)
    if isinstance(item, (list, tuple)):
        return Call(item)
    raise TypeError(f"send_many: a call is a list, a tuple, a mapping or a Call, got {item!r}")


def _composed(app: Celery, name: str, calls: list[Call], task_type: Any, given: dict[str, Any]) -> _Chunk:
    common = send_options(app, name, (), {}, task_type=task_type, **given) if _same_for_all(app) else None
    ids, batch, watched = [], [], []
    options = common
    for call in calls:
        if common is not None and not call.options:
            options = msgspec.structs.replace(common, task_id=uuid())
        else:
            own = {**given, **(call.options or {})}
            options = send_options(app, name, call.args, call.kwargs, task_type=task_type, **own)
        message, ready = _prepare(app, name, call.args, call.kwargs, options)
        if ready is None:
            ready = _outgoing(app, message, options)
        if message is not None:
            watched.append((name, message, options))
        ids.append(options.task_id)
        batch.append(ready)
    assert options is not None
    return _Chunk(ids, batch, common or options, watched)


def _same_for_all(app: Celery) -> bool:
    """Whether the options of a call do not depend on its arguments."""
    return app.amqp.snapshot.static_routes


def _whole(priority: Any) -> int:
    try:
        return int(priority)
    except (TypeError, ValueError):
        raise TypeError(f"priority must be a whole number, got {priority!r}") from None
