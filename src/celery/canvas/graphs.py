"""With `fleet = 'celeriac'`, what comes later in a workflow is stored once, and messages refer to it.

In a mixed fleet every message carries all that follows it, as Celery's do: each member of a chord the body with the rest of
the workflow, each step of a chain all later steps. That is quadratic. If all programs are ours, and the result store
has a shelf (`celery.backends.stored_graphs`), then

- the body of a chord is put there under the chord's id, and its members carry a reference;
- the later steps of a chain are put there one by one, and the option `chain` has one reference in place of them:
  `(name, how many are left)`.

Where only a few tasks would be carried they still are: that costs less than the round trips.

References have the form of signatures, so that they travel wherever a signature would.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from celery.message import serializers
from celery.message.steps import Steps
from celery.utils import uuid

from .signatures import maybe_signature

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from celery.app.base import Celery

    from .plans import Plan

logger = logging.getLogger("celery.app.trace")

#: What a reference has beside what signatures have: the name on the shelf, and a number.
KEY = "celeriac_graph"
#: So many tasks that come later are carried along: by all members of a chord together.
FEW = 8
#: Bytes stored at once, about.
AT_ONCE = 1_000_000


def shelf_of(app: Celery) -> Any:
    """Where workflows are stored; None if messages carry them."""
    return app.backend.chords.shelf if app.conf.fleet == "celeriac" else None


def is_reference(sig: Any) -> bool:
    """Whether this stands for something on the shelf."""
    return isinstance(sig, Mapping) and KEY in sig


# -- when a workflow is sent


def body_for(plan: Plan, app: Celery, group_id: str, body: Any, members: int) -> Any:
    """What so many members of a chord are to carry in place of its body."""
    if shelf_of(app) is None or (members <= FEW and members * _weight(app, body) <= FEW):
        return body
    plan.keep(group_id, [body])
    return reference(body.task, body.id, group_id, 0)


def following(plan: Plan, app: Celery, rest: Sequence[Any], steps: Sequence[Any]) -> list[Any] | None:
    """The option `chain` of a step that is followed by `steps`, and then by `rest`, which is in this form already."""
    if sum(map(_size, steps)) <= FEW or shelf_of(app) is None:
        return [*rest, *reversed(steps)] or None
    name = uuid()
    plan.keep(name, steps[::-1])
    return [*rest, reference(steps[0].task, None, name, len(steps))]


def store(app: Celery, plan: Plan) -> None:
    """Put on the shelf what messages of a plan refer to. Done before any of them is sent."""
    if not plan.kept:
        return
    shelf = shelf_of(app)
    for parts in _batches(app, plan):
        app.backend._insist_on_storing(
            lambda parts=parts: shelf.keep(parts), "what comes later in a workflow"
        )


def _batches(app: Celery, plan: Plan) -> Iterator[dict[str, list[bytes]]]:
    parts: dict[str, list[bytes]] = {}
    size = 0
    for name, sigs in plan.kept:
        parts[name] = [_written(app, sig) for sig in sigs]
        size += sum(map(len, parts[name]))
        if size >= AT_ONCE:
            yield parts
            parts, size = {}, 0
    if parts:
        yield parts


def reference(task: str, task_id: str | None, name: str, number: int) -> dict[str, Any]:
    """What stands for something on the shelf, in the form of a signature."""
    options = {"task_id": task_id} if task_id else {}
    return {
        "task": task,
        "args": (),
        "kwargs": {},
        "options": options,
        "subtask_type": None,
        "immutable": False,
        KEY: [name, number],
    }


def _size(sig: Any) -> int:
    """How many tasks there are in it."""
    return sum(1 for _ in _tasks_in(sig))


def _weight(app: Celery, body: Any) -> int:
    """How many signatures travel with the body of a chord: its own, and what follows it."""
    rest = body.options.get("chain") or ()
    return _size(body) + sum(1 if is_reference(one) else _size(maybe_signature(one, app=app)) for one in rest)


def _tasks_in(sig: Any) -> Iterator[Any]:
    if sig.subtask_type in ("chain", "group"):
        parts = sig.tasks
    elif sig.subtask_type == "chord":
        parts = (*getattr(sig.tasks, "tasks", sig.tasks), sig.body)
    else:
        yield sig
        return
    for part in parts:
        yield from _tasks_in(part)


# -- when it goes on


class Next:
    """The step that follows in a chain.

    Args:
        as_text: what follows it may stay text, if it came as text.

    Attributes:
        step: the signature; None if it was sent before (the task that it follows runs again).
        rest: the option `chain` of it.
    """

    def __init__(self, app: Celery, chain: Sequence[Any] | Steps, *, as_text: bool = False) -> None:
        self._app = app
        self._used: str | None = None
        self.rest: Any
        if isinstance(chain, Steps):
            following, rest = chain.next()
            self.rest = rest if as_text and _is_sent_by_us(app, following) else rest.value()
            step: Any = following
        else:
            *self.rest, step = chain
        if is_reference(step):
            name, left = step[KEY]
            step = _fetched(app, name, left - 1)
            if left > 1:
                self.rest.append(reference("", None, name, left - 1))
            else:
                self._used = name
        self.step = maybe_signature(step, app=app)

    def sent(self) -> None:
        """It was sent: what nobody needs any longer is thrown away."""
        if self._used is not None:
            dropped(self._app, self._used)


def _is_sent_by_us(app: Celery, step: dict[str, Any]) -> bool:
    """Whether nobody but us sees the options of a step that is sent: a task that is called as ours are, by fixed routes."""
    if is_reference(step) or step.get("subtask_type") is not None:
        return False
    task = app.registry.get(step.get("task") or "")
    return task is not None and app._sends_as_usual(task)


def steps(app: Celery, chain: Iterable[Any] | None) -> Iterator[Any]:
    """All that follows, by the option `chain` (last first): in the order in which it runs.

    What was sent already, and dropped, is left out.
    """
    for one in reversed(list(chain or ())):
        if not is_reference(one):
            yield maybe_signature(one, app=app)
            continue
        name, left = one[KEY]
        for index in reversed(range(left)):
            step = _fetched(app, name, index)
            if step is not None:
                yield maybe_signature(step, app=app)


def body_of(app: Celery, carried: Any) -> Any:
    """The body that the members of a chord carry, or refer to; None if it was sent before."""
    if not is_reference(carried):
        return carried
    name, index = carried[KEY]
    return _fetched(app, name, index)


def dropped(app: Celery, name: str) -> None:
    """Throw away what was sent. If the store does not answer it will expire."""
    with contextlib.suppress(Exception):
        app.backend.chords.shelf.drop(name)


def _written(app: Celery, sig: Any) -> bytes:
    content_type, encoding, payload = serializers.dumps(sig, _serializer_of(app, sig))
    return f"{content_type}\n{encoding}\n".encode() + payload


def _serializer_of(app: Celery, sig: Any) -> str:
    """The usual one, unless a task in it has another: then its arguments may need that."""
    usual: str = app.conf.task_serializer
    for one in _tasks_in(sig):
        task = app.tasks.get(one.task)
        wanted: str = one.options.get("serializer") or (task.serializer if task else None) or usual
        if wanted != usual:
            return wanted
    return usual


def _fetched(app: Celery, name: str, index: int) -> dict[str, Any] | None:
    shelf = app.backend.chords.shelf
    item = app.backend._insist_on_storing(lambda: shelf.fetch(name, index), "that a workflow goes on")
    if item is None:
        logger.info("What follows (%s) was sent before", name)
        return None
    content_type, encoding, payload = item.split(b"\n", 2)
    accept = serializers.prepare_accept_content(app.conf.accept_content)
    return cast(
        "dict[str, Any]",
        serializers.loads(payload, content_type.decode(), encoding.decode(), accept=accept),
    )
