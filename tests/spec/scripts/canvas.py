"""Workflows: what `|` makes, how they are written in JSON, and what messages they send first."""

import json
import pickle
import re
import warnings

from probe import show

from celery import Celery, chain, chord, group, signals, signature
from celery.canvas import Signature, StampingVisitor, _chord

warnings.simplefilter("ignore")
app = Celery("probe", broker="memory://", backend="cache+memory://")


@app.task(name="proj.add")
def add(x, y=0):
    return x + y


@app.task(name="proj.xsum")
def xsum(x):
    return sum(x)


@app.task(name="err")
def err(*args):
    return None


a, x = add.s, xsum.s
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
ADDRESS = re.compile(r"0x[0-9a-f]+")
NOISE = {"reply_to", "add_to_parent"}
SENT = []


@signals.before_task_publish.connect
def on_publish(sender, body, headers, **kwargs):
    told = {
        key: headers[key]
        for key in ("id", "group", "group_index", "stamps", "stamped_headers")
        if headers[key]
    }
    told["eta"] = headers["eta"] is not None
    args, kwargs, embed = body
    SENT.append([sender, told, json.loads(json.dumps([args, kwargs, embed]))])


def clean(value):
    """Without what says nothing."""
    if isinstance(value, dict):
        found = {k: clean(v) for k, v in value.items() if v is not None and k not in NOISE}
        return {k: v for k, v in found.items() if v not in ({}, [], (), False)}
    return [clean(one) for one in value] if isinstance(value, (list, tuple)) else value


def told(value):
    """Compact JSON, ids numbered in the order in which they come up."""
    text = json.dumps(clean(value), sort_keys=True, separators=(",", ":"))
    seen = {}
    return UUID.sub(lambda found: seen.setdefault(found[0], f"#{len(seen)}"), text)


def sends(make, *args, **options):
    """What a call sends, and the tree of its result."""

    def question():
        SENT.clear()
        result = make().apply_async(*args, **options)
        return told([SENT, result and result.as_tuple()])

    return question


def written(make):
    return lambda: told(json.loads(json.dumps(make())))


def text(make):
    return lambda: ADDRESS.sub("0x", repr(make()))


PARTS = {
    "task": lambda: a(5),
    "chain": lambda: a(7) | a(8),
    "empty chain": lambda: chain(),
    "empty group": lambda: group(),
    "group of one": lambda: group(a(1)),
    "group": lambda: group(a(1), a(2)),
    "chord": lambda: chord([a(1), a(2)], x()),
    "chain to group": lambda: a(0) | group(a(1), a(2)),
    "chain to chord": lambda: a(0) | chord([a(1), a(2)], x()),
}


def joined(left, right):
    return lambda: ADDRESS.sub("0x", f"{left() | right()!r}".replace("<_chain", "<chain"))


for left in PARTS:
    for right in PARTS:
        show(f"{left} | {right}", joined(PARTS[left], PARTS[right]))
for name, make in PARTS.items():
    show(
        f"group({name})",
        lambda make=make: ADDRESS.sub("0x", repr(group(make()))).replace("<_chain", "<chain"),
    )
    show(f"chord({name})", lambda make=make: repr(chord(make())))
    show(f"written {name}", written(make))
    show(
        f"pickled {name}",
        lambda make=make: ADDRESS.sub("0x", repr(pickle.loads(pickle.dumps(make())))).replace(
            "_chain", "chain"
        ),
    )
    show(
        f"rebuilt {name}",
        lambda make=make: type(Signature.from_dict(json.loads(json.dumps(make())))).__name__,
    )
for name, make in {
    "task": lambda: a(0),
    "group": lambda: group(a(0), a(1)),
    "chord": PARTS["chord"],
    "chord with chord": lambda: chord([a(0)], PARTS["chord"]()),
    "chord with chain": lambda: chord([a(0)], x() | a(8)),
    "chain to chord": PARTS["chain to chord"],
}.items():
    show(f"{name} | group of a group of one", joined(make, lambda: group([group([a(9)])])))
    show(
        f"chain({name}, group of a group of a group of one)",
        lambda make=make: repr(chain(make(), group([group([group([a(9)])])]))),
    )
show("| with something else", lambda: a(1) | 3)
show("|=", lambda: repr(__import__("operator").ior(a(1), a(2))))
show(
    "names of modules",
    lambda: repr(signature("a.b.c", (1,)) | signature("a.b.d", (2,)) | signature("q.b.d", (2,))),
)
show(
    "length hint",
    lambda: _chord(
        [a(1) | group(a(1), a(2)), group(a(1), a(2)), PARTS["chord"](), a(1)], x()
    ).__length_hint__(),
)
show("options of chain", lambda: told(chain(a(1), a(2), countdown=3)))
show("options of group", lambda: told(group(a(1), a(2), countdown=3)))
show("skew", lambda: told((lambda g: (g.skew(1, 3), g)[1])(group(a(1), a(2), a(3), a(4)))))
show(
    "immutable group",
    lambda: (lambda g: (g.set_immutable(True), [t.immutable for t in g.tasks])[1])(group(a(1), a(2))),
)
show(
    "immutable chord",
    lambda: (lambda c: (c.set_immutable(True), [t.immutable for t in c.tasks], c.body.immutable)[1:])(
        PARTS["chord"]()
    ),
)
show("unchain", lambda: repr((a(1) | a(2)).unchain_tasks()))
show("map", lambda: repr(xsum.map([1, 2])))
show("starmap", lambda: repr(add.starmap([(1, 2)])))
show("written chunks", written(lambda: add.chunks([(1, 1), (2, 2), (3, 3)], 2)))
show("written map", written(lambda: xsum.map([[1, 2], [3]])))
show("group link error option", lambda: group(a(1)).apply_async(link=a(2)))
show("chord without body", lambda: chord([a(1)]).apply_async())

for name, make in PARTS.items():
    show(f"sends {name}", sends(make))
show("sends chain, chord in it", sends(lambda: chain(a(1, 1), a(2), group(a(3), a(4)), x())))
show("sends chain, chord and more", sends(lambda: chain(a(1, 1), group(a(3), a(4)), x(), a(1), a(2))))
show("sends group of groups", sends(lambda: group(a(1, 1), group(a(2, 2), a(3, 3)), a(4, 4))))
show("sends group with chain", sends(lambda: group(a(1, 1) | a(1), a(2, 2))))
show("sends chord, header of chains", sends(lambda: chord([a(1, 1) | a(5), a(2, 2)], x())))
show("sends chord, header with group", sends(lambda: chord([group(a(1, 1), a(3, 3)), a(2, 2)], x())))
show(
    "sends chord, header with chain to group",
    sends(lambda: chord([a(1, 1) | group(a(1), a(3)), a(2, 2)], x())),
)
show("sends chord, header with chord", sends(lambda: chord([PARTS["chord"](), a(2, 2)], x())))
show("sends chord, body chain", sends(lambda: chord([a(1, 1), a(2, 2)], x() | a(1) | a(2))))
show("sends chord, body group", sends(lambda: group(a(1, 1), a(2, 2)) | group(x(), x())))
show("sends chord, body chord", sends(lambda: chord([a(1, 1), a(2, 2)], chord([x(), x()], x()))))
show("sends chord | group", sends(lambda: PARTS["chord"]() | group(a(3), a(4))))
show("sends chain, two groups", sends(lambda: a(1, 1) | group(a(1), a(2)) | group(x(), x()) | x()))
show("sends chain in chain", sends(lambda: chain(a(1, 1), chain(a(1), a(2)), a(3))))
show("sends empty chord", sends(lambda: chord([], x())))
show("sends chunks", sends(lambda: add.chunks([(1, 1), (2, 2), (3, 3)], 2)))
show("sends starmap", sends(lambda: add.starmap([(1, 2), (3, 4)])))
show("sends chain with links", sends(lambda: (a(1, 1) | a(2)).set(link=[a(9)], link_error=[err.s()])))
show("sends chord with errback", sends(lambda: PARTS["chord"]().on_error(err.s())))
show("sends chord with callback", sends(lambda: (lambda c: (c.link(a(9)), c)[1])(PARTS["chord"]())))
show("sends group with callback", sends(lambda: (lambda c: (c.link(a(9)), c)[1])(group([a(1, 1), a(2, 2)]))))
show("sends group with errback", sends(lambda: group(a(1, 1), a(2, 2)).on_error(err.s())))
show("sends immutable chain with argument", sends(lambda: (a(1) | a(2)).set(immutable=True), (5,)))
show("sends chain with argument", sends(lambda: a(1) | a(2), (5,)))
show("sends group with keyword", sends(lambda: group([a(1)]), None, {"y": 3}))
show("sends chain with keyword", sends(lambda: chain(a(1), a(3)), None, {"y": 3}))
show(
    "sends chain with options", sends(lambda: a(1) | a(2), (5,), countdown=10, link=a(7), link_error=err.s())
)
show(
    "sends chord with options",
    sends(lambda: chord([a(1), a(2)], x()), (5,), countdown=10, link=a(7), link_error=err.s()),
)
show("sends group with options", sends(lambda: group([a(1), a(2)]), (5,), countdown=10))
show("sends chain of a given id", sends(lambda: chain(a(1, 1), a(3)), task_id="given"))
show("sends group of a given id", sends(lambda: group(a(1, 1), a(3)), task_id="given"))
show("sends chord of a given id", sends(lambda: chord([a(1, 1)], x()), task_id="given"))
show(
    "sends chain, errback of chord in it",
    sends(lambda: chain(a(1, 1), group(a(1), a(2)), x(), a(2)), link_error=err.s()),
)
show(
    "sends chain, errback of group at its end",
    sends(lambda: chain(a(1, 1), group(a(1), a(2))), link_error=err.s()),
)
show("sends chain, empty group in it", sends(lambda: chain(a(1, 1), group(), a(2))))
show("sends group, empty chain in it", sends(lambda: group(chain(), a(1, 1))))
show("sends group with chord", sends(lambda: group(chord([a(1, 1)], x()), a(3, 3))))


class Visitor(StampingVisitor):
    def __init__(self):
        self.seen = []

    def on_signature(self, sig, **headers):
        self.seen.append(f"sig {sig.task}")
        return {"on": sig.task, "header": 1, "stamped_headers": ["on"]}

    def on_group_start(self, sig, **headers):
        self.seen.append("group")
        return {"g": 1}

    def on_chain_start(self, sig, **headers):
        self.seen.append("chain")
        return {"c": 1}

    def on_chord_header_start(self, sig, **headers):
        self.seen.append("header")
        return super().on_chord_header_start(sig, **headers)

    def on_chord_body(self, sig, **headers):
        self.seen.append("body")
        return {"b": 1}

    def on_callback(self, callback, **headers):
        self.seen.append("callback")
        return {"cb": 1}

    def on_errback(self, errback, **headers):
        self.seen.append("errback")
        return {"eb": 1}


def stamped(make, by_visitor=True):
    def question():
        sig, visitor = make(), Visitor()
        sig.stamp(visitor) if by_visitor else sig.stamp(foo="bar")
        return visitor.seen, told(stamps_of(json.loads(json.dumps(sig))))

    return question


def stamps_of(value):
    if isinstance(value, dict):
        found = {k: stamps_of(v) for k, v in value.items()}
        if "stamped_headers" in found:
            found["stamped_headers"] = sorted(found["stamped_headers"])
        return found
    return [stamps_of(one) for one in value] if isinstance(value, list) else value


show("stamp task", stamped(lambda: a(1), False))
show("stamp chain", stamped(lambda: a(1) | a(2), False))
show("visit task", stamped(lambda: a(1)))
show("visit links", stamped(lambda: a(1).set(link=[a(2)], link_error=[err.s()])))
show("visit chain", stamped(lambda: a(1) | a(2)))
show("visit group", stamped(lambda: group(a(1), a(2))))
show("visit chord", stamped(lambda: chord([a(1), a(2)], x())))
show("visit chain with chord", stamped(lambda: chain(a(1), group(a(1), a(2)), x())))


def twice(append):
    def question():
        sig = a(1)
        sig.stamp(s="one")
        sig.stamp(append_stamps=append, s="two")
        return told(stamps_of(json.loads(json.dumps(sig))))

    return question


show("stamp twice", twice(False))
show("stamp twice, both", twice(True))


def frozen(make):
    def question():
        sig = make()
        result = sig.freeze()
        return told([result.as_tuple(), json.loads(json.dumps(sig))])

    return question


show("freeze task", frozen(lambda: a(1)))
show("freeze chain", frozen(lambda: a(1) | a(2)))
show("freeze group", frozen(lambda: group(a(1), a(2))))
