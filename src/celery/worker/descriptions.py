"""Parts of a worker as plain values, for replies of remote control: in Celery's form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.message.serializers import dumps
from celery.net.address import BadAddress, parse
from celery.utils.saferepr import saferepr

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXCHANGE = ("name", "type", "arguments", "durable", "passive", "auto_delete", "delivery_mode", "no_declare")
_QUEUE = (
    *("name", "exchange", "routing_key", "queue_arguments", "binding_arguments", "consumer_arguments"),
    *("durable", "exclusive", "auto_delete", "no_ack", "alias", "bindings", "no_declare", "expires"),
    *("message_ttl", "max_length", "max_length_bytes", "max_priority"),
)


def plain(value: Any) -> Any:
    """The value as JSON can hold it: keys are text, what it has no form for is its `repr`."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    try:
        dumps(value, "json")
    except Exception:  # noqa: BLE001 - whatever an object of the user's raises
        return saferepr(value)
    return value


def queue_info(queue: Any) -> dict[str, Any]:
    """A queue; one of kombu's, or of `celery.brokers.topology`."""
    found = {name: getattr(queue, name, None) for name in _QUEUE}
    found["exchange"] = exchange_info(queue.exchange)
    found["bindings"] = [
        {
            "exchange": exchange_info(binding.exchange),
            "routing_key": binding.routing_key,
            "arguments": binding.arguments or None,
        }
        for binding in queue.bindings or ()
    ]
    for name in ("queue_arguments", "binding_arguments", "consumer_arguments"):
        found[name] = plain(found[name] or None)
    return found


def exchange_info(exchange: Any) -> dict[str, Any]:
    """An exchange; as `queue_info`."""
    found = {name: getattr(exchange, name, None) for name in _EXCHANGE}
    found["arguments"] = plain(found["arguments"] or None)
    return {**found, "passive": bool(found["passive"]), "no_declare": bool(found["no_declare"])}


def task_info(task: Any, items: Sequence[str]) -> str:
    """A task's name, with those of its attributes that have a value: `name [rate_limit=10/m]`."""
    told = [(item, getattr(task, item, None)) for item in items]
    fields = [f"{item}={value}" for item, value in told if value is not None]
    return f"{task.name} [{' '.join(fields)}]" if fields else str(task.name)


def broker_info(app: Any) -> dict[str, Any]:
    """Where the broker is, without its password."""
    first, *others = app.broker_for_read().url.split(";")
    conf = app.conf
    known: dict[str, Any] = {
        "hostname": None,
        "userid": None,
        "virtual_host": None,
        "port": None,
        "transport": None,
    }
    try:
        address = parse(first)
    except BadAddress:
        pass
    else:
        known = {
            "hostname": address.host or None,
            "userid": address.username,
            "virtual_host": address.virtual_host,
            "port": address.port,
            "transport": address.scheme.partition("+")[0],
        }
    return {
        **known,
        "insist": False,
        "ssl": bool(conf.broker_use_ssl) or first.startswith(("rediss:", "amqps:")),
        "connect_timeout": conf.broker_connection_timeout,
        "transport_options": plain(dict(conf.broker_transport_options or {})),
        "login_method": conf.broker_login_method,
        "uri_prefix": None,
        "heartbeat": conf.broker_heartbeat,
        "failover_strategy": plain(conf.broker_failover_strategy) or "round-robin",
        "alternates": [_masked(url) for url in others],
        "credential_provider": None,
    }


def _masked(url: str) -> str:
    try:
        return str(parse(url))
    except BadAddress:
        return "?"
