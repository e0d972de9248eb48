"""Many messages at once: one publish for every 500, or 4 MB."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from celery.exceptions import OperationalError
from celery.signals import after_task_publish, before_task_publish
from celery.utils import uuid

from .messages import outgoing, prepare
from .options import SendOptions, send_options
from .sending import Call, announce, apublish, publish

if TYPE_CHECKING:
    from celery.app.base import Celery
    from celery.brokers.base import Outgoing
    from celery.message.writing import TaskMessage

__all__ = ("Call", "as_call", "asend_composed", "asend_many", "send_composed", "send_many")

#: Messages handed to the broker at once.
BULK = 500
#: And about so many bytes: each message of a large workflow may carry the rest of it.
BULK_BYTES = 4_000_000


class _Chunk(NamedTuple):
    ids: list[str]
    batch: list[Outgoing]
    options: SendOptions
    watched: list[tuple[str, TaskMessage, SendOptions]]


def send_many(
    app: Celery, name: str, calls: Iterable[Any], *, task_type: Any = None, **given: Any
) -> list[str]:
    """Send a task many times: one publish for every 500 calls (or 4 MB) instead of one for each.

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
            publish(app, chunk.batch, chunk.options)
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
            await apublish(app, chunk.batch, chunk.options)
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
            publish(app, chunk.batch, chunk.options)
        except OperationalError as exc:
            raise _partly_sent(exc, sent, chunk) from exc.__cause__
        _tell(chunk)
        sent += chunk.ids


async def asend_composed(app: Celery, calls: Iterable[tuple[str, Any, Any, SendOptions]]) -> None:
    """`send_composed` that awaits the broker instead of blocking the event loop."""
    sent: list[str] = []
    for chunk in _settled_chunks(app, calls):
        try:
            await apublish(app, chunk.batch, chunk.options)
        except OperationalError as exc:
            raise _partly_sent(exc, sent, chunk) from exc.__cause__
        _tell(chunk)
        sent += chunk.ids


def _settled_chunks(
    app: Celery, calls: Iterable[tuple[str, Any, Any, SendOptions]], of_all: SendOptions | None = None
) -> Iterator[_Chunk]:
    """Cut calls into chunks, made as they are needed.

    Args:
        of_all: how to publish each chunk; None: as its first call says.
    """
    chunk: _Chunk | None = None
    size, most = 0, _at_once()
    for name, args, kwargs, options in calls:
        chunk = chunk or _Chunk([], [], of_all or options, [])
        message, ready = prepare(app, name, args, kwargs, options)
        one = outgoing(app, message, options) if ready is None else ready
        chunk.batch.append(one)
        chunk.ids.append(options.task_id)
        if message is not None:
            chunk.watched.append((name, message, options))
        size += len(one.body)
        if len(chunk.batch) == most or size >= BULK_BYTES:
            yield chunk
            chunk, size = None, 0
    if chunk is not None:
        yield chunk


def _at_once() -> int:
    """How many messages are handed to the broker at once: only one, if somebody wants to know of each when it is about to
    be sent, and when it is sent: tracers have it between the two."""
    return 1 if before_task_publish.receivers and after_task_publish.receivers else BULK


def _tell(chunk: _Chunk) -> None:
    for name, message, options in chunk.watched:
        announce(name, message, options)


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
    of_all = send_options(app, name, (), {}, task_type=task_type, **given) if _same_for_all(app) else None
    return _settled_chunks(app, _settled(app, name, calls, task_type, given), of_all)


def _settled(
    app: Celery, name: str, calls: Iterable[Any], task_type: Any, given: dict[str, Any]
) -> Iterator[tuple[str, Any, Any, SendOptions]]:
    same, common = _same_for_all(app), None
    for number, item in enumerate(calls):
        call = as_call(item)
        if same and not call.options:
            if common is None or number % BULK == 0:  # a countdown is one from now
                common = send_options(app, name, (), {}, task_type=task_type, **given)
            options = msgspec.structs.replace(common, task_id=uuid())
        else:
            own = {**given, **(call.options or {})}
            options = send_options(app, name, call.args, call.kwargs, task_type=task_type, **own)
        yield name, call.args, call.kwargs, options


def as_call(item: Any) -> Call:
    """One of the forms in which `send_many` takes calls.

    Raises:
        TypeError: it is none of them.
    """
    if isinstance(item, Call):
        return item
    if isinstance(item, Mapping):
        return Call(None, item)
    if isinstance(item, (list, tuple)):
        return Call(item)
    raise TypeError(f"send_many: a call is a list, a tuple, a mapping or a Call, got {item!r}")


def _same_for_all(app: Celery) -> bool:
    """Whether the options of a call do not depend on its arguments."""
    return app.amqp.snapshot.static_routes
