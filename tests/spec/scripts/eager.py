"""Workflows that run in this process: `apply()` and `task_always_eager`."""
# ruff: noqa: B023 - questions are put at once, where they stand

import re

from canon import tree
from probe import show

from celery import Celery, chain, chord, group
from celery.result import allow_join_result

app = Celery("proj", broker="memory://", backend="cache+memory://", task_store_eager_result=False)
seen = []


@app.task
def add(x, y=2):
    seen.append(f"add({x}, {y})")
    return x + y


@app.task
def mul(x, y):
    seen.append(f"mul({x}, {y})")
    return x * y


@app.task
def xsum(numbers):
    seen.append(f"xsum({numbers})")
    return sum(numbers)


@app.task
def nested_sum(numbers):
    return sum(n if isinstance(n, int) else nested_sum(n) for n in numbers)


@app.task
def echo(*args, **kwargs):
    return [list(args), kwargs]


@app.task
def noop():
    seen.append("noop")


@app.task
def fail(*args):
    seen.append("fail")
    raise ValueError("bad", *args)


@app.task
def note(*args):
    seen.append(f"note{args}")


@app.task
def on_error(request, exc, traceback):
    seen.append(f"on_error({exc!r}, {request.task}, {'Traceback' in str(traceback)})")


@app.task
def old_on_error(task_id):
    seen.append("old_on_error")


@app.task(bind=True)
def context(self, *args):
    request = self.request
    seen.append("context")
    return {
        "root": request.root_id == request.id,
        "parent": request.parent_id is not None,
        "group": request.group is not None,
        "index": request.group_index,
        "args": args,
        "eager": request.is_eager,
    }


@app.task(bind=True)
def replaced(self, kind, *args):
    seen.append(f"replaced({kind}, {args})")
    raise self.replace(
        {
            "task": lambda: add.s(1, 2),
            "partial": lambda: add.s(*args),
            "chain": lambda: add.s(1, 2) | mul.s(10),
            "group": lambda: group(add.s(1, 1), add.s(2, 2)),
            "chord": lambda: chord([add.s(1, 1), add.s(2, 2)], xsum.s()),
            "again": lambda: replaced.s("chain"),
            "empty group": lambda: group(),
            "fails": lambda: fail.s(),
        }[kind]()
    )


@app.task(bind=True, max_retries=2)
def retries(self, x):
    seen.append(f"retries({x}, {self.request.retries})")
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return x


@app.task(bind=True)
def starts(self):
    with allow_join_result():
        return (add.s(1, 1) | mul.s(5)).apply().get()


WORKFLOWS = {
    "chain": lambda: add.s(1, 1) | mul.s(5),
    "chain of one": lambda: chain(add.s(1, 1)),
    "chain of three": lambda: chain(add.s(4, 4), mul.s(8), mul.s(10)),
    "chain immutable": lambda: add.si(2, 2) | add.si(4, 4) | add.si(8, 8),
    "chain of chains": lambda: chain(add.s(1, 1) | mul.s(2), mul.s(3) | add.s(1)),
    "chain fails first": lambda: fail.s() | add.s(1) | mul.s(2),
    "chain fails middle": lambda: add.s(1, 1) | fail.s() | mul.s(2),
    "chain fails last": lambda: add.s(1, 1) | fail.s(),
    "chain with errback": lambda: (add.s(1, 1) | fail.s() | mul.s(2)).on_error(on_error.s()),
    "chain with link": lambda: _linked(add.s(1, 1) | mul.s(5), note.s()),
    "chain with group": lambda: add.s(1, 1) | group(add.s(1), mul.s(10)),
    "chain with group in the middle": lambda: add.s(1, 1) | group(add.s(1), mul.s(10)) | xsum.s(),
    "chain with group and tail": lambda: chain(add.s(1, 1), group(add.s(1), mul.s(10)), xsum.s(), add.s(100)),
    "chain with two groups": lambda: add.s(1, 1) | group(add.s(1), mul.s(10)) | group(xsum.s(), xsum.s()),
    "chain with empty group": lambda: add.s(1, 1) | group() | mul.s(3),
    "chain with immutable group": lambda: add.s(1, 1) | group(add.si(5, 5), add.si(6, 6)) | xsum.s(),
    "group": lambda: group(add.s(1, 1), add.s(2, 2)),
    "group empty": lambda: group(),
    "group of one": lambda: group(add.s(1, 1)),
    "group of generator": lambda: group(add.s(i, i) for i in range(4)),
    "group of groups": lambda: group(group(add.s(1, 1), add.s(2, 2)), group(add.s(3, 3), add.s(4, 4))),
    "group of chains": lambda: group(add.s(1, 1) | mul.s(2), add.s(2, 2) | mul.s(3)),
    "group of chords": lambda: group(chord([add.s(1, 1)], xsum.s()), add.s(3, 3)),
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
    "chord and tail": lambda: chord([add.s(1, 1), add.s(2, 2)], xsum.s()) | add.s(100),
    "chord of chain with group": lambda: chord(
        [add.s(1, 1) | group(add.s(1), add.s(2)), add.s(5, 5)], nested_sum.s()
    ),
    "chord fails": lambda: chord([add.s(1, 1), fail.s(), add.s(2, 2)], xsum.s()),
    "chord fails with errback": lambda: chord([add.s(1, 1), fail.s()], xsum.s().on_error(on_error.s())),
    "chord body fails": lambda: chord([add.s(1, 1)], fail.s()),
    "chunks": lambda: add.chunks([(i, i) for i in range(5)], 2),
    "chunks group": lambda: add.chunks([(i, i) for i in range(5)], 2).group(),
    "map": lambda: xsum.map([[1, 2], [3]]),
    "starmap": lambda: add.starmap([(1, 2), (3, 4)]),
    "map fails": lambda: fail.map([1, 2]),
    "map in chain": lambda: xsum.map([[1, 2], [3]]) | xsum.s(),
    "link": lambda: _linked(add.s(1, 1), note.s("x")),
    "links": lambda: _linked(_linked(add.s(1, 1), note.s("x")), note.s("y")),
    "link of immutable": lambda: _linked(add.s(1, 1), noop.si()),
    "link of chain": lambda: _linked(add.s(1, 1), add.s(1) | note.s()),
    "link of group": lambda: _linked(add.s(1, 1), group(note.s(1), note.s(2))),
    "link not called": lambda: _linked(fail.s(), note.s()),
    "errback": lambda: fail.s().on_error(on_error.s()),
    "errback old": lambda: fail.s().on_error(old_on_error.s()),
    "errback group": lambda: group(fail.s(), add.s(1)).on_error(on_error.s()),
    "errback immutable": lambda: fail.s().on_error(noop.si()),
    "replace task": lambda: replaced.s("task"),
    "replace partial": lambda: replaced.s("partial", 5),
    "replace chain": lambda: replaced.s("chain"),
    "replace group": lambda: replaced.s("group"),
    "replace chord": lambda: replaced.s("chord"),
    "replace again": lambda: replaced.s("again"),
    "replace empty group": lambda: replaced.s("empty group"),
    "replace fails": lambda: replaced.s("fails"),
    "replace in chain": lambda: replaced.s("task") | mul.s(2),
    "replace group in chain": lambda: replaced.s("group") | xsum.s(),
    "replace in chord": lambda: chord([replaced.s("task"), add.s(1, 1)], xsum.s()),
    "replace chain in chord": lambda: chord([replaced.s("chain"), add.s(1, 1)], xsum.s()),
    "replace with link": lambda: _linked(replaced.s("task"), note.s()),
    "retries": lambda: retries.s(5),
    "retries in chain": lambda: add.s(1, 1) | retries.s() | mul.s(2),
    "retries in chord": lambda: chord([retries.s(1), add.s(1, 1)], xsum.s()),
    "starts others": lambda: starts.s(),
    "context in chain": lambda: add.s(1, 1) | context.s(),
    "context in group": lambda: group(context.s(), context.s()),
    "context in chord": lambda: chord([context.s()], echo.s()),
}


def _linked(sig, callback):
    sig.link(callback)
    return sig


def said(exc):
    return re.sub(r"Dependency \S+ ", "Dependency ID ", repr(exc))


def ran(question):
    """Value or exception, the kinds of results, their states, and what ran."""
    seen.clear()
    try:
        result = question()
    except Exception as exc:
        return f"raised {said(exc)}", list(seen)
    try:
        value = result.get(timeout=0.5)
    except Exception as exc:
        value = said(exc)
    return value, tree(result), getattr(result, "state", None), list(seen)


for label, make in WORKFLOWS.items():
    show(f"apply {label}", lambda: ran(lambda: make().apply()))
app.conf.task_always_eager = True
for label, make in WORKFLOWS.items():
    show(f"eager {label}", lambda: ran(lambda: make().apply_async()))
for label, make in {
    "call chain": lambda: (add.s(1) | mul.s(2))(5),
    "delay chain": lambda: (add.s(1) | mul.s(2)).delay(5),
    "delay group": lambda: group(add.s(1), mul.s(2)).delay(5),
    "call group": lambda: group(add.s(1), mul.s(2))(5),
    "args chord": lambda: chord([add.s(1), mul.s(2)], xsum.s()).apply_async((5,)),
    "chord call": lambda: chord([add.s(1, 1), mul.s(2, 2)])(xsum.s()),
    "chord call partial body": lambda: chord([add.s(1, 1)], echo.s())(),
    "chord call no body": lambda: chord([add.s(1, 1)])(),
    "kwargs chain": lambda: (echo.s(1) | echo.s(2)).apply_async((3,), {"k": 4}),
    "kwargs group": lambda: group(echo.s(1), echo.s(2)).apply_async((3,), {"k": 4}),
    "kwargs chord": lambda: chord([echo.s(1), echo.s(2)], echo.s()).apply_async((3,), {"k": 4}),
    "link chain": lambda: (add.s(1, 1) | mul.s(2)).apply_async(link=note.s()),
    "link_error chain": lambda: (fail.s() | mul.s(2)).apply_async(link_error=on_error.s()),
    "id chain": lambda: (add.s(1, 1) | mul.s(2)).apply_async(task_id="I"),
    "send_task": lambda: app.send_task("proj.add", (1, 1)),
}.items():
    show(label, lambda: ran(make))
show("id of chain", lambda: (add.s(1, 1) | mul.s(2)).apply_async(task_id="I").id)
show("id of chord", lambda: chord([add.s(1, 1)], xsum.s()).apply_async(task_id="I").id)
show(
    "~",
    lambda: (
        ~add.s(2, 2),
        ~(add.s(2, 2) | mul.s(3)),
        ~group(add.s(1, 1), add.s(2, 2)),
        ~chord([add.s(1, 1)], xsum.s()),
    ),
)
show(
    "parents",
    lambda: (lambda r: (r.get(), r.parent.get(), r.parent.parent.get(), r.parent.parent.parent))(
        chain(add.s(4, 4), mul.s(8), mul.s(10))()
    ),
)
show("task call", lambda: (add.s(1)(5), (add.s(1, 1) | mul.s(2))().get()))
app.conf.task_eager_propagates = True
for label in (
    "chain fails middle",
    "group fails",
    "chord fails",
    "errback",
    "chain with errback",
    "replace fails",
):
    show(f"propagates {label}", lambda: ran(lambda: WORKFLOWS[label]().apply_async()))
app.conf.task_eager_propagates = False
app.conf.task_store_eager_result = True
show(
    "stored chain",
    lambda: (lambda r: (r.get(), app.AsyncResult(r.id).state, app.AsyncResult(r.parent.id).result))(
        (add.s(1, 1) | mul.s(2))()
    ),
)
show(
    "stored group",
    lambda: (lambda r: (r.get(), [app.AsyncResult(one.id).result for one in r.results]))(
        group(add.s(1, 1), mul.s(2, 2))()
    ),
)
show(
    "stored chord",
    lambda: (lambda r: (r.get(), app.AsyncResult(r.id).result))(chord([add.s(1, 1)], xsum.s())()),
)
show("throw", lambda: ran(lambda: (add.s(1, 1) | fail.s()).apply(throw=True)))
show("throw group", lambda: ran(lambda: group(add.s(1, 1), fail.s()).apply(throw=True)))
show("disable_sync_subtasks", lambda: group(add.s(1, 1), add.s(2, 2))().get(disable_sync_subtasks=False))
