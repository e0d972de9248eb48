"""The messages that workers send: next steps, bodies, callbacks, retries. `python worker_sent.py redis://...`"""
# ruff: noqa: B023 - questions are put at once, where they stand

import json
import os
import sys
import warnings

os.environ["USED_BROKER"] = os.environ["USED_BACKEND"] = sys.argv[1]

import workload
from canon import Names, shape
from probe import show
from raw import Redis, body, stable
from workload import add, app, cb, fail, settle, worker, xsum

from celery import chord, group

redis = Redis(sys.argv[1])
OUT = {"queue": "elsewhere"}
KEYS = (
    "group",
    "group_index",
    "parent_id",
    "root_id",
    "retries",
    "eta",
    "expires",
    "timelimit",
    "ignore_result",
    "shadow",
    "replaced_task_nesting",
    "stamps",
    "stamped_headers",
    "x-mine",
)


def out(sig):
    return sig.set(**OUT)


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


def sent(make):
    """What a worker puts into another queue, told in a few words."""
    for key in redis("KEYS", "elsewhere*"):
        redis("DEL", key)
    names = Names()
    sig = make()
    sig.apply_async(task_id="FIRST")
    settle()
    return [
        told(json.loads(item), names, key.decode())
        for key in sorted(redis("KEYS", "elsewhere*"))
        for item in reversed(redis("LRANGE", key, 0, -1))
    ]


def told(envelope, names, key):
    headers, properties = envelope["headers"], envelope["properties"]
    args, kwargs, embed = body(envelope)
    words = [f"{headers['task']}{tuple(args)}{kwargs or ''} id={headers['id']}"]
    words += [
        f"{name}={headers[name]}"
        for name in KEYS
        if headers.get(name) not in (None, [None, None], {}, 0, False)
    ]
    words += [
        f"{name}={[shape(one) for one in value] if isinstance(value, list) else shape(value)}"
        for name, value in sorted(embed.items())
        if value
    ]
    words += [f"priority={properties['priority']}"] * bool(properties["priority"])
    words += [envelope["content-type"]] * (envelope["content-type"] != "application/json")
    words += [f"compression={headers.get('compression')}"] * ("compression" in headers)
    words += [f"list={key!r}"] * (key != "elsewhere")
    words += [
        f"correlation={properties['correlation_id'] == headers['id']} reply_to={bool(properties['reply_to'])} origin={headers['origin']}"
    ]
    return stable(" ".join(words), names)


WORKFLOWS = {
    "chain": lambda: add.s(1, 1) | out(add.s(2)),
    "chain of three": lambda: add.s(1, 1) | out(add.s(2)) | out(add.s(3)),
    "chain with ids": lambda: add.s(1, 1) | out(add.s(2).set(task_id="SECOND")),
    "chain with options": lambda: (
        add.s(1, 1)
        | out(
            add.s(2).set(
                priority=4, countdown=100, expires=200, time_limit=9, headers={"x-mine": 1}, shadow="sh"
            )
        )
    ),
    "chain immutable": lambda: add.s(1, 1) | out(add.si(5, 5)),
    "chain with group": lambda: add.s(1, 1) | group(out(add.s(2)), out(add.s(3))),
    "chain with chord": lambda: add.s(1, 1) | chord([out(add.s(2)), out(add.s(3))], xsum.s()),
    "chain with group and tail": lambda: (
        add.s(1, 1) | group(out(add.s(2)), out(add.s(3))) | xsum.s() | add.s(1)
    ),
    "chain with map": lambda: add.s(1, 1) | out(xsum.map([[1]])),
    "chord body": lambda: chord([add.s(1, 1)], out(xsum.s())),
    "chord body chain": lambda: chord([add.s(1, 1)], out(xsum.s()) | add.s(5)),
    "chord body group": lambda: chord([add.s(1, 1)], group(out(xsum.s()), out(xsum.s()))),
    "chord body chord": lambda: chord([add.s(1, 1)], chord([out(xsum.s())], xsum.s())),
    "chord of chains": lambda: chord([add.s(1, 1) | out(add.s(2)), add.s(3, 3)], xsum.s()),
    "chord empty in chain": lambda: add.s(1, 1) | chord([], out(xsum.s())),
    "link": lambda: linked(add.s(1, 1), out(cb.s("x"))),
    "links": lambda: linked(add.s(1, 1), out(cb.s("x")), out(cb.s("y"))),
    "link of pickle": lambda: linked(add.s(1, 1).set(serializer="pickle"), out(cb.s("x"))),
    "chain of pickle": lambda: add.s(1, 1).set(serializer="pickle") | out(add.s(2)),
    "link immutable": lambda: linked(add.s(1, 1), out(cb.si("x"))),
    "link of chain": lambda: linked(add.s(1, 1), out(add.s(1)) | cb.s()),
    "link of group": lambda: linked(add.s(1, 1), group(out(cb.s(1)), out(cb.s(2)))),
    "link with link": lambda: linked(add.s(1, 1), linked(out(cb.s("x")), add.s(9))),
    "errback old": lambda: errs(fail.s(), out(workload.old_on_error.s())),
    "errback bound": lambda: errs(fail.s(), out(workload.bound_on_error.s())),
    "errback unknown": lambda: errs(fail.s(), out(app.signature("unknown.errback", args=("x",)))),
    "errbacks": lambda: errs(fail.s(), out(workload.old_on_error.s()), out(workload.bound_on_error.s())),
    "errback immutable": lambda: errs(
        fail.s(), out(app.signature("unknown.errback", args=("x",), immutable=True))
    ),
    "errback of chord": lambda: errs(chord([fail.s()], xsum.s()), out(workload.old_on_error.s())),
    "errback and link travel": lambda: errs(
        linked(add.s(1, 1) | out(add.s(2)), cb.s("x")), workload.old_on_error.s()
    ),
    "retry": lambda: workload.retries_elsewhere.s(5, k=1),
    "retry with all": lambda: errs(
        linked(
            workload.retries_elsewhere.s(5).set(
                priority=3, expires=500, time_limit=9, headers={"x-mine": 1}, shadow="sh"
            ),
            cb.s(),
        ),
        workload.old_on_error.s(),
    ),
    "retry of pickle": lambda: workload.retries_elsewhere.s(5).set(serializer="pickle", compression="zlib"),
    "retry in chain": lambda: workload.retries_elsewhere.s(5) | add.s(1),
    "retry in group": lambda: group(workload.retries_elsewhere.s(5)),
    "retry in chord": lambda: chord([workload.retries_elsewhere.s(5)], xsum.s()),
    "retry with other arguments": lambda: workload.retries_elsewhere.s("other"),
    "replace": lambda: workload.replaces_elsewhere.s("task"),
    "replace of pickle": lambda: workload.replaces_elsewhere.s("task").set(serializer="pickle"),
    "replace in chain": lambda: workload.replaces_elsewhere.s("task") | add.s(100),
    "replace with chain": lambda: workload.replaces_elsewhere.s("chain"),
    "replace with group": lambda: workload.replaces_elsewhere.s("group"),
    "replace with chord": lambda: workload.replaces_elsewhere.s("chord"),
    "replace in chord": lambda: chord([workload.replaces_elsewhere.s("task")], xsum.s()),
    "replace with links": lambda: errs(
        linked(workload.replaces_elsewhere.s("task"), cb.s()), workload.old_on_error.s()
    ),
    "call in a task": lambda: workload.calls_elsewhere.s(),
    "call in a task of a chain": lambda: add.s(1, 1) | workload.calls_elsewhere.si(),
    "stamped chain": lambda: _stamped(add.s(1, 1) | out(add.s(2))),
    "stamped link": lambda: _stamped(linked(add.s(1, 1), out(cb.s("x")))),
    "stamped chord": lambda: _stamped(chord([add.s(1, 1)], out(xsum.s()))),
    "stamped retry": lambda: _stamped(workload.retries_elsewhere.s(5)),
    "stamped replace": lambda: _stamped(workload.replaces_elsewhere.s("task")),
    "stamped call": lambda: _stamped(workload.calls_elsewhere.s()),
    "priority of the parent": lambda: workload.calls_elsewhere.s().set(priority=6),
    "root and parent": lambda: (add.s(1, 1) | out(add.s(2))).set(root_id="R", parent_id="P"),
}


def _stamped(sig):
    sig.stamp(mark="M")
    return sig


with worker():
    for label, make in WORKFLOWS.items():
        show(label, lambda: sent(make))
