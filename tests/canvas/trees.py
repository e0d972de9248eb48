"""Workflows as plain data, random ones, and what they come to: the reference, in which nothing is sent.

A tree is made into a workflow by `written`, for any app that has the tasks of `tasks.py`; `evaluate` says what its outcome
must be, which tasks run with what, and which callbacks are called. It knows nothing of messages, ids or groups in flight.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from hypothesis import strategies as st

from celery import chain, chord, group
from celery.exceptions import ChordError
from tests.canvas.tasks import Boom, mix

if TYPE_CHECKING:
    from celery import Celery


# -- trees


@dataclass(frozen=True)
class Links:
    """Labels of callbacks and errbacks."""

    link: tuple[str, ...] = ()
    link_error: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """A task: `kind` is `step`, `fail`, `retry` (twice, then as step) or `swap` (replaces itself by `inner`).

    (The reference itself has `accumulate`, what makes a group that replaces a task one value.)
    """

    label: str
    kind: str = "step"
    immutable: bool = False
    links: Links = field(default_factory=Links)
    inner: Any = None


@dataclass(frozen=True)
class Chain:
    steps: tuple[Tree, ...]
    links: Links = field(default_factory=Links)


@dataclass(frozen=True)
class Group:
    members: tuple[Tree, ...]


@dataclass(frozen=True)
class Chord:
    header: tuple[Tree, ...]
    body: Tree
    links: Links = field(default_factory=Links)


Tree: TypeAlias = Task | Chain | Group | Chord


# -- as workflows


def written(tree: Tree, app: Celery, run: str) -> Any:
    """The workflow; `run` is put before every label, so that runs can be told apart."""
    if isinstance(tree, Task):
        sig = app.signature(f"tree.{tree.kind}", (f"{run}{tree.label}",), immutable=tree.immutable)
        # The label is the last argument: values from before come first.
        if tree.inner is not None:
            sig.kwargs = {"inner": dict(written(tree.inner, app, run))}
        return _linked(sig, tree.links, app, run)
    if isinstance(tree, Chain):
        made = chain(*[written(step, app, run) for step in tree.steps])
        return _linked(made, tree.links, app, run)
    if isinstance(tree, Group):
        return group([written(member, app, run) for member in tree.members], app=app)
    header = [written(member, app, run) for member in tree.header]
    return _linked(chord(header, written(tree.body, app, run), app=app), tree.links, app, run)


def _linked(sig: Any, links: Links, app: Celery, run: str) -> Any:
    for label in links.link:
        sig.link(app.signature("tree.step", (f"{run}{label}",)))
    for label in links.link_error:
        # Both conventions: called where the failure is seen, or sent as a task.
        name = "tree.called_on_error" if int(label[1:]) % 2 else "tree.sent_on_error"
        sig.link_error(app.signature(name, (f"{run}{label}",)))
    return sig


# -- what they come to


@dataclass(frozen=True)
class Many:
    """What a group comes to: an outcome for each member."""

    members: tuple[Any, ...]


@dataclass
class Account:
    """What must have happened.

    Attributes:
        calls: `(label, arguments)`.
        errors: labels of errbacks.
        skipped: steps and bodies that did not run as something before them failed.
        inner_failures: chords in the header of another that failed.
    """

    calls: list[tuple[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    skipped: list[Tree] = field(default_factory=list)
    inner_failures: int = 0
    #: How many headers we are in.
    depth: int = 0


def evaluate(tree: Tree, account: Account) -> Any:
    """The outcome: a value, an exception, or `Many`; of a group of one that comes to `Many`, that."""
    outcome = _run(settled(composed(tree)), (), account)
    if isinstance(tree, Group) and len(outcome.members) == 1 and isinstance(outcome.members[0], Many):
        return outcome.members[0]
    return outcome


def _run(tree: Tree, args: tuple[Any, ...], account: Account) -> Any:
    if isinstance(tree, Task):
        return _run_task(tree, args, account)
    if isinstance(tree, Group):
        return Many(tuple(_run(member, args, account) for member in tree.members))
    if isinstance(tree, Chain):
        return _run_chain(tree, args, account)
    account.depth += 1
    outcomes = tuple(_run(member, args, account) for member in tree.header)
    account.depth -= 1
    failed = [one for one in _flat(outcomes) if isinstance(one, Exception)]
    if failed:
        account.skipped.append(tree.body)
        account.inner_failures += account.depth > 0
        if isinstance(tree.body, Group):
            return _refuse(tree.body, failed[0], account)
        return _refuse(tree.body, ChordError(f"Dependency ID raised {failed[0]!r}"), account)
    return _run(tree.body, (_listed(outcomes),), account)


def _run_chain(tree: Chain, args: tuple[Any, ...], account: Account) -> Any:
    outcome: Any = None
    for at, step in enumerate(tree.steps):
        outcome = _run(step, args, account)
        if isinstance(outcome, Exception):
            account.skipped += tree.steps[at + 1 :]
            return _like(tree.steps[-1], outcome)
        if at + 1 < len(tree.steps):
            assert not isinstance(outcome, Many), "a group in a chain is the header of a chord"
            args = (outcome,)
    return outcome


def _run_task(tree: Task, args: tuple[Any, ...], account: Account) -> Any:
    if tree.kind == "accumulate":
        return _tell(tree.links, args[0], account)
    seen = [] if tree.immutable else list(args)
    times = 3 if tree.kind == "retry" else 1
    account.calls += [(tree.label, seen)] * times
    if tree.kind == "fail":
        outcome: Any = Boom(tree.label)
    elif tree.kind == "swap":
        return _run_task_inner(tree, account)
    else:
        outcome = mix(tree.label, seen)
    return _tell(tree.links, outcome, account)


def _run_task_inner(tree: Task, account: Account) -> Any:
    """What replaces a task takes its links over."""
    inner = composed(tree.inner)
    if _ends_in_group(inner):
        inner = composed(Chain((inner, Task("", "accumulate"))))
    return _run(settled(_with_links(inner, tree.links)), (), account)


def _tell(links: Links, outcome: Any, account: Account) -> Any:
    if isinstance(outcome, Exception):
        account.errors += links.link_error
    else:
        account.calls += [(label, [outcome]) for label in links.link]
    return outcome


def _refuse(tree: Tree, exc: Exception, account: Account) -> Any:
    """The body of a chord that failed: what would have run first is told."""
    if isinstance(tree, Task):
        account.errors += tree.links.link_error
        return exc
    if isinstance(tree, Chain):
        _refuse(tree.steps[0], exc, account)
        return _like(tree.steps[-1], exc)
    if isinstance(tree, Group):
        return Many(tuple(_refuse(member, exc, account) for member in tree.members))
    return _refuse(tree.body, exc, account)


def _like(tree: Tree, exc: Exception) -> Any:
    """`exc`, as the outcome of something that did not run."""
    if isinstance(tree, Group):
        return Many(tuple(_like(member, exc) for member in tree.members))
    if isinstance(tree, Chain):
        return _like(tree.steps[-1], exc)
    if isinstance(tree, Chord):
        return _like(tree.body, exc)
    return exc


def _listed(outcomes: tuple[Any, ...]) -> list[Any]:
    """A member that ends in a group gives a list."""
    return [_listed(one.members) if isinstance(one, Many) else one for one in outcomes]


def _flat(outcomes: tuple[Any, ...]) -> list[Any]:
    found: list[Any] = []
    for one in outcomes:
        found += _flat(one.members) if isinstance(one, Many) else [one]
    return found


# -- what `|` makes of it: how many groups of one are opened depends on what is before them, as in Celery


def composed(tree: Tree) -> Tree:
    """The tree as the workflow is: chains joined step by step, links where they belong."""
    if isinstance(tree, Task):
        return tree
    if isinstance(tree, Group):
        return Group(tuple(map(composed, tree.members)))
    if isinstance(tree, Chord):
        made: Tree = Chord(tuple(map(composed, tree.header)), composed(tree.body))
    else:
        made = Chain(())
        for step in tree.steps:
            made = _then(made, composed(step))
    return _with_links(made, tree.links)


def _then(left: Tree, right: Tree) -> Tree:
    """`left | right`."""
    if isinstance(left, Group):
        return Chord(left.members, right)
    only = right.members[0] if isinstance(right, Group) and len(right.members) == 1 else right
    if isinstance(left, Chain):
        return _chain_then(left, only)
    if isinstance(left, Chord) and (only is not right or isinstance(right, (Task, Chord))):
        return replace(left, body=_then(left.body, only))
    return Chain((left, *(right.steps if isinstance(right, Chain) else (only,))))


def _chain_then(left: Chain, right: Tree) -> Tree:
    if isinstance(right, Chain):
        made: Tree = left
        for step in right.steps:
            made = _then(made, step)
        return made
    if not left.steps:
        return right if isinstance(right, Group) else Chain((right,))
    *before, last = left.steps
    if isinstance(last, Chord) and not isinstance(right, Chord):
        return Chain((*before, replace(last, body=_then(last.body, right))))
    if not isinstance(last, Group) or isinstance(right, Group):
        return Chain((*left.steps, right))
    made = Chord(last.members, right)
    if before and isinstance(before[-1], Chord):
        *before, last = before
        made = replace(last, body=_then(last.body, made))
    return Chain((*before, made))


# -- the form in which a group that is followed by something is the header of a chord


def settled(tree: Tree) -> Tree:
    """A composed tree with chains and groups opened that are parts of another."""
    if isinstance(tree, Task):
        return tree
    if isinstance(tree, Group):
        return Group(tuple(_members(tree.members)))
    if isinstance(tree, Chord):
        return Chord(tuple(_members(tree.header)), settled(tree.body))
    steps: list[Tree] = []
    for step in tree.steps:
        _append(steps, settled(step))
    return Chain(tuple(steps)) if len(steps) > 1 else steps[0]


def _members(members: tuple[Tree, ...]) -> list[Tree]:
    found: list[Tree] = []
    for member in members:
        one = settled(member)
        found += one.members if isinstance(one, Group) else [one]
    return found


def _append(steps: list[Tree], step: Tree) -> None:
    if isinstance(step, Chain):
        for one in step.steps:
            _append(steps, one)
    elif steps and _ends_in_group(steps[-1]):
        steps[-1] = _gathered(steps[-1], step)
    else:
        steps.append(step)


def _gathered(tree: Tree, following: Tree) -> Tree:
    if isinstance(tree, Chord):
        return replace(tree, body=_gathered(tree.body, following))
    if isinstance(tree, Chain):
        return Chain((*tree.steps[:-1], _gathered(tree.steps[-1], following)), tree.links)
    assert isinstance(tree, Group)
    return Chord(tree.members, following)


def _ends_in_group(tree: Tree) -> bool:
    if isinstance(tree, Chain):
        return _ends_in_group(tree.steps[-1])
    return _ends_in_group(tree.body) if isinstance(tree, Chord) else isinstance(tree, Group)


def _with_links(tree: Tree, links: Links) -> Tree:
    """Callbacks of a chain are those of its last step, errbacks those of every step; those of a chord are its body's."""
    if links == Links():
        return tree
    if isinstance(tree, Task):
        known = tree.links
        return replace(
            tree, links=Links(_joined(known.link, links.link), _joined(known.link_error, links.link_error))
        )
    if isinstance(tree, Chord):
        # As in Celery, errbacks are those of chords in the header, too, but for those in groups in it.
        inner = Links((), links.link_error)
        header = (_with_links(one, inner) if isinstance(one, Chord) else one for one in tree.header)
        return replace(tree, header=tuple(header), body=_with_links(tree.body, links))
    if isinstance(tree, Group):
        return Group(tuple(_with_links(member, Links((), links.link_error)) for member in tree.members))
    *before, last = tree.steps
    steps = [_with_links(step, Links((), links.link_error)) for step in before]
    return Chain((*steps, _with_links(last, links)))


def _joined(known: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return known + tuple(one for one in more if one not in known)


# -- random ones


def trees(*, fail: float = 0.1, most: int = 14) -> st.SearchStrategy[Tree]:
    """Random trees of at most six levels; every label is there once."""
    return st.builds(_labelled, st.recursive(_tasks(fail), _nodes, max_leaves=most))


def _tasks(fail: float) -> st.SearchStrategy[Tree]:
    kinds = ["fail"] * int(20 * fail) + ["retry", "swap"] + ["step"] * (18 - int(20 * fail))
    return st.builds(
        Task, st.just(""), st.sampled_from(kinds), st.sampled_from([False, False, False, True]), _links()
    )


def _links() -> st.SearchStrategy[Links]:
    some = st.sampled_from([(), (), (), ("",)])
    return st.builds(Links, some, some)


def _nodes(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    several = st.lists(inner, min_size=1, max_size=4).map(tuple)
    errbacks = st.builds(Links, st.just(()), st.sampled_from([(), (), ("",)]))
    return st.one_of(
        st.builds(Chain, st.lists(inner, min_size=2, max_size=4).map(tuple), errbacks),
        st.builds(Group, several),
        st.builds(Chord, several, inner, errbacks),
    )


def _labelled(tree: Tree) -> Tree:
    """Number everything, cut what is too deep, and give tasks that replace themselves something to do it by."""
    counter = iter(range(10_000))
    inner = (
        lambda: Task(_next(), "step"),
        lambda: Chain((Task(_next(), "step"), Task(_next(), "step"))),
        lambda: Group((Task(_next(), "step"), Task(_next(), "step"))),
        lambda: Chord((Task(_next(), "step"), Task(_next(), "retry")), Task(_next(), "step")),
        lambda: Chain((Task(_next(), "step"), Task(_next(), "fail"))),
    )

    def _next() -> str:
        return f"{next(counter)}"

    def links(given: Links) -> Links:
        return Links(tuple(f"l{_next()}" for _ in given.link), tuple(f"e{_next()}" for _ in given.link_error))

    def walk(one: Tree, depth: int) -> Tree:
        if depth > 6 and not isinstance(one, Task):
            return Task(_next())
        if isinstance(one, Task):
            label = _next()
            made = replace(one, label=label, links=links(one.links))
            return replace(made, inner=inner[int(label) % len(inner)]()) if one.kind == "swap" else made
        if isinstance(one, Group):
            return Group(tuple(walk(member, depth + 1) for member in one.members))
        if isinstance(one, Chain):
            return Chain(tuple(walk(step, depth + 1) for step in one.steps), links(one.links))
        header = tuple(walk(member, depth + 1) for member in one.header)
        return Chord(header, walk(one.body, depth + 1), links(one.links))

    return walk(tree, 1)
