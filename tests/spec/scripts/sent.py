"""The messages that workflows put on the wire before any worker is there."""
# ruff: noqa: B023 - questions are put at once, where they stand

import json
import warnings

from canon import Names, shape, tree
from probe import show

from celery import Celery, chain, chord, group, signals

app = Celery(
    "proj",
    broker="memory://",
    backend="cache+memory://",
    task_routes={"proj.routed": {"queue": "special", "priority": 3}},
)
other = Celery("other", broker="memory://", backend="cache+memory://", task_protocol=1, set_as_current=False)


@app.task
def add(x, y=2):
    return x + y


@app.task
def many(*args, **kwargs):
    return None


@app.task
def xsum(numbers):
    return sum(numbers)


@app.task
def on_error(request, exc, traceback):
    return None


@app.task(expires=60, ignore_result=True)
def routed(x=0):
    return x


@other.task(name="old")
def old(x, y=2):
    return x + y


HEADERS = (
    "group",
    "group_index",
    "parent_id",
    "root_id",
    "retries",
    "ignore_result",
    "replaced_task_nesting",
)


def message(names, sender=None, body=None, headers=None, properties=None, routing_key=None, **_):
    """One message in a few words; ids by name."""
    if not headers.get("task"):
        return names(
            json.dumps({key: value for key, value in body.items() if value}, sort_keys=True, default=repr)
        )
    args, kwargs, embed = body
    words = [f"{sender}({args}, {kwargs})", f"id={headers['id']}"]
    words += [f"{key}={headers[key]}" for key in HEADERS if headers[key]]
    words += [f"{key}={_sigs(value)}" for key, value in sorted(embed.items()) if value]
    words += [f"{key}=..." for key in ("eta", "expires") if headers[key]]
    words += [f"to {routing_key}"] * (routing_key != "celery")
    words += [f"priority={properties.get('priority')}"] * bool(properties.get("priority"))
    words += [f"timelimit={headers['timelimit']}"] * any(headers["timelimit"])
    return names(" ".join(words))


def _sigs(value):
    return f"[{', '.join(map(shape, value))}]" if isinstance(value, list) else shape(value)


def sent(send):
    messages, names = [], Names()

    def receive(**given):
        messages.append(message(names, **given))

    signals.before_task_publish.connect(receive)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*task attribute is deprecated")
            result = send()
    finally:
        signals.before_task_publish.disconnect(receive)
    given = result and (tree(result), names(json.dumps(result.as_tuple())))
    return messages, given


def errs(sig):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        sig.link_error(on_error.s())
    return sig


def links(sig):
    sig.link(add.s(100))
    return sig


WORKFLOWS = {
    "task": lambda: add.s(1),
    "chain": lambda: chain(add.s(1, 1), add.s(2), add.s(3)),
    "chain of one": lambda: chain(add.s(1)),
    "group": lambda: group(add.s(1), add.s(2)),
    "group of one": lambda: group(add.s(1)),
    "group of generator": lambda: group(add.s(i) for i in range(3)),
    "group of groups": lambda: group(group(add.s(1), add.s(2)), group(add.s(3))),
    "group of chains": lambda: group(add.s(1) | add.s(2), add.s(3) | add.s(4)),
    "group of chain with group": lambda: group(add.s(1) | group(add.s(2), add.s(3)), add.s(4)),
    "group of chords": lambda: group(chord([add.s(1)], xsum.s()), add.s(3)),
    "chord": lambda: chord([add.s(1), add.s(2)], xsum.s()),
    "chord of one": lambda: chord([add.s(1)], xsum.s()),
    "chord of generator": lambda: chord((add.s(i) for i in range(3)), xsum.s()),
    "chord empty": lambda: chord([], xsum.s()),
    "chord of chains": lambda: chord([add.s(1) | add.s(2), add.s(3)], xsum.s()),
    "chord of groups": lambda: chord([group(add.s(1), add.s(2)), add.s(3)], xsum.s()),
    "chord of chords": lambda: chord([chord([add.s(1)], xsum.s()), add.s(3)], xsum.s()),
    "chord of chain with group": lambda: chord([add.s(1) | group(add.s(2), add.s(3)), add.s(4)], xsum.s()),
    "chord of chain with chord": lambda: chord(
        [add.s(1) | chord([add.s(2), add.s(3)], xsum.s()), add.s(4)], xsum.s()
    ),
    "chord body chain": lambda: chord([add.s(1), add.s(2)], xsum.s() | add.s(5)),
    "chord body group": lambda: chord([add.s(1), add.s(2)], group(xsum.s(), xsum.s())),
    "chord body chord": lambda: chord([add.s(1), add.s(2)], chord([xsum.s(), xsum.s()], xsum.s())),
    "chord body immutable": lambda: chord([add.s(1), add.s(2)], xsum.si([1])),
    "chord and tail": lambda: chord([add.s(1), add.s(2)], xsum.s()) | add.s(5) | add.s(6),
    "group into task": lambda: group(add.s(1), add.s(2)) | xsum.s(),
    "group into group": lambda: group(add.s(1), add.s(2)) | group(xsum.s(), xsum.s()),
    "chain with group": lambda: chain(add.s(1, 1), group(add.s(2), add.s(3))),
    "chain with group and tail": lambda: chain(add.s(1, 1), add.s(2), group(add.s(3), add.s(4)), xsum.s()),
    "chain with two groups": lambda: add.s(1, 1) | group(add.s(2), add.s(3)) | group(xsum.s(), xsum.s()),
    "chain with two groups and tail": lambda: chain(
        add.s(1, 1), group(add.s(2), add.s(3)), group(xsum.s(), xsum.s()), xsum.s()
    ),
    "chain with group first": lambda: chain(group(add.s(1), add.s(2)), xsum.s(), add.s(4)),
    "chain with empty group": lambda: chain(add.s(1, 1), group(), add.s(3)),
    "chain of groups of chains": lambda: chain(add.s(1, 1), group(add.s(2) | add.s(3), add.s(4)), xsum.s()),
    "chain with chord": lambda: chain(add.s(1, 1), chord([add.s(2), add.s(3)], xsum.s()), add.s(4)),
    "chain with map": lambda: chain(xsum.map([[1], [2]]), xsum.s()),
    "chain of immutables": lambda: chain(add.si(1, 1), add.si(2, 2), add.si(3, 3)),
    "chain with errback": lambda: errs(chain(add.s(1, 1), add.s(2))),
    "chain with link": lambda: links(chain(add.s(1, 1), add.s(2))),
    "chain with options": lambda: chain(add.s(1, 1), add.s(2)).set(queue="q", priority=5),
    "chain with own options": lambda: chain(add.s(1, 1).set(queue="a"), add.s(2).set(queue="b", countdown=5)),
    "chain of routed": lambda: chain(routed.s(1), routed.s()),
    "chain with ids": lambda: chain(add.s(1, 1).set(task_id="A"), add.s(2).set(task_id="B")),
    "group with errback": lambda: errs(group(add.s(1), add.s(2))),
    "group with link": lambda: links(group(add.s(1), add.s(2))),
    "group with options": lambda: group(add.s(1), add.s(2)).set(queue="q", priority=5),
    "group skewed": lambda: group(add.s(1), add.s(2)).skew(),
    "group of routed": lambda: group(routed.s(1), routed.s(2)),
    "chord with errback": lambda: errs(chord([add.s(1), add.s(2)], xsum.s())),
    "chord of chain body with errback": lambda: errs(chord([add.s(1)], xsum.s() | add.s(5))),
    "chord of chain body with link": lambda: links(chord([add.s(1)], xsum.s() | add.s(5))),
    "chord of group body with errback": lambda: errs(chord([add.s(1)], group(xsum.s(), xsum.s()))),
    "chord of chord body with errback": lambda: errs(chord([add.s(1)], chord([xsum.s()], xsum.s()))),
    "chain with chord with errback": lambda: errs(chain(add.s(1, 1), chord([add.s(1)], xsum.s()), add.s(2))),
    "chain with group with errback": lambda: errs(chain(add.s(1, 1), group(add.s(1), add.s(2)))),
    "chord with link": lambda: links(chord([add.s(1), add.s(2)], xsum.s())),
    "chord with options": lambda: chord([add.s(1), add.s(2)], xsum.s()).set(queue="q", priority=5),
    "chord with countdown": lambda: chord([add.s(1), add.s(2)], xsum.s()).set(countdown=5),
    "chunks": lambda: add.chunks([(1, 1), (2, 2), (3, 3)], 2),
    "chunks with options": lambda: add.chunks([(1, 1), (2, 2), (3, 3)], 2).set(queue="q"),
    "map": lambda: xsum.map([[1], [2]]),
    "starmap": lambda: add.starmap([(1, 2)]),
    "starmap with options": lambda: add.starmap([(1, 2)]).set(queue="q", countdown=10),
    "link": lambda: links(add.s(1)),
    "link of chain": lambda: add.s(1).set(link=[add.s(2) | add.s(3)]),
    "link of group": lambda: add.s(1).set(link=[group(add.s(2), add.s(3))]),
    "link of chord": lambda: add.s(1).set(link=[chord([add.s(2)], xsum.s())]),
    "errback": lambda: errs(add.s(1)),
    "time limits": lambda: add.s(1).set(time_limit=9, soft_time_limit=8),
    "deep": lambda: chain(
        add.s(1, 1),
        chord([chain(add.s(2), group(add.s(3), add.s(4)), xsum.s()), add.s(5)], xsum.s()),
        group(add.s(6), add.s(7)),
    ),
}
for label, make in WORKFLOWS.items():
    show(label, lambda: sent(lambda: make().apply_async()))
CALLS = {
    "args to chain": lambda: chain(many.s(1), many.s(2)).apply_async((7,), {"k": 1}),
    "args to group": lambda: group(many.s(1), many.si(2)).apply_async((7,), {"k": 1}),
    "args to chord": lambda: chord([many.s(1), many.si(2)], xsum.s()).apply_async((7,), {"k": 1}),
    "args to starmap": lambda: add.starmap([(1, 2)]).apply_async((7,)),
    "id of chain": lambda: chain(add.s(1), add.s(2)).apply_async(task_id="I"),
    "id of group": lambda: group(add.s(1), add.s(2)).apply_async(task_id="I"),
    "id of chord": lambda: chord([add.s(1)], xsum.s()).apply_async(task_id="I"),
    "options to chain": lambda: chain(add.s(1), add.s(2)).apply_async(
        queue="q", countdown=5, link=add.s(100), link_error=on_error.s()
    ),
    "options to group": lambda: group(add.s(1), add.s(2)).apply_async(queue="q", countdown=5),
    "options to chord": lambda: chord([add.s(1), add.s(2)], xsum.s()).apply_async(
        queue="q", link=add.s(100), link_error=on_error.s()
    ),
    "options to chunks": lambda: add.chunks([(1, 1), (2, 2)], 1).apply_async(queue="q"),
    "countdown to chord": lambda: chord([add.s(1)], xsum.s()).apply_async(countdown=5),
    "root and parent of chain": lambda: chain(add.s(1), add.s(2)).apply_async(root_id="R", parent_id="P"),
    "root and parent of group": lambda: group(add.s(1), add.s(2)).apply_async(root_id="R", parent_id="P"),
    "root and parent of chord": lambda: chord([add.s(1)], xsum.s()).apply_async(root_id="R", parent_id="P"),
    "group id of task": lambda: add.s(1).apply_async(group_id="G", group_index=2),
    "link many": lambda: add.apply_async(
        (1,), link=[add.s(1), add.s(2)], link_error=[on_error.s(), add.s(3)]
    ),
    "link as dict": lambda: add.apply_async((1,), link=dict(add.s(1))),
    "delay chain": lambda: chain(add.s(1), add.s(2)).delay(7),
    "delay group": lambda: group(many.s(1), many.s(2)).delay(7, k=1),
    "call chord": lambda: chord([add.s(1), add.s(2)])(xsum.s()),
    "call chord with options": lambda: chord([add.s(1), add.s(2)])(xsum.s(), queue="q", task_id="I"),
    "body of its own id": lambda: chord([add.s(1)], xsum.s().set(task_id="B")).apply_async(),
    "use_link": lambda: chain(add.s(1), add.s(2), add.s(3)).apply_async(use_link=True),
    "frozen chain": lambda: (lambda c: (c.freeze(), c.apply_async())[1])(chain(add.s(1), add.s(2))),
    "rebuilt chain": lambda: app.signature(
        json.loads(json.dumps(chain(add.s(1), group(add.s(2), add.s(3)), xsum.s())))
    ).apply_async(),
    "rebuilt chord": lambda: app.signature(json.loads(json.dumps(chord([add.s(1)], xsum.s())))).apply_async(),
    "protocol 1 chain": lambda: chain(old.s(1), old.s(2), old.s(3), app=other).apply_async(),
    "protocol 1 group": lambda: group(old.s(1), old.s(2), app=other).apply_async(),
    "protocol 1 chord": lambda: chord([old.s(1), old.s(2)], old.s(), app=other).apply_async(),
}
for label, call in CALLS.items():
    show(label, lambda: sent(call))


def twice(make):
    sig = make()
    first, second = sent(sig.apply_async), sent(sig.apply_async)
    return first == second, shape(sig) == shape(make())


for label in ("task", "chain", "group", "chord", "chain with group and tail", "chunks", "map"):
    show(f"sent twice {label}", lambda: twice(WORKFLOWS[label]))

disabled = Celery("disabled", broker="memory://", set_as_current=False)
rpc = Celery("rpc", broker="memory://", backend="rpc://", set_as_current=False)


def refused(make):
    try:
        make().apply_async()
    except NotImplementedError:
        return "refused"
    return "sent"


for name, without in (("disabled", disabled), ("rpc", rpc)):
    sigs = [without.signature("a", args=(number,)) for number in range(2)]
    body = without.signature("b")
    show(f"{name} chord", lambda: refused(lambda: chord(sigs, body, app=without)))
    show(f"{name} group into task", lambda: refused(lambda: group(sigs, app=without) | body))
    show(
        f"{name} chain with chord",
        lambda: refused(lambda: chain(sigs[0], chord(sigs, body, app=without), app=without)),
    )
    show(
        f"{name} chain with group in the middle",
        lambda: refused(lambda: chain(sigs[0], group(sigs, app=without), body, app=without)),
    )
    show(
        f"{name} group with chord",
        lambda: refused(lambda: group(sigs[0], chord(sigs, body, app=without), app=without)),
    )
    show(f"{name} group", lambda: sent(lambda: group(sigs, app=without).apply_async()))
    show(f"{name} chain", lambda: sent(lambda: chain(*sigs, app=without).apply_async()))
show(
    "result of group",
    lambda: (lambda r: (type(r).__name__, len(r), r.parent, r.children is r.results, r.ready()))(
        group(add.s(1, 1), add.s(2, 2)).apply_async()
    ),
)
