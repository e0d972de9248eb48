"""Workflows that a worker runs. `python ran.py BROKER BACKEND`"""
# ruff: noqa: B023, E402 - questions are put at once, where they stand

import os
import sys
import warnings

os.environ["USED_BROKER"], os.environ["USED_BACKEND"] = sys.argv[1:3]

from canon import UUID, tree
from probe import show
from workload import (
    add,
    adds_to_chord,
    app,
    bound_on_error,
    cb,
    context,
    echo,
    fail,
    gives_up,
    ignores,
    mul,
    nested_sum,
    noop,
    noted,
    old_on_error,
    on_error,
    on_error_fails,
    progress,
    rejects,
    replaced,
    retries,
    revoked_by_itself,
    settle,
    silent,
    starts,
    starts_untrailed,
    total,
    worker,
    xsum,
)

from celery import chain, chord, group


def linked(sig, *callbacks):
    for callback in callbacks:
        sig.link(callback)
    return sig


def errs(sig, *errbacks):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        for errback in errbacks:
            sig.link_error(errback)
    return sig


WORKFLOWS = {
    "task": lambda: add.s(1, 1),
    "chain": lambda: add.s(1, 1) | mul.s(5),
    "chain of one": lambda: chain(add.s(1, 1)),
    "chain of three": lambda: chain(add.s(4, 4), mul.s(8), mul.s(10)),
    "chain immutable": lambda: add.si(2, 2) | add.si(4, 4) | add.si(8, 8),
    "chain of chains": lambda: chain(add.s(1, 1) | mul.s(2), mul.s(3) | add.s(1)),
    "chain fails first": lambda: fail.s() | add.s(1) | mul.s(2),
    "chain fails middle": lambda: add.s(1, 1) | fail.s() | mul.s(2),
    "chain fails last": lambda: add.s(1, 1) | fail.s(),
    "chain with errback": lambda: errs(add.s(1, 1) | fail.s() | mul.s(2), on_error.s()),
    "chain with link": lambda: linked(add.s(1, 1) | mul.s(5), cb.s()),
    "chain with group": lambda: add.s(1, 1) | group(add.s(1), mul.s(10)),
    "chain with group in the middle": lambda: add.s(1, 1) | group(add.s(1), mul.s(10)) | xsum.s(),
    "chain with group and tail": lambda: chain(add.s(1, 1), group(add.s(1), mul.s(10)), xsum.s(), add.s(100)),
    "chain with two groups": lambda: add.s(1, 1) | group(add.s(1), mul.s(10)) | group(xsum.s(), xsum.s()),
    "chain with two groups and tail": lambda: chain(
        add.s(1, 1), group(add.s(1), mul.s(10)), group(xsum.s(), xsum.s()), xsum.s()
    ),
    "chain with empty group": lambda: chain(add.s(1, 1), group(), mul.s(3)),
    "chain with immutable group": lambda: add.s(1, 1) | group(add.si(5, 5), add.si(6, 6)) | xsum.s(),
    "chain with failing group": lambda: chain(add.s(1, 1), group(add.s(1), fail.s()), xsum.s(), add.s(100)),
    "chain with chord": lambda: chain(add.s(1, 1), chord([add.s(2), add.s(3)], xsum.s()), add.s(4)),
    "chain with silent step": lambda: chain(silent.s(3), add.s(4)),
    "group": lambda: group(add.s(1, 1), add.s(2, 2)),
    "group empty": lambda: group(),
    "group of one": lambda: group(add.s(1, 1)),
    "group of generator": lambda: group(add.s(i, i) for i in range(4)),
    "group of groups": lambda: group(group(add.s(1, 1), add.s(2, 2)), group(add.s(3, 3), add.s(4, 4))),
    "group of chains": lambda: group(add.s(1, 1) | mul.s(2), add.s(2, 2) | mul.s(3)),
    "group of chords": lambda: group(chord([add.s(1, 1)], xsum.s()), add.s(3, 3)),
    "group of chain with group": lambda: group(add.s(1, 1) | group(add.s(2), add.s(3)), add.s(4, 4)),
    "group fails": lambda: group(add.s(1, 1), fail.s(), add.s(2, 2)),
    "group into task": lambda: group(add.s(1, 1), add.s(2, 2)) | xsum.s(),
    "group into group": lambda: group(add.s(1, 1), add.s(2, 2)) | group(xsum.s(), echo.s()),
    "chord": lambda: chord([add.s(1, 1), add.s(2, 2)], xsum.s()),
    "chord of generator": lambda: chord((add.s(i, i) for i in range(10)), xsum.s()),
    "chord of one": lambda: chord([add.s(1, 1)], xsum.s()),
    "chord empty": lambda: chord([], xsum.s()),
    "chord immutable body": lambda: chord([add.s(1, 1), add.s(2, 2)], noop.si()),
    "chord body partial": lambda: chord([add.s(1, 1), add.s(2, 2)], echo.s("more", key=1)),
    "chord body chain": lambda: chord([add.s(1, 1), add.s(2, 2)], xsum.s() | add.s(10)),
    "chord body group": lambda: chord([add.s(1, 1), add.s(2, 2)], group(xsum.s(), echo.s())),
    "chord body chord": lambda: chord([add.s(1, 1)], chord([echo.s(), echo.s(1)], echo.s())),
    "chord of chains": lambda: chord([add.s(1, 1) | mul.s(2), add.s(3, 3)], xsum.s()),
    "chord of chords": lambda: chord([chord([add.s(1, 1)], xsum.s()), add.s(3, 3)], xsum.s()),
    "chord of groups": lambda: chord([group(add.s(1, 1), add.s(2, 2)), add.s(3, 3)], nested_sum.s()),
    "chord of chain with group": lambda: chord(
        [add.s(1, 1) | group(add.s(1), add.s(2)), add.s(5, 5)], nested_sum.s()
    ),
    "chord of chain with chord": lambda: chord(
        [add.s(1, 1) | chord([add.s(1), add.s(2)], xsum.s()), add.s(5, 5)], nested_sum.s()
    ),
    "chord and tail": lambda: chord([add.s(1, 1), add.s(2, 2)], xsum.s()) | add.s(100),
    "chord then chord": lambda: (
        chord([add.s(1, 1), add.s(2, 2)], xsum.s()) | chord([add.s(1), add.s(2)], xsum.s())
    ),
    "chord with link": lambda: linked(chord([add.s(1, 1)], xsum.s()), cb.s()),
    "chord fails": lambda: chord([add.s(1, 1), fail.s(), add.s(2, 2)], xsum.s()),
    "chord fails twice": lambda: chord([fail.s(1), fail.s(2)], xsum.s()),
    "chord fails with errback": lambda: errs(chord([add.s(1, 1), fail.s()], xsum.s()), on_error.s()),
    "chord fails with old errback": lambda: errs(chord([add.s(1, 1), fail.s()], xsum.s()), old_on_error.s()),
    "chord fails with tail": lambda: chord([add.s(1, 1), fail.s()], xsum.s()) | add.s(100) | mul.s(2),
    "chord fails with group body": lambda: chord([add.s(1, 1), fail.s()], group(xsum.s(), echo.s())),
    "chord fails with chain body": lambda: errs(
        chord([add.s(1, 1), fail.s()], xsum.s() | add.s(1)), on_error.s()
    ),
    "chord body fails": lambda: errs(chord([add.s(1, 1)], fail.s()), on_error.s()),
    "chord of failing chain": lambda: chord([add.s(1, 1) | fail.s() | mul.s(2), add.s(3, 3)], xsum.s()),
    "chord of failing chord": lambda: chord([chord([fail.s()], xsum.s()), add.s(3, 3)], xsum.s()),
    "chord with retries": lambda: chord([retries.s(1), add.s(1, 1)], xsum.s()),
    "chord that gives up": lambda: chord([gives_up.s(), add.s(1, 1)], xsum.s()),
    "chord with add_to_chord": lambda: chord([adds_to_chord.s(), add.s(1, 1)], total.s()),
    "chunks": lambda: add.chunks([(i, i) for i in range(5)], 2),
    "chunks into task": lambda: add.chunks([(i, i) for i in range(5)], 2).group() | nested_sum.s(),
    "map": lambda: xsum.map([[1, 2], [3]]),
    "starmap": lambda: add.starmap([(1, 2), (3, 4)]),
    "map fails": lambda: fail.map([1, 2]),
    "map in chain": lambda: xsum.map([[1, 2], [3]]) | xsum.s(),
    "link": lambda: linked(add.s(1, 1), cb.s("x")),
    "links": lambda: linked(add.s(1, 1), cb.s("x"), cb.s("y")),
    "link of immutable": lambda: linked(add.s(1, 1), cb.si()),
    "link of chain": lambda: linked(add.s(1, 1), add.s(1) | cb.s()),
    "link of group": lambda: linked(add.s(1, 1), group(cb.s(1), cb.s(2))),
    "link of chord": lambda: linked(add.s(1, 1), chord([add.s(1), add.s(2)], cb.s())),
    "link of link": lambda: linked(add.s(1, 1), linked(add.s(10), cb.s())),
    "link and group": lambda: linked(add.s(1, 1), cb.s(0), group(cb.s(1), cb.s(2)), cb.s(3)),
    "link not called": lambda: linked(fail.s(), cb.s()),
    "link of group member": lambda: linked(group(add.s(1, 1), add.s(2, 2)), cb.s()),
    "errback": lambda: errs(fail.s(), on_error.s()),
    "errback old": lambda: errs(fail.s(), old_on_error.s()),
    "errback bound": lambda: errs(fail.s(), bound_on_error.s()),
    "errback unknown": lambda: errs(fail.s(), app.signature("unknown.errback")),
    "errback that fails": lambda: errs(fail.s(), on_error_fails.s(), on_error.s()),
    "errbacks": lambda: errs(fail.s(), on_error.s(), old_on_error.s(), bound_on_error.s()),
    "errback of group": lambda: errs(group(fail.s(), add.s(1)), on_error.s()),
    "errback immutable": lambda: errs(fail.s(), cb.si("x")),
    "errback with arguments": lambda: errs(fail.s(), cb.s("x")),
    "errback as chain": lambda: errs(fail.s(), cb.s("x") | cb.s("y")),
    "errback not called": lambda: errs(add.s(1, 1), on_error.s()),
    "errback after retries": lambda: errs(gives_up.s(), on_error.s()),
    "replace task": lambda: replaced.s("task"),
    "replace partial": lambda: replaced.s("partial", 5),
    "replace chain": lambda: replaced.s("chain"),
    "replace group": lambda: replaced.s("group"),
    "replace group of one": lambda: replaced.s("group of one"),
    "replace group of chains": lambda: replaced.s("group of chains"),
    "replace chord": lambda: replaced.s("chord"),
    "replace map": lambda: replaced.s("map"),
    "replace again": lambda: replaced.s("again"),
    "replace empty group": lambda: replaced.s("empty group"),
    "replace fails": lambda: replaced.s("fails"),
    "replace fails with errback": lambda: errs(replaced.s("fails"), on_error.s()),
    "replace in chain": lambda: replaced.s("task") | mul.s(2),
    "replace chain in chain": lambda: replaced.s("chain") | mul.s(2),
    "replace group in chain": lambda: replaced.s("group") | xsum.s(),
    "replace in group": lambda: group(replaced.s("task"), add.s(1, 1)),
    "replace in chord": lambda: chord([replaced.s("task"), add.s(1, 1)], xsum.s()),
    "replace chain in chord": lambda: chord([replaced.s("chain"), add.s(1, 1)], xsum.s()),
    "replace group in chord": lambda: chord([replaced.s("group"), add.s(1, 1)], nested_sum.s()),
    "replace in body": lambda: chord([add.s(1, 1)], replaced.si("task")),
    "replace with link": lambda: linked(replaced.s("task"), cb.s()),
    "replace context": lambda: replaced.s("context"),
    "replace context in chain": lambda: add.s(1, 1) | replaced.si("context") | echo.s(),
    "retries": lambda: retries.s(5),
    "retries in chain": lambda: add.s(1, 1) | retries.s() | mul.s(2),
    "ignored in chain": lambda: ignores.s() | add.s(1),
    "state by itself": lambda: progress.s(),
    "revoked by itself": lambda: revoked_by_itself.s() | add.s(1),
    "rejected": lambda: rejects.s(),
    "ignored": lambda: ignores.s(),
    "rejected in chain": lambda: rejects.s() | add.s(1),
    "starts others": lambda: starts.s(),
    "starts untrailed": lambda: starts_untrailed.s(),
    "context": lambda: context.s(),
    "context in chain": lambda: chain(add.s(1, 1), context.s(), echo.s()),
    "context in group": lambda: group(context.s(), context.s()),
    "context in chord": lambda: chord([context.s(), context.s()], echo.s()),
    "context of body": lambda: chord([add.s(1, 1)], context.s()),
    "context of link": lambda: linked(add.s(1, 1), context.s()),
    "context with link": lambda: errs(linked(context.s(), cb.s()), on_error.s()),
    "context in chain in chord": lambda: chord([chain(context.s(), context.s()), add.s(1, 1)], echo.s()),
    "stamped": lambda: _stamped(chain(context.s(), context.si())),
    "stamped chord": lambda: _stamped(chord([context.s()], context.si())),
    "stamped link": lambda: _stamped(linked(add.s(1, 1), echo.s())),
    "stamped replace": lambda: _stamped(replaced.s("context")),
    "unknown task": lambda: app.signature("unknown.task") | add.s(1),
}
#: Those that never end: nothing to wait for.
ENDLESS = {
    "rejected",
    "ignored",
    "ignored in chain",
    "state by itself",
    "revoked by itself",
    "rejected in chain",
}


def _stamped(sig):
    sig.stamp(mark="M")
    return sig


def said(value):
    return UUID.sub("ID", repr(value))


def steps(result):
    """From the first to the last: state, children by kind."""
    found = []
    while result is not None:
        found.insert(0, (_states(result), _children(result)))
        result = result.parent
    return found


def _states(result):
    members = getattr(result, "results", None)
    return result.state if members is None else [_states(member) for member in members]


def _children(result):
    members = getattr(result, "results", None)
    return _kinds(result.children or []) if members is None else [_children(member) for member in members]


def _kinds(children):
    return [tree(one) for one in children]


def ran(label, make):
    noted()
    result = make().apply_async()
    if label in ENDLESS:
        value = "not waited for"
    else:
        try:
            options = {} if hasattr(result, "results") else {"follow_parents": False}
            value = result.get(timeout=5, interval=0.01, **options)
        except Exception as exc:
            value = exc
    settle()
    return f"{said(value)} {tree(result)} {steps(result)}", UUID.sub("ID", "; ".join(sorted(noted())))


with worker() as log:
    for label, make in WORKFLOWS.items():
        show(label, lambda: ran(label, make))
