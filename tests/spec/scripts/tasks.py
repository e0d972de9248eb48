"""Tasks: their making, attributes, arguments, retries and handlers, run in place."""
# ruff: noqa: B023, E402, E741, F405 - questions are put at once, where they stand

from probe import show

import celery
from celery import Celery, Task, current_task, shared_task
from celery.exceptions import *  # noqa: F403 - as the documentation's examples do


def one():
    return 1


app = Celery("proj", broker="memory://", backend="cache+memory://")


@app.task
def add(x, y=2):
    "Doc of add."
    return x + y


show("type before", lambda: type(add).__name__)
show("name", lambda: add.name)
show("repr", lambda: repr(add))
show("doc", lambda: add.__doc__)
show("wrapped", lambda: (add.__wrapped__(1, 2), add.run(3, 4), add.__name__, add.__module__, add(5)))
show("delay bad", lambda: add.delay())
show("delay bad2", lambda: add.delay(1, 2, 3))
show("delay bad3", lambda: add.delay(1, z=3))
show("apply_async args str", lambda: add.apply_async("ab"))
show("apply_async kwargs list", lambda: add.apply_async((1,), [1]))
show("apply_async args dict", lambda: add.apply_async({"a": 1}))
show("notcallable", lambda: app.task(1))
show("two", lambda: app.task(lambda: 1, lambda: 2))


@app.task(bind=True, name="b.b", max_retries=5, foo="bar", typing=False)
def bb(self, a):
    return self.name, self.foo, self.max_retries, self.request.called_directly, self.request.id


show("bound", lambda: bb(1))
show("bound bad", lambda: bb.apply_async((1, 2, 3)).id)
show("bound apply", lambda: bb.apply((1,), task_id="i").get())
show("registry", lambda: sorted(n for n in app.tasks))
show("registry missing", lambda: app.tasks["nope"])
show("registry regular", lambda: (sorted(app.tasks.regular()), sorted(app.tasks.periodic())))
show("registry unregister", lambda: app.tasks.unregister("nope"))
show("again", lambda: app.task(name="b.b")(lambda self: 1) is app.tasks["b.b"])


def other():
    pass


show("again2", lambda: app.task(name="b.b")(other) is app.tasks["b.b"])
show("lazyF", lambda: type(app.task(lazy=False, name="l")(one)).__name__)
show("filter", lambda: app.task(name="fl", filter=lambda x: ("F", x.name))(one))


class MyT(Task):
    name = "my.t"
    x = 0

    def __init__(self):
        self.n = 0

    def run(self, a):
        self.n += a
        return self.n


mt = app.register_task(MyT())
show("cls", lambda: (mt(2), mt(3), mt.apply((1,)).get(), app.tasks["my.t"] is mt, mt.name))
show("cls again", lambda: app.register_task(MyT()).n)


class NoName(Task):
    def run(self):
        return self.name


show("noname", lambda: app.register_task(NoName())())
show("register cls", lambda: app.register_task(NoName)())


class Abs(Task):
    abstract = True

    def __call__(self, *a, **k):
        return ("called", self.run(*a, **k))


show("base", lambda: app.task(base=Abs, name="bs")(one)())
show("base apply", lambda: app.task(base=Abs, name="bs")(one).apply().get())
show("mro", lambda: [c.__name__ for c in type(add).__mro__])
show("Task attr", lambda: (app.Task.app is app, app.Task.abstract, issubclass(app.Task, Task)))
show(
    "attrs",
    lambda: {
        k: getattr(add, k)
        for k in [
            "max_retries",
            "default_retry_delay",
            "rate_limit",
            "ignore_result",
            "trail",
            "send_events",
            "store_errors_even_if_ignored",
            "store_eager_result",
            "serializer",
            "time_limit",
            "soft_time_limit",
            "track_started",
            "acks_late",
            "acks_on_failure_or_timeout",
            "acks_on_failure",
            "acks_on_timeout",
            "reject_on_worker_lost",
            "retry_on_worker_lost",
            "throws",
            "expires",
            "priority",
            "resultrepr_maxsize",
            "typing",
            "Strategy",
            "Request",
            "abstract",
        ]
    },
)
show("from_config", lambda: add.from_config)
show("exc attrs", lambda: (add.MaxRetriesExceededError.__name__, add.OperationalError.__name__))
show(
    "request empty",
    lambda: {
        k: getattr(add.request, k)
        for k in [
            "id",
            "task",
            "args",
            "kwargs",
            "root_id",
            "parent_id",
            "group",
            "retries",
            "is_eager",
            "called_directly",
            "eta",
            "expires",
            "delivery_info",
            "timelimit",
            "headers",
            "children",
            "chain",
            "callbacks",
        ]
        if hasattr(add.request, k)
    },
)
show("request.get", lambda: add.request.get("nope", 5))
show("request missing attr", lambda: add.request.nope)
add.push_request(id="pid", args=(1,), called_directly=False)
show(
    "pushed",
    lambda: (add.request.id, add.request.args, add.request.called_directly, celery.current_task is not None),
)
add.pop_request()
show("popped", lambda: add.request.id)
show("current_task", lambda: (bool(current_task),))


@shared_task
def sh(a):
    return a


show("shared t", lambda: (sh.name, sh(3), sh.app is app, type(sh).__name__))
show("shared opts", lambda: shared_task(name="shn", max_retries=9)(one).max_retries)
show("shared twice", lambda: shared_task(sh))
app2 = Celery("two", set_as_current=False)
show(
    "shared to others",
    lambda: ("__main__.sh" in app2.tasks, sorted(n for n in app2.tasks if not n.startswith("celery."))),
)
show(
    "sharedF",
    lambda: (lambda a, b: (a.task(shared=False, name="nf")(one).name, "nf" in b.tasks))(
        Celery("aa", set_as_current=False), Celery("bb", set_as_current=False)
    ),
)
show(
    "AsyncResult",
    lambda: (add.AsyncResult("q").id, add.AsyncResult("q").task_name, add.AsyncResult("q").state),
)


@app.task(bind=True, max_retries=2)
def r(self, a, b=1):
    LOG.append((self.request.retries, self.request.id, a, b))
    raise self.retry(exc=ValueError("v"), countdown=0)


LOG = []
show("retry eager", lambda: (r.apply((1,), task_id="rid").state, LOG))
show("retry eager res", lambda: r.apply((1,), task_id="rid").get())
show("retry direct", lambda: r(1))


@app.task(bind=True)
def rd(self):
    raise self.retry()


show("retry direct none", lambda: rd())


@app.task(bind=True, max_retries=1)
def rn(self):
    self.retry(countdown=0)


show(
    "max none",
    lambda: rn.apply(
        task_id="rn",
    ).get(),
)


def f():
    try:
        rn.apply((), task_id="rn").get()
    except MaxRetriesExceededError as e:
        return e.task_args, e.task_kwargs, str(e)


show("max attrs", f)


@app.task(bind=True)
def rt(self, a=0, b=0, c=0):
    if self.request.retries == 0:
        self.retry(args=(1,), kwargs={"c": 5}, countdown=0)
    return a, b, c


show("retry new args", lambda: rt.apply((7, 8), {"c": 9}).get())


@app.task(bind=True)
def rt2(self, a=0, b=0, c=0):
    if self.request.retries == 0:
        self.retry(kwargs={"a": 5}, countdown=0)
    return a, b, c


show("retry new kwargs", lambda: rt2.apply((7, 8), {"c": 9}).get())


@app.task(bind=True)
def rt3(self, a=0, b=0, c=0):
    if self.request.retries == 0:
        self.retry(args=(1, 2), countdown=0)
    return a, b, c


show("retry new args2", lambda: rt3.apply((7,), {"b": 9, "c": 3}).get())


@app.task(bind=True)
def rthrow(self):
    x = self.retry(countdown=0, throw=False) if self.request.retries == 0 else None
    return type(x).__name__


show("throw False", lambda: (rthrow.apply().state, rthrow.apply().result))
show(
    "Retry str",
    lambda: (
        str(Retry("m")),
        str(Retry(exc=ValueError("x"), when=5)),
        str(Retry("m", exc=ValueError("x"), when=5)),
        repr(Retry()),
        Retry(exc=ValueError("x"), when=5).humanize(),
        Retry(exc=ValueError("x")).excs,
        Retry.is_eager if hasattr(Retry, "is_eager") else 0,
    ),
)
import datetime

show("Retry when dt", lambda: str(Retry(exc=ValueError("x"), when=datetime.datetime(2020, 1, 1))))
show(
    "Ignore Reject",
    lambda: (
        repr(Ignore("x")),
        repr(Reject("r", requeue=True)),
        Reject("r").requeue,
        str(Reject("r")),
        Reject().reason,
    ),
)
show(
    "excs",
    lambda: (
        str(NotRegistered("x")),
        repr(NotRegistered("x")),
        str(TaskRevokedError("expired")),
        str(QueueNotFound("q")),
        repr(WorkerShutdown(3)),
        WorkerTerminate.__mro__[1].__name__,
        issubclass(Retry, TaskPredicate),
        issubclass(AlwaysEagerIgnored, CeleryWarning),
        str(BackendStoreError("a", state="S", task_id="i")),
        str(BackendGetMetaError("a", task_id="i")),
    ),
)


@app.task(autoretry_for=(KeyError,), retry_kwargs={"max_retries": 2}, retry_backoff=True, bind=True)
def ar(self, l=None):
    N.append(self.request.retries)
    raise KeyError("k")


N = []
show("autoretry", lambda: (ar.apply().state, N, repr(ar.apply().result)))
show("autoretry direct", lambda: ar())


@app.task(autoretry_for=(Exception,), dont_autoretry_for=(TypeError,))
def ar2():
    raise TypeError("k")


show("dont", lambda: ar2.apply().get())
show(
    "autoretry attrs",
    lambda: (ar.autoretry_for, ar.retry_kwargs, ar.retry_backoff) if hasattr(ar, "autoretry_for") else "no",
)


class ART(Task):
    name = "art"
    autoretry_for = (KeyError,)
    max_retries = 1
    default_retry_delay = 0

    def run(self):
        N2.append(1)
        raise KeyError()


N2 = []
art = app.register_task(ART())
show("autoretry cls", lambda: (art.apply().state, len(N2)))
show(
    "register opts",
    lambda: (
        (
            app.register_task(type("X", (Task,), {"name": "xo", "run": lambda self: 1})(), max_retries=77)
        ).max_retries
    ),
)
from celery.utils.time import get_exponential_backoff_interval as gb

show("backoff", lambda: [gb(2, n, 100) for n in range(8)] + [gb(1, -3, 100)])
show("backoff j", lambda: all(0 <= gb(2, n, 100, True) <= 100 for n in range(50)))


class H(Task):
    abstract = True

    def before_start(self, task_id, args, kwargs):
        H.L.append(("bs", task_id, args, kwargs))

    def on_success(self, retval, task_id, args, kwargs):
        H.L.append(("os", retval, task_id, args, kwargs))

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        H.L.append(("of", repr(exc), task_id, args, kwargs, type(einfo).__name__))

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        H.L.append(("or", repr(exc), task_id, type(einfo).__name__))

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        H.L.append(("ar", status, repr(retval), task_id, einfo is None))


H.L = []
from celery import signals

for s in ["task_prerun", "task_postrun", "task_success", "task_failure", "task_retry"]:

    def rec(sender=None, s=s, **k):
        k.pop("signal", None)
        H.L.append((s, getattr(sender, "name", sender), sorted(k)))

    getattr(signals, s).connect(rec, weak=False)


@app.task(base=H, bind=True, max_retries=1)
def h(self, what):
    H.L.append("body")
    if what == "fail":
        raise ValueError("bad")
    if what == "retry":
        raise self.retry(exc=ValueError("again"), countdown=0)
    if what == "ignore":
        raise Ignore("i")
    if what == "reject":
        raise Reject("r")
    return what


for w in ["ok", "fail", "retry", "ignore", "reject"]:

    def f():
        H.L.clear()
        r = h.apply((w,), task_id="H")
        return r.state, repr(r.result), list(H.L)

    show("handlers " + w, f)
for bad in ["before_start", "on_success", "after_return", "on_failure"]:

    def boom(self, *a, **k):
        raise RuntimeError("in " + bad)

    def fx(x):
        return 1 / x

    T = app.task(base=type("B" + bad, (Task,), {bad: boom, "abstract": True}), name="bad" + bad)(fx)
    show("bad " + bad, lambda: (T.apply((1,)).state, T.apply((1,)).result))
    show("bad0 " + bad, lambda: (T.apply((0,)).state,))
