"""What a call leaves in Redis: lists, envelopes, bindings. `python redis_sent.py redis://...`"""
# ruff: noqa: B023 - questions are put at once, where they stand

import datetime
import itertools
import json
import sys

from canon import Names
from kombu import Exchange, Queue
from kombu.common import Broadcast
from probe import show
from raw import Redis, differences, everything, message

from celery import Celery

URL = sys.argv[1]
redis = Redis(URL)
#: Databases in which nobody has declared anything yet.
fresh = itertools.count(10)
#: Keys of no meaning to Celery.
PRIVATE = ("celeriac",)


class Calls:
    """A fresh app, with a task."""

    def __init__(self, **settings):
        self.app = Celery("proj", **{"broker": URL, "backend": URL, "set_as_current": False} | settings)

        @self.app.task(name="add", shared=False)
        def add(x=0, y=2):
            return x + y

        self.add = add

    def __call__(self, *args, **options):
        options.setdefault("task_id", "I")
        return self.add.apply_async(args, **options)

    def send(self, name="t", *args, **options):
        options.setdefault("task_id", "I")
        return self.app.send_task(name, args, **options)


def after(send, **settings):
    """All keys."""
    redis("FLUSHDB")
    calls = Calls(**settings)
    try:
        send(calls)
    finally:
        found = everything(redis, Names(), PRIVATE)
        calls.app.close()
    return found


def lists():
    keys = [key for key in sorted(redis("KEYS", "*")) if redis("TYPE", key) == b"list"]
    return [(key.decode(), redis("LLEN", key)) for key in keys]


def where(send, **settings):
    """In which lists how many messages are, and what the message says of it."""
    after(send, **settings)
    info = {
        json.dumps(json.loads(item)["properties"]["delivery_info"], sort_keys=True)
        for key, _ in lists()
        for item in redis("LRANGE", key, 0, -1)
    }
    return lists(), sorted(info)


def differs(send, **settings):
    """What is another than in the plain message."""
    after(send, **settings)
    ((key, _),) = lists()
    return key, differences(PLAIN, json.loads(message(redis("LINDEX", key, 0), Names())))


def first(send, **settings):
    """All keys, if nobody has declared anything before."""
    global redis
    url = f"{URL.rpartition('/')[0]}/{next(fresh)}"
    before, redis = redis, Redis(url)
    try:
        return after(send, broker=url, **settings)
    finally:
        redis = before


def bindings(send, **settings):
    return [line for line in first(send, **settings) if line.startswith("set ")]


def published(channel, send, **settings):
    """What subscribers of a pattern hear."""
    listener = Redis(URL)
    listener("PSUBSCRIBE", channel)
    after(send, **settings)
    kind, _, heard, payload = listener.read(2)
    return kind, heard, differences(PLAIN, json.loads(message(payload, Names())))


show("plain", lambda: first(lambda call: call(2, 2)))
after(lambda call: call(1))
PLAIN = json.loads(message(redis("LINDEX", "celery", 0), Names()))
YEAR2040 = datetime.datetime(2040, 1, 1, tzinfo=datetime.UTC)
for label, send in {
    "keywords": lambda call: call.add.apply_async((1,), {"y": 5}, task_id="I"),
    "all options": lambda call: call(
        2,
        2,
        countdown=10,
        expires=60,
        priority=5,
        compression="zlib",
        headers={"x-trace": "a"},
        time_limit=20,
        soft_time_limit=10,
        shadow="sh",
    ),
    "eta": lambda call: call(1, eta=YEAR2040),
    "expires": lambda call: call(1, expires=YEAR2040),
    "expires seconds": lambda call: call(1, expires=1.5),
    "queue": lambda call: call(1, queue="other"),
    "queue of an exchange": lambda call: call(
        1, queue=Queue("q", Exchange("x", type="direct"), routing_key="rk")
    ),
    "topic": lambda call: call(
        1, queue=Queue("tq", Exchange("tx", type="topic"), routing_key="a.#"), routing_key="a.b"
    ),
    "transient": lambda call: call(1, delivery_mode=1),
    "pickle": lambda call: call(1, serializer="pickle"),
    "yaml": lambda call: call(1, serializer="yaml"),
    "msgpack": lambda call: call(1, serializer="msgpack"),
    "bzip2": lambda call: call(1, compression="bzip2"),
    "lzma": lambda call: call(1, compression="lzma"),
    "pickle and zlib": lambda call: call(1, serializer="pickle", compression="zlib"),
    "unknown task": lambda call: call.send("unknown.task", 1),
    "known by name": lambda call: call.send("add", 1),
    "ignore_result": lambda call: call(1, ignore_result=True),
    "ids": lambda call: call(
        1, root_id="R", parent_id="P", group_id="G", group_index=2, reply_to="rt", retries=1
    ),
    "extra option": lambda call: call(1, foo="bar"),
    "stamps": lambda call: call(1, stamped_headers=["s"], s="v"),
    "unicode": lambda call: call("é€😀"),
    "types": lambda call: call(YEAR2040, b"\xff"),
    "tuple and dict": lambda call: call((1, 2), {"a": None}),
    "correlation_id": lambda call: call(1, correlation_id="other"),
    "custom headers": lambda call: call(1, headers={"lang": "xx", "deep": {"a": [1]}}),
    "links": lambda call: call(1, link=call.add.s(2), link_error=call.add.s(3)),
}.items():
    show(label, lambda: differs(send))
for label, settings in {
    "task_compression": {"task_compression": "zlib"},
    "task_serializer": {"task_serializer": "pickle", "accept_content": ["pickle"]},
    "task_ignore_result": {"task_ignore_result": True},
    "task_default_priority": {"task_default_priority": 6},
    "task_default_delivery_mode": {"task_default_delivery_mode": 1},
    "task_default_queue": {"task_default_queue": "dq"},
    "no backend": {"backend": None},
    "rpc backend": {"backend": "rpc://"},
    "task_acks_late": {"task_acks_late": True},
    "timezone": {"timezone": "Europe/Oslo", "enable_utc": False},
    "task_time_limit": {"task_time_limit": 9, "task_soft_time_limit": 8},
    "argsrepr": {"resultrepr_maxsize": 5},
}.items():
    show(f"setting {label}", lambda: differs(lambda call: call(1, countdown=5), **settings))
show("protocol 1", lambda: after(lambda call: call(2, 2, expires=9), task_protocol=1)[-1])
show(
    "order",
    lambda: (
        after(lambda call: [call(n, task_id=f"{n}") for n in range(3)]),
        [json.loads(item)["headers"]["id"] for item in redis("LRANGE", "celery", 0, -1)],
    )[1],
)
for priority in (*range(-1, 12), None):
    show(f"priority {priority}", lambda: differs(lambda call: call(1, priority=priority)))
STEPS = {"priority_steps": list(range(10)), "sep": ":", "queue_order_strategy": "priority"}
for priority in (0, 1, 5, 9, 12):
    show(
        f"all steps: priority {priority}",
        lambda: where(lambda call: call(1, priority=priority), broker_transport_options=STEPS),
    )
show("all steps: bindings", lambda: bindings(lambda call: call(1), broker_transport_options=STEPS))
show(
    "default exchange and key",
    lambda: first(
        lambda call: call.send(),
        task_default_queue="dq",
        task_default_exchange="dx",
        task_default_routing_key="dk",
    ),
)
show(
    "default topic",
    lambda: first(
        lambda call: call.send(),
        task_default_exchange_type="topic",
        task_default_queue="dq",
        task_default_routing_key="d.k",
    ),
)
show(
    "prefix",
    lambda: first(
        lambda call: call(1),
        broker_transport_options={"global_keyprefix": "pre_"},
        result_backend_transport_options={"global_keyprefix": "res_"},
    ),
)
QUEUES = {
    "task_queues": [
        Queue("one", Exchange("direct", type="direct"), routing_key="k1"),
        Queue("two", Exchange("direct", type="direct"), routing_key="k2"),
        Queue("three", Exchange("topic", type="topic"), routing_key="t.*.x"),
        Queue("four", Exchange("topic", type="topic"), routing_key="t.#"),
        Broadcast("all"),
        Queue("short", Exchange("short"), routing_key="short", expires=300),
        Queue("prio", queue_arguments={"x-max-priority": 10}),
    ],
    "task_default_queue": "one",
}
for label, options in {
    "queue one": {"queue": "one"},
    "queue three": {"queue": "three", "routing_key": "t.a.x"},
    "queue that expires": {"queue": "short"},
    "queue with priorities": {"queue": "prio", "priority": 4},
    "default": {},
    "undeclared": {"queue": "fresh"},
    "two exchanges": {"queue": "two", "exchange": "direct", "routing_key": "k2"},
}.items():
    show(f"queues: {label}", lambda: where(lambda call: call.send(**options), **QUEUES))
    show(f"bindings: {label}", lambda: bindings(lambda call: call.send(**options), **QUEUES))


def declared(options):
    """A topic or a direct exchange whose queues are there."""

    def send(call):
        with call.app.connection_for_write() as connection:
            for queue in call.app.amqp.queues.values():
                if not isinstance(queue, Broadcast):
                    queue(connection.default_channel).declare()
        call.send(**options)

    return send


for label, options in {
    "topic to both": {"exchange": "topic", "exchange_type": "topic", "routing_key": "t.a.x"},
    "topic to one": {"exchange": "topic", "exchange_type": "topic", "routing_key": "t.a"},
    "direct by key": {"exchange": "direct", "routing_key": "k2"},
}.items():
    show(f"declared: {label}", lambda: where(declared(options), **QUEUES))
show("declared: bindings", lambda: bindings(declared({"queue": "one"}), **QUEUES))
show(
    "life of a queue that expires",
    lambda: [
        line.partition(":")[0]
        for line in after(lambda call: call.send(queue="short"), **QUEUES)
        if line.startswith("list")
    ],
)
show(
    "routes",
    lambda: where(
        lambda call: call.send("feed.me"), task_routes={"feed.*": {"queue": "feeds", "priority": 9}}
    ),
)
show("group", lambda: where(lambda call: [call(n) for n in range(3)]))


def kombu_reads():
    """Ours is a message to kombu."""
    redis("FLUSHDB")
    call = Calls()
    call(1, 2, headers={"h": 1}, priority=3)
    with call.app.connection_for_read() as connection:
        got = connection.SimpleQueue("celery").get(timeout=5)
        got.ack()
        return (
            got.payload,
            got.headers["h"],
            got.properties["priority"],
            got.properties["delivery_mode"],
            sorted(got.delivery_info.items()),
            got.content_type,
        )


def kombu_sends():
    """What others publish by `app.connection()`."""

    def send(call):
        with call.app.connection_for_write() as connection:
            connection.Producer().publish(
                {"a": 1},
                exchange="",
                routing_key="mine",
                headers={"h": 1},
                priority=4,
                expiration=5,
                correlation_id="c",
            )

    return after(send)


show("read by app.connection", kombu_reads)
show(
    "keys after reading",
    lambda: [line for line in everything(redis, Names(), PRIVATE) if not line.startswith("set ")],
)
show("sent by app.connection", kombu_sends)
