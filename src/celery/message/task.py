"""The headers and properties of a task message, typed: enough for every decision, the body untouched.

A message is read in three steps, each of which raises `MalformedMessage` and nothing else, whatever the bytes are:

1. `protocol1.normalize` makes protocol 2 of what came (a message of protocol 1 has no `task` header);
2. `decode_headers` gives the typed headers;
3. `body.decode_body` gives arguments and embedded signatures, in the process that runs the task.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Any

import msgspec

from celery.utils.iso8601 import parse_iso8601

from .errors import MalformedMessage, why
from .headers import LazyObject

__all__ = ("TaskHeaders", "TaskProperties", "aware", "decode_headers", "decode_properties")

#: Seconds; what a limit may be at most (it becomes a timer).
LONGEST_LIMIT = 1e9
#: Headers with fewer brackets cannot be nested too deeply for whoever decodes all of them.
SHALLOW = 200
#: More retries than this are a mistake, and would make back-off arithmetic explode.
MOST_RETRIES = 1_000_000


class TaskHeaders(msgspec.Struct, gc=False):
    """The headers of protocol 2 that the system itself reads. Custom headers are in the `LazyObject`.

    Attributes:
        eta, expires: ISO-8601 strings, known to be readable; see `eta_at` and `expires_at`.
        timelimit: hard and soft limit in seconds.
        ignore_result: None when the sender did not know the task.
        redelivered: set by kombu when it restored the message.
    """

    task: str
    id: str
    lang: str | None = "py"
    shadow: str | None = None
    eta: str | None = None
    expires: str | None = None
    group: str | None = None
    group_index: int | None = None
    retries: int = 0
    timelimit: tuple[float | int | None, float | int | None] | None = (None, None)
    root_id: str | None = None
    parent_id: str | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    origin: str | None = None
    ignore_result: bool | None = False
    replaced_task_nesting: int | None = 0
    stamped_headers: list[str] | None = None
    stamps: dict[str, Any] | None = None
    compression: str | None = None
    redelivered: bool | None = None

    def eta_at(self, naive: tzinfo = UTC) -> datetime | None:
        """When it may run, as an aware datetime.

        Args:
            naive: zone of a string that names no offset (UTC if `enable_utc`, else the local one).
        """
        return None if self.eta is None else aware(self.eta, naive)

    def expires_at(self, naive: tzinfo = UTC) -> datetime | None:
        """When it is too late to run it, as an aware datetime."""
        return None if self.expires is None else aware(self.expires, naive)


class TaskProperties(msgspec.Struct, gc=False):
    """The AMQP properties that the system itself reads."""

    correlation_id: str | None = None
    reply_to: str | None = None
    content_type: str | None = None
    content_encoding: str | None = None
    delivery_mode: int | str | None = None
    priority: int | str | None = None
    expiration: str | int | float | None = None


def aware(stamp: str, naive: tzinfo) -> datetime:
    """A date as an aware datetime; `naive` is the zone of one that names none."""
    when = parse_iso8601(stamp)
    return when if when.tzinfo is not None else when.replace(tzinfo=naive)


_NO_LIMITS = (None, None)
_decode_headers = msgspec.json.Decoder(TaskHeaders).decode
_properties_decoder = msgspec.json.Decoder(TaskProperties)


class _Ids(msgspec.Struct, gc=False):
    """Ids that are no strings: some producers use numbers, and stock workers run those."""

    id: str | int
    root_id: str | int | None = None
    parent_id: str | int | None = None


_ids_decoder = msgspec.json.Decoder(_Ids)


def decode_headers(headers: LazyObject) -> TaskHeaders:
    """Read the headers of a protocol 2 message.

    Raises:
        MalformedMessage: they are no JSON object, `task` or `id` is missing, or one has a value that makes
            no sense: a date that is none, limits that are no numbers of seconds.
    """
    raw = headers.raw
    try:
        decoded = _decode_headers(raw)
    except (msgspec.DecodeError, RecursionError) as exc:
        decoded = _with_numeric_ids(headers, exc)
    except Exception as exc:
        raise MalformedMessage(f"headers cannot be read: {why(exc)}") from exc
    if not decoded.task:
        raise MalformedMessage("headers: task is empty")
    if not decoded.id:
        raise MalformedMessage("headers: id is empty")
    if decoded.eta is not None:
        _check_date("eta", decoded.eta)
    if decoded.expires is not None:
        _check_date("expires", decoded.expires)
    if not 0 <= decoded.retries <= MOST_RETRIES:
        raise MalformedMessage(f"headers: retries is {decoded.retries}")
    limits = decoded.timelimit
    if limits is None:
        decoded.timelimit = _NO_LIMITS
    elif limits != _NO_LIMITS:
        _check_limits(limits)
    if len(raw) > 1000 and raw.count(b"[") + raw.count(b"{") > SHALLOW:
        _check_depth(headers)
    return decoded


def _with_numeric_ids(headers: LazyObject, problem: Exception) -> TaskHeaders:
    """The second look, at headers that are not right in every type."""
    try:
        ids = headers.decode(_ids_decoder)
        value = dict(headers.value)
        numeric = {k: str(v) for k, v in msgspec.structs.asdict(ids).items() if type(v) is int}
        if value.get("retries", 0) is None:
            numeric["retries"] = 0  # type: ignore[assignment]  # it goes into a dict of anything
        if numeric:
            return msgspec.convert({**value, **numeric}, TaskHeaders)
    except Exception as exc:  # noqa: BLE001 - the first problem is the one to tell
        problem = problem if not isinstance(exc, msgspec.ValidationError) else exc
    raise MalformedMessage(f"headers cannot be read: {why(problem)}") from problem


def _check_date(name: str, stamp: str) -> None:
    try:
        aware(stamp, UTC).timestamp()
    except Exception as exc:
        raise MalformedMessage(f"headers: {name} is no date: {stamp[:80]!r}") from exc


def _check_limits(limits: tuple[float | int | None, float | int | None]) -> None:
    for limit in limits:
        if limit is not None and not 0 <= limit <= LONGEST_LIMIT:
            raise MalformedMessage(f"headers: timelimit is no number of seconds: {limit!r}")


def _check_depth(headers: LazyObject) -> None:
    try:
        LazyObject(raw=headers.raw).value  # noqa: B018 - decoding is the check
    except Exception as exc:
        raise MalformedMessage(f"headers cannot be read: {why(exc)}") from exc


def decode_properties(properties: LazyObject) -> TaskProperties:
    """Read the properties.

    Raises:
        MalformedMessage: they are no JSON object, or one has the wrong type.
    """
    try:
        return properties.decode(_properties_decoder)
    except Exception as exc:
        raise MalformedMessage(f"properties cannot be read: {why(exc)}") from exc
