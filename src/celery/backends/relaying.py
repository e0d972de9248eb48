"""Sending what a chord owes: its body, once all members are over, and members that were added while it ran.

Anything may be *sent* twice, since who was to send it may have died after it did. Each sending has a mark of its own (a header);
the first mark that is shown for a task's id and its chord runs, and whoever comes with another one does not. A repetition of
the same message is told by the same mark.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery import states
from celery.brokers.base import BrokerUnavailable
from celery.canvas import graphs, maybe_signature
from celery.canvas.plans import Plan
from celery.exceptions import BackendError, ChordError
from celery.utils import uuid

from . import resume_notes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .core import Backend
    from .dues import Due

    Result = Any  # an AsyncResult, or a GroupResult

logger = logging.getLogger("celery.backends.base")

#: The header with the mark of one sending.
MARK = "celeriac_mark"
#: How often a body that is refused (too large, unroutable, not to be serialized) is tried before the chord fails.
TRIES = 5


def relay(
    backend: Backend, due: Due, members: Iterable[tuple[str, str, Any]], shape: list[Any] | None = None
) -> None:
    """Send what is due: a member that was added, or a body, or fail it; nothing if that was done before.

    Args:
        members: id, state and value (or exception) of each, in order.
        shape: the results of the header; None: as they were saved, if they were.

    Raises:
        OperationalError: the broker did not take it.
    """
    if due.added:
        send_marked(backend, due.body, due.group_id, (), {"root_id": due.root_id, "parent_id": due.parent_id})
        return
    body = graphs.body_of(backend.app, due.body)
    if body is None:
        return
    due = due._replace(body=body)
    members = list(members)
    failed = next((member for member in members if member[1] in states.PROPAGATE_STATES), None)
    if failed is None:
        send_body(backend, due, _in_shape(backend, due.group_id, members, shape))
        return
    task_id, _, cause = failed
    error = ChordError(f"Dependency {task_id} raised {cause!r}")
    _log(due.group_id, error, cause)
    because = resume_notes.keep_chord(backend, due, members)
    # The members of a group fail as what they waited for.
    failure = cause if due.body.get("subtask_type") == "group" else error
    backend.fail_signature(due.body, failure, because=because)


def try_to_relay(
    backend: Backend,
    due: Due,
    members: Callable[[], Iterable[tuple[str, str, Any]]],
    tried: Callable[[], int],
) -> bool:
    """`relay`; whether that is settled, one way or the other. If not, the note has to stay.

    Args:
        members: reads them.
        tried: counts a try that was refused, and says how many that were.
    """
    try:
        relay(backend, due, members())
    except Exception as exc:
        try:
            if is_refusal(backend, exc) and tried() >= TRIES:
                give_up(backend, due, exc, members)
                return True
        except Exception as error:
            logger.exception("Chord %s could not be failed", due.group_id)
            if is_refusal(backend, error):
                return True  # nor can it be at another time
        what = "A member" if due.added else "The body"
        logger.exception("%s of chord %s could not be sent now; it will be tried again", what, due.group_id)
        return False
    return True


def relay_or_give_up(
    backend: Backend, due: Due, members: Iterable[tuple[str, str, Any]], shape: list[Any] | None = None
) -> None:
    """`relay`, where nobody would try again: a body that is refused fails at once.

    Raises:
        Exception: broker or result store did not answer.
    """
    members = list(members)
    try:
        relay(backend, due, members, shape)
    except Exception as exc:
        if not is_refusal(backend, exc):
            raise
        give_up(backend, due, exc, lambda: members)


def is_refusal(backend: Backend, exc: Exception) -> bool:
    """Whether a body will not be sent at another time either; not if broker or store did not answer."""
    away = isinstance(exc, (BrokerUnavailable, BackendError)) or backend.exception_safe_to_retry(exc)
    return not away and not isinstance(exc.__cause__, BrokerUnavailable)


def give_up(
    backend: Backend, due: Due, exc: Exception, members: Callable[[], Iterable[tuple[str, str, Any]]]
) -> None:
    """Fail a body that cannot be sent. If it and its members can be read, it can be resumed when the reason is gone."""
    what = "A member" if due.added else "The body"
    error = ChordError(f"{what} of chord {due.group_id} could not be sent: {exc!r}")
    _log(due.group_id, error, exc)
    body, because = due.body, None
    if due.added:
        backend.fail_signature(body, error)
        return
    try:
        body = graphs.body_of(backend.app, body)
        if body is None:
            return
        because = resume_notes.keep_chord(backend, due._replace(body=body), list(members()))
    except Exception as lost:
        if not is_refusal(backend, lost):
            raise
    backend.fail_signature(body, error, because=because)


def _log(group_id: str, error: ChordError, cause: BaseException) -> None:
    try:
        raise error from cause
    except ChordError:
        logger.exception("Chord %r raised: %r", group_id, error)
    finally:
        error.__traceback__ = None


def _in_shape(
    backend: Backend, group_id: str, members: list[tuple[str, str, Any]], shape: list[Any] | None
) -> list[Any]:
    """The values; where a member was a group at the end, a list of those."""
    if shape is None:
        saved = backend.restore_group(group_id, cache=False)
        if saved is None:
            return [value for _, _, value in members]
        shape = saved.results
    return nested(shape, {task_id: value for task_id, _, value in members})


def singles(results: Iterable[Result]) -> list[Result]:
    """The members, those of groups among them one by one."""
    found: list[Result] = []
    for result in results:
        inner = getattr(result, "results", None)
        found.extend([result] if inner is None else singles(inner))
    return found


def nested(results: Iterable[Any], values: dict[str, Any]) -> list[Any]:
    """Values by task id, in the shape of these results; those of members that were added follow. Uses `values` up."""

    def take(many: Iterable[Any]) -> list[Any]:
        return [
            take(one.results) if hasattr(one, "results") else values.pop(one.id)
            for one in many
            if hasattr(one, "results") or one.id in values
        ]

    found = take(results)
    return found + list(values.values())


def send_body(backend: Backend, due: Due, values: list[Any]) -> None:
    """Send a body with these values."""
    options = {"root_id": due.root_id, "parent_id": due.parent_id}
    send_marked(backend, due.body, due.group_id, (values,), options)


def send_marked(
    backend: Backend, sig: Mapping[str, Any], group_id: str, args: tuple[Any, ...], options: dict[str, Any]
) -> Result:
    """Send a signature that is a part of a chord, under a mark of its own; return its result.

    Raises:
        OperationalError: the broker did not take it.
    """
    app = backend.app
    # Not the signature's own dict: what is noted must stay as it is.
    copy = maybe_signature(dict(sig), app=app).clone()
    plan = Plan()
    result = copy._plan(plan, args, None, options)
    mark = f"{group_id}/{uuid()}"
    for send in plan.sends:
        send.options["headers"] = {**(send.options.get("headers") or {}), MARK: mark}
    app._launch(plan)
    return result


def chord_of(mark: str) -> str:
    """The chord that a mark is of: a body may be replaced by another chord, whose body then has the same id."""
    return mark.partition("/")[0]
