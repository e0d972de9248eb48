"""ResultSet, GroupResult, graphs: over results that are in a store."""
# ruff: noqa: B023 - questions are put at once, where they stand

import copy
import io
import json
import pickle

import probe

from celery import Celery, exceptions, states
from celery.result import (
    AsyncResult,
    EagerResult,
    GroupResult,
    ResultSet,
    allow_join_result,
    assert_will_not_block,
    denied_join_result,
    result_from_tuple,
    task_join_will_block,
)

app = Celery("proj", broker="memory://", backend="cache+memory://")
store = app.backend


def put(task_id, value, state=states.SUCCESS, **more):
    store.store_result(task_id, value, state, **more)
    return app.AsyncResult(task_id)


for number in range(3):
    put(f"ok{number}", number)
put("bad", ValueError("boom"), states.FAILURE, traceback="TB")
store.mark_as_revoked("revoked", "why")
put("started", {"pid": 1}, states.STARTED)
put("none", None)


def results(*names):
    return [app.AsyncResult(name) for name in names]


def many(*names):
    return ResultSet(results(*names), app=app)


def grouped(*names, **more):
    return GroupResult("gid", results(*names), app=app, **more)


def show(label, question):
    """Without the words of time-outs, which differ from store to store."""

    def ask():
        try:
            return question()
        except exceptions.TimeoutError:
            return exceptions.TimeoutError

    probe.show(label, ask)


SETS = {
    "good": ("ok0", "ok1", "ok2"),
    "failing": ("ok0", "bad", "ok2"),
    "waiting": ("ok0", "pending"),
    "failing and waiting": ("bad", "pending"),
    "started": ("started", "ok1"),
    "revoked": ("ok0", "revoked"),
    "empty": (),
    "one": ("ok1",),
    "none": ("none",),
}
for label, names in SETS.items():
    for kind, make in (("set", many), ("group", grouped)):
        show(
            f"{kind} state {label}",
            lambda: (
                lambda r: (
                    r.ready(),
                    r.successful(),
                    r.failed(),
                    r.waiting(),
                    r.completed_count(),
                    len(r),
                    bool(r),
                )
            )(make(*names)),
        )
        show(f"{kind} get {label}", lambda: make(*names).get(timeout=0.05, interval=0.01))
        show(f"{kind} join {label}", lambda: make(*names).join(timeout=0.05, interval=0.01))
        show(f"{kind} join_native {label}", lambda: make(*names).join_native(timeout=0.05, interval=0.01))
        show(
            f"{kind} join_native without propagate {label}",
            lambda: make(*names).join_native(timeout=0.05, interval=0.01, propagate=False),
        )
        show(
            f"{kind} join without propagate {label}",
            lambda: make(*names).join(timeout=0.05, interval=0.01, propagate=False),
        )
        show(f"{kind} maybe_throw {label}", lambda: make(*names).maybe_throw())
        show(
            f"{kind} iter_native {label}",
            lambda: sorted(
                (key, meta["status"]) for key, meta in make(*names).iter_native(timeout=0.05, interval=0.01)
            ),
        )

        def called(method):
            heard = []
            got = getattr(make(*names), method)(
                timeout=0.05, interval=0.01, callback=lambda *args: heard.append(args), propagate=False
            )
            return got, heard if method == "join" else sorted(heard, key=repr)

        show(f"{kind} join with callback {label}", lambda: called("join"))
        show(f"{kind} join_native with callback {label}", lambda: called("join_native"))
        show(f"{kind} get with callback {label}", lambda: called("get"))

show(
    "repr",
    lambda: (repr(many("ok0", "ok1")), repr(grouped("ok0", "ok1")), str(grouped("ok0")), repr(grouped())),
)
show("sequence", lambda: (lambda r: (r[0], r[-1], r[0:2], list(r), len(r)))(many("ok0", "ok1", "ok2")))
show("index error", lambda: many("ok0")[1])
show(
    "add",
    lambda: (lambda r: (r.add(app.AsyncResult("ok1")), r.add(app.AsyncResult("ok1")), r.results))(
        many("ok0")
    ),
)
show("remove", lambda: (lambda r: (r.remove(app.AsyncResult("ok0")), r.results))(many("ok0", "ok1")))
show("remove by id", lambda: (lambda r: (r.remove("ok0"), r.results))(many("ok0", "ok1")))
show("remove unknown", lambda: many("ok0").remove(app.AsyncResult("x")))
show("remove unknown id", lambda: many("ok0").remove("x"))
show(
    "discard",
    lambda: (lambda r: (r.discard(app.AsyncResult("x")), r.discard("ok0"), r.results))(many("ok0", "ok1")),
)
show("update", lambda: (lambda r: (r.update(results("ok0", "ok1", "ok2")), r.results))(many("ok0")))
show("clear", lambda: (lambda r: (r.clear(), r.results, r.ready()))(many("ok0")))
show(
    "equality",
    lambda: (
        many("ok0") == many("ok0"),
        many("ok0") == many("ok1"),
        many("ok0") != many("ok0"),
        grouped("ok0") == grouped("ok0"),
        grouped("ok0") == grouped("ok1"),
        grouped("ok0") == GroupResult("other", results("ok0"), app=app),
        grouped("ok0") == "gid",
        many("ok0") == grouped("ok0"),
    ),
)
show("hash", lambda: hash(grouped("ok0")) == hash("gid"))
show("set hash", lambda: isinstance(hash(many("ok0")), int))
show(
    "group attributes",
    lambda: (
        lambda r: (
            r.id,
            r.parent,
            r.children,
            r.results,
            r.app is app,
            r.backend is store,
            r.supports_native_join,
        )
    )(grouped("ok0")),
)
show(
    "group parent",
    lambda: (lambda r: (r.parent, r.as_tuple(), r.as_list() if hasattr(r, "as_list") else None))(
        grouped("ok0", parent=app.AsyncResult("p"))
    ),
)
show(
    "as_tuple",
    lambda: (
        grouped("ok0", "ok1").as_tuple(),
        GroupResult("outer", [grouped("ok0"), app.AsyncResult("ok1")], app=app).as_tuple(),
    ),
)
show(
    "from tuple group",
    lambda: (lambda r: (type(r).__name__, r, r.results, r.parent))(
        result_from_tuple(grouped("ok0", "ok1").as_tuple(), app=app)
    ),
)
show(
    "from tuple nested",
    lambda: repr(
        result_from_tuple(
            [["outer", None], [[["in", None], [[["ok0", None], None]]], [["ok1", None], None]]], app=app
        ).results
    ),
)
show(
    "from tuple parent",
    lambda: (lambda r: (r, r.parent, r.parent.parent, r.as_list()))(
        result_from_tuple([["c", [["b", [["a", None], None]], None]], None], app=app)
    ),
)
show("from tuple of result", lambda: (lambda r: result_from_tuple(r, app=app) is r)(app.AsyncResult("x")))
show("from tuple flat", lambda: result_from_tuple(["x", None], app=app))
show("truth", lambda: (bool(grouped()), bool(GroupResult(None, [], app=app)), bool(many())))
show(
    "save",
    lambda: (
        lambda r: (
            r.save(),
            GroupResult.restore("gid", app=app),
            GroupResult.restore("gid", app=app).results,
            app.GroupResult.restore("gid").get(timeout=1),
        )
    )(grouped("ok0", "ok1")),
)
show(
    "save nested",
    lambda: (lambda r: (r.save(), repr(app.GroupResult.restore("outer").results)))(
        GroupResult("outer", [grouped("ok0"), app.AsyncResult("ok1")], app=app)
    ),
)
show(
    "save parent",
    lambda: (lambda r: (r.save(), app.GroupResult.restore("gid").parent))(
        grouped("ok0", parent=app.AsyncResult("p"))
    ),
)
show("delete", lambda: (lambda r: (r.delete(), app.GroupResult.restore("gid")))(grouped("ok0")))
show("restore unknown", lambda: GroupResult.restore("unknown", app=app))
show(
    "restore with backend",
    lambda: (grouped("ok2").save(backend=store), GroupResult.restore("gid", backend=store, app=app)),
)
show(
    "group meta",
    lambda: (grouped("ok0", "ok1").save(), json.loads(store.get(store.get_key_for_group("gid")))),
)
show("pickle", lambda: (lambda r: (r, r.results))(pickle.loads(pickle.dumps(grouped("ok0", "ok1")))))
show("copy", lambda: (copy.copy(grouped("ok0")), copy.deepcopy(grouped("ok0")).results))
show("set pickle", lambda: pickle.loads(pickle.dumps(many("ok0"))).results)
show(
    "forget",
    lambda: (
        put("f1", 1),
        put("f2", 2),
        many("f1", "f2").forget(),
        app.AsyncResult("f1").state,
        app.AsyncResult("f2").state,
    )[2:],
)
show(
    "then ready",
    lambda: (lambda heard: (many("ok0", "ok1").then(lambda r: heard.append(type(r).__name__)), heard)[1])([]),
)
show(
    "then group ready",
    lambda: (lambda heard: (grouped("ok0").then(lambda r: heard.append(r.id)), heard)[1])([]),
)
show("then waiting", lambda: (lambda heard: (many("pending").then(lambda r: heard.append(1)), heard)[1])([]))
show(
    "on_message",
    lambda: (
        lambda heard: (
            many("ok0").get(timeout=1, on_message=heard.append),
            [meta["result"] for meta in heard],
        )
    )([]),
)
show("on_message of one", lambda: app.AsyncResult("ok0").get(timeout=1, on_message=lambda body: None))
show(
    "on_interval",
    lambda: (lambda heard: (many("ok0").get(timeout=1, on_interval=lambda: heard.append(1)), heard))([]),
)
show(
    "of eager",
    lambda: ResultSet(
        [EagerResult("e1", 5, states.SUCCESS), EagerResult("e2", 6, states.SUCCESS)], app=app
    ).get(),
)
show(
    "of eager failing",
    lambda: ResultSet(
        [EagerResult("e1", 5, states.SUCCESS), EagerResult("e2", ValueError("x"), states.FAILURE)], app=app
    ).get(),
)
show("without app", lambda: (lambda r: (r.results, r.app is not None))(ResultSet(results("ok0"))))
show(
    "app.ResultSet",
    lambda: (
        type(app.ResultSet([])).__name__,
        type(app.GroupResult("x", [])).__name__,
        app.ResultSet([]).app is app,
    ),
)
show("nested get", lambda: ResultSet([many("ok0", "ok1"), app.AsyncResult("ok2")], app=app).join(timeout=1))
show(
    "nested ready",
    lambda: GroupResult("o", [grouped("ok0", "pending"), app.AsyncResult("ok2")], app=app).ready(),
)
show(
    "nested count",
    lambda: GroupResult("o", [grouped("ok0", "ok1"), app.AsyncResult("ok2")], app=app).completed_count(),
)
show("interval", lambda: many("ok0").join(timeout=1, interval=0.01))

# One result
parent = app.AsyncResult("ok0")
child = AsyncResult("ok1", app=app, parent=parent)
show("parent", lambda: (child.parent, child.as_tuple(), child.as_list(), child.get(timeout=1)))
show("parent failed", lambda: AsyncResult("pending", app=app, parent=app.AsyncResult("bad")).get(timeout=1))
show(
    "parent failed, not followed",
    lambda: AsyncResult("pending", app=app, parent=app.AsyncResult("bad")).get(
        timeout=0.05, interval=0.01, follow_parents=False
    ),
)
show(
    "parent failed, not propagated",
    lambda: AsyncResult("ok1", app=app, parent=app.AsyncResult("bad")).get(
        timeout=0.05, interval=0.01, propagate=False
    ),
)
show(
    "grandparent failed",
    lambda: AsyncResult(
        "pending", app=app, parent=AsyncResult("ok0", app=app, parent=app.AsyncResult("bad"))
    ).get(timeout=1),
)
show(
    "forget follows",
    lambda: (
        put("p1", 1),
        put("c1", 2),
        AsyncResult("c1", app=app, parent=app.AsyncResult("p1")).forget(),
        app.AsyncResult("p1").state,
        app.AsyncResult("c1").state,
    )[2:],
)
show("exists", lambda: (app.AsyncResult("ok0").exists(), app.AsyncResult("pending").exists()))
show(
    "callback",
    lambda: (
        lambda heard: (app.AsyncResult("ok1").get(timeout=1, callback=lambda *a: heard.append(a)), heard)
    )([]),
)
show(
    "callback failing",
    lambda: (
        lambda heard: (
            app.AsyncResult("bad").get(timeout=1, propagate=False, callback=lambda *a: heard.append(a)),
            heard,
        )
    )([]),
)
show(
    "cached",
    lambda: (lambda r: (put("cc", 1), r.get(timeout=1), store.forget("cc"), r.get(timeout=1), r.state)[1:])(
        app.AsyncResult("cc")
    ),
)
show("throw", lambda: app.AsyncResult("ok0").throw(ValueError("mine")))
show("maybe_reraise", lambda: app.AsyncResult("bad").maybe_reraise())
show(
    "maybe_throw callback",
    lambda: (lambda heard: (app.AsyncResult("ok1").maybe_throw(callback=lambda *a: heard.append(a)), heard))(
        []
    ),
)
show("wait", lambda: app.AsyncResult("ok1").wait(timeout=1))
show("get revoked", lambda: app.AsyncResult("revoked").get(timeout=1))
show("get revoked not propagated", lambda: app.AsyncResult("revoked").get(timeout=1, propagate=False))
show("get started", lambda: app.AsyncResult("started").get(timeout=0.05, interval=0.01))
show("info started", lambda: app.AsyncResult("started").info)
show(
    "order",
    lambda: (
        app.AsyncResult("a") == app.AsyncResult("b"),
        app.AsyncResult("a") != app.AsyncResult("a"),
        {app.AsyncResult("a")} == {app.AsyncResult("a")},
        app.AsyncResult("a") == 5,
        app.AsyncResult("a") != "a",
    ),
)
show("reduce", lambda: pickle.loads(pickle.dumps(child)).parent)
show("supports_native_join", lambda: app.AsyncResult("a").supports_native_join)


# Children and graphs
class Request:
    """What a store wants to know of a request."""

    def __init__(self, *children):
        self.children = list(children)
        self.group = self.parent_id = self.id = None
        self.stamped_headers, self.stamps = None, {}


put("leaf1", 10)
put("leaf2", 20)
put("top", 1, request=Request(app.AsyncResult("leaf1"), app.AsyncResult("leaf2")))
put("open", 1, request=Request(app.AsyncResult("never")))
put("ingroup", 1, request=Request(grouped("ok0", "ok1")))
top = app.AsyncResult("top")
show("children", lambda: top.children)
show("children of group", lambda: (lambda c: (c, c[0].results))(app.AsyncResult("ingroup").children))
show("collect", lambda: list(top.collect()))
show("collect group", lambda: [(type(r).__name__, v) for r, v in app.AsyncResult("ingroup").collect()])
show("collect open", lambda: list(app.AsyncResult("open").collect(timeout=0.2)))
show("collect intermediate", lambda: list(app.AsyncResult("open").collect(intermediate=True, timeout=0.2)))
show("iterdeps", lambda: list(top.iterdeps()))
show("iterdeps open", lambda: list(app.AsyncResult("open").iterdeps()))
show("iterdeps intermediate", lambda: list(app.AsyncResult("open").iterdeps(intermediate=True)))
show("iterdeps pending", lambda: list(app.AsyncResult("never").iterdeps()))
show("get_leaf", lambda: (top.get_leaf(), app.AsyncResult("ok1").get_leaf()))
show(
    "graph",
    lambda: (
        lambda g: (type(g).__name__, sorted((str(k), sorted(map(str, v))) for k, v in g.items()), len(g))
    )(top.graph),
)
show("graph open", lambda: app.AsyncResult("open").build_graph())
show("graph intermediate", lambda: sorted(map(str, app.AsyncResult("open").build_graph(intermediate=True))))
show("edges", lambda: sorted(map(str, top.graph.edges())))
show("topsort", lambda: sorted(map(str, top.graph.topsort())))
show("valency", lambda: top.graph.valency_of(top))


def dot(result):
    out = io.StringIO()
    result.graph.to_dot(out)
    lines = out.getvalue().splitlines()
    return lines[0], sorted(line.strip() for line in lines[1:-1]), lines[-1]


show("dot", lambda: dot(top))
show("dot of one", lambda: dot(app.AsyncResult("ok1")))
show("repr of graph", lambda: sorted(line.strip() for line in repr(top.graph).splitlines()))

# Joining in a task
show("will block", lambda: task_join_will_block())


def denied(question):
    with denied_join_result():
        return question()


def allowed(question):
    with denied_join_result(), allow_join_result():
        return question()


show("denied", lambda: denied(task_join_will_block))
show("allowed", lambda: allowed(task_join_will_block))
show("assert_will_not_block", lambda: (assert_will_not_block(), allowed(assert_will_not_block)))
show("assert denied", lambda: denied(assert_will_not_block))
show("get denied", lambda: denied(lambda: app.AsyncResult("pending").get(timeout=0.05, interval=0.01)))
show("join denied", lambda: denied(lambda: many("pending").join(timeout=0.05, interval=0.01)))
show(
    "get denied but allowed",
    lambda: denied(lambda: app.AsyncResult("ok1").get(timeout=0.1, disable_sync_subtasks=False)),
)
