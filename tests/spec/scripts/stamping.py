"""Stamps: what a visitor sees, what signatures keep, what messages carry."""
# ruff: noqa: B023 - questions are put at once, where they stand

import warnings

from canon import Names, shape
from probe import show

from celery import Celery, chain, chord, group, signals
from celery.canvas import StampingVisitor

app = Celery("proj", broker="memory://", backend="cache+memory://")


@app.task
def add(x, y=2):
    return x + y


@app.task
def xsum(numbers):
    return sum(numbers)


@app.task
def on_error(request, exc, traceback):
    return None


class Plain(StampingVisitor):
    def on_signature(self, sig, **headers):
        return {"stamp": "value"}


class Named(StampingVisitor):
    def on_signature(self, sig, **headers):
        return {"stamp": 1, "other": 2, "stamped_headers": ["stamp"]}


class Empty(StampingVisitor):
    def on_signature(self, sig, **headers):
        return {}


class Nothing(StampingVisitor):
    def on_signature(self, sig, **headers):
        return None


class ByTask(StampingVisitor):
    def on_signature(self, sig, **headers):
        return {"task": sig.task, "args": list(sig.args)}


class Everywhere(StampingVisitor):
    def on_signature(self, sig, **headers):
        return {"on_signature": True}

    def on_group_start(self, sig, **headers):
        return {"on_group_start": True}

    def on_chain_start(self, sig, **headers):
        return {"on_chain_start": True}

    def on_chord_header_start(self, sig, **headers):
        return {"on_chord_header_start": True}

    def on_chord_body(self, sig, **headers):
        return {"on_chord_body": True}

    def on_callback(self, sig, **headers):
        return {"on_callback": True}

    def on_errback(self, sig, **headers):
        return {"on_errback": True}


class Default(StampingVisitor):
    """Keeps what the base class gives."""

    def on_signature(self, sig, **headers):
        return {"s": 1}

    def on_chord_header_start(self, sig, **headers):
        return super().on_chord_header_start(sig, **headers)


class Watcher(StampingVisitor):
    def __init__(self):
        self.calls = []

    def _saw(self, hook, sig, headers):
        kind = sig.get("subtask_type") or sig.get("task") if isinstance(sig, dict) else type(sig).__name__
        self.calls.append(f"{hook}({kind}{''.join(f', {key}' for key in sorted(headers))})")

    def on_signature(self, sig, **headers):
        self._saw("signature", sig, headers)
        return {"w": len(self.calls)}

    def on_group_start(self, sig, **headers):
        self._saw("group_start", sig, headers)
        return {}

    def on_group_end(self, sig, **headers):
        self._saw("group_end", sig, headers)

    def on_chain_start(self, sig, **headers):
        self._saw("chain_start", sig, headers)
        return {}

    def on_chain_end(self, sig, **headers):
        self._saw("chain_end", sig, headers)

    def on_chord_header_start(self, sig, **headers):
        self._saw("header_start", sig, headers)
        return {}

    def on_chord_header_end(self, sig, **headers):
        self._saw("header_end", sig, headers)

    def on_chord_body(self, sig, **headers):
        self._saw("body", sig, headers)
        return {}

    def on_callback(self, sig, **headers):
        self._saw("callback", sig, headers)
        return {}

    def on_errback(self, sig, **headers):
        self._saw("errback", sig, headers)
        return {}


def linked(sig):
    sig.link(add.s(100))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        sig.link_error(on_error.s())
    return sig


WORKFLOWS = {
    "task": lambda: add.s(1),
    "linked task": lambda: linked(add.s(1)),
    "chain": lambda: chain(add.s(1), add.s(2)),
    "linked chain": lambda: linked(chain(add.s(1), add.s(2))),
    "group": lambda: group(add.s(1), add.s(2)),
    "linked group": lambda: linked(group(add.s(1), add.s(2))),
    "chord": lambda: chord([add.s(1), add.s(2)], xsum.s()),
    "linked chord": lambda: linked(chord([add.s(1), add.s(2)], xsum.s())),
    "chord of group": lambda: group(add.s(1), add.s(2)) | xsum.s(),
    "chain with group": lambda: chain(add.s(1), group(add.s(2), add.s(3)), xsum.s()),
    "nested": lambda: chain(
        add.s(1), chord([add.s(2) | add.s(3), group(add.s(4))], xsum.s()), group(add.s(5), add.s(6))
    ),
    "map": lambda: add.map([1, 2]),
    "chunks": lambda: add.chunks([(1, 2), (3, 4)], 1),
    "links of links": lambda: linked(add.s(1).set(link=[linked(add.s(7))])),
}
VISITORS = {
    "plain": Plain,
    "named": Named,
    "empty": Empty,
    "nothing": Nothing,
    "by task": ByTask,
    "everywhere": Everywhere,
    "default": Default,
}


def stamped(make, visitor=None, **options):
    sig = make()
    sig.stamp(visitor, **options)
    return shape(sig)


def watched(make):
    watcher = Watcher()
    make().stamp(watcher)
    return watcher.calls


def sent(send):
    """Stamps of the messages, by their tasks."""
    messages = []

    def receive(sender=None, body=None, headers=None, **_):
        messages.append(
            (
                sender,
                headers["stamped_headers"] and sorted(headers["stamped_headers"]),
                dict(sorted(headers["stamps"].items())),
                {
                    key: value and [shape(one) for one in (value if isinstance(value, list) else [value])]
                    for key, value in body[2].items()
                },
            )
        )

    signals.before_task_publish.connect(receive)
    try:
        send()
    finally:
        signals.before_task_publish.disconnect(receive)
    return Names()(repr(messages))


for label, make in WORKFLOWS.items():
    show(f"keyword {label}", lambda: stamped(make, foo="bar"))
    show(f"watched {label}", lambda: watched(make))
    for name, visitor in VISITORS.items():
        if name in ("plain", "everywhere", "default") or label in ("task", "chain", "chord", "linked task"):
            show(f"{name} {label}", lambda: stamped(make, visitor()))

    def send():
        sig = make()
        sig.stamp(Plain(), foo="bar")
        sig.apply_async()

    show(f"sent {label}", lambda: sent(send))
show("twice same", lambda: (lambda s: (s.stamp(a=1), s.stamp(a=2), shape(s))[-1])(add.s(1)))
show("twice other", lambda: (lambda s: (s.stamp(a=1), s.stamp(b=2), shape(s))[-1])(add.s(1)))
show(
    "twice append",
    lambda: (lambda s: (s.stamp(a=1), s.stamp(a=2, append_stamps=True), shape(s))[-1])(add.s(1)),
)
show(
    "thrice append",
    lambda: (
        lambda s: (
            s.stamp(a=1),
            s.stamp(a=2, append_stamps=True),
            s.stamp(a=3, append_stamps=True),
            shape(s),
        )[-1]
    )(add.s(1)),
)
show(
    "append visitor",
    lambda: (lambda s: (s.stamp(Plain()), s.stamp(Plain(), append_stamps=True), shape(s))[-1])(
        chain(add.s(1), add.s(2))
    ),
)
show(
    "append list",
    lambda: (lambda s: (s.stamp(a=[1, 2]), s.stamp(a=[3], append_stamps=True), shape(s))[-1])(add.s(1)),
)
show(
    "append set",
    lambda: (lambda s: (s.stamp(a=1), s.stamp(a={2}, append_stamps=True), shape(s))[-1])(add.s(1)),
)
show("visitor and keyword", lambda: stamped(lambda: add.s(1), Plain(), foo=1))
show("keyword of the same name", lambda: stamped(lambda: add.s(1), Plain(), stamp="mine"))
show("none", lambda: stamped(lambda: add.s(1)))
show("stamp then link", lambda: (lambda s: (s.stamp(a=1), s.link(add.s(2)), shape(s))[-1])(add.s(1)))
show("stamp_links", lambda: (lambda s: (s.stamp_links(Plain()), shape(s))[-1])(linked(add.s(1))))
show("kept by clone", lambda: (lambda s: (s.stamp(a=1), shape(s.clone((3,))))[-1])(add.s(1)))
show("kept by or", lambda: (lambda s: (s.stamp(a=1), shape(s | add.s(2)))[-1])(add.s(1)))
show("not overridden", lambda: sent(lambda: (lambda s: (s.stamp(a=1), s.apply_async(a=2)))(add.s(1))))
show("sent options", lambda: sent(lambda: add.apply_async((1,), stamped_headers=["k"], k="v")))
show(
    "sent options unnamed",
    lambda: sent(lambda: add.s(1).set(stamped_headers=["k", "z"], k="v").apply_async()),
)
show("sent headers kept", lambda: sent(lambda: add.s(1).set(headers={"h": 1}).apply_async()))
show("abstract", lambda: StampingVisitor())
show(
    "defaults",
    lambda: [
        getattr(Plain(), hook)(chord([add.s(1)], xsum.s()) if "chord" in hook else add.s(1))
        for hook in (
            "on_group_start",
            "on_group_end",
            "on_chain_start",
            "on_chain_end",
            "on_chord_body",
            "on_callback",
            "on_errback",
            "on_chord_header_end",
        )
    ],
)
show("default header start", lambda: Plain().on_chord_header_start(chord([add.s(1)], xsum.s())))
show(
    "generator",
    lambda: (lambda g: (g.stamp(a=1), [shape(t) for t in g.tasks])[1])(group(add.s(i) for i in range(3))),
)
show(
    "generator of chord",
    lambda: (lambda g: (g.stamp(a=1), shape(g))[1])(chord((add.s(i) for i in range(3)), xsum.s())),
)
