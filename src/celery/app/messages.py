"""Making messages of calls whose options are settled.

Messages are made in one of two ways. If nobody listens to the publish signals and the call has no custom
headers, the headers are formatted from a cached `Template`; otherwise they are made as a dict, which
receivers of `before_task_publish` may change. A property test holds the two together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import _foreign
from celery.brokers.base import Outgoing
from celery.message import compression, serializers
from celery.message.headers import LazyObject
from celery.message.steps import as_list
from celery.message.template import NO_EMBED, Template, json_body
from celery.message.writing import TaskMessage, build_v1, build_v2
from celery.signals import after_task_publish, before_task_publish, task_sent
from celery.utils.saferepr import saferepr

from . import arguments

if TYPE_CHECKING:
    from celery.app.base import Celery

    from .options import SendOptions
    from .snapshot import Snapshot

__all__ = ("compose", "outgoing", "policy_mapping", "prepare")


def prepare(
    app: Celery, name: str, args: Any, kwargs: Any, options: SendOptions
) -> tuple[TaskMessage | None, Outgoing | None]:
    """The message as values, which receivers of the signal have seen, or finished, if nobody wants to see it."""
    args, kwargs = arguments.of_message(args, kwargs)
    snapshot = app.amqp.snapshot
    if _is_ordinary(options) and snapshot.protocol == 2 and not _watched():
        return None, _from_template(app, snapshot, name, args, kwargs, options)
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
            retry_policy=policy_mapping(snapshot, options),
        )
    return message, None


def compose(app: Celery, name: str, args: Any, kwargs: Any, options: SendOptions) -> Outgoing:
    """The finished message of one call, by the template if that can say it; no signal is sent.

    Raises:
        TypeError, EncodeError: see `send_task_message`.
    """
    args, kwargs = arguments.of_message(args, kwargs)
    snapshot = app.amqp.snapshot
    if _is_ordinary(options) and snapshot.protocol == 2:
        return _from_template(app, snapshot, name, args, kwargs, options)
    return outgoing(app, _values(app, name, args, kwargs, options), options)


def _watched() -> bool:
    return bool(before_task_publish.receivers or after_task_publish.receivers or task_sent.receivers)


def policy_mapping(snapshot: Snapshot, options: SendOptions) -> dict[str, Any]:
    return {**snapshot.retry_policy, **(options.retry_policy or {})}


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


def _from_template(
    app: Celery, snapshot: Snapshot, name: str, args: Any, kwargs: Any, options: SendOptions
) -> Outgoing:
    embed = None
    if options.callbacks or options.errbacks or options.chain or options.chord:
        embed = _embed(options)
    content_type, content_encoding, body = _encoded_body(options.serializer, args, kwargs, embed)
    packed = None
    if options.compression:
        body, packed = compression.compress(body, options.compression)
    template = _template(snapshot, name, options, content_type, content_encoding, packed)
    argsrepr, kwargsrepr = _reprs(app, args, kwargs, options)
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
    if embed is not None:
        embed = {**embed, "chain": as_list(embed["chain"])}
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


def _reprs(app: Celery, args: Any, kwargs: Any, options: SendOptions) -> tuple[str, str]:
    """The texts of both kinds of arguments, for people."""
    amqp = app.amqp
    argsrepr, kwargsrepr = options.argsrepr, options.kwargsrepr
    if argsrepr is None:
        argsrepr, limit = short_repr(args), amqp.argsrepr_maxsize
        if argsrepr is None or (limit and len(argsrepr) > limit):
            argsrepr = saferepr(args, limit, amqp.snapshot.repr_levels)
    if kwargsrepr is None:
        kwargsrepr = saferepr(kwargs, amqp.kwargsrepr_maxsize, amqp.snapshot.repr_levels) if kwargs else "{}"
    return argsrepr, kwargsrepr


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
    argsrepr, kwargsrepr = _reprs(app, args, kwargs, options)
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
            chain=as_list(options.chain or None),
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


def outgoing(app: Celery, message: TaskMessage | None, options: SendOptions) -> Outgoing:
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


def _whole(priority: Any) -> int:
    try:
        return int(priority)
    except (TypeError, ValueError):
        raise TypeError(f"priority must be a whole number, got {priority!r}") from None
