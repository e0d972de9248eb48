"""From what a caller says to `SendOptions`: the one value that the rest of sending works with.

Here call options, the task's own, the running task's and the settings come together, dates become absolute and
the destination is decided. After this nobody looks at `**options` any more.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import msgspec

from celery import _state
from celery.utils import uuid
from celery.utils.nodenames import anon_nodename

from . import dates, destinations
from .execution_options import EXECUTION_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery.app.base import Celery

    from .snapshot import Snapshot

logger = logging.getLogger("celery.app.base")

PAST_EXPIRY = """\
%s has an expiration date in the past (%ss ago).
We assume this is intended and so we have set the expiration date to 0 instead.
According to RabbitMQ's documentation:
"Setting the TTL to 0 causes messages to be expired upon reaching a queue unless they can be delivered to a consumer immediately."
If this was unintended, please check the code which published this task."""


class SendOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one call but its arguments, settled.

    Attributes:
        eta, expires: absolute ISO-8601 strings, or None.
        due: `eta` as unix time.
        expiration: milliseconds, as a string, after which the broker may drop it.
        callbacks, errbacks: signatures, from `link` and `link_error`.
        headers: custom ones.
        timeout: seconds for the publish, retries included; None: for ever.
        retry_policy: keys that differ from the setting's.
        producer: a kombu producer to publish with instead of the app's broker.
        extra: further AMQP properties.
    """

    task_id: str
    destination: destinations.Destination
    eta: str | None = None
    due: float | None = None
    expires: str | None = None
    expires_in: float | None = None
    expiration: str | None = None
    retries: int = 0
    root_id: str | None = None
    parent_id: str | None = None
    group_id: str | None = None
    group_index: int | None = None
    callbacks: list[Any] | None = None
    errbacks: list[Any] | None = None
    chain: list[Any] | None = None
    chord: Any = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    shadow: str | None = None
    ignore_result: bool | None = None
    reply_to: str | None = None
    origin: str = ""
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    stamped_headers: list[str] | None = None
    stamps: dict[str, Any] | None = None
    replaced_task_nesting: int = 0
    priority: Any = None
    serializer: str = "json"
    compression: str | None = None
    headers: Mapping[str, Any] | None = None
    retry: bool = True
    retry_policy: Mapping[str, Any] | None = None
    timeout: float | None = None
    mandatory: bool = True
    producer: Any = None
    connection: Any = None
    extra: dict[str, Any] | None = None


#: Options that are fields of the same name.
_SAME = (
    "retries",
    "group_id",
    "group_index",
    "chord",
    "chain",
    "time_limit",
    "soft_time_limit",
    "shadow",
    "ignore_result",
    "argsrepr",
    "kwargsrepr",
    "replaced_task_nesting",
    "priority",
    "headers",
    "retry_policy",
    "connection",
)
#: Options that are seen to one by one, and those that concern only the caller's result.
_HANDLED = frozenset(
    (
        *_SAME,
        *("queue", "exchange", "routing_key", "exchange_type", "delivery_mode", "declare"),
        *("task_id", "countdown", "eta", "expires", "root_id", "parent_id", "link", "link_error", "reply_to"),
        *(
            "origin",
            "stamped_headers",
            "stamps",
            "serializer",
            "compression",
            "retry",
            "producer",
            "publisher",
        ),
        *("mandatory", "immediate", "timeout", "confirm_timeout"),
        *("add_to_parent", "result_cls", "router", "route_name", "task_type", "now", "timezone"),
        *("create_sent_event", "event_dispatcher"),
    )
)
#: Without these nothing is embedded in the body and no property is added.
_PLAIN = _HANDLED - {"link", "link_error", "stamped_headers", "stamps"}

_origin = ""


def origin() -> str:
    """Who sends: `gen<pid>@host`."""
    global _origin
    if not _origin:
        _origin = anon_nodename()
    return _origin


def _forget_origin() -> None:
    global _origin
    _origin = ""


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_origin)


def execution_options(task: Any) -> dict[str, Any]:
    """The options that a task has as attributes."""
    found = {name: getattr(task, name, None) for name in EXECUTION_OPTIONS}
    return {name: value for name, value in found.items() if value is not None}


def call_options(app: Celery, task: Any, args: Any, kwargs: Any, given: Mapping[str, Any]) -> SendOptions:
    """`send_options` for a task's own calls.

    Args:
        given: its options and those of the call. Calls that say nothing all give the task's one mapping: they are
            settled as the last one was, if that was plain.
    """
    if given is not task._defaults_of_calls() or _state.get_current_task():
        return send_options(app, task.name, args, kwargs, task_type=task, **given)
    snapshot, version = app.amqp.snapshot, app.amqp.queues.version
    known = snapshot.calls.get(task.name)
    if known is not None and known[0] is given and known[1] == version:
        return _again(app, known[2], uuid())
    settled = send_options(app, task.name, args, kwargs, task_type=task, **given)
    key = _plain_key(app, snapshot, task.name, given)
    if key is not None and key in snapshot.plans:
        snapshot.calls[task.name] = given, version, snapshot.plans[key]
    return settled


def send_options(
    app: Celery,
    name: str,
    args: Any = None,
    kwargs: Any = None,
    *,
    task_type: Any = None,
    router: Any = None,
    route_name: str | None = None,
    **given: Any,
) -> SendOptions:
    """Settle the options of one call.

    Args:
        args, kwargs: the call's, for routers.
        task_type: the task; None: what is registered as `name`, if anything, gives its execution options;
            False: nothing does.
        router: instead of the app's.
        route_name: name to route by instead of the task's.
        **given: options of `apply_async`. None counts as not said, except that it clears the task's own.

    Raises:
        TypeError, ValueError: an option makes no sense.
        QueueNotFound: the queue is not configured, and new ones are not made.
    """
    snapshot = app.amqp.snapshot
    if task_type is None:
        # As in Celery, asking for a task by name finalizes nothing.
        task_type = app.registry.get(name)
        if task_type is not None:
            given = execution_options(task_type) | given
    task_type = task_type or None
    if router is None and not _state.get_current_task():
        key = _plain_key(app, snapshot, route_name or name, given)
        if key is not None:
            return _plain(app, snapshot, key, name, route_name, given)
    return _settled(app, snapshot, name, args, kwargs, task_type, router, route_name, given)


#: Options that decide, in a plain call, everything but its id. All may be None.
_DECIDING = (
    "queue",
    "exchange",
    "routing_key",
    "priority",
    "serializer",
    "compression",
    "delivery_mode",
    "time_limit",
    "soft_time_limit",
    "ignore_result",
    "shadow",
    "mandatory",
)
#: Options that a plain call has as None, if at all.
_ABSENT = (
    *(
        "countdown",
        "eta",
        "expires",
        "link",
        "link_error",
        "producer",
        "publisher",
        "connection",
        "immediate",
    ),
    *("reply_to", "group_id", "group_index", "chord", "chain", "root_id", "parent_id"),
)
_PLAIN_KEYS = frozenset((*_DECIDING, "task_id"))
_MUST_BE_ABSENT = frozenset(_ABSENT)


def _plain_key(
    app: Celery, snapshot: Snapshot, name: str, given: Mapping[str, Any]
) -> tuple[Any, ...] | None:
    """What decides where and how a plain call goes; None if the call is not plain."""
    if not snapshot.static_routes:
        return None
    for key, value in given.items():
        if key not in _PLAIN_KEYS and (value is not None or key not in _MUST_BE_ABSENT):
            return None
    get = given.get
    queue, exchange = get("queue"), get("exchange")
    if not (queue is None or isinstance(queue, str)) or not (exchange is None or isinstance(exchange, str)):
        return None
    return (name, app.amqp.queues.version, *map(get, _DECIDING))


def _plain(
    app: Celery,
    snapshot: Snapshot,
    key: tuple[Any, ...],
    name: str,
    route_name: str | None,
    given: dict[str, Any],
) -> SendOptions:
    """Options of a plain call: those of the last one like it, with an id of its own. A third of the long way."""
    like = snapshot.plans.get(key)
    if like is None:
        if len(snapshot.plans) > 1000:  # names made up by the call
            snapshot.plans.clear()
        like = _settled(app, snapshot, name, (), {}, None, None, route_name, given)
        if like.expires is None:  # a route may say so, and it is a time
            snapshot.plans[key] = like
        return like
    return _again(app, like, given.get("task_id") or uuid())


def _again(app: Celery, like: SendOptions, task_id: str) -> SendOptions:
    return _replace(like, task_id=task_id, reply_to=app.listen_for_replies(), origin=origin())


_replace = msgspec.structs.replace


def _settled(
    app: Celery,
    snapshot: Snapshot,
    name: str,
    args: Any,
    kwargs: Any,
    task_type: Any,
    router: Any,
    route_name: str | None,
    given: dict[str, Any],
) -> SendOptions:
    snapshot.check_results()
    fields: dict[str, Any] = {"task_id": given.get("task_id") or uuid()}
    given = _inherit(snapshot, given, fields)
    routed = destinations.route(app, snapshot, router, route_name or name, args, kwargs, task_type, given)
    for key in _SAME:
        value = routed.get(key)
        if value is not None:
            fields[key] = value
    fields["destination"] = destinations.destination(app, snapshot, routed)
    _dates(app, routed, fields)
    _publishing(app, snapshot, routed, fields)
    if not routed.keys() <= _PLAIN:
        _embedded(routed, fields)
        _foreign_properties(routed, fields)
    return SendOptions(**fields)


def _inherit(snapshot: Snapshot, given: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """Take from the task that is running here what its calls inherit."""
    root_id, parent_id = given.get("root_id"), given.get("parent_id")
    if not root_id or not parent_id:
        parent = _state.get_current_worker_task()
        if parent is not None:
            request = parent.request
            root_id = root_id or request.root_id or request.id
            parent_id = parent_id or request.id
            if snapshot.inherit_priority and given.get("priority") is None:
                given = {**given, "priority": (request.delivery_info or {}).get("priority")}
    fields["root_id"] = root_id
    fields["parent_id"] = parent_id
    return given


# -- when


def _dates(app: Celery, routed: Mapping[str, Any], fields: dict[str, Any]) -> None:
    countdown, eta, expires = routed.get("countdown"), routed.get("eta"), routed.get("expires")
    if not countdown and not eta and expires is None:
        return
    clock = dates.Clock.of(app, routed.get("now"), routed.get("timezone"))
    when = clock.eta(countdown, eta)
    if when is not None:
        fields["eta"] = when
        fields["due"] = clock.unix(when)
    until = clock.expires(expires)
    if until is not None:
        fields["expires"] = until
        is_date = isinstance(expires, str) or hasattr(expires, "isoformat")
        seconds: Any = clock.seconds_until(until) if is_date else expires
        if seconds < 0:
            logger.warning(PAST_EXPIRY, fields["task_id"], -seconds)
            seconds = 0
        fields["expires_in"] = seconds
        fields["expiration"] = str(int(seconds * 1000))


# -- how


def _publishing(app: Celery, snapshot: Snapshot, routed: Mapping[str, Any], fields: dict[str, Any]) -> None:
    get = routed.get
    fields["serializer"] = get("serializer") or snapshot.serializer
    fields["compression"] = get("compression") or snapshot.compression
    retry = get("retry")
    fields["retry"] = snapshot.retry if retry is None else bool(retry)
    here = app.listen_for_replies()  # also if it was said before: a frozen signature has the address alone
    said = get("reply_to")
    fields["reply_to"] = app.replies_to(said) if said else here
    fields["origin"] = get("origin") or origin()
    fields["producer"] = get("producer") or get("publisher")
    limit = snapshot.publish_timeout
    for said in (get("timeout"), get("confirm_timeout")):
        if said is not None:
            limit = said if limit is None else min(limit, said)
    fields["timeout"] = limit
    mandatory = get("mandatory")
    fields["mandatory"] = fields["destination"].mandatory if mandatory is None else bool(mandatory)
    if get("immediate"):
        raise ValueError("immediate=True: no broker offers it (RabbitMQ dropped it with 3.0); leave it out")


def _embedded(routed: Mapping[str, Any], fields: dict[str, Any]) -> None:
    fields["callbacks"] = _as_list(routed.get("link"))
    fields["errbacks"] = _as_list(routed.get("link_error"))
    stamped = routed.get("stamped_headers")
    if stamped:
        given = routed.get("stamps") or {}
        missing = [key for key in stamped if key not in routed and key not in given]
        if missing:
            raise KeyError(f"stamped_headers names {', '.join(missing)}, but no option of that name is given")
        fields["stamped_headers"] = list(stamped)
        fields["stamps"] = {key: routed[key] if key in routed else given[key] for key in stamped}
    elif routed.get("stamps"):
        fields["stamps"] = dict(routed["stamps"])


def _as_list(value: Any) -> list[Any] | None:
    """A signature is a mapping, so a list is what is no mapping."""
    if value is None or value == []:
        return None
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _foreign_properties(routed: Mapping[str, Any], fields: dict[str, Any]) -> None:
    """What nobody here knows goes into the message's properties, as in Celery."""
    stamped = routed.get("stamped_headers") or ()
    extra = {
        key: value
        for key, value in routed.items()
        if key not in _HANDLED and key not in stamped and value is not None
    }
    for key in ("content_type", "content_encoding"):
        if key in extra:
            raise TypeError(f"{key} is what the serializer says: choose it by serializer=")
    if extra:
        fields["extra"] = extra
