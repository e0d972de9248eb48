"""What a call puts on the wire, and where it sends it."""
# ruff: noqa: B023 - questions are put at once, where they stand

import datetime
import re

from kombu import Exchange, Queue
from probe import show

from celery import Celery, signals

app = Celery("proj", broker="memory://", backend="cache+memory://")


@app.task
def add(x, y=2):
    return x + y


@app.task(bind=True, queue="tq", priority=4, expires=100, serializer="pickle", name="opt", time_limit=30)
def opt(self, x):
    return x


SENT = []


@signals.before_task_publish.connect
def bp(
    sender=None,
    body=None,
    exchange=None,
    routing_key=None,
    headers=None,
    properties=None,
    declare=None,
    retry_policy=None,
    **k,
):
    SENT.append(
        {
            "sender": sender,
            "body": body,
            "exchange": exchange,
            "routing_key": routing_key,
            "headers": headers,
            "properties": {key: value for key, value in properties.items() if value is not None},
            "declare": [getattr(q, "name", q) for q in declare or []],
            "retry_policy": retry_policy,
            "extra": sorted(k),
        }
    )


AFTER = []


@signals.after_task_publish.connect
def ap(sender=None, **k):
    AFTER.append((sender, sorted(k)))


def sent(f):
    def g():
        SENT.clear()
        AFTER.clear()
        f()
        s = SENT[0]
        h = s["headers"]
        for k in ("eta", "expires"):
            if h and h.get(k):
                h[k] = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+", "DT", h[k])
        if h and h.get("origin"):
            h["origin"] = re.sub(r"gen\d+@.*", "genN@H", h["origin"])
        if s["properties"].get("expiration", 0) > 1e6:
            s["properties"]["expiration"] = "years"
        if isinstance(s["body"], dict):
            s["body"] |= {key: "DT" for key in ("eta", "expires") if s["body"][key]}
        return s, AFTER

    return g


def T(label, f):
    show(label, sent(f))


T("plain", lambda: add.apply_async((2, 2), task_id="I"))
T("kw", lambda: add.delay(1, y=5))
T(
    "all",
    lambda: add.apply_async(
        (2, 2),
        task_id="I",
        countdown=10,
        expires=60,
        priority=5,
        headers={"x-trace": "a"},
        time_limit=20,
        soft_time_limit=10,
        shadow="sh",
        compression="zlib",
        serializer="json",
        delivery_mode=1,
        ignore_result=True,
        root_id="R",
        parent_id="P",
        group_id="G",
        group_index=3,
        retries=2,
        reply_to="rt",
    ),
)
T("eta str", lambda: add.apply_async((2, 2), eta="2030-01-01T00:00:00", expires="2030-01-02T00:00:00"))
T(
    "eta dt",
    lambda: add.apply_async(
        (2, 2),
        eta=datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC),
        expires=datetime.datetime(2030, 1, 1),
    ),
)
T(
    "eta tz",
    lambda: add.apply_async(
        (2, 2), eta=datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=5)))
    ),
)
T("countdown0", lambda: add.apply_async((2, 2), countdown=0))
T("countdown neg", lambda: add.apply_async((2, 2), countdown=-5))
show("countdown range", lambda: add.apply_async((2, 2), countdown=-(2**31) - 1))
show("countdown str", lambda: add.apply_async((2, 2), countdown="5").id)
T("expires past", lambda: add.apply_async((2, 2), expires=datetime.datetime(2001, 1, 1)))
T("expires0", lambda: add.apply_async((2, 2), expires=0))
T("expires neg", lambda: add.apply_async((2, 2), expires=-5))
show("expires bad", lambda: add.apply_async((2, 2), expires="garbage").id)
show("eta bad", lambda: add.apply_async((2, 2), eta="garbage").id)
T("opt", lambda: opt.delay(1))
T("opt over", lambda: opt.apply_async((1,), queue="z", priority=9, expires=None, serializer="json"))
T("queue", lambda: add.apply_async((1,), queue="qq"))
T(
    "queue obj",
    lambda: add.apply_async((1,), queue=Queue("qo", Exchange("eo", type="topic"), routing_key="r.k")),
)
T("exch", lambda: add.apply_async((1,), exchange="ee", routing_key="kk"))
T("exch silent", lambda: add.apply_async((1,), exchange="ee", routing_key="kk", mandatory=False))
T("exch typ", lambda: add.apply_async((1,), exchange="ee", exchange_type="topic", routing_key="kk"))
T("rk only", lambda: add.apply_async((1,), routing_key="kk"))
T("link", lambda: add.apply_async((1,), link=add.s(3), link_error=[add.si(9), add.s(8)]))
T("send_task", lambda: app.send_task("unknown.t", (1,), {"a": 2}, task_id="I"))
T("send_task known", lambda: app.send_task("opt", (1,)))
T(
    "send_task opts",
    lambda: app.send_task(
        "u",
        args=[1],
        queue="q",
        countdown=3,
        retry=False,
        headers={"h": 1},
        mandatory=True,
        content_type="x/y",
    ),
)
T("retrypol", lambda: add.apply_async((1,), retry=True, retry_policy={"max_retries": 1}))
T("noretry", lambda: add.apply_async((1,), retry=False))
T("stamps", lambda: add.apply_async((1,), stamped_headers=["k"], k="v"))
T("long repr", lambda: add.apply_async(("x" * 3000,), {"y": list(range(3000))}))
T("argsrepr opt", lambda: add.apply_async((1,), argsrepr="ARGS", kwargsrepr="KW"))
T("route_name", lambda: add.apply_async((1,), route_name="other"))
T("unknown opt", lambda: add.apply_async((1,), user_id="u", app_id="a", foo="bar"))
show("set arg", lambda: add.delay({1, 2}))
show("obj arg", lambda: add.delay(object()))
show("unknown serializer", lambda: add.apply_async((1,), serializer="nope"))
show("unknown compr", lambda: add.apply_async((1,), compression="nope"))
show("soft>hard", lambda: add.apply_async((1,), time_limit=1, soft_time_limit=5).id)


@app.task(name="sh", time_limit=1, soft_time_limit=5)
def sh():
    pass


show("soft>hard task", lambda: sh.delay())
show(
    "result",
    lambda: (
        lambda r: (
            r.id,
            r.state,
            r.task_id,
            r.ignored,
            type(r).__name__,
            str(r),
            repr(r),
            r.as_tuple(),
            r.name,
        )
    )(add.apply_async((1,), task_id="RID", ignore_result=True)),
)
show(
    "producer",
    lambda: (
        lambda: [
            add.apply_async((1,), producer=p, task_id="PP").id
            for p in [app.producer_pool.acquire(block=True)]
        ]
    )(),
)


def f():
    with app.connection_for_write() as c:
        return add.apply_async((1,), connection=c, task_id="CC").id


show("connection", f)


def f():
    with app.producer_or_acquire() as p:
        return add.apply_async((1,), producer=p, task_id="CC").id


show("producer_or_acquire", f)
app.conf.task_protocol = 1
app2 = Celery("p1", broker="memory://", backend="cache+memory://", task_protocol=1, set_as_current=False)


@app2.task(name="a1")
def a1(x, z=1):
    pass


T(
    "proto1",
    lambda: a1.apply_async(
        (1, 2), {"z": 1} if 0 else None, task_id="I", countdown=10, expires=60, link=a1.s(1)
    ),
)
app3 = Celery("p3", broker="memory://", set_as_current=False, task_protocol=3)


@app3.task(name="a3")
def a3():
    pass


show("proto3", lambda: a3.delay())
app4 = Celery("p4", broker="memory://", set_as_current=False, task_create_missing_queues=False)


@app4.task(name="a4")
def a4():
    pass


show("missing q", lambda: a4.apply_async(queue="nono"))
show("missing q2", lambda: a4.apply_async(queue="celery").id)
app5 = Celery("p5", broker="memory://", set_as_current=False)
seen = []


def router(name, args, kwargs, options, task=None, **kw):
    seen.append((name, args, kwargs, sorted(options), getattr(task, "name", None), sorted(kw)))
    if name == "fn":
        return "fromfn"
    return None


class R:
    def route_for_task(self, task, args=None, kwargs=None):
        if task == "old":
            return {"queue": "oldq", "priority": 3}
        return None


app5.conf.task_routes = (
    router,
    R(),
    {
        "exact": "exq",
        "feed.tasks.*": {"queue": "feeds", "routing_key": "f.k"},
        re.compile(r"(video|image)\.tasks\..*"): {"queue": "media"},
        "part": {"priority": 8},
        "topic": {"exchange": "media", "exchange_type": "topic", "routing_key": "a.b"},
    },
)
for n in ["fn", "old", "exact", "feed.tasks.x", "video.tasks.y", "part", "topic", "zzz", "xvideo.tasks.y"]:
    T("route " + n, lambda: app5.send_task(n, (1,), {"k": 1}, task_id="I"))
T("route over", lambda: app5.send_task("feed.tasks.x", queue="mine"))
T("route over rk", lambda: app5.send_task("feed.tasks.x", routing_key="mine"))
T("route over none", lambda: app5.send_task("feed.tasks.x", queue=None))
show("seen", lambda: seen[:2])
app5.conf.task_routes = {"zzz": "later"}
T("route later", lambda: app5.send_task("zzz"))
app6 = Celery("p6", broker="memory://", set_as_current=False)
app6.conf.task_routes = ([("feed.*", "a"), ("feed.x", "b")],)
T("route list", lambda: app6.send_task("feed.x"))
app6.conf.task_routes = "p.norm"
show("route badstr", lambda: app6.send_task("feed.x").id)
app7 = Celery("p7", broker="memory://", set_as_current=False)
app7.conf.task_queues = [
    Queue("default", Exchange("default"), routing_key="default"),
    Queue("vid", Exchange("media", type="topic"), routing_key="vid.#"),
    Queue("al", alias="alias1"),
]
app7.conf.task_default_queue = "default"
app7.conf.task_queue_max_priority = 7
T("q7", lambda: app7.send_task("x"))
T("q7 vid", lambda: app7.send_task("x", queue="vid"))
T("q7 vid rk", lambda: app7.send_task("x", queue="vid", routing_key="vid.z"))
show(
    "queues7",
    lambda: {
        k: (v.exchange.name, v.exchange.type, v.routing_key, v.queue_arguments)
        for k, v in sorted(app7.amqp.queues.items())
    },
)
show("format", lambda: app7.amqp.queues.format())
show("consume_from", lambda: sorted(app7.amqp.queues.consume_from))
show("select", lambda: (app7.select_queues(["vid"]), sorted(app7.amqp.queues.consume_from)))
show("deselect", lambda: (app7.amqp.queues.deselect("vid"), sorted(app7.amqp.queues.consume_from)))
show("select_add", lambda: (app7.amqp.queues.select_add("fresh").name, sorted(app7.amqp.queues.consume_from)))
show("default q", lambda: (app7.amqp.default_queue.name, app7.amqp.default_exchange.name))
app8 = Celery(
    "p8",
    broker="memory://",
    set_as_current=False,
    task_queues={"q": {"exchange": "x", "exchange_type": "topic", "binding_key": "rk"}, "w": {}},
)
show(
    "queues8",
    lambda: {
        k: (v.exchange.name, v.exchange.type, v.routing_key, v.queue_arguments)
        for k, v in sorted(app8.amqp.queues.items())
    },
)
show("queues new", lambda: (lambda q: (q.name, q.exchange.name, q.routing_key))(app8.amqp.queues["brandnew"]))
app9 = Celery(
    "p9",
    broker="memory://",
    set_as_current=False,
    task_default_queue="dd",
    task_default_exchange_type="topic",
    task_default_routing_key="rk.k",
    task_default_delivery_mode=1,
    task_default_priority=3,
)
T("p9", lambda: app9.send_task("x"))
T("inherit", lambda: app9.send_task("x", priority=None))
app10 = Celery(
    "p10", broker="memory://", set_as_current=False, task_compression="bzip2", task_serializer="yaml"
)
T("p10", lambda: app10.send_task("x", (1,)))
