"""The rules of `|`, in one table.

A rule takes a left side that it may change (it is a copy already) and a right side that it uses as it is. The kinds
of workflow are looked up by name in `Signature.TYPES`, so that this module knows no class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .signatures import Signature

    Sig: TypeAlias = Signature[Any]
    Rule: TypeAlias = Callable[[Any, Any], Any]

_KINDS = frozenset({"chain", "group", "chord"})


def kind_of(sig: Sig) -> str:
    """`chain`, `group`, `chord`, or `task` for everything else."""
    kind = sig.subtask_type
    return kind if kind in _KINDS else "task"


def compose(left: Sig, right: Sig) -> Any:
    """`left | right`; `left` is copied first."""
    return _join(left.clone(), right)


def fold(first: Sig, rest: Iterable[Sig]) -> Any:
    """`first | a | b ...` in linear time; `first` is changed or becomes part of the outcome."""
    for sig in rest:
        first = _join(first, sig)
    return first


def _join(left: Any, right: Any) -> Any:
    if kind_of(left) == "chain" and left.options:
        left._hand_down_links()  # what was linked so far is not linked to what follows
    return _RULES[kind_of(left), kind_of(right)](left, right)


def _chain(left: Any, *steps: Any) -> Any:
    make: Any = left.TYPES["chain"]
    return make(left, *steps, app=left._app)


def _steps_of(chain: Any) -> Any:
    """The steps of a chain, with what was linked to all of it."""
    return chain.clone()._own_steps() if chain.options or chain.args or chain.immutable else chain.tasks


def _unrolled(group: Any) -> Any:
    """The member of a group of one, instead of the group."""
    tasks = list(group.tasks)
    return tasks[0] if len(tasks) == 1 else group


# -- a task on the left


def _task_then(left: Sig, right: Sig) -> Any:
    return _chain(left, right)


def _task_then_chain(left: Sig, right: Any) -> Any:
    return _chain(left, *_steps_of(right))


def _task_then_group(left: Sig, right: Sig) -> Any:
    return _chain(left, _unrolled(right))


# -- a chain on the left


def _chain_then(left: Any, right: Any) -> Any:
    tasks = left.tasks
    if not tasks:
        tasks.append(right)
        return left
    last = tasks[-1]
    if kind_of(last) == "group" and len(last.tasks):
        tasks[-1] = _group_then(last, right)
        if len(tasks) > 1 and kind_of(tasks[-2]) == "chord":
            after = tasks.pop()
            tasks[-1].body = compose(tasks[-1].body, after)
    elif kind_of(last) == "chord" and kind_of(right) != "chord":
        last.body = compose(last.body, right)
    else:
        tasks.append(right)
    return left


def _chain_then_chain(left: Any, right: Any) -> Any:
    return fold(left, _steps_of(right))


def _chain_then_group(left: Any, right: Any) -> Any:
    right = _unrolled(right)
    if kind_of(right) != "group":
        return _join(left, right)
    tasks = left.tasks
    if not len(right.tasks):
        return left
    if not tasks:
        return right
    if kind_of(tasks[-1]) == "chord":
        tasks[-1].body = compose(tasks[-1].body, right)
    else:
        tasks.append(right)
    return left


# -- a group on the left


def _group_then(left: Any, right: Sig) -> Any:
    make: Any = left.TYPES["chord"]
    return make(left if left.options else left.tasks, body=right, app=left._app)


def _group_then_many(left: Any, right: Any) -> Any:
    return _group_then(left, right) if len(right.tasks) else left


# -- a chord on the left


def _chord_then(left: Any, right: Any) -> Any:
    left.body = compose(left.body, right)
    return left


def _chord_then_chain(left: Any, right: Any) -> Any:
    return _chain(left, *_steps_of(right))


def _chord_then_group(left: Any, right: Any) -> Any:
    only = _unrolled(right)
    return _chain(left, right) if only is right else _chord_then(left, only)


_RULES: dict[tuple[str, str], Rule] = {
    ("task", "task"): _task_then,
    ("task", "chord"): _task_then,
    ("task", "chain"): _task_then_chain,
    ("task", "group"): _task_then_group,
    ("chain", "task"): _chain_then,
    ("chain", "chord"): _chain_then,
    ("chain", "chain"): _chain_then_chain,
    ("chain", "group"): _chain_then_group,
    ("group", "task"): _group_then,
    ("group", "chord"): _group_then,
    ("group", "chain"): _group_then_many,
    ("group", "group"): _group_then_many,
    ("chord", "task"): _chord_then,
    ("chord", "chord"): _chord_then,
    ("chord", "chain"): _chord_then_chain,
    ("chord", "group"): _chord_then_group,
}


# -- texts


def shortened(task: str, text: str) -> str:
    """`text` with the module of `task` left out wherever it comes up again: `proj.tasks.add(2) | mul(8)`."""
    module = task.rpartition(".")[0]
    if not module:
        return text
    prefix = f"{module}."
    head, found, tail = text.partition(prefix)
    return head + found + tail.replace(prefix, "")
