"""`Task.replace` and `Task.add_to_chord`: a running task changes the workflow that it is a part of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from celery.app.outcome import Replaced
from celery.backends import relaying
from celery.backends.dues import Due
from celery.brokers import patience
from celery.canvas import StampingVisitor, maybe_signature
from celery.canvas.calls import root_of
from celery.exceptions import Ignore, ImproperlyConfigured
from celery.result import allow_join_result
from celery.utils.functional import maybe_list

if TYPE_CHECKING:
    from celery.app.context import Context


class _KeepStamps(StampingVisitor):
    """Gives the stamps of a request to signatures that have none of that name."""

    def __init__(self, request: Context) -> None:
        self._stamps = dict(request.stamps or {})

    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        known = sig.options.get("stamped_headers") or ()
        return {name: value for name, value in self._stamps.items() if name not in known}


def replacement(task: Any, sig: Any) -> Any:
    """Return `sig` with the id and the place in the workflow of the task that is running.

    Raises:
        ImproperlyConfigured: `sig` is a member of a chord already, or an empty chain.
    """
    app = task.app
    request = task.request
    sig = maybe_signature(sig, app=app)
    if "chord" in sig.options:
        raise ImproperlyConfigured("A signature replacing a task must not be part of a chord")
    if sig.subtask_type == "chain" and not sig.tasks:
        raise ImproperlyConfigured("Cannot replace with an empty chain")
    if _ends_in_group(sig):
        # One task needs one value: the list.
        sig = sig | app.tasks["celery.accumulate"].s(index=0)
    for callback in maybe_list(request.callbacks) or ():
        sig.link(callback)
    for errback in maybe_list(request.errbacks) or ():
        sig.link_error(errback)
    if request.stamps:
        sig.stamp(_KeepStamps(request))
    sig.freeze(request.id)
    _take_place(sig, request)
    return sig


def _take_place(sig: Any, request: Context) -> None:
    place = {
        "chain": request.chain,
        "chord": request.chord,
        "group_id": request.group,
        "group_index": request.group_index,
        "root_id": request.root_id,
        "ignore_result": request.ignore_result or None,
    }
    sig.set(**{key: value for key, value in place.items() if value is not None})
    sig.set(replaced_task_nesting=(request.replaced_task_nesting or 0) + 1)


def _ends_in_group(sig: Any) -> bool:
    while sig.subtask_type in ("chain", "chord"):
        sig = sig.tasks[-1] if sig.subtask_type == "chain" else sig.body
    return bool(sig.subtask_type == "group")


def send(task: Any, sig: Any) -> NoReturn:
    """Send what takes the place of the running task, or run it, eagerly.

    Raises:
        Ignore: to tell the worker. (Or what `sig` raised, eagerly.)
    """
    request = task.request
    if request.is_eager:
        request.callbacks = request.errbacks = request.chain = None  # they went with it
        with allow_join_result():
            value = sig.apply().get()
        raise Replaced(value)
    with patience.patiently():
        sig.delay()
    request.replaced = True
    raise Ignore("Replaced by new task")


def add_to_chord(task: Any, sig: Any, *, lazy: bool) -> Any:
    """See `Task.add_to_chord`."""
    request = task.request
    if not request.chord:
        raise ValueError("Current task is not member of any chord")
    sig = maybe_signature(sig, app=task.app)
    place = {"group_id": request.group, "chord": request.chord, "root_id": request.root_id}
    result = sig.freeze(**place, group_index=request.group_index)
    if lazy:
        index = task.backend.add_to_chord(request.group, result)
        if index is not None:
            sig.freeze(**place, group_index=index)
        return sig
    return _send_added(task, sig, place, result)


def _send_added(task: Any, sig: Any, place: dict[str, Any], result: Any) -> Any:
    """Send a member that is being added; if this process dies in the midst of it, another does."""
    request, backend = task.request, task.backend
    due = Due(request.group, sig, request.root_id, request.id, result.id)
    chords, what = backend.chords, f"that chord {request.group} grows"
    index = backend._insist_on_storing(lambda: chords.grow(due, result), what)
    if index is not None:
        sig.freeze(**place, group_index=index)
    try:
        with patience.patiently():
            sent = relaying.send_marked(backend, sig, request.group, (), {})
    except Exception as exc:
        if relaying.is_refusal(
            backend, exc
        ):  # else it may have been sent, and who finds the note sends it again
            backend._insist_on_storing(lambda: chords.grown(due, result, index, sent=False), what)
        raise
    backend._insist_on_storing(lambda: chords.grown(due, result, index), what)
    task.add_trail(root_of(sent))
    return sent
