"""Signatures, eager results, and results read from a store."""
# ruff: noqa: A002, B023, E741 - questions are put at once, where they stand

import json

from probe import show

from celery import Celery, Signature, maybe_signature, signature, states
from celery.result import AsyncResult, result_from_tuple

app = Celery("proj", broker="memory://", backend="cache+memory://", task_always_eager=False)


@app.task
def add(x, y=2):
    return x + y


@app.task
def err(req, exc, tb):
    print("ERR", repr(exc))
    return "e"


@app.task
def err1(id):
    print("ERR1")
    return "e"


@app.task
def fail(*a):
    raise ValueError("bad", *a)


s = add.s(1)
show("repr", lambda: (repr(s), repr(add.s(1, y=2)), repr(add.si()), str(s), dict(s)))
show("json", lambda: json.dumps(add.signature((1,), {"y": 2}, countdown=3, immutable=True)))
show(
    "sig",
    lambda: (
        s.task,
        s.args,
        s.kwargs,
        s.options,
        s.immutable,
        s.subtask_type,
        s.name,
        s.id,
        s.parent_id,
        s.root_id,
        s.type.name,
    ),
)
show("call", lambda: (s(5), s.clone((3,), {"y": 4}), s.clone(countdown=1).options))
show(
    "immut",
    lambda: (add.si(1, 2)(9) if 0 else add.si(1, 2).clone((3,)).args, add.si(1).set(countdown=4).options),
)
show("replace", lambda: dict(s.replace(args=(9,), kwargs={"q": 1}, options={"o": 1})))
show("set", lambda: dict(s.clone().set(queue="q", immutable=True)))
show("set_imm", lambda: (lambda c: (c.set_immutable(True), c.immutable))(s.clone()))
show(
    "link",
    lambda: (lambda c: (c.link(add.s(2)), c.link(add.s(2)), c.link_error(err.s()), c.options))(s.clone()),
)
show("on_error", lambda: (lambda c: (c.on_error(err.s()) is c, c.options))(s.clone()))
show("flatten", lambda: (lambda c: (c.link(add.s(2)), c.flatten_links()))(s.clone()))
show("freeze", lambda: (lambda c: (c.freeze("ID"), c.id, c.freeze().id, sorted(c.options)))(s.clone()))
show("eq", lambda: (s == add.s(1), s == dict(add.s(1)), s != add.s(2)))
show(
    "from dict",
    lambda: (
        Signature.from_dict(dict(s)),
        type(Signature.from_dict(dict(s))).__name__,
        maybe_signature(dict(s)),
        maybe_signature(None),
        maybe_signature(s) is s,
        signature(dict(s)),
        signature("proj.add", args=(1,)),
        signature("a.b", (1,), {"k": 2}, countdown=3),
    ),
)
show("json clone", lambda: signature(json.loads(json.dumps(s)), app=app).apply((4,)).get())
show(
    "apply",
    lambda: (
        add.s(1).apply((5,)).get(),
        add.s(1).apply(kwargs={"y": 9}).get(),
        add.s().apply((1,), {"y": 8}).get(),
    ),
)
show("partial", lambda: (add.s(1).partial((2,)).args, add.s(1).partial(countdown=3).options))
show("app", lambda: s.app is app)
show("reprcall", lambda: s.reprcall("pre"))
show(
    "append",
    lambda: (lambda c: (c.append_to_list_option("link", 1), c.extend_list_option("link", [2, 3]), c.options))(
        s.clone()
    ),
)
show("items", lambda: sorted(s.items()))
show("deep", lambda: __import__("copy").deepcopy(s) == s)
show("pickle", lambda: __import__("pickle").loads(__import__("pickle").dumps(s)) == s)
show("bad kw", lambda: Signature())
show("app.sig", lambda: app.signature("x", args=(1,)))
show("subtask", lambda: (add.subtask((1,)), add.signature((1,), {"y": 2}, queue="z").options))
show("sig delay", lambda: add.s(1).delay(2).id)
show("sig apply_async merge", lambda: add.s(1).set(task_id="TT").apply_async((2,)).id)
show("link eager", lambda: add.apply((1,), link=add.s(10)).get())
show("err eager", lambda: fail.apply((1,), link_error=err.s()).state)
show("err1 eager", lambda: fail.apply((1,), link_error=err1.s()).state)
# eager
app.conf.task_always_eager = True
r = add.delay(1)
show(
    "eager",
    lambda: (
        type(r).__name__,
        r.get(),
        r.state,
        r.status,
        r.result,
        r.ready(),
        r.successful(),
        r.failed(),
        r.traceback,
        r.info,
        repr(r),
        r.name,
        r.supports_native_join,
        r.wait(),
    ),
)
f = fail.delay(3)
show(
    "efail",
    lambda: (f.state, repr(f.result), f.failed(), f.traceback.splitlines()[0], f.traceback.splitlines()[-1]),
)
show("efail get", lambda: f.get())
show("efail noprop", lambda: f.get(propagate=False))
show("erevoke", lambda: (r.revoke(), r.state, repr(r.result)))
show("erevoke get", lambda: r.get())
show("eager forget", lambda: r.forget())
show("eager ns", lambda: add.delay(object()))
show("eager set", lambda: add.delay({1}))
show("eager send_task", lambda: type(app.send_task("proj.add", (1,))).__name__)
app.conf.task_eager_propagates = True
show("propag", lambda: fail.delay(3))
app.conf.task_eager_propagates = False
show("throw", lambda: fail.apply((1,), throw=True))
show("throw2", lambda: fail.apply_async((1,), throw=True))


@app.task(bind=True)
def req(self):
    q = self.request
    return {
        k: getattr(q, k, "MISSING")
        for k in [
            "id",
            "root_id",
            "parent_id",
            "args",
            "kwargs",
            "is_eager",
            "called_directly",
            "retries",
            "delivery_info",
            "hostname",
            "logfile",
            "loglevel",
            "callbacks",
            "errbacks",
            "headers",
            "task",
            "group",
            "origin",
            "eta",
            "expires",
            "timelimit",
            "ignore_result",
            "reply_to",
            "correlation_id",
        ]
    }


show(
    "eager req",
    lambda: {
        k: v
        for k, v in req.apply_async(task_id="I", headers={"h": 1}, priority=3).get().items()
        if k != "hostname"
    },
)
show(
    "eager req2",
    lambda: {
        k: v for k, v in req.apply(task_id="I", retries=2, headers={"h": 1}).get().items() if k != "hostname"
    },
)


@app.task(bind=True)
def par(self):
    a = req.apply_async()
    return (
        a.id,
        self.request.id == a.get(disable_sync_subtasks=False)["parent_id"],
        self.request.id == a.get(disable_sync_subtasks=False)["root_id"],
        [c.id == a.id for c in self.request.children],
    )


show("eager par", lambda: par.delay().get()[1:])


@app.task
def waits():
    return add.delay(1).get()


show("eager wait", lambda: waits.delay().get())


@app.task(bind=True)
def us(self):
    self.update_state(state="PROGRESS", meta={"a": 1})
    return 1


show("upd", lambda: us.apply(task_id="US").get())
app.conf.task_store_eager_result = True
show("stored", lambda: (add.apply_async((1,), task_id="ST").get(), app.AsyncResult("ST").state))
app.conf.task_store_eager_result = False
show("warn", lambda: app.AsyncResult("NST").state)
app.conf.task_always_eager = False
# AsyncResult on backend
b = app.backend
b.store_result("k1", {"a": 1}, states.SUCCESS)
show(
    "ar",
    lambda: (
        lambda r: (
            r.state,
            r.status,
            r.result,
            r.get(timeout=1),
            r.info,
            r.ready(),
            r.successful(),
            r.failed(),
            r.traceback,
            r.children,
            r.date_done is not None,
            r.name,
            r.args,
            r.kwargs,
            r.worker,
            r.retries,
            r.queue,
            r.task_id,
            r.id,
        )
    )(app.AsyncResult("k1")),
)
b.mark_as_failure("k2", ValueError("boom", 7), traceback="TB")
show(
    "ar fail",
    lambda: (
        lambda r: (
            r.state,
            repr(r.result),
            r.traceback,
            r.failed(),
            r.ready(),
            r.maybe_throw(propagate=False),
        )
    )(app.AsyncResult("k2")),
)
show("ar fail get", lambda: app.AsyncResult("k2").get(timeout=1))
show("maybe_throw", lambda: app.AsyncResult("k2").maybe_throw())
show("forget", lambda: (app.AsyncResult("k2").forget(), app.AsyncResult("k2").state))
show(
    "pending",
    lambda: (lambda r: (r.state, r.result, r.ready(), r.successful(), r.info, r.date_done, r.children))(
        app.AsyncResult("zz")
    ),
)
show("timeout", lambda: app.AsyncResult("zz").get(timeout=0.2))
show("timeout msg", lambda: app.AsyncResult("zz").get(timeout=0.2, interval=0.1))
b.store_result("k3", {"cur": 1}, "PROGRESS")
show("custom", lambda: (lambda r: (r.state, r.info, r.result, r.ready()))(app.AsyncResult("k3")))
b.store_result("k1", {"cur": 1}, "PROGRESS")
show("success stays", lambda: app.AsyncResult("k1").state)
b.store_result("k4", KeyError("x"), states.RETRY, traceback="tb")
show("retry", lambda: (lambda r: (r.state, repr(r.result), r.ready(), r.failed()))(app.AsyncResult("k4")))
b.mark_as_revoked("k5", "why")
show("revoked", lambda: (lambda r: (r.state, repr(r.result), r.ready(), r.failed()))(app.AsyncResult("k5")))
show("revoked get", lambda: app.AsyncResult("k5").get(timeout=1))
show("meta", lambda: {k: v for k, v in sorted(b.get_task_meta("k1").items()) if k != "date_done"})
show("raw", lambda: json.loads(b.get(b.get_key_for_task("k4"))))
show("then", lambda: (lambda l: (app.AsyncResult("k1").then(lambda r: l.append(r.id)), l)[1])([]))
show(
    "tuple",
    lambda: (
        app.AsyncResult("k1").as_tuple(),
        result_from_tuple([["k1", None], None], app=app) == app.AsyncResult("k1"),
        app.AsyncResult("k1").as_list(),
    ),
)
show(
    "eq",
    lambda: (
        app.AsyncResult("a") == "a",
        app.AsyncResult("a") == app.AsyncResult("a"),
        hash(app.AsyncResult("a")) == hash("a"),
        str(app.AsyncResult("a")),
        repr(app.AsyncResult("a")),
    ),
)
show("None id", lambda: app.AsyncResult(None))
show("none", lambda: AsyncResult("x", app=app).id)
show("pickle", lambda: __import__("pickle").loads(__import__("pickle").dumps(app.AsyncResult("a"))).id)
show("copy", lambda: __import__("copy").copy(app.AsyncResult("a")).id)
app.conf.result_cache_max = 10
show(
    "ignored",
    lambda: (lambda r: (setattr(r, "ignored", True), r.ignored, r.get(timeout=1)))(app.AsyncResult("ig")),
)
d = Celery("d", broker="memory://", set_as_current=False)
show("disabled", lambda: type(d.backend).__name__)
for m in ["state", "result", "get", "ready"]:
    show(
        "disabled " + m,
        lambda: (lambda x: x(timeout=1) if m == "get" else x() if callable(x) else x)(
            getattr(d.AsyncResult("x"), m)
        ),
    )
show(
    "unknown backend",
    lambda: Celery("e", broker="memory://", backend="nosuch://", set_as_current=False).backend,
)
show(
    "unknown backend2",
    lambda: Celery("e", broker="memory://", backend="a.b.c:D", set_as_current=False).backend,
)


def unknown_transport():
    try:
        Celery("e", broker="nosuch://", set_as_current=False).send_task("x", retry=False)
    except KeyError as exc:
        return type(exc).__name__, str(exc).partition(". ")[0]


show("unknown transport", unknown_transport)
show(
    "exc roundtrip",
    lambda: (
        lambda b: [
            repr(b.exception_to_python(b.prepare_exception(e, "json")))
            for e in (KeyError("a"), type("Own", (Exception,), {})("m"), OSError(2, "x"))
        ]
    )(b),
)
show(
    "exc unknown",
    lambda: (lambda e: (type(e).__name__, type(e).__module__, e.args))(
        b.exception_to_python({"exc_type": "Nope", "exc_message": ["a"], "exc_module": "zz.q"})
    ),
)
show(
    "exc insecure",
    lambda: b.exception_to_python({"exc_type": "system", "exc_message": ["echo hi"], "exc_module": "os"}),
)
show("exc none", lambda: b.exception_to_python(None))
show(
    "states",
    lambda: (
        sorted(states.READY_STATES),
        sorted(states.UNREADY_STATES),
        sorted(states.EXCEPTION_STATES),
        sorted(states.PROPAGATE_STATES),
        sorted(states.ALL_STATES),
        states.precedence("SUCCESS"),
        states.precedence("ZZ"),
        states.state("PROGRESS") > states.state("SUCCESS"),
        states.state("FAILURE") < states.state("PENDING"),
        states.NULL_PRECEDENCE if hasattr(states, "NULL_PRECEDENCE") else 0,
    ),
)
