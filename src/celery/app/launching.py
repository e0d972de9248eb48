"""Sending what a workflow begins with: chords are opened, first messages published together.

Tasks that define `apply_async` themselves (and everything, once a tool has wrapped it for all tasks) are called one
by one, as if there were no workflow.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import msgspec

from celery.app import arguments, bulk
from celery.app.options import send_options
from celery.app.task import Task
from celery.canvas import graphs
from celery.result.workflows import BODY_OF

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from celery.app.base import Celery
    from celery.app.options import SendOptions
    from celery.canvas.plans import Opening, Plan, Send

    Composed = tuple[str, Any, Any, SendOptions]

#: Chords in one round trip to the result store.
OPENED_AT_ONCE = 500
_STOCK = Task.apply_async
_ASTOCK = Task.aapply_async


def launch(app: Celery, plan: Plan) -> None:
    """Send a plan; returns when the broker has all of it.

    Raises:
        OperationalError: the broker did not take all of it.
        EncodeError: an argument cannot be serialized.
    """
    _open(app, plan)
    sends = plan.sends
    if len(sends) > 1 and _together(app, sends, "apply_async", _STOCK):
        bulk.send_composed(app, _composed(app, sends))
    else:
        for send in sends:
            _sender(send, "apply_async", "send_task")(send.args, send.kwargs, **send.options)
    _follow(app, plan.openings)


async def alaunch(app: Celery, plan: Plan) -> None:
    """`launch` that awaits the broker instead of blocking the event loop."""
    from celery.app import coroutines  # noqa: PLC0415 - asyncio, which only some programs need

    if plan.openings or plan.kept:
        await coroutines.in_thread(True, _open, app, plan)
    sends = plan.sends
    if len(sends) > 1 and _together(app, sends, "aapply_async", _ASTOCK):
        await bulk.asend_composed(app, _composed(app, sends))
    else:
        for send in sends:
            await _sender(send, "aapply_async", "asend_task")(send.args, send.kwargs, **send.options)
    if plan.openings:
        await coroutines.in_thread(True, _follow, app, plan.openings)


def _open(app: Celery, plan: Plan) -> None:
    """Members may report as soon as they are sent: their number, and what follows, has to be known before."""
    graphs.store(app, plan)
    if not plan.openings:
        return
    backend = app.backend
    for opening in plan.openings:
        _save_shape(app, opening)
    openings = iter(plan.openings)
    while some := {one.group_id: one.size for one in itertools.islice(openings, OPENED_AT_ONCE)}:
        backend._insist_on_storing(lambda sizes=some: backend._open_chords(sizes), "the sizes of chords")
    if backend._counts_chords_itself():
        _apply_chords(app, plan.openings)


def _save_shape(app: Celery, opening: Opening) -> None:
    backend, extended = app.backend, app.conf.result_extended
    if extended or any(hasattr(member, "results") for member in opening.header.results):
        # Whoever sends the body has to know the shape, and who asks for it what belongs together.
        backend.save_group(opening.group_id, opening.header)
    if extended and opening.body.subtask_type is None:
        body = app.AsyncResult(opening.body.id)
        backend.save_group(opening.group_id + BODY_OF, app.GroupResult(opening.group_id + BODY_OF, [body]))


def _follow(app: Celery, openings: Iterable[Opening]) -> None:
    if openings and not app.backend._counts_chords_itself():
        _apply_chords(app, openings)


def _apply_chords(app: Celery, openings: Iterable[Opening]) -> None:
    for opening in openings:
        app.backend.apply_chord((opening.group_id, opening.header.results), opening.body, **opening.options)


def _sender(send: Send, of_task: str, of_app: str) -> Any:
    return send.signature._sender(of_task, of_app)


def _together(app: Celery, sends: Iterable[Send], name: str, stock: Any) -> bool:
    """Whether nobody wants to see the calls one by one."""
    if app.amqp.snapshot.always_eager or getattr(Task, name) is not stock or not _sends_itself(app):
        return False
    known: dict[str, bool] = {}
    for send in sends:
        task = send.signature.task
        ordinary = known.get(task)
        if ordinary is None:
            found = app.tasks.get(task)
            ordinary = known[task] = found is None or getattr(type(found), name) is stock
        get = send.options.get
        if not ordinary or get("producer") is not None or get("connection") is not None:
            return False
    return True


def _sends_itself(app: Celery) -> bool:
    """Whether `send_task` is that of the class as we wrote it: neither overridden nor wrapped."""
    function = getattr(app.send_task, "__func__", None)
    return getattr(function, "__module__", None) == "celery.app.base" and not hasattr(function, "__wrapped__")


class _Alike:
    """Settles the options of calls of which many differ only in who they are, like the members of a group."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._by_options = app.amqp.snapshot.static_routes  # and not by arguments
        self._last: tuple[str, Any, dict[str, Any], SendOptions] | None = None

    def settle(self, name: str, args: Any, kwargs: Any, task: Any, options: Mapping[str, Any]) -> SendOptions:
        """`send_options` of one more call."""
        rest = {key: value for key, value in options.items() if key not in _OWN}
        task_id = options.get("task_id")
        last = self._last
        if last is not None and task_id and last[0] == name and last[1] is task and _are_same(rest, last[2]):
            index = options.get("group_index")
            return msgspec.structs.replace(last[3], task_id=task_id, group_index=index)
        settled = send_options(self._app, name, args, kwargs, task_type=task, **options)
        by_time = settled.due is not None or settled.expires is not None
        if self._by_options and not by_time and options.get("router") is None:
            self._last = name, task, rest, settled
        return settled


#: By these the members of a group differ.
_OWN = frozenset(("task_id", "group_index"))
_MISSING: Any = object()


def _are_same(some: dict[str, Any], others: dict[str, Any]) -> bool:
    """Whether these are the very same values: whether others are equal only their classes know."""
    return len(some) == len(others) and all(others.get(key, _MISSING) is value for key, value in some.items())


def _composed(app: Celery, sends: Iterable[Send]) -> Iterator[Composed]:
    tasks, alike = app.tasks, _Alike(app)
    for send in sends:
        name = send.signature.task
        task = tasks.get(name)
        args, kwargs, options = send.args, send.kwargs, send.options
        if task is not None:
            args, kwargs = arguments.of_call(task, args, kwargs, options)
            shadow = options.get("shadow") or task.shadow_name(args, kwargs, options)
            options = task._with_defaults(options)
            if shadow:
                options["shadow"] = shadow
        yield name, args, kwargs, alike.settle(name, args, kwargs, task, options)
