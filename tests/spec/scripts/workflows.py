"""Workflows as data: `|` in all combinations, serialised forms, options, ids, copies."""
# ruff: noqa: B023 - questions are put at once, where they stand

import copy
import itertools
import json
import pickle

from canon import Names, as_json, options, shape, tree
from probe import show

from celery import Celery, Signature, chain, chord, chunks, group, signature, xmap, xstarmap
from celery.canvas import maybe_signature, maybe_unroll_group

app = Celery("proj", broker="memory://", backend="cache+memory://")


@app.task
def add(x, y=2):
    return x + y


@app.task
def mul(x, y):
    return x * y


@app.task
def xsum(numbers):
    return sum(numbers)


@app.task(queue="special", priority=3)
def routed(x=0):
    return x


@app.task
def on_error(request, exc, traceback):
    return None


def s(name, *args):
    return app.signature(name, args=args)


PARTS = {
    "t": lambda n: s(f"t{n}"),
    "g0": lambda n: group(app=app),
    "g1": lambda n: group(s(f"a{n}"), app=app),
    "g2": lambda n: group(s(f"a{n}"), s(f"b{n}"), app=app),
    "c0": lambda n: chain(app=app),
    "c1": lambda n: chain(s(f"c{n}"), app=app),
    "c2": lambda n: chain(s(f"c{n}"), s(f"d{n}"), app=app),
    "cg": lambda n: chain(s(f"e{n}"), group(s(f"f{n}"), s(f"g{n}")), app=app),
    "ck": lambda n: chain(s(f"h{n}"), chord([s(f"i{n}"), s(f"j{n}")], s(f"k{n}")), app=app),
    "k": lambda n: chord([s(f"l{n}"), s(f"m{n}")], s(f"n{n}"), app=app),
    "kg": lambda n: chord([s(f"o{n}"), s(f"p{n}")], group(s(f"q{n}"), s(f"r{n}")), app=app),
}


def joined(*kinds):
    """What `|` makes of them, and whether it left them alone."""
    parts = [PARTS[kind](n) for n, kind in enumerate(kinds)]
    left = json.dumps(parts[0])
    found = parts[0]
    for part in parts[1:]:
        found = found | part
    return shape(found) if json.dumps(parts[0]) == left else f"{shape(found)}, LEFT CHANGED"


def in_place(*kinds):
    one, other = (PARTS[kind](n) for n, kind in enumerate(kinds))
    one |= other
    return one.subtask_type, shape(one)


for pair in itertools.product(PARTS, repeat=2):
    show(f"{pair[0]} | {pair[1]}", lambda: joined(*pair))
for triple in itertools.product(["t", "g1", "g2", "c2", "k"], repeat=3):
    show(" | ".join(triple), lambda: joined(*triple))
for four in itertools.product(["t", "g2", "k"], repeat=4):
    show(" | ".join(four), lambda: joined(*four))
for pair in [("t", "t"), ("c2", "t"), ("g2", "t"), ("k", "t"), ("t", "g2"), ("cg", "k")]:
    show(f"{pair[0]} |= {pair[1]}", lambda: in_place(*pair))


def nested(*kinds):
    """chain() of them, and `a | (b | c)`."""
    parts = [PARTS[kind](n) for n, kind in enumerate(kinds)]
    one = shape(chain(*parts, app=app))
    first, second, third = (PARTS[kind](n) for n, kind in enumerate(kinds))
    return one, shape(first | (second | third))


for triple in itertools.product(["t", "g2", "c2", "k"], repeat=3):
    show(f"nested {' '.join(triple)}", lambda: nested(*triple))


def refused(question):
    """The class of the exception only."""
    try:
        return shape(question())
    except Exception as exc:
        return type(exc).__name__


for label, other in {
    "number": 1,
    "text": "x",
    "none": None,
    "list": [],
    "dict": {},
    "plain task": add,
}.items():
    show(f"sig | {label}", lambda: refused(lambda: add.s(1) | other))
    show(f"group | {label}", lambda: refused(lambda: group(add.s(1), add.s(2)) | other))
    show(f"chain | {label}", lambda: refused(lambda: chain(add.s(1), add.s(2)) | other))
    show(f"chord | {label}", lambda: refused(lambda: chord([add.s(1)], xsum.s()) | other))
    show(f"chain of sig and {label}", lambda: refused(lambda: chain(add.s(1), other)))
    show(f"group of {label}", lambda: refused(lambda: group(other, other)))
    show(f"chord of {label}", lambda: refused(lambda: chord([other], xsum.s())))
show("dict | sig", lambda: {"a": 1} | add.s(1))
show("sig | dict of sig", lambda: shape(add.s(1) | dict(add.s(2))))
show(
    "immutable kept", lambda: shape(add.si(1, 1) | add.si(2, 2) | group(add.si(3), add.si(4)) | xsum.si([1]))
)

# What they are
FORMS = {
    "task": lambda: add.s(1, y=2),
    "chain": lambda: chain(add.s(1), mul.s(2)),
    "group": lambda: group(add.s(1), mul.s(2)),
    "chord": lambda: chord([add.s(1), mul.s(2)], xsum.s()),
    "chord of group": lambda: chord(group(add.s(1), mul.s(2)), xsum.s()),
    "chord of generator": lambda: chord((add.s(i) for i in range(2)), xsum.s()),
    "group into task": lambda: group(add.s(1), mul.s(2)) | xsum.s(),
    "chunks": lambda: add.chunks(zip(range(3), range(3), strict=True), 2),
    "map": lambda: xsum.map([[1], [2, 3]]),
    "starmap": lambda: add.starmap([(1, 2), (3, 4)]),
    "long chain": lambda: chain(add.s(1), group(add.s(2), add.s(3)), xsum.s(), add.s(4)),
    "group of chains": lambda: group(add.s(1) | mul.s(2), chain(add.s(3), mul.s(4))),
    "group of groups": lambda: group(group(add.s(1), add.s(2)), group(add.s(3))),
    "chord of chains": lambda: chord([add.s(1) | mul.s(2), add.s(3)], xsum.s() | add.s(5)),
    "chord of chords": lambda: chord([chord([add.s(1)], xsum.s()), add.s(3)], xsum.s()),
    "with options": lambda: add.signature((1,), {"y": 2}, countdown=3, queue="q", immutable=True),
}
for name, make in FORMS.items():
    show(f"json {name}", lambda: as_json(make()))
    show(f"repr {name}", lambda: (repr(make()), str(make())))
    show(
        f"kind {name}",
        lambda: (
            type(make()).__name__,
            isinstance(make(), Signature),
            make().subtask_type,
            make().task,
            make().name,
            make().immutable,
        ),
    )
    show(
        f"round trips {name}",
        lambda: [
            (type(again).__name__, as_json(again) == as_json(make()))
            for again in (
                Signature.from_dict(json.loads(json.dumps(make())), app=app),
                signature(json.loads(json.dumps(make())), app=app),
                maybe_signature(json.loads(json.dumps(make())), app=app),
                pickle.loads(pickle.dumps(make())),
                copy.deepcopy(make()),
                make().clone(),
            )
        ],
    )
    show(f"partial args {name}", lambda: shape(make().clone((7,), {"z": 8}, queue="x")))
    show(f"set {name}", lambda: shape(make().set(queue="x", countdown=1)))
    show(
        f"linked {name}",
        lambda: (lambda c: (c.link(add.s(99)), shape(c)))(make()),
    )
    show(
        f"errback {name}",
        lambda: (lambda c: (c.link_error(on_error.s()), shape(c))[1])(make()),
    )
    show(f"on_error {name}", lambda: (lambda c: c.on_error(on_error.s()) is c)(make()))
    show(f"immutable {name}", lambda: (lambda c: (c.set_immutable(True), shape(c)))(make()))
    show(f"flatten {name}", lambda: len(make().flatten_links()))

    def frozen(*args, **given):
        sig, names = make(), Names()
        result = sig.freeze(*args, **given)
        return tree(result), names(shape(sig)), as_json(result.as_tuple(), names), sig.id == result.id

    show(f"frozen {name}", frozen)
    show(f"frozen with id {name}", lambda: frozen("I"))
    show(
        f"frozen with all {name}",
        lambda: frozen("I", group_id="G", chord=xsum.s(), root_id="R", parent_id="P", group_index=4),
    )

    def twice():
        sig = make()
        return sig.freeze().as_tuple() == sig.freeze().as_tuple()

    show(f"frozen twice {name}", twice)
    show(f"partial {name}", lambda: shape(make().partial((7,))))
    show(f"truth {name}", lambda: (bool(make()), make() == make(), make() == dict(make())))

# Making them
show("chain empty", lambda: (repr(chain()), chain()(), list(chain().tasks), shape(chain())))
show("chain empty apply_async", lambda: chain().apply_async())
show("chain one", lambda: (type(chain(add.s(1))).__name__, shape(chain(add.s(1)))))
show("chain list", lambda: shape(chain([add.s(1), add.s(2)])))
show("chain generator", lambda: shape(chain(add.s(i) for i in range(3))))
show("chain of chain", lambda: shape(chain(chain(add.s(1), add.s(2)), add.s(3))))
show("chain of one chain", lambda: shape(chain(chain(add.s(1), add.s(2)))))
show("chain of one group", lambda: shape(chain(group(add.s(1), add.s(2)))))
show("chain with options", lambda: shape(chain(add.s(1), add.s(2), queue="q")))
show("chain of dicts", lambda: shape(chain(dict(add.s(1)), dict(add.s(2)))))
show(
    "unchain",
    lambda: (lambda c: (shape(c.unchain_tasks()[0]), [shape(t) for t in c.unchain_tasks()]))(
        chain(add.s(1), mul.s(2), add.s(3))
    ),
)
show(
    "unchain with errback",
    lambda: (lambda c: (c.link_error(on_error.s()), [shape(t) for t in c.unchain_tasks()]))(
        chain(add.s(1), mul.s(2))
    ),
)
show(
    "chain tasks",
    lambda: [shape(task) for task in chain(add.s(1), group(add.s(2), add.s(3)), xsum.s()).tasks],
)
show("group empty", lambda: (repr(group()), len(group()), list(group().tasks), shape(group())))
show("group list", lambda: (shape(group([add.s(1), add.s(2)])), len(group([add.s(1), add.s(2)]))))
show("group generator", lambda: shape(group(add.s(i) for i in range(3))))
show(
    "group generator twice",
    lambda: (lambda g: (list(map(shape, g.tasks)), list(map(shape, g.tasks)), len(g)))(
        group(add.s(i) for i in range(3))
    ),
)
show("group of group", lambda: shape(group(group(add.s(1), add.s(2)))))
show("group of groups", lambda: shape(group(group(add.s(1)), group(add.s(2)))))
show("group of one", lambda: shape(group(add.s(1))))
show("group of one in list", lambda: shape(group([add.s(1)])))
show("group of chain", lambda: shape(group(add.s(1) | add.s(2))))
show("group of dicts", lambda: shape(group([dict(add.s(1)), dict(add.s(2))])))
show("group with options", lambda: shape(group(add.s(1), queue="q")))
show(
    "group unrolled",
    lambda: [shape(maybe_unroll_group(g)) for g in (group(add.s(1)), group(add.s(1), add.s(2)), group())],
)
show("group link", lambda: (lambda g: (g.link(add.s(1)), shape(g)))(group(add.s(2), add.s(3))))
show("group link call", lambda: group(add.s(1), add.s(2)).apply_async(link=add.s(1)))
show("group link_error call", lambda: group(add.s(1), add.s(2)).apply_async(link_error=add.s(1)))
show(
    "group empty call",
    lambda: (lambda r: (type(r).__name__, r.results, bool(r), r.id is not None))(group().apply_async()),
)
show("group empty freeze", lambda: (lambda r: (type(r).__name__, r.results))(group().freeze()))
show("group empty apply", lambda: (lambda r: (type(r).__name__, r.results, r.get()))(group().apply()))
show("skew", lambda: [options(t) for t in group(add.s(i) for i in range(5)).skew(start=1, stop=3).tasks])
show("skew defaults", lambda: [options(t) for t in group([add.s(i) for i in range(4)]).skew().tasks])
show("skew step", lambda: [options(t) for t in group([add.s(i) for i in range(4)]).skew(2, 10, 2.5).tasks])
show("skew is", lambda: (lambda g: g.skew() is g)(group(add.s(1), add.s(2))))
show("chord no body", lambda: (shape(chord([add.s(1)])), chord([add.s(1)]).body))
show(
    "chord attributes",
    lambda: (lambda c: ([shape(t) for t in c.tasks], shape(c.body), type(c.tasks).__name__))(
        chord([add.s(1)], xsum.s())
    ),
)
show("chord of one task", lambda: shape(chord(add.s(1), xsum.s())))
show("chord of chain", lambda: shape(chord(add.s(1) | add.s(2), xsum.s())))
show("chord of dict", lambda: shape(chord([dict(add.s(1))], dict(xsum.s()))))
show("chord of group of group", lambda: shape(chord(group(group(add.s(1), add.s(2)), add.s(3)), xsum.s())))
show("chord options", lambda: shape(chord([add.s(1)], xsum.s(), queue="q", countdown=2)))
show("chord app", lambda: chord([add.s(1)], xsum.s()).app is app)
show("chord immutable", lambda: (lambda c: (c.set_immutable(True), shape(c)))(chord([add.s(1)], xsum.s())))
for size, make in {
    "tasks": lambda: chord([add.s(1), add.s(2)], xsum.s()),
    "chain": lambda: chord([add.s(1) | add.s(2), add.s(2)], xsum.s()),
    "groups": lambda: chord(group(group(add.s(1), add.s(2)), add.s(3)), xsum.s()),
    "chord": lambda: chord([chord([add.s(1), add.s(2)], xsum.s()), add.s(3)], xsum.s()),
    "chord with group body": lambda: chord(
        [chord([add.s(1)], group(add.s(1), add.s(2))), add.s(3)], xsum.s()
    ),
    "chain ending in group": lambda: chord([add.s(1) | group(add.s(1), add.s(2)), add.s(3)], xsum.s()),
    "empty": lambda: chord([], xsum.s()),
    "generator": lambda: chord((add.s(i) for i in range(4)), xsum.s()),
}.items():
    show(f"chord size {size}", lambda: make().__length_hint__())
show(
    "chunks attributes",
    lambda: (lambda c: (type(c).__name__, shape(c.group()), len(c.group())))(
        add.chunks([(1, 2), (3, 4), (5, 6)], 2)
    ),
)
show("chunks group json", lambda: shape(add.chunks([(1, 2), (3, 4), (5, 6)], 2).group()))
show("chunks class", lambda: shape(chunks(add.s(), [(1, 2)], 1)))
show(
    "chunks skew",
    lambda: [options(t) for t in add.chunks([(1, 2), (3, 4)], 1).group().skew(start=1, stop=10).tasks],
)
show("xmap class", lambda: (shape(xmap(xsum.s(), [[1]])), shape(xstarmap(add.s(), [(1, 2)]))))
show("types", lambda: sorted(Signature.TYPES))
show(
    "type of each",
    lambda: [
        type(
            signature(
                {
                    "task": "celery." + kind,
                    "args": [],
                    "kwargs": kwargs,
                    "options": {},
                    "subtask_type": kind,
                    "immutable": False,
                },
                app=app,
            )
        ).__name__
        for kind, kwargs in [
            ("chain", {"tasks": []}),
            ("group", {"tasks": []}),
            ("chord", {"header": [], "body": dict(add.s())}),
        ]
    ],
)
show(
    "type xmap",
    lambda: shape(
        Signature.from_dict(
            {
                "task": "celery.map",
                "args": [],
                "kwargs": {"task": add.s(), "it": [1]},
                "options": {},
                "subtask_type": "xmap",
                "immutable": True,
            },
            app=app,
        )
    ),
)
show(
    "type chunks",
    lambda: shape(
        Signature.from_dict(
            {
                "task": "celery.chunks",
                "args": [],
                "kwargs": {"task": add.s(), "it": [[1, 2]], "n": 1},
                "options": {},
                "subtask_type": "chunks",
                "immutable": True,
            },
            app=app,
        )
    ),
)


def registered():
    @Signature.register_type()
    class mine(Signature):
        @classmethod
        def from_dict(cls, d, app=None):
            return cls("mine", app=app)

    return type(signature({"task": "x", "subtask_type": "mine"}, app=app)).__name__


show("register_type", registered)
show("missing keys", lambda: shape(signature({"task": "x"}, app=app)))
show("missing keys call", lambda: signature({"task": "proj.add", "args": [1]}, app=app).apply().get())
show(
    "missing options link", lambda: (lambda c: (c.link(add.s()), shape(c)))(signature({"task": "x"}, app=app))
)
show(
    "missing keys chain",
    lambda: shape(
        signature(
            {
                "task": "celery.chain",
                "kwargs": {
                    "tasks": [
                        {"task": "a", "args": [], "kwargs": {}},
                        {"task": "b", "args": [], "kwargs": {}},
                    ]
                },
                "subtask_type": "chain",
            },
            app=app,
        )
    ),
)
show(
    "chord dict with group",
    lambda: shape(
        signature(
            {
                "task": "celery.chord",
                "args": [],
                "kwargs": {"header": dict(group(add.s(1))), "body": dict(xsum.s()), "kwargs": {}},
                "options": {},
                "subtask_type": "chord",
                "immutable": False,
            },
            app=app,
        )
    ),
)
show(
    "unknown type",
    lambda: signature({"task": "x", "subtask_type": "nosuch", "args": [], "kwargs": {}}, app=app),
)

# Merging
base = add.signature((1,), {"y": 2}, queue="q", countdown=5)
show("merge options", lambda: options(base.clone(queue="r", expires=3)))
show("merge none", lambda: options(base.clone(queue=None)))
show(
    "merge immutable",
    lambda: (lambda c: (c.args, c.kwargs, options(c)))(add.si(1).clone((2,), {"y": 3}, queue="z")),
)
show("merge group_id", lambda: options(add.s(1).set(group_id="G").clone(group_id="H")))
show(
    "merge stamps",
    lambda: options(add.s(1).set(stamped_headers=["a"], a=1).clone(stamped_headers=["b"], a=2, b=3)),
)
show(
    "clone is deep",
    lambda: (lambda c: (c.options["headers"].update(x=1), options(base2)))(
        (base2 := add.s(1).set(headers={"h": 1})).clone()
    ),
)
show(
    "clone is flat",
    lambda: (lambda c: (c.kwargs["y"].append(2), base3.kwargs))((base3 := add.s(1, y=[1])).clone()),
)
show("set immutable", lambda: (lambda c: (c.set(immutable=False).immutable, options(c)))(add.si(1)))
show("set returns", lambda: (lambda c: c.set(queue="x") is c)(add.s(1)))
show(
    "attributes set",
    lambda: (lambda c: (setattr(c, "args", (5,)), setattr(c, "immutable", True), dict(c)))(add.s(1)),
)
show("task options", lambda: (dict(routed.s(1)), shape(routed.s(1) | routed.s())))
show(
    "s and signature",
    lambda: (
        add.s(1, y=2) == add.signature((1,), {"y": 2}),
        add.si(1) == add.signature((1,), immutable=True),
    ),
)
show(
    "signature of text with options",
    lambda: shape(signature("tasks.add", args=(2, 2), countdown=10, app=app)),
)
show("signature clones", lambda: (lambda c: (signature(c) is c, signature(c) == c))(add.s(1)))
show(
    "link same twice",
    lambda: (lambda c: (c.link(add.s(1)), c.link(add.s(1)), c.link(add.s(2)), len(c.options["link"])))(
        mul.s(1)
    ),
)
show("link list option", lambda: (lambda c: (c.link(add.s(2)), options(c)))(mul.s(1).set(link=add.s(1))))
show(
    "links of chain",
    lambda: (lambda c: (c.link(add.s(9)), [shape(t) for t in c.flatten_links()]))(chain(add.s(1), add.s(2))),
)
show(
    "links of links",
    lambda: (lambda a, b: (a.link(b), b.link(add.s(3)), [shape(t) for t in a.flatten_links()]))(
        add.s(1), add.s(2)
    ),
)
show(
    "reprcall",
    lambda: (
        chain(add.s(1), add.s(2)).reprcall(),
        group(add.s(1)).reprcall(5),
        add.s(1, y=3).reprcall("a", z=1),
    ),
)
show("repr of chain of group", lambda: repr(chain(add.s(1), group(add.s(2), mul.s(3)), xsum.s())))
show(
    "repr of names",
    lambda: (repr(s("a.b.c", 1) | s("a.b.d", 2) | s("x.y", 3)), repr(group(s("a.b.c"), s("a.b.d")))),
)
show(
    "ids",
    lambda: (lambda c: (c.id, c.parent_id, c.root_id))(add.s(1).set(task_id="I", parent_id="P", root_id="R")),
)
show("freeze keeps", lambda: (lambda c: (c.freeze().id, c.options["task_id"]))(add.s(1).set(task_id="I")))
show(
    "freeze other id", lambda: (lambda c: (c.freeze("J").id, c.options["task_id"]))(add.s(1).set(task_id="I"))
)
show(
    "freeze keeps group",
    lambda: (lambda c: (c.freeze(group_id="H"), c.options["group_id"]))(add.s(1).set(group_id="G")),
)
show("AsyncResult", lambda: (add.s(1).AsyncResult("x").id, type(add.s(1).AsyncResult("x")).__name__))
show("type without app", lambda: Signature("nosuch.task", app=app).type.name)
show("election", lambda: callable(add.s(1).election))
