"""A workflow as its stored results tell of it, while it runs or afterwards.

From any of its tasks the walk goes up to the first one (`parent_id`), and from there down: what each task has called
(`children`, known once it is over), the members of groups, and the bodies of chords. What has not begun is known as
far as something before it names it.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from celery import states
from celery.utils.graph import GraphFormatter

from .base import ResultBase, result_from_tuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Meta = dict[str, Any]

#: Where the result of a chord's body is kept, with `result_extended`: a group of one, by the header's id and this.
BODY_OF = ".body"
#: Steps that are gone upwards at most.
_HIGHEST = 10_000

_COLOURS = {
    states.SUCCESS: "palegreen3",
    states.FAILURE: "salmon",
    states.REVOKED: "khaki",
    states.PENDING: "white",
}


@dataclass(frozen=True, slots=True)
class Node:
    """A task or a group of a workflow.

    Attributes:
        kind: `task` or `group`.
        state: of a task; of a group PENDING, STARTED, SUCCESS or FAILURE.
        name: of the task; with `result_extended`, once it is over.
        worker: who runs it (with `task_track_started`) or ran it (with `result_extended`).
        date_done: when it was over, as text.
        info: the exception of a task that failed, and what came with a state of its own.
        members: ids, of a group.
        then: ids of what comes after it.
    """

    id: str
    kind: str
    state: str
    name: str | None = None
    worker: str | None = None
    date_done: str | None = None
    info: str | None = None
    members: tuple[str, ...] = ()
    then: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Workflow:
    """All that is known of a workflow.

    Attributes:
        roots: ids of what nothing comes before.
        nodes: by id.
    """

    roots: tuple[str, ...]
    nodes: dict[str, Node]

    def to_tree(self) -> str:
        """For people: one line a task, in the order in which they run."""
        seen: set[str] = set()
        return "\n".join(line for root in self.roots for line in self._lines(root, "", seen))

    def to_json(self) -> str:
        """`{"roots": [...], "nodes": [...]}`, the nodes with the fields of `Node`."""
        return json.dumps({"roots": self.roots, "nodes": [asdict(node) for node in self.nodes.values()]})

    def to_dot(self) -> str:
        """In the DOT language, for graphviz."""
        drawn = GraphFormatter(root=self.roots[0] if self.roots else "", id="workflow")
        lines = [drawn.head()]
        for node in self.nodes.values():
            colour = _COLOURS.get(node.state, "lightskyblue")
            lines.append(drawn.node(node.id, label=self._label(node), fillcolor=colour))
        for node in self.nodes.values():
            lines += [drawn.edge(node.id, member, style="dashed") for member in node.members]
            lines += [drawn.edge(node.id, following) for following in node.then]
        return "\n".join([*lines, drawn.tail()])

    def _lines(self, at: str, mark: str, seen: set[str]) -> Iterator[str]:
        """A task or group, and what comes after it: one after the other at one level, several side by side below."""
        while at not in seen:
            seen.add(at)
            node = self.nodes[at]
            yield mark + self._told(node)
            for member in node.members:
                yield from ("  " + line for line in self._lines(member, "- ", seen))
            following = [one for one in node.then if one not in seen]
            if len(following) != 1:
                for one in following:
                    yield from ("  " + line for line in self._lines(one, "then ", seen))
                return
            at, mark = following[0], "then "

    def _told(self, node: Node) -> str:
        if node.kind == "group":
            return f"group[{node.id}] {self._over(node)}"
        told = f"{node.name or 'task'}[{node.id}] {node.state}"
        if node.info:
            told += f": {node.info}"
        if node.worker:
            told += f" at {node.worker}"
        return f"{told}, {node.date_done[:19].replace('T', ' ')}" if node.date_done else told

    def _over(self, group: Node) -> str:
        over = sum(self.nodes[member].state in states.READY_STATES for member in group.members)
        return f"{over} of {len(group.members)} over"

    def _label(self, node: Node) -> str:
        first = f"group, {self._over(node)}" if node.kind == "group" else node.name or "task"
        return f"{first}\\n{node.id}" + ("" if node.kind == "group" else f"\\n{node.state}")


def workflow_of(*results: Any) -> Workflow:
    """Read what is stored of the workflow that these results are of.

    Raises:
        NotImplementedError: results are disabled.
    """
    return _Walk(results[0].app, results[0].backend).of(results)


class _Walk:
    def __init__(self, app: Any, backend: Any) -> None:
        self._app = app
        self._backend = backend
        self._metas: dict[str, Meta] = {}
        self._order: dict[str, None] = {}
        self._groups: dict[str, tuple[str, ...]] = {}
        self._then: dict[str, dict[str, None]] = {}
        #: Members of groups, and what follows something.
        self._members: set[str] = set()
        self._later: set[str] = set()
        self._new: list[str] = []
        self._asked: set[str] = set()

    def of(self, results: Iterable[Any]) -> Workflow:
        climbed: list[tuple[str, str]] = []
        for result in results:
            if getattr(result, "results", None) is None:
                climbed += self._climb(result.id)
        for top in (up for up, _ in reversed(climbed)):
            self._add(self._app.AsyncResult(top))
        for result in results:
            self._add(result)
        while self._new:
            self._read_on()
        for up, down in climbed:
            self._tie(up, down)
        return self._made()

    # -- upwards

    def _climb(self, task_id: str) -> list[tuple[str, str]]:
        """Pairs of a task and the one that led to it, from below."""
        pairs: list[tuple[str, str]] = []
        seen = {task_id}
        while len(pairs) < _HIGHEST:
            above = self._meta(task_id).get("parent_id")
            if not above or above in seen or self._meta(above)["status"] == states.PENDING:
                break
            seen.add(above)
            pairs.append((above, task_id))
            task_id = above
        return pairs

    def _meta(self, task_id: str) -> Meta:
        if task_id not in self._metas:
            self._metas.update(self._backend.get_task_metas([task_id]))
        return self._metas[task_id]

    def _tie(self, up: str, down: str) -> None:
        """Join a task to the one that led to it, unless the way down did: the body of a chord follows its header."""
        if down in self._later or down in self._members:
            return
        header = self._meta(down).get("group_id")
        if header is not None and header == self._meta(up).get("group_id"):
            if header not in self._groups:  # of the others nothing is known
                self._add(self._app.GroupResult(header, [self._app.AsyncResult(up)]))
            up = header
        self._follows(up, down)

    def _follows(self, up: str, down: str) -> None:
        self._then.setdefault(up, {})[down] = None
        self._later.add(down)

    # -- downwards

    def _add(self, result: Any) -> None:
        """Take in a result, what it consists of, and what comes before it."""
        stack = [result]
        while stack:
            node = stack.pop()
            if node.parent is not None:
                self._follows(node.parent.id, node.id)
                stack.append(node.parent)
            if node.id in self._order:
                continue
            self._order[node.id] = None
            members = getattr(node, "results", None)
            if members is None:
                self._new.append(node.id)
                continue
            self._groups[node.id] = tuple(member.id for member in members)
            self._members.update(self._groups[node.id])
            stack.extend(reversed(members))
            for following in self._saved(node.id + BODY_OF) or ():
                self._follows(node.id, following.id)
                stack.append(following)

    def _read_on(self) -> None:
        """Read what became of the tasks that are new, and take in what they have called."""
        new, self._new = self._new, []
        unread = [task_id for task_id in new if task_id not in self._metas]
        if unread:
            self._metas.update(self._backend.get_task_metas(unread))
        for task_id in new:
            for stored in self._metas[task_id].get("children") or ():
                child = result_from_tuple(stored, self._app)
                first = child
                while first.parent is not None:
                    first = first.parent
                if first.id != task_id:  # a retry names itself
                    self._follows(task_id, first.id)
                    self._add(child)
            header = self._metas[task_id].get("group_id")
            if header and header not in self._order and task_id not in self._members:
                saved = self._saved(header)
                if saved is not None:
                    self._add(saved)

    def _saved(self, group_id: str) -> Any:
        """The group saved under an id; None if there is none, or the backend keeps no groups."""
        if group_id not in self._asked:
            self._asked.add(group_id)
            with contextlib.suppress(NotImplementedError):
                return self._backend.restore_group(group_id, cache=False)
        return None

    # -- what it comes to

    def _made(self) -> Workflow:
        nodes: dict[str, Node] = {}
        for at in self._order:
            then = tuple(self._then.get(at, ()))
            if at in self._groups:
                states_of = [self._metas[m]["status"] for m in self._groups[at] if m in self._metas]
                nodes[at] = Node(at, "group", _together(states_of), members=self._groups[at], then=then)
            else:
                nodes[at] = _task(at, self._metas[at], then)
        later = self._later | self._members
        return Workflow(tuple(at for at in nodes if at not in later), nodes)


def _together(found: list[str]) -> str:
    if all(state in states.READY_STATES for state in found):
        return states.FAILURE if set(found) & states.PROPAGATE_STATES else states.SUCCESS
    return states.PENDING if set(found) == {states.PENDING} else states.STARTED


def _task(task_id: str, meta: Meta, then: tuple[str, ...]) -> Node:
    state, said = meta["status"], meta.get("result")
    worker = meta.get("worker")
    if state == states.STARTED and isinstance(said, dict):
        worker = said.get("hostname")
    own = state not in states.ALL_STATES or state in states.EXCEPTION_STATES
    done = meta.get("date_done")
    return Node(
        id=task_id,
        kind="task",
        state=state,
        name=meta.get("name"),
        worker=worker,
        date_done=None if done is None else str(done),
        info=_short(said) if own and said is not None else None,
        then=then,
    )


def _short(said: Any) -> str:
    text = repr(said) if isinstance(said, (ResultBase, BaseException)) else str(said)
    return " ".join(text.split())[:200]
